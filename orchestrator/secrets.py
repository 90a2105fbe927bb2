"""Secrets that are derived, never stored, and the redaction of those that slip into text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

# Without the scheme: a pattern that begins with "any letters" takes seconds for one long line of an agent's log.
_URL_PASSWORD = re.compile(r"(?P<head>://[^\s:/@'\"]*:)(?P<secret>[^\s/'\"]+)(?P<tail>@)")
_KEY_PASSWORD = re.compile(
    r"(?P<head>(?<![a-z0-9])(?:(?:pg)?password|passwd|pwd|api_?key|token|secret)\b['\"]?\s*[=:]\s*)"
    r"(?P<secret>'[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)",
    re.IGNORECASE,
)


def derive(key: bytes, *parts: str) -> str:
    """A password for one purpose: HMAC-SHA256 of the parts under the installation key, 43 URL-safe characters.

    Deterministic, so that no password needs to be stored: the same key and parts give the same password on
    every worker.
    """
    digest = hmac.new(key, "\x1f".join(parts).encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def redact(text: str) -> str:
    """The text with passwords in URLs and in `password=…` pairs replaced by `***`."""
    text = _URL_PASSWORD.sub(r"\g<head>***\g<tail>", text)
    return _KEY_PASSWORD.sub(r"\g<head>***", text)


def redactor(*known: str) -> Callable[[str], str]:
    """Like `redact`, and strikes out these secrets wherever they stand, as they are or quoted for a URL."""
    forms = sorted({form for secret in known if secret for form in (secret, quote(secret, safe=""))}, key=len)
    pattern = re.compile("|".join(map(re.escape, reversed(forms)))) if forms else None

    def strike(text: str) -> str:
        return redact(pattern.sub("***", text) if pattern else text)

    return strike


def split_password(conninfo: str) -> tuple[str, str | None]:
    """A libpq URL or conninfo string as (conninfo without its password, the password or None)."""
    parts = conninfo_to_dict(conninfo)
    password = parts.pop("password", None)
    return make_conninfo("", **parts), None if password is None else str(password)


def with_url_password(url: str, password: str | None) -> str:
    """A Redis or HTTP URL with the password added where it has none."""
    parts = urlsplit(url)
    if password is None or parts.password is not None or not parts.hostname:
        return url
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{host}{port}"))


def split_url_password(url: str) -> tuple[str, str | None]:
    """A Redis or HTTP URL as (URL without its password, the password or None)."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, None
    user = f"{parts.username}@" if parts.username else ""
    _, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{host}")), unquote(parts.password)

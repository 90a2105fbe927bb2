"""Broker addresses."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import SecretStr


def with_url_password(url: str, password: SecretStr | None) -> str:
    """The URL with the password added where it has none."""
    parts = urlsplit(url)
    if password is None or parts.password is not None or not parts.hostname:
        return url
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    secret = quote(password.get_secret_value(), safe="")
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{secret}@{host}{port}"))

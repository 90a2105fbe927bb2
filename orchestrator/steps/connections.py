"""Connections to forks and baselines, for the length of one `with`, with driver errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from orchestrator.errors import ProviderUnavailable
from orchestrator.secrets import redact


@contextmanager
def connect(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit connection. Raises ProviderUnavailable if it cannot be had."""
    try:
        connection = psycopg.connect(conninfo, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as exc:
        raise ProviderUnavailable(f"The fork does not answer: {redact(str(exc).strip())}") from None
    with connection:
        yield connection

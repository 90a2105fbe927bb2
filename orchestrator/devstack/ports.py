"""Ports on the loopback interface, from a range below the one that outgoing connections are given."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from orchestrator.errors import StackError

LOOPBACK = "127.0.0.1"
_RANGE = range(20_000, 30_000)
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_port(avoid: Collection[int] = ()) -> int:
    """A free port; chance picks it, so that stacks that start together do not all want the same."""
    for port in random.sample(_RANGE, _TRIES):
        if port not in avoid and is_free(port):
            return port
    raise StackError(f"No free port between {_RANGE.start} and {_RANGE.stop - 1} on {LOOPBACK}: stop what holds them.")

"""The log of one agent: its output line by line, redacted, and never larger than its cap."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import AgentError

_LINE_LIMIT = 65_536
_SECRET_LIMIT = 4_096  # a longer secret could show its head at the cut of an over-long line
_TAIL_LIMIT = 16_384


class Log:
    """Takes raw output in pieces and writes readable lines.

    At most `limit_bytes` of output reach the file: first its head, then one line that says so, then (when the
    agent has ended) its last lines, where the reason of a failure stands. Memory stays under a few hundred
    kilobytes whatever the agent writes. Bytes that are not UTF-8 become U+FFFD, and so does NUL.
    """

    def __init__(self, path: Path, *, limit_bytes: int, redact: Callable[[str], str]) -> None:
        """Create the file, readable by its owner alone; one of that name is emptied."""
        self._path = path
        self._redact = redact
        self._tail_limit = min(_TAIL_LIMIT, limit_bytes // 4)
        self._head_limit = limit_bytes - self._tail_limit
        self._limit = limit_bytes
        self._pending = bytearray()
        self._tail = bytearray()
        self._tail_cut = False
        self._skipping = False
        self.size = 0
        self.truncated = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
            os.fchmod(self._fd, 0o600)
        except OSError as exc:
            raise AgentError(f"The agent's log {path} cannot be written: {exc.strerror}.") from exc

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, piece: bytes) -> None:
        """Take the next piece of output, cut anywhere. Raises AgentError where the disk refuses."""
        if self.truncated:
            self._keep_tail(piece)
            return
        piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._skipping:
            _, newline, piece = piece.partition(b"\n")
            if not newline:
                return
            self._skipping = False
        self._pending += piece
        end = self._pending.rfind(b"\n") + 1
        lines = bytes(self._pending[:end])
        del self._pending[:end]
        self._write_lines(lines)
        if len(self._pending) > _LINE_LIMIT and not self.truncated:
            self._cut_line()

    def close(self) -> None:
        """Write what is pending and close the file; a second call does nothing."""
        if self._fd < 0:
            return
        try:
            if not self.truncated and self._pending:
                self._write_lines(bytes(self._pending) + b"\n")
            if self.truncated:
                self._write_tail()
        finally:
            os.close(self._fd)
            self._fd = -1

    def _write_lines(self, lines: bytes) -> None:
        out = bytearray()
        rest = memoryview(lines)
        for line in lines.splitlines(keepends=True) if lines else ():
            text = self._readable(line)
            if self.size + len(out) + len(text) > self._head_limit:
                self._put(bytes(out))
                self._truncate(bytes(rest))
                return
            out += text
            rest = rest[len(line) :]
        self._put(bytes(out))

    def _truncate(self, rest: bytes) -> None:
        self.truncated = True
        self._put(f"[forkyard: log truncated at {self._limit} bytes; the agent's last lines follow]\n".encode())
        self._keep_tail(rest + bytes(self._pending))
        self._pending.clear()

    def _cut_line(self) -> None:
        """Write the head of a line that is too long, without its end: a secret may be cut in two there."""
        text = self._readable(bytes(self._pending))[:-_SECRET_LIMIT]
        self._pending.clear()
        self._skipping = True
        self._write_lines(text + b" [forkyard: line cut]\n")

    def _keep_tail(self, piece: bytes) -> None:
        self._tail += piece
        if len(self._tail) > 2 * _TAIL_LIMIT:
            del self._tail[:-_TAIL_LIMIT]
            self._tail_cut = True

    def _write_tail(self) -> None:
        lines = bytes(self._tail).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        # A line that lost its head has lost with it the sign by which redaction knows a secret.
        text = b"\n".join(self._readable(line) for line in (lines[1:] if self._tail_cut else lines))
        if len(text) > self._tail_limit:
            text = text[len(text) - self._tail_limit :].partition(b"\n")[2]
        self._put(text if not text or text.endswith(b"\n") else text + b"\n")

    def _readable(self, line: bytes) -> bytes:
        text = line.decode("utf-8", errors="replace").replace("\x00", "\ufffd")
        return self._redact(text).encode("utf-8", errors="replace")

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as exc:
            raise AgentError(f"The agent's log {self._path} cannot be written: {exc.strerror}.") from exc
        self.size += len(data)

"""One thread a process for all heartbeats, so that a step which ends at once pays for no thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

Beat = Callable[[], None]
"""Called about once a period; what it raises is logged."""


class Pulse:
    """Calls every registered beat once a period, from a thread that starts with the first and ends when none is left
    for a whole period. A beat that is being called while it is removed may finish afterwards."""

    def __init__(self, period_seconds: float) -> None:
        self._period_seconds = period_seconds
        self._lock = threading.Lock()
        self._beats: list[Beat] = []
        self._thread: threading.Thread | None = None
        self._never = threading.Event()

    def add(self, beat: Beat) -> None:
        with self._lock:
            self._beats.append(beat)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
                self._thread.start()

    def remove(self, beat: Beat) -> None:
        with self._lock:
            self._beats.remove(beat)

    def _run(self) -> None:
        while not self._never.wait(self._period_seconds):
            with self._lock:
                beats = tuple(self._beats)
                if not beats:
                    self._thread = None
                    return
            for beat in beats:
                try:
                    beat()
                except Exception:  # one that breaks must not end all that follow
                    log.exception("a heartbeat broke")

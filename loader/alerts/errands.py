"""Calls that nobody waits for, made one after the other in a thread of their own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

KEPT = 50
"""So many calls wait at most; of more the oldest are left out."""


class Errands:
    """A server that does not answer delays other errands, and nothing else. Callable from any
    thread. The calls must not raise."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, call: Callable[[], None]) -> None:
        """Have it called soon; returns at once."""
        with self._changed:
            self._waiting.append(call)
            if self._thread is None:
                # A daemon thread: a call under way does not keep the process from its end.
                self._thread = threading.Thread(target=self._work, name="errands", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Return when all are done (true), or time is up."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, deadline - time.monotonic())

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                call = self._waiting.popleft()
            call()

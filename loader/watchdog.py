"""Ends the process when it is stuck, so that whoever supervises it starts it anew."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping

from loader.log import get_logger

EXIT_STUCK = 70
"""EX_SOFTWARE of sysexits.h."""

LOOK_S = 1.0

FROZEN_S = 5.0
"""When the watchdog itself was held up for longer, the whole process was: asleep, or stopped."""

Signs = Mapping[str, tuple[Callable[[], float | None], float]]


class Watchdog:
    """Looks at signs of life every second, on a thread of its own.

    `signs` gives by name a function that says how many seconds ago the last sign was (None while
    there is nothing to wait for), and how many it may be. Beyond that, twice in a row, it logs
    which it was, writes every thread's stack to stderr and ends the process with EXIT_STUCK.
    """

    def __init__(self, signs: Signs) -> None:
        self._signs = signs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the watch; called once."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        suspect: str | None = None
        looked = time.monotonic()
        while not self._stop.wait(LOOK_S):
            now = time.monotonic()
            if now - looked > FROZEN_S:
                # Give the others the time to show that they live.
                suspect = None
                self._stop.wait(FROZEN_S)
            looked = time.monotonic()
            stuck = self._stuck()
            if stuck is not None and stuck == suspect:
                self._end(stuck)
            suspect = stuck

    def _stuck(self) -> str | None:
        """The first that gave no sign of life for too long."""
        for name, (age, limit) in self._signs.items():
            silent = age()
            if silent is not None and silent > limit:
                return name
        return None

    def _end(self, name: str) -> None:
        get_logger().error("stuck", what=name, exit_code=EXIT_STUCK)
        faulthandler.dump_traceback(sys.__stderr__ or 2)
        os._exit(EXIT_STUCK)

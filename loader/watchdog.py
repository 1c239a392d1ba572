"""Ends the process when it is stuck, so that whoever supervises it starts it anew."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from loader.log import get_logger

EXIT_STUCK = 70
"""EX_SOFTWARE of sysexits.h."""

LOOK_S = 1.0

FROZEN_S = 5.0
"""When the watchdog itself was held up for longer, the whole process was: asleep, or stopped."""

LAST_WORDS_S = 5
"""How long log and stacks may take before the process ends without them."""

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

    def look_at(self, signs: Signs) -> None:
        """From now on at these."""
        self._signs = signs

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
            try:
                silent = age()
            except Exception as error:
                # One broken sign must not end the watch over the others.
                get_logger().error("watchdog", sign=name, reason=repr(error))
                continue
            if silent is not None and silent > limit:
                return name
        return None

    def _end(self, name: str) -> None:
        # Who reads our stderr may be stuck as well, and a stuck thread may hold the log's lock; with
        # the pipe full even the interpreter's lock is held, and only the kernel gets through.
        last = threading.Timer(LAST_WORDS_S, os._exit, (EXIT_STUCK,))
        last.daemon = True
        last.start()
        signal.alarm(2 * LAST_WORDS_S)
        get_logger().error("stuck", what=name, exit_code=EXIT_STUCK)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        faulthandler.dump_traceback(2)
        os._exit(EXIT_STUCK)

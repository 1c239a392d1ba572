"""The watchdog, in processes of its own: it ends them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from loader import watchdog
from loader.watchdog import EXIT_STUCK, Watchdog

HEAD = """
import sys, threading, time
from loader.watchdog import Watchdog
"""


def ran(program: str) -> subprocess.CompletedProcess[str]:
    """How that process ended."""
    return subprocess.run(
        [sys.executable, "-c", HEAD + program], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_stuck_process_ends_and_says_where() -> None:
    """Exit code 70, the sign's name, every thread's stack, and what was printed before."""
    done = ran(
        """
def where_it_hangs():
    threading.Event().wait()

print("said before")
began = time.monotonic()
Watchdog({
    "idle": (lambda: None, 0.1),
    "lively": (lambda: 0.0, 0.1),
    "the loop": (lambda: time.monotonic() - began, 0.5),
}).start()
threading.Thread(target=where_it_hangs).start()
threading.Event().wait()
"""
    )
    assert done.returncode == EXIT_STUCK == 70
    assert done.stdout == "said before\n"
    assert "the loop" in done.stderr
    assert "where_it_hangs" in done.stderr
    assert "Current thread" in done.stderr


def test_a_lively_process_ends_by_itself() -> None:
    """Signs within their limits, none awaited, or one that fails: nothing is ended."""
    done = ran(
        """
looked = threading.Semaphore(0)
def sign():
    looked.release()
    return 0.0
dog = Watchdog({"broken": (lambda: 1 / 0, 0.1), "idle": (lambda: None, 0.1), "lively": (sign, 0.5)})
dog.start()
for _ in range(2):
    assert looked.acquire(timeout=30)
dog.stop()
"""
    )
    assert (done.returncode, "ZeroDivisionError" in done.stdout + done.stderr) == (0, True), done.stderr


def test_a_log_that_nobody_reads_does_not_save_the_process() -> None:
    """With both pipes full, so that no word can be written, the process ends with the same code."""
    program = """
import os, loader.watchdog
for stream in (1, 2):
    os.set_blocking(stream, False)
    try:
        while True:
            os.write(stream, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(stream, True)
loader.watchdog.LAST_WORDS_S = 1
Watchdog({"x": (lambda: 9.0, 1.0)}).start()
threading.Event().wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as stuck:
        try:
            assert stuck.wait(60) == EXIT_STUCK
        finally:
            stuck.kill()


def test_stopping_waits_for_no_look_and_needs_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog stops long before it would look again, also before it was started."""
    monkeypatch.setattr(watchdog, "LOOK_S", 3600.0)
    Watchdog({}).stop()
    dog = Watchdog({"x": (lambda: 0.0, 1.0)})
    dog.start()
    dog.stop()
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}

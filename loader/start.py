"""Where the program begins: nothing here takes time to import."""

from __future__ import annotations

import signal


def main() -> None:
    """The console command."""
    quiet_interrupts()
    from loader.__main__ import main as begin

    begin()


def quiet_interrupts() -> None:
    """From now on a Ctrl-C ends the program without a traceback: it is still being imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def usual_interrupts() -> None:
    """From now on a Ctrl-C is an exception again. One that is ignored, as in the background of a
    shell, stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)

"""Run one command and write what it took as JSON: `launch.py OUT COMMAND...`.

It stands between the benchmark and what is measured because a child's peak memory, as the kernel
counts it, begins at that of the process that started it: this one imports next to nothing.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> None:
    out, command = sys.argv[1], sys.argv[2:]
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    wall = time.monotonic() - began
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with open(out, "w") as file:  # noqa: PTH123 - pathlib would triple this process
        file.write(
            f'{{"code": {os.waitstatus_to_exitcode(status)}, "wall_s": {wall}, '
            f'"cpu_s": {used.ru_utime + used.ru_stime}, "peak": {peak}}}'
        )


main()

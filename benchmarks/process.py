"""Processes: started, measured, ended."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 600.0
"""No single measured process may take longer."""


class Failed(Exception):
    """Something that was to be measured did not work; the text says what it printed."""


@dataclass(frozen=True, slots=True)
class Took:
    """What a process took, from its start to its end: seconds on the clock, seconds of CPU (user
    and system, its own children included), bytes of resident memory at its peak."""

    wall_s: float
    cpu_s: float
    peak: int
    out: str = ""


@functools.cache
def bytecode() -> Path:
    """Where everybody's compiled modules are kept for the time of the benchmark. Installed programs
    have theirs; without, half of every start would be compiling."""
    folder = tempfile.mkdtemp(prefix="bench-pyc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def measure(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    ok: Sequence[int] = (0,),
) -> Took:
    """Run `command` to its end. Raises Failed where its exit code is none of `ok`."""
    surroundings = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode()), **(env or {})}
    surroundings.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = Path(folder, "took.json")
        launcher = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "launch.py"), str(result)]
        done = subprocess.run(
            [*launcher, *map(str, command)],
            cwd=cwd,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        if not result.exists():
            raise Failed(f"{command[0]} could not be started: {done.stderr.strip()}")
        took = json.loads(result.read_text())
    if took["code"] not in ok:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise Failed(f"{' '.join(map(str, command))[:200]}: exit {took['code']}\n{said}")
    return Took(took["wall_s"], took["cpu_s"], took["peak"], done.stdout)

"""Environments for what the loader is compared with: never in its own, never in its locks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.process import ROOT, Failed

HERE = Path(__file__).parent
LIMIT_S = 900.0
"""No environment may take longer to make."""


def environment(name: str, build: Path = ROOT / "build") -> Path:
    """The Python of an environment in `build`, made by pip from `<name>-requirements.txt` where it is not
    there or was made of other requirements. Failed says why it could not be made."""
    requirements = HERE / f"{name}-requirements.txt"
    wanted = requirements.read_text()
    folder = build / f"{name}-venv"
    made_of, python = folder / "made-of.txt", folder / "bin" / "python"
    if not made_of.exists() or made_of.read_text() != wanted:
        print(f"... making {folder}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run(name, [sys.executable, "-m", "venv", folder])
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "2"]
        _run(name, [*pip, "-r", requirements])
        made_of.write_text(wanted)
    return python


def _run(name: str, command: Sequence[str | Path]) -> None:
    what = f"the environment of benchmarks/{name}-requirements.txt could not be made"
    try:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{what} within {LIMIT_S:.0f} s") from None
    if done.returncode:
        # venv tells its errors on the standard output.
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise Failed(f"{what}; pip must reach its registry: {errors[0].removeprefix('ERROR: ')[:300]}")

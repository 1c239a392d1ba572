"""dlt as a rival: its environment, and its runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.api import API
from benchmarks.process import ROOT, Failed, Took, measure

KINDS = ("generator", "arrow")
HERE = Path(__file__).parent
FOLDER = ROOT / "build" / "dlt-venv"


def environment() -> Path:
    """The Python of dlt's own environment, made from its pinned requirements where it is not there."""
    wanted = (HERE / "dlt-requirements.txt").read_text()
    made_of = FOLDER / "made-of.txt"
    python = FOLDER / "bin" / "python"
    if not made_of.exists() or made_of.read_text() != wanted:
        shutil.rmtree(FOLDER, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", FOLDER],
            [
                python,
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "-r",
                HERE / "dlt-requirements.txt",
            ],
        ):
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
            if done.returncode:
                raise Failed(f"dlt's environment: {done.stderr.strip()[-1000:]}")
        made_of.write_text(wanted)
    return python


@dataclass(frozen=True, slots=True)
class Rival:
    """A dlt pipeline; its state lies in `folder`, for it keeps the cursor there too."""

    python: Path
    kind: str
    api: API
    folder: Path

    def run(self, database: str) -> Took:
        """One run of the pipeline, start of the process included."""
        # -P: this folder's own modules must not stand in the way of what dlt imports.
        program: list[str | Path] = [self.python, "-P", HERE / "dlt_rival.py"]
        return measure(
            [*program, self.kind, self.api.url, database, str(self.api.world.sensors)],
            env={"DLT_DATA_DIR": str(self.folder), "RUNTIME__DLTHUB_TELEMETRY": "false"},
            cwd=self.folder.parent,
        )

    def keep(self) -> None:
        """Keep the state as it is now."""
        shutil.copytree(self.folder, self._kept)

    def go_back(self) -> None:
        """Back to the state that was kept."""
        shutil.rmtree(self.folder)
        shutil.copytree(self._kept, self.folder)

    @property
    def _kept(self) -> Path:
        return self.folder.with_name(self.folder.name + "-kept")

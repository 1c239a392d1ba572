"""dlt as a rival: its runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.api import API
from benchmarks.environment import HERE
from benchmarks.process import Took, measure

KINDS = ("generator", "arrow")


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

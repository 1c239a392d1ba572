"""The loader as a user runs it: `python -m loader -c FILE run`, a process of its own every time."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.api import API, FIRST_DAY, KEY
from benchmarks.process import Failed, Took, measure

CONFIG = """\
store: {store}
sources:
  openaq:
    type: openaq
    base_url: {url}
    api_key: {key}
    locations: {locations}
    initial: {initial}
    concurrency: {concurrency}
    # The measured machine is to be the limit, not the key.
    limits: {{per_minute: 1000000, per_hour: 60000000}}
quality:
  parameters:
    pm25: {{range: [0, 1000]}}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the loader: what the process took, what its report counts, and the seconds from
    the run's own beginning to its end (start-up and opening the store left out)."""

    took: Took
    counts: Mapping[str, int]
    inside_s: float


@dataclass(frozen=True, slots=True)
class Loader:
    """The loader on one store, fed by one API. `folder` holds its configuration; `locations` are
    those of the API's world unless given."""

    folder: Path
    api: API
    store: str
    concurrency: int = 4
    initial: str = FIRST_DAY
    locations: Sequence[int] = ()

    def run(self, *, new: int | None = None) -> Run:
        """Load what is new. Raises Failed unless that is exactly `new` readings, where given."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.yaml"
        config.write_text(
            CONFIG.format(
                store=self.store,
                url=self.api.url,
                key=KEY,
                locations=list(self.locations or self.api.world.locations),
                initial=self.initial,
                concurrency=self.concurrency,
            )
        )
        took = measure(
            [sys.executable, "-m", "loader", "-c", config, "run", "--json"], env={"LOADER_CONFIG": ""}
        )
        report: dict[str, Any] = json.loads(took.out)[0]
        counts = report["counts"]
        if report["outcome"] != "ok" or new not in (None, counts["new"]):
            raise Failed(
                f"the loader ended {report['outcome']} with {counts['new']} new, not {new}: {report}"
            )
        return Run(took, counts, seconds(report))


def seconds(report: Mapping[str, Any]) -> float:
    """How long the run itself says it took."""
    began, ended = (datetime.fromisoformat(report[name]) for name in ("started", "finished"))
    return (ended - began).total_seconds()

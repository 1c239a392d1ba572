"""Real data as it came, run by run: the loader's own pipeline, store, assessment and alert rules, on a
clock that follows the data. What it alerts of is what an installation with the defaults would have.

There is a run whenever something new is there, every hour or every day. Rules about the loading itself
(failures, freshness, missed, ...) are off: the silence of a file says nothing of a loader.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from loader import wiring
from loader.alerts.centre import Centre, Watched
from loader.assess import Assessor
from loader.config import Config
from loader.contracts import Finding, Survey, Usage
from loader.journal import Phase
from loader.pipeline import Order, Pipeline
from loader.planner import Policy
from loader.readings import (
    DAY,
    HOUR,
    Float64,
    Int64,
    Page,
    Partition,
    PartitionState,
    Readings,
    Series,
    Task,
    Window,
)
from loader.records import Counts
from loader.stores.sqlite import SQLiteStore

DELAY = HOUR // 12
"""A reading is there so long after its stamp."""

EVER = Window(-(1 << 62), 1 << 62)

OFF = (
    "failures",
    "freshness",
    "slow_request",
    "error_rate",
    "quarantined",
    "missed",
    "memory",
    "disk_free",
)

CONFIG = f"""
store: sqlite:///loader.db
sources:
  data: {{type: simulator, kind: air, stations: 1, seed: 1, initial: 7d}}
alerts:
  rules: {{{", ".join(f"{name}: {{enabled: false}}" for name in OFF)}}}
"""


@dataclass(frozen=True)
class Told:
    """An alert: when it began (the clock of the data), by which rule, of what, and what it said."""

    at: int
    rule: str
    subject: str
    detail: str

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at // 1_000_000, UTC)
        return f"{when:%Y-%m-%d %H:%M}  {self.rule:14}  {self.subject}: {self.detail}"


@dataclass
class Recorded:
    """A source that serves columns (time, value), by series, up to what its clock says."""

    data: Mapping[Series, tuple[Int64, Float64]]
    name: str = "data"
    concurrency: int = 1
    now: int = 0
    known: dict[str, tuple[Series, Int64, Float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for series, (time, value) in self.data.items():
            order = np.argsort(time, kind="stable")
            self.known[series.partition] = (series, time[order], value[order])

    def survey(self, known: Sequence[PartitionState], now: int) -> Survey:
        there = {state.name for state in known}
        latest = {}
        for name, (_, time, _) in self.known.items():
            upto = int(np.searchsorted(time, now - DELAY, side="right"))
            if upto:
                latest[name] = int(time[upto - 1])
        parts = tuple(
            Partition(name, series.station, (series,))
            for name, (series, _, _) in self.known.items()
            if name in latest
        )
        return Survey(parts, frozenset(latest) - there, latest, {})

    def read(self, task: Task) -> Iterator[Page]:
        series, time, value = self.known[task.partition]
        end = min(task.window.end, self.now - DELAY)
        low, high = np.searchsorted(time, (task.window.start, end), side="right")
        made = Readings.of(np.zeros(high - low), time[low:high], value[low:high])
        yield Page(made, (series,), task.window.end, len(made))

    def decode(self, partition: PartitionState, payload: bytes) -> Page:
        raise NotImplementedError(f"{partition.name}: nothing is quarantined, so not {payload!r}")

    def requests(self, task: Task) -> int:
        return int(bool(task.window))

    def usage(self) -> Usage:
        return Usage()

    def check(self) -> list[Finding]:
        return []

    def close(self) -> None: ...


class Silent:
    """Nobody watches."""

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None: ...
    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None: ...
    def committed(self, source: str, counts: Counts, used: Usage) -> None: ...
    def warned(self, source: str, message: str) -> None:
        raise AssertionError(f"{source}: {message}")


@dataclass
class Replayed:
    """What came of it: alerts in order of time, and stored readings by series id."""

    told: list[Told]
    runs: int
    series: dict[int, Series]
    stored: dict[int, Readings]
    anomalies: dict[int, set[int]]
    """Times by series id."""


def replay(
    data: Mapping[Series, tuple[Int64, Float64]], every: int, folder: Path | None = None
) -> Replayed:
    """Load the data in runs `every` so many microseconds, from its first reading to its last."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        return _replay(data, every, Path(temporary))


def _replay(data: Mapping[Series, tuple[Int64, Float64]], every: int, folder: Path) -> Replayed:
    (folder / "config.yaml").write_text(CONFIG)
    config = wiring.load_config(folder / "config.yaml")
    source, stop = Recorded(data), threading.Event()
    store = SQLiteStore(folder / "loader.db")
    store.migrate()
    pipeline = _pipeline(config, source, store, stop)
    assess: Assessor = wiring.build_assessor(config, "data")
    centre = _centre(config, source, folder)
    told: list[Told] = []
    alerting: set[tuple[str, str]] = set()
    ticks = np.unique(np.concatenate([-(-(t + DELAY) // every) * every for t, _ in data.values()]))
    lease = store.acquire("data")
    for tick in ticks.tolist():
        source.now = tick
        pipeline.run(Order(trigger="schedule"), lease)
        assess(store, lease, stop, lambda: None)
        centre.look(store, ["data"])
        now = {(a.rule, a.subject): a.detail for a in store.alerts() if a.phase is Phase.ALERTING}
        told += [Told(tick, *key, detail) for key, detail in now.items() if key not in alerting]
        alerting = set(now)
    ids = {one.id: one.series for one in store.series("data")}
    stored: dict[int, Readings] = {}
    anomalies: dict[int, set[int]] = {number: set() for number in ids}
    for number in ids:
        parts = Readings.concat(list(store.scan([number], EVER)))
        stored[number] = parts
    for one in store.anomalies("data", EVER.start, EVER.end):
        anomalies[one.series_id].add(one.time)
    lease.release()
    store.close()
    return Replayed(told, len(ticks), ids, stored, anomalies)


def _pipeline(config: Config, source: Recorded, store: SQLiteStore, stop: threading.Event) -> Pipeline:
    made = wiring.build_pipeline(config, "data", store, stop, Silent())
    policy = Policy(start=lambda discovered: discovered - 7 * DAY)
    return replace(
        made, source=source, clock=lambda: source.now, policy=replace(made.policy, start=policy.start)
    )


def _centre(config: Config, source: Recorded, folder: Path) -> Centre:
    settings = config.sources["data"]
    watched = Watched(
        "data",
        settings.alerts.over(config.alerts.rules),
        settings.schedule.timetable,
        settings.lookback.min,
        settings.lookback.max,
    )
    return Centre(
        watched={"data": watched},
        settings=config.alerts,
        limits={},
        channels={},
        spool=folder / "spool",
        disk=None,
        clock=lambda: source.now,
    )

"""A source in memory, a store, a clock: what a whole run takes, for tests to change as they like."""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loader.contracts import Checker, Database, Survey, Usage
from loader.errors import PageFailed
from loader.pipeline import Order, Pipeline
from loader.planner import Policy
from loader.quality.checks import Checks
from loader.quality.rules import Rule
from loader.quality.score import Weights
from loader.readings import (
    DAY,
    HOUR,
    Page,
    Partition,
    PartitionState,
    Readings,
    Reject,
    Series,
    Task,
    Window,
)
from loader.records import RunReport
from loader.stores.sqlite import SQLiteStore
from tests.watching import Watching

START = 1_800_000_000_000_000 // HOUR * HOUR
RULES = Checks(lambda series: Rule(expected=series.parameter == "pm25", fail=(0.0, 1000.0)))


@dataclass
class World:
    """An hourly sensor per name, kept as {time: value}, whose rows a test changes as it likes."""

    rows: dict[str, dict[int, float]]
    poison: set[int] = field(default_factory=set)
    rejects: tuple[bytes, ...] = ()
    trouble: Exception | None = None
    after_page: threading.Event | None = None
    name: str = "world"
    concurrency: int = 2
    pages: int = 0
    closed: bool = False

    def series(self, sensor: str) -> Series:
        return Series(sensor, "pm25", "µg/m³", "station", sensor, cadence_s=3600.0)

    def survey(self, known: Sequence[PartitionState], now: int) -> Survey:  # noqa: ARG002
        if self.trouble is not None:
            raise self.trouble
        listed = frozenset(self.rows) - {k.name for k in known}
        parts = tuple(Partition(s, "station", (self.series(s),)) for s in self.rows)
        return Survey(parts, listed, {}, {})

    def read(self, task: Task) -> Iterator[Page]:
        rows, at = self.rows[task.partition], task.window.start
        served = sorted(t for t in rows if not any(s.start < t <= s.end for s in task.skip))
        while at < task.window.end:
            first = bisect_right(served, at)
            inside = [t for t in served[first : first + 50] if t <= task.window.end]
            end = inside[-1] if len(inside) == 50 else task.window.end
            if self.poison.intersection(inside):
                raise PageFailed("HTTP 500", after=at, until=end, bisect=True)
            self.pages += 1
            rejects = tuple(Reject(task.partition, "schema", "no value", p) for p in self.rejects)
            made = Readings.of(np.zeros(len(inside)), inside, [rows[t] for t in inside])
            yield Page(made, task.series, end, len(inside) + len(rejects), rejects)
            if self.after_page is not None:
                self.after_page.set()
            at = end

    def decode(self, partition: PartitionState, payload: bytes) -> Page:
        time, _, value = payload.decode().partition("=")
        if not value:
            return Page(
                Readings.empty(), (), 0, 1, (Reject(partition.name, "schema", "still no value", payload),)
            )
        return Page(Readings.of([0], [int(time)], [float(value)]), partition.series, 0, 1)

    def requests(self, task: Task) -> int:  # noqa: ARG002
        return 1

    def usage(self) -> Usage:
        return Usage(self.pages, self.pages * 100, 0.1)

    def check(self) -> list[object]:
        return []

    def close(self) -> None:
        self.closed = True


class Bench:
    """A world, a store and a clock that a test moves."""

    def __init__(self, folder: Path, store: Database | None = None, **world: object) -> None:
        self.now = START
        self.world = World({"a": {}, "b": {}}, **world)  # type: ignore[arg-type]
        self.path = folder / "loader.db"
        self.store: Database = store or SQLiteStore(self.path)
        self.store.migrate()
        self.stop = threading.Event()
        self.watching = Watching()
        self.policy = Policy(start=lambda discovered: discovered - 7 * DAY)
        self.check: Checker = RULES

    def fill(self, sensor: str, first: int, last: int, value: float = 200.0) -> None:
        """Hourly rows at START + first .. last hours."""
        self.world.rows[sensor].update({START + h * HOUR: value + h for h in range(first, last + 1)})

    def pipeline(self) -> Pipeline:
        return Pipeline(
            self.world,  # type: ignore[arg-type]
            self.store,
            self.check,
            self.policy,
            Weights(),
            lambda: self.now,
            self.stop,
            self.watching,
        )

    def run(self, **order: object) -> RunReport:
        return self.pipeline().run(Order(**order))  # type: ignore[arg-type]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(sql).fetchall()

    def stored(self) -> dict[str, dict[int, float]]:
        out: dict[str, dict[int, float]] = {s: {} for s in self.world.rows}
        for sensor, time, value in self.query(
            "SELECT sensor, time, value FROM reading JOIN series ON series.id = series_id"
        ):
            out[str(sensor)][int(str(time))] = float(str(value))
        return out

    def loaded(self) -> dict[str, dict[int, float]]:
        """The same whatever the store is."""
        out: dict[str, dict[int, float]] = {s: {} for s in self.world.rows}
        sensors = {s.id: s.series.sensor for s in self.store.series("world")}
        for part in self.store.scan(list(sensors), Window(0, 2**62)):
            for number, time, value in zip(part.series, part.time, part.value, strict=True):
                out[sensors[int(number)]][int(time)] = float(value)
        return out

    def check_sums(self) -> None:
        """The sums that must hold after any run."""
        assert self.query("SELECT coalesce(sum(new), 0) FROM run") == self.query(
            "SELECT count(*) FROM reading"
        )
        assert self.query("SELECT coalesce(sum(revised), 0) FROM run") == self.query(
            "SELECT count(*) FROM revision"
        )
        assert self.query("SELECT count(*) FROM run WHERE finished IS NULL") == [(0,)]

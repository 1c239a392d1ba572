"""Short ways to write down what a test commits, and to read back what a store holds.

Tests speak in hours: hour 5 is five hours after `ZERO`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stores import AnyStore

from loader.contracts import Checker, Committed, Lease
from loader.readings import (
    HOUR,
    Hole,
    Partition,
    PartitionState,
    Place,
    Progress,
    Readings,
    Reject,
    Series,
    Window,
)
from loader.records import Batch, Counts, Outcome, RunReport
from tests.checks import good

ZERO = 1_706_659_200_000_000
"""2024-01-31T00:00:00Z."""

Row = tuple[Series, float, float | None]


def at(hour: float) -> int:
    return ZERO + round(hour * HOUR)


def span(start: float, end: float) -> Window:
    return Window(at(start), at(end))


def hole(start: float, end: float, cause: str = "status 500", **more: Any) -> Hole:
    return Hole(span(start, end), cause, **{"tries": 1, "next_try": at(100), **more})


def series(sensor: str = "s1", **more: Any) -> Series:
    described = {"parameter": "pm25", "unit": "ug/m3", "station": "st1", "partition": f"p-{sensor}", **more}
    return Series(sensor, **described)


def partition(*members: Series) -> Partition:
    return Partition(members[0].partition, members[0].station, members)


def columns(listed: Sequence[Series], rows: Iterable[Row]) -> Readings:
    """Rows as a batch carries them: sorted by (series, time)."""
    index = {s.key: i for i, s in enumerate(listed)}
    made = sorted((index[s.key], at(hour), math.nan if v is None else v) for s, hour, v in rows)
    return Readings.of([m[0] for m in made], [m[1] for m in made], [m[2] for m in made])


@dataclass
class Loading:
    """One run of one source, committing batch after batch."""

    store: AnyStore
    source: str = "src"
    lease: Lease = field(init=False)
    run: int = field(init=False)
    seq: int = 0

    def __post_init__(self) -> None:
        self.lease = self.store.acquire(self.source)
        self.begin()

    def begin(self) -> None:
        self.run = self.store.begin_run(self.lease, "test", ZERO)
        self.seq = 0

    def finish(self, **more: Any) -> RunReport:
        report = RunReport(self.run, self.source, "test", ZERO, at(1), Outcome.OK, **more)
        self.store.finish_run(self.lease, report)
        return next(r for r in self.store.runs(self.source, 1000) if r.id == self.run)

    def batch(
        self,
        rows: Iterable[Row] = (),
        *progress: Progress,
        listed: Sequence[Series] = (),
        read_at: float = 1000,
        places: Sequence[tuple[Series, float, float, float]] = (),
        rejects: Sequence[Reject] = (),
        replay: Sequence[str] = (),
        repeated: Iterable[Row] = (),
        counts: Counts | None = None,
    ) -> Batch:
        rows, repeated = list(rows), list(repeated)
        everything = [*listed, *(r[0] for r in [*rows, *repeated]), *(p[0] for p in places)]
        members = {s.key: s for s in everything}
        order = list(members.values())
        index = {key: i for i, key in enumerate(members)}
        made = Batch(
            run_id=self.run,
            seq=self.seq,
            source=self.source,
            read_at=at(read_at),
            series=tuple(order),
            readings=columns(order, rows),
            places=tuple(Place(index[s.key], at(hour), lat, lon) for s, hour, lat, lon in places),
            rejects=tuple(rejects),
            progress=progress,
            counts=Counts(
                fetched=len(rows) + len(repeated) + len(rejects),
                duplicate=len(repeated),
                quarantined=len(rejects),
            )
            if counts is None
            else counts,
            replay=tuple(replay),
            repeated=columns(order, repeated),
        )
        self.seq += 1
        return made

    def commit(self, *what: Any, check: Checker = good, **more: Any) -> Counts:
        """Build a batch and commit it; its counts."""
        done = self.write(self.batch(*what, **more), check)
        assert not done.replayed
        return done.counts

    def write(self, batch: Batch, check: Checker = good) -> Committed:
        return self.store.commit(self.lease, batch, check)

    def state(self, name: str = "p-s1") -> PartitionState:
        return next(p for p in self.store.partitions(self.source) if p.name == name)

    def readings(self) -> dict[tuple[str, str, str, float], tuple[float | None, int, int]]:
        return readings(self.store, self.source)


def readings(
    store: AnyStore, source: str = "src"
) -> dict[tuple[str, str, str, float], tuple[float | None, int, int]]:
    """(sensor, parameter, unit, hour) -> (value, flag, tests) of everything stored."""
    known = {s.id: s.series for s in store.series(source)}
    found = {}
    for chunk in store.scan(sorted(known), Window(-(2**62), 2**62)):
        for number, time, value, flag, tests in zip(
            chunk.series.tolist(),
            chunk.time.tolist(),
            chunk.value.tolist(),
            chunk.flag.tolist(),
            chunk.tests.tolist(),
            strict=True,
        ):
            key = (*known[number].key, (time - ZERO) / HOUR)
            assert key not in found, f"{key} is stored twice"
            found[key] = (None if math.isnan(value) else value, flag, tests)
    return found


def values(store: AnyStore, source: str = "src") -> dict[tuple[str, float], float | None]:
    """(sensor, hour) -> value of everything stored."""
    return {(key[0], key[3]): row[0] for key, row in readings(store, source).items()}

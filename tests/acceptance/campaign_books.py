"""The books after a campaign: do the tables say what the server's world says, and do they add up?"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loader.records import COUNT_NAMES
from tests import postgres
from tests.openaq_server import World

Rows = list[tuple[Any, ...]]
SOURCE = "openaq"
OF_A_RUN = ("requests", "errors", "bytes")
"""Counts of which a run may have more than its batches: what no batch carried."""


@dataclass(frozen=True, slots=True)
class Books:
    """A store's tables. `query` runs a SELECT behind the store's back; `micros` turns the name of
    a time column into SQL for microseconds since the epoch."""

    query: Callable[[str], Rows]
    micros: Callable[[str], str]
    integrity: Callable[[], list[str]] = list


def sqlite_books(path: Path) -> Books:
    def query(sql: str) -> Rows:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return connection.execute(sql).fetchall()

    def integrity() -> list[str]:
        (said,) = query("PRAGMA integrity_check")[0]
        return [] if said == "ok" else [f"the file is damaged: {said}"]

    return Books(query, lambda column: column, integrity)


def postgres_books(url: str) -> Books:
    def micros(column: str) -> str:
        return f"(extract(epoch FROM {column}) * 1000000)::bigint"

    return Books(lambda sql: postgres.rows(url, sql), micros)


@dataclass(slots=True)
class Audit:
    """What was found. `problems` is empty where all is well."""

    rows: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    def expect(self, good: bool, problem: str) -> None:
        if not good:
            self.problems.append(problem)


def audit(books: Books, world: World) -> Audit:
    """Compare everything; the world must have settled and been read to its end."""
    found = Audit()
    _readings(found, books, world)
    _sums(found, books)
    _runs(found, books)
    _ledger(found, books, world)
    _quarantine(found, books, world)
    found.problems += books.integrity()
    return found


def holes_without_cause(books: Books) -> int:
    return int(books.query("SELECT count(*) FROM hole WHERE cause IS NULL OR cause = ''")[0][0])


def _readings(found: Audit, books: Books, world: World) -> None:
    """Row for row: (sensor, time) -> value."""
    got: dict[str, dict[int, float | None]] = {}
    time_ = books.micros("r.time")
    sql = f"SELECT s.sensor, {time_}, r.value FROM reading r JOIN series s ON s.id = r.series_id"
    orphans = books.query("SELECT count(*) FROM reading WHERE series_id NOT IN (SELECT id FROM series)")
    found.expect(orphans[0][0] == 0, f"{orphans[0][0]} readings without a series")
    for sensor, time, value in books.query(sql):
        rows = got.setdefault(sensor, {})
        found.rows += 1
        found.doubled += time in rows
        rows[time] = value
    wrong = invented = 0
    examples: list[str] = []
    for number in world.sensors:
        rows = got.pop(str(number), {})
        truth = dict(zip(*world.truth(number), strict=True))
        lost = truth.keys() - rows.keys()
        extra = rows.keys() - truth.keys()
        differ = {t for t in truth.keys() & rows.keys() if truth[t] != rows[t]}
        found.lost += len(lost)
        invented += len(extra)
        wrong += len(differ)
        examples += [f"{number} lost {t}" for t in sorted(lost)[:3]]
        examples += [f"{number} invented {t} {rows[t]}" for t in sorted(extra)[:3]]
        examples += [f"{number} at {t} has {rows[t]}, not {truth[t]}" for t in sorted(differ)[:3]]
    found.expect(not got, f"sensors that the world does not have: {sorted(got)}")
    found.expect(
        not (found.lost or found.doubled or wrong or invented),
        f"{found.lost} lost, {found.doubled} doubled, {wrong} wrong, {invented} invented: {examples[:10]}",
    )


def _sums(found: Audit, books: Books) -> None:
    new, revised = books.query("SELECT sum(new), sum(revised) FROM run")[0]
    readings = books.query("SELECT count(*) FROM reading")[0][0]
    revisions = books.query("SELECT count(*) FROM revision")[0][0]
    found.expect(new == readings, f"sum(run.new) is {new}, but there are {readings} readings")
    found.expect(
        revised == revisions, f"sum(run.revised) is {revised}, but there are {revisions} revisions"
    )
    sql = (
        f"SELECT v.series_id, {books.micros('v.time')}, v.new_value, r.value FROM revision v "
        "JOIN reading r ON r.series_id = v.series_id AND r.time = v.time ORDER BY v.run_id"
    )
    last = {(series, time): (said, value) for series, time, said, value in books.query(sql)}
    stale = [key for key, (said, value) in last.items() if said != value]
    found.expect(not stale, f"the last revision and the reading differ: {stale[:5]}")


def _runs(found: Audit, books: Books) -> None:
    unended = books.query("SELECT id FROM run WHERE finished IS NULL OR outcome IS NULL")
    found.expect(not unended, f"runs that were never closed: {unended}")
    names = ", ".join(COUNT_NAMES)
    of_run = {r[0]: r[1:] for r in books.query(f"SELECT id, {names} FROM run")}
    sums = ", ".join(f"sum({n})" for n in COUNT_NAMES)
    of_batches = {r[0]: r[1:] for r in books.query(f"SELECT run_id, {sums} FROM batch GROUP BY run_id")}
    found.expect(of_batches.keys() <= of_run.keys(), "there are batches without a run")
    for run, counts in of_run.items():
        batches = of_batches.get(run, (0,) * len(COUNT_NAMES))
        for name, total, summed in zip(COUNT_NAMES, counts, batches, strict=True):
            good = total >= summed if name in OF_A_RUN else total == summed
            found.expect(good, f"run {run} says {name} {total}, its batches {summed}")


def _ledger(found: Audit, books: Books, world: World) -> None:
    """After a quiet run nothing is open, and every reading lies in time that counts as read."""
    bad = holes_without_cause(books)
    found.expect(bad == 0, f"{bad} holes without a cause")
    holes = books.query("SELECT partition, cause FROM hole")
    found.expect(not holes, f"holes that a quiet run with --retry-holes left: {holes[:5]}")
    start, end = books.micros("from_time"), books.micros("to_time")
    covered: dict[str, list[tuple[int, int]]] = {}
    for partition, first, last in books.query(f"SELECT partition, {start}, {end} FROM coverage"):
        covered.setdefault(partition, []).append((first, last))
    for partition, windows in covered.items():
        windows.sort()
        touching = [b for a, b in itertools.pairwise(windows) if b[0] <= a[1]]
        found.expect(not touching, f"coverage of {partition} overlaps or touches: {touching[:3]}")
    sql = f"SELECT s.partition, {books.micros('r.time')} FROM reading r JOIN series s ON s.id = r.series_id"
    outside = Counter(
        partition
        for partition, time in books.query(sql)
        if not any(first < time <= last for first, last in covered.get(partition, ()))
    )
    found.expect(not outside, f"readings outside the coverage: {outside.most_common(5)}")
    known = {r[0] for r in books.query("SELECT partition FROM partition")}
    found.expect(len(known) == len(world.sensors), f"{len(known)} partitions, {len(world.sensors)} sensors")


def _quarantine(found: Audit, books: Books, world: World) -> None:
    """Every record that is broken for good is there once; of the others only future stamps are."""
    wanted = {str(s.id): len(s.spoilt) for s in world.sensors.values() if s.spoilt}
    sql = (
        "SELECT s.sensor, count(DISTINCT q.digest) FROM quarantine q "
        "JOIN series s ON s.source = q.source AND s.partition = q.partition "
        "WHERE q.reason NOT LIKE '%in the future%' GROUP BY s.sensor"
    )
    kept = dict(books.query(sql))
    found.expect(kept == wanted, f"quarantined by sensor {kept}, spoilt {wanted}")

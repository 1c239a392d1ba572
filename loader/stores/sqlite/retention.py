"""What leaves the file: a source whole, or what retention does not keep; in bounded transactions,
so that readers' snapshots and the log stay small. And what therefore does not come in any more."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from loader.journal import Cutoffs
from loader.readings import Progress, Window
from loader.records import Batch
from loader.stores.sqlite.database import SQL

ROWS = 50_000
"""Rows deleted in one transaction."""

TABLES = ("reading", "anomaly", "revision", "batch", "run", "quarantine")
"""What retention deletes from; batches before the runs that they refer to."""

FINDINGS = ("pending", "quality", "cadence", "anomaly", "drift", "standing")
"""What was found out about series."""

_EVER = 2**63 - 1

Value = str | int | None
Writing = Callable[[], AbstractContextManager[sqlite3.Connection]]


@dataclass(frozen=True, slots=True)
class _Step:
    """Rows to delete: `query` takes `which` and how many at most. `mend` is run with `number` in
    every transaction in which rows went."""

    table: str
    query: str
    which: tuple[Value, ...]
    mend: str | None = None
    number: int = 0


def forget(writing: Writing, source: str, series: Iterable[int]) -> dict[str, int]:
    """Delete everything of the source; rows deleted by table.

    The ledger goes first: readings without coverage are only read again, coverage without
    readings would be a loss nobody sees. Runs go last, so that the source stays listed.
    """
    steps = [_Step(table, f"forget_{table}", (source,)) for table in ("coverage", "hole", "partition")]
    steps += [
        _Step(table, f"forget_{table}", (number,))
        for number in series
        for table in ("reading", "revision", "place", "limit_event", *FINDINGS)
    ]
    steps += [
        _Step(table, f"forget_{table}", (source,))
        for table in (
            "lateness",
            "quarantine",
            "model",
            "series",
            "alert",
            "mute",
            "request",
            "batch",
            "run",
        )
    ]
    return _delete(writing, steps)


def prune(writing: Writing, source: str, cutoffs: Cutoffs) -> dict[str, int]:
    """Delete what is not after the cutoffs; rows deleted by table. The ledger is cut first, for
    the reason that `forget` has."""
    steps: list[_Step] = []
    if cutoffs.readings is not None:
        with writing() as connection:
            steps += _expire(connection, source, cutoffs.readings)
    steps += [
        _Step(table, f"prune_{table}", which)
        for table, which in _asked(source, cutoffs)
        if table != "reading"
    ]
    return dict.fromkeys(TABLES, 0) | _delete(writing, steps)


def prunable(connection: sqlite3.Connection, source: str, cutoffs: Cutoffs) -> dict[str, int]:
    """How many rows `prune` would delete, by table."""
    return {
        table: int(connection.execute(SQL[f"prunable_{table}"], which).fetchone()[0])
        for table, which in _asked(source, cutoffs)
    }


def _asked(source: str, cutoffs: Cutoffs) -> Iterator[tuple[str, tuple[Value, ...]]]:
    """Each table with the parameters that pick its rows; a cutoff of NULL picks none."""
    given = {
        "reading": (cutoffs.readings,),
        "anomaly": (cutoffs.readings,),
        "revision": (cutoffs.revisions,),
        "batch": (cutoffs.runs, cutoffs.batches),
        "run": (cutoffs.runs,),
        "quarantine": (cutoffs.quarantine,),
    }
    for table in TABLES:
        yield table, (source, *given[table])


def _expire(connection: sqlite3.Connection, source: str, cutoff: int) -> list[_Step]:
    """Have nothing up to the cutoff be covered, missed or fetched again; the readings to delete."""
    connection.execute(SQL["raise_expired"], (cutoff, source, cutoff))
    for table in ("coverage", "holes"):
        connection.execute(SQL[f"expire_{table}"], (source, cutoff))
        connection.execute(SQL[f"cut_{table}"], (cutoff, source, cutoff))
    connection.execute(SQL["expire_pending"], (cutoff, source))
    connection.execute(SQL["cut_pending"], (cutoff, cutoff, source))
    begun = connection.execute(SQL["series_begun"], (source, cutoff))
    return [_Step("reading", "prune_reading", (i, cutoff), "first_reading", i) for (i,) in begun]


def _delete(writing: Writing, steps: Iterable[_Step]) -> dict[str, int]:
    left = deque(steps)
    deleted = dict.fromkeys((step.table for step in left), 0)
    while left:
        room = ROWS
        with writing() as connection:
            while left and room > 0:
                step = left[0]
                gone = connection.execute(SQL[step.query], (*step.which, room)).rowcount
                if step.mend is not None and gone:
                    connection.execute(SQL[step.mend], (step.number,))
                deleted[step.table] += gone
                if gone < room:
                    left.popleft()
                room -= max(gone, 1)
    return deleted


def unexpired(connection: sqlite3.Connection, batch: Batch) -> tuple[Batch, int]:
    """The batch without what lies in time that retention has deleted; and how many of its
    readings do."""
    edges: dict[str, int] = dict(connection.execute(SQL["expired_to"], (batch.source,)).fetchall())
    if not edges:
        return batch, 0
    edge = np.array([edges.get(s.partition, -_EVER) for s in batch.series], np.int64)
    kept = batch.readings.time > edge[batch.readings.series]
    progress = tuple(_after(p, edges[p.partition]) if p.partition in edges else p for p in batch.progress)
    return replace(batch, readings=batch.readings.take(kept), progress=progress), int((~kept).sum())


def _after(progress: Progress, edge: int) -> Progress:
    kept = Window(edge, _EVER)
    return replace(
        progress,
        read=tuple(part for w in progress.read if (part := w.clip(kept))),
        cover=tuple(part for w in progress.cover if (part := w.clip(kept))),
        holes=tuple(replace(h, window=part) for h in progress.holes if (part := h.window.clip(kept))),
    )

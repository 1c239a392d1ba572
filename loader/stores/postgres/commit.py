"""One batch in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from psycopg2 import errors

from loader import columns
from loader.context import Flagged, flagged
from loader.contracts import Checker, Committed
from loader.errors import StoreError, StoreUnavailable
from loader.readings import Bool, Flag, Int32, Readings, Series, Window
from loader.records import Batch, Counts
from loader.stores.postgres import annals, findings, progress, rows
from loader.stores.postgres.session import SQL, Cursor
from loader.stores.postgres.surroundings import Surroundings, reflag
from loader.stores.postgres.times import array, micros, stamp, stamps

TRIES = 3
"""How often a batch is compared again because another writer had been quicker."""


def write(cursor: Cursor, batch: Batch, check: Checker) -> Committed:
    """Write the batch inside the caller's transaction, under the lease.

    Raises StoreUnavailable when somebody else keeps writing the same readings, StoreError for
    what can never be stored, and whatever `check` raises.
    """
    cursor.execute(
        SQL["claim_batch"], {"run_id": batch.run_id, "seq": batch.seq, "read_at": stamp(batch.read_at)}
    )
    if cursor.rowcount == 0:
        cursor.execute(SQL["batch_counts"], {"run_id": batch.run_id, "seq": batch.seq})
        return Committed(Counts(*(cursor.fetchone() or ())), replayed=True)
    series, others = _series(cursor, batch)
    ids = np.array([known.id for known in series], np.int32)
    before = progress.ledger_of(cursor, batch)
    batch = progress.unexpired(batch, before.expired)
    met, found = _readings(cursor, batch, check, series, others, ids=ids)
    new = batch.readings.take(met.split.new)
    late = new.take(_late(batch, new, before.coverage))
    _stretch(cursor, new, ids)
    findings.add_pending(cursor, {int(ids[i]): window for i, window in found.touched.items()})
    annals.write_delays(cursor, batch, late, ids)
    annals.count_days(cursor, "late", late, ids)
    # Once, though a source that repeats a record does so whenever it is read.
    annals.count_days(cursor, "duplicate", columns.among(batch.repeated, new), ids)
    moves = annals.write_places(cursor, batch, ids)
    annals.write_rejects(cursor, batch)
    progress.write(cursor, batch, before)
    flags = np.bincount(found.readings.flag, minlength=10).tolist()
    counts = replace(
        batch.counts,
        new=len(new),
        refetched=int(met.split.refetched.sum()),
        revised=int(met.split.revised.sum()),
        late=len(late),
        missing=flags[Flag.MISSING],
        suspect=flags[Flag.SUSPECT],
        failed=flags[Flag.FAIL],
        vanished=met.vanished,
        inconsistent=batch.counts.inconsistent + moves,
    )
    cursor.execute(SQL["count_batch"], {**asdict(counts), "run_id": batch.run_id, "seq": batch.seq})
    return Committed(counts)


def series_columns(source: str, series: Sequence[Series]) -> dict[str, object]:
    """Parameters of the queries that insert series."""
    return {
        "source": source,
        "sensor": [s.sensor for s in series],
        "parameter": [s.parameter for s in series],
        "unit": [s.unit for s in series],
        "station": [s.station for s in series],
        "partition": [s.partition for s in series],
        "name": [s.name for s in series],
        "timezone": [s.timezone for s in series],
        "cadence_s": [s.cadence_s for s in series],
        "replaces": [s.replaces for s in series],
    }


def _series(cursor: Cursor, batch: Batch) -> tuple[list[rows.Known], list[rows.Known]]:
    """The batch's series in its order, those unknown inserted, and the others of the partitions
    read; all of them locked, by id."""
    wanted = [s.key for s in batch.series]
    if len(set(wanted)) != len(wanted):
        raise StoreError(f"a batch of {batch.source} lists one series twice")
    parameters = {
        "source": batch.source,
        "sensors": [key[0] for key in wanted],
        "parameters": [key[1] for key in wanted],
        "units": [key[2] for key in wanted],
        "partitions": sorted({p.partition for p in batch.progress if p.read}),
    }
    found = _lock(cursor, parameters)
    unknown = [s for s in batch.series if s.key not in found]
    if unknown:
        cursor.execute(SQL["add_series"], series_columns(batch.source, unknown))
        found |= _known(cursor)
    if any(key not in found for key in wanted):
        found = _lock(cursor, parameters)
    chosen = set(wanted)
    return [found[key] for key in wanted], [k for key, k in found.items() if key not in chosen]


def _lock(cursor: Cursor, parameters: Mapping[str, object]) -> dict[tuple[str, str, str], rows.Known]:
    cursor.execute(SQL["lock_series"], parameters)
    return _known(cursor)


def _known(cursor: Cursor) -> dict[tuple[str, str, str], rows.Known]:
    found = {}
    for number, sensor, parameter, unit, partition, first, last in cursor:
        extent = None if first is None else Window(micros(first) - 1, micros(last))
        found[sensor, parameter, unit] = rows.Known(number, partition, extent)
    return found


def _readings(
    cursor: Cursor,
    batch: Batch,
    check: Checker,
    series: Sequence[rows.Known],
    others: Sequence[rows.Known],
    *,
    ids: Int32,
) -> tuple[rows.Met, Flagged]:
    """Compare, flag, write; again from the comparison when another writer was in between."""
    cursor.execute("SAVEPOINT readings")
    for _ in range(TRIES):
        met = rows.meet(cursor, batch, series, others)
        chosen = met.split.new | met.split.revised
        changed = batch.readings.take(chosen)
        found = flagged(check, batch.series, changed, Surroundings(cursor, series))
        try:
            rows.copy_new(cursor, found.readings.take(met.split.new[chosen]), ids, batch.run_id)
            rows.revise(cursor, found.readings.take(met.split.revised[chosen]), met.old, ids, batch.run_id)
            neighbours, _ = columns.deduplicate(found.neighbours)
            if len(reflag(cursor, neighbours, ids)) != len(neighbours):
                raise rows.Moved
        except (errors.UniqueViolation, rows.Moved):
            cursor.execute("ROLLBACK TO SAVEPOINT readings")
            # Its rows may lie outside the extents that this transaction has seen.
            series = [replace(s, extent=Window(-(2**62), 2**62)) for s in series]
            continue
        return met, found
    raise StoreUnavailable(f"another program keeps writing readings of {batch.source}, without the lease")


def _late(batch: Batch, new: Readings, covered: Mapping[str, tuple[Window, ...]]) -> Bool:
    """Which readings came when their time had been read before; none of a replay, whose records came
    in time."""
    if batch.replay:
        return np.zeros(len(new), bool)
    found = [
        rows.inside(times, covered[batch.series[index].partition])
        for index, times in rows.slices(new, len(batch.series))
    ]
    return np.concatenate([np.zeros(0, bool), *found])


def _stretch(cursor: Cursor, new: Readings, ids: Int32) -> None:
    found = [(int(ids[i]), int(t[0]), int(t[-1])) for i, t in rows.slices(new, len(ids)) if len(t)]
    if found:
        cursor.execute(
            SQL["stretch_series"],
            {
                "ids": array([number for number, _, _ in found]),
                "first": stamps([first for _, first, _ in found]),
                "last": stamps([last for _, _, last in found]),
            },
        )

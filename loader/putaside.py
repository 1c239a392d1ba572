"""The record of a reading that a rule kept out of the store: our own form, whatever source it came
from, so that a replay can put it through the checks again.

    {"reading": {"parameter": "pm25", "sensor": "7", "station": "Kreuzberg", "time":
    "2025-03-01T12:00:00Z", "unit": "µg/m³", "value": 1500.0}}

The same reading always makes the same bytes. A value that was not sent is null, an infinite one
a text; `"upstream": true` stands where the source itself had flagged it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np

from loader.errors import Objection
from loader.readings import Check, Page, PartitionState, Readings, Reject, Series
from loader.records import Quarantined

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stamp(time: int) -> str:
    """A time as ISO 8601 in UTC, exact to the microsecond."""
    return (_EPOCH + timedelta(microseconds=time)).replace(tzinfo=None).isoformat() + "Z"


def reject(partition: str, series: Series, readings: Readings, row: int, why: Objection) -> Reject:
    """The reading at `row` as a rejected record."""
    time, value = int(readings.time[row]), float(readings.value[row])
    written: float | str | None = value if np.isfinite(value) else str(value)
    reading: dict[str, object] = {
        "sensor": series.sensor,
        "parameter": series.parameter,
        "unit": series.unit,
        "station": series.station,
        "time": stamp(time),
        "value": None if np.isnan(value) else written,
    }
    if int(readings.tests[row]) & Check.UPSTREAM:
        reading["upstream"] = True
    payload = json.dumps({"reading": reading}, ensure_ascii=False, sort_keys=True).encode()
    return Reject(partition, why.rule, why.reason, payload, time)


def page(record: Quarantined, state: PartitionState) -> Page | None:
    """The reading again; None where the record is not one of ours."""
    try:
        held = json.loads(record.payload)
        if not isinstance(held, dict) or list(held) != ["reading"]:
            return None
        return _page(held["reading"], state)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _page(reading: dict[str, object], state: PartitionState) -> Page:
    """Raises what malformed content raises."""
    names = {name: reading[name] for name in ("sensor", "parameter", "unit", "station")}
    if not all(isinstance(name, str) for name in names.values()):
        raise TypeError("a name that is no text")
    said = Series(**names, partition=state.name)  # type: ignore[arg-type]
    series = next((one for one in state.series if one.key == said.key), said)
    at = datetime.fromisoformat(str(reading["time"]))
    time = (at - _EPOCH) // timedelta(microseconds=1)
    value = float("nan") if reading["value"] is None else float(reading["value"])  # type: ignore[arg-type]
    tests = Check.UPSTREAM if reading.get("upstream") is True else 0
    return Page(Readings.of([0], [time], [value], [tests]), (series,), time, 1)

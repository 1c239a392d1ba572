"""Pages of measurements become columns; records that cannot are rejected one by one."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from loader.readings import Check, Int64, Place, Readings, Reject, Series
from loader.sources.openaq.envelope import UNDECODABLE, Meta, page_size, raw_records, reason
from loader.sources.openaq.times import cadence, parse_times

ONE_AT_A_TIME = threading.Lock()
"""Threads that decode at the same time only make each other wait for the interpreter."""


class FlagInfo(msgspec.Struct, gc=False, frozen=True):
    hasFlags: bool = False


NO_FLAG = FlagInfo()


class Parameter(msgspec.Struct, gc=False):
    name: str
    units: str


class Moment(msgspec.Struct, gc=False):
    utc: str


class Period(msgspec.Struct, gc=False):
    datetimeTo: Moment


class Coordinates(msgspec.Struct, gc=False):
    latitude: float | None = None
    longitude: float | None = None


class Measurement(msgspec.Struct, gc=False):
    """The fields of a measurement that become a reading. The period's end is its time; what is
    measured is mostly the same in a whole page, and is decoded by `_keys`."""

    value: float | None
    parameter: msgspec.Raw
    period: Period
    flagInfo: FlagInfo | None = NO_FLAG
    coordinates: Coordinates | None = None


class _Record(Measurement):
    """A measurement by itself, all of it decoded."""

    parameter: Parameter  # type: ignore[assignment]


class _TimeOnly(msgspec.Struct):
    period: Period


class _Page(msgspec.Struct):
    meta: Meta
    results: list[Measurement]


_PAGE = msgspec.json.Decoder(_Page)
_RECORD = msgspec.json.Decoder(_Record)
_PARAMETER = msgspec.json.Decoder(Parameter)
_INTERVAL = re.compile(rb'"interval"\s*:\s*"([0-9:]{1,20})"')
_TIME = msgspec.json.Decoder(_TimeOnly)


@dataclass(frozen=True, slots=True)
class Sanity:
    """The stamps that are believed: after `earliest`, up to `latest` (microseconds UTC)."""

    earliest: int
    latest: int


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A page as columns. `readings` index `series`; `stamps` are the legible times of all its
    records in the order they came; `count` is their number before rejection; `limit` is the
    page size that the server says it used, None where it does not."""

    readings: Readings
    series: tuple[Series, ...]
    rejects: tuple[Reject, ...]
    places: tuple[Place, ...]
    stamps: Int64
    count: int
    limit: int | None


def decode_page(body: bytes, known: Sequence[Series], sanity: Sanity) -> Decoded:
    """Columns from the body of a page of measurements.

    `known` are the partition's series, its main one first; a record in another parameter or
    unit makes another series. Raises BadBody for what is no page of the API.
    """
    with ONE_AT_A_TIME:
        try:
            return _columns(body, known, sanity)
        except UNDECODABLE:
            limit, raws = raw_records(body)
            return _one_by_one(raws, limit, known, sanity)


def _columns(body: bytes, known: Sequence[Series], sanity: Sanity) -> Decoded:
    page = _PAGE.decode(body)
    found, limit = page.results, page_size(page.meta)
    if not found:
        return Decoded(Readings.empty(), (), (), (), np.empty(0, np.int64), 0, limit)
    times, legible = parse_times([m.period.datetimeTo.utc for m in found])
    keys, index = _keys([m.parameter for m in found])
    if not (legible.all() and all(_sound(name) and _sound(unit) for name, unit in keys)):
        return _one_by_one(raw_records(body)[1], limit, known, sanity)
    series = tuple(_series(name, unit, known, body) for name, unit in keys)
    tests = np.zeros(len(found), np.uint32)
    flagged = [(m.flagInfo or NO_FLAG).hasFlags for m in found]
    if True in flagged:
        tests[flagged] = Check.UPSTREAM
    # None becomes NaN on the way into a float array.
    readings = Readings.of(index, times, np.array([m.value for m in found], np.float64), tests)
    places = _places(found, index, times)
    believed = (times >= sanity.earliest) & (times <= sanity.latest)
    rejects: tuple[Reject, ...] = ()
    if not believed.all():
        raws = raw_records(body)[1]
        rejects = tuple(
            _unbelieved(known, raws[i], int(times[i]), sanity) for i in np.flatnonzero(~believed)
        )
        readings = readings.take(believed)
        places = tuple(p for p in places if sanity.earliest <= p.time <= sanity.latest)
    return Decoded(readings, series, rejects, places, times, len(found), limit)


def _sound(text: str) -> bool:
    """Whether this can be stored: a NUL in a text makes a database refuse the whole batch."""
    return 0 < len(text) <= 200 and text.isprintable()


def _keys(raws: list[msgspec.Raw]) -> tuple[list[tuple[str, str]], Int64]:
    """What is measured in a page, (parameter, unit), and the number of each record's."""
    alike = raws.count(raws[0]) == len(raws)
    each = [_PARAMETER.decode(raw) for raw in (raws[:1] if alike else raws)]
    numbers: dict[tuple[str, str], int] = {}
    index = [numbers.setdefault((one.name, one.units), len(numbers)) for one in each]
    return list(numbers), np.array(index * len(raws) if alike else index, np.int64)


def _series(name: str, unit: str, known: Sequence[Series], body: bytes) -> Series:
    """The known series of that parameter and unit, or another of the same sensor."""
    for one in known:
        if one.parameter == name and one.unit == unit:
            break
    else:
        one = replace(known[0], parameter=name, unit=unit)
    if one.cadence_s is None:
        one = replace(one, cadence_s=_interval(body))
    return one


def _interval(body: bytes) -> float | None:
    """Seconds of the first measurement's period."""
    found = _INTERVAL.search(body)
    return cadence(found[1].decode(), 1) if found else None


def _places(found: list[Measurement], index: Int64, times: Int64) -> tuple[Place, ...]:
    """Where each series was, once for each time that it moved."""
    where = [m.coordinates for m in found]
    if where.count(None) == len(where):
        return ()
    out: list[Place] = []
    at: dict[int, tuple[float, float]] = {}
    for i, c in enumerate(where):
        if c is None or (here := position(c)) is None:
            continue
        number = int(index[i])
        if at.get(number) != here:
            at[number] = here
            out.append(Place(number, int(times[i]), *here))
    return tuple(out)


def position(c: Coordinates) -> tuple[float, float] | None:
    """Latitude and longitude, where both are there and on the globe."""
    if c.latitude is None or c.longitude is None or abs(c.latitude) > 90 or abs(c.longitude) > 180:
        return None
    return c.latitude, c.longitude


def _one_by_one(
    raws: Sequence[bytes], limit: int | None, known: Sequence[Series], sanity: Sanity
) -> Decoded:
    """Decode records singly, so that a broken one costs only itself."""
    good: list[bytes] = []
    stamps: list[int] = []
    rejects: list[Reject] = []
    for raw in raws:
        result = _record(raw, known[0].partition)
        if isinstance(result, Reject):
            rejects.append(result)
            if result.time is not None:
                stamps.append(result.time)
        else:
            good.append(raw)
            stamps.append(result)
    rest = _columns(b'{"meta":{},"results":[%b]}' % b",".join(good), known, sanity)
    return replace(
        rest,
        rejects=(*rejects, *rest.rejects),
        stamps=np.array(stamps, np.int64),
        count=len(raws),
        limit=limit,
    )


def _record(payload: bytes, partition: str) -> int | Reject:
    """The time of one record, or why it is none."""
    try:
        found = _RECORD.decode(payload)
    except UNDECODABLE as error:
        return Reject(partition, "schema", reason(error), payload, _legible_time(payload))
    times, legible = parse_times([found.period.datetimeTo.utc])
    if not legible[0]:
        why = "period.datetimeTo.utc: not a time with a zone in ISO 8601"
        return Reject(partition, "schema", why, payload)
    for field, text in (("name", found.parameter.name), ("units", found.parameter.units)):
        if not _sound(text):
            why = f"parameter.{field}: empty, too long, or with characters that cannot be printed"
            return Reject(partition, "schema", why, payload, int(times[0]))
    return int(times[0])


def decode_record(payload: bytes, known: Sequence[Series], sanity: Sanity) -> Decoded:
    """One record, decoded again for replay."""
    return _one_by_one([payload], None, known, sanity)


def _legible_time(payload: bytes) -> int | None:
    try:
        text = _TIME.decode(payload).period.datetimeTo.utc
    except UNDECODABLE:
        return None
    times, legible = parse_times([text])
    return int(times[0]) if legible[0] else None


def _unbelieved(known: Sequence[Series], payload: bytes, time: int, sanity: Sanity) -> Reject:
    when = "before the earliest time that is believed" if time < sanity.earliest else "in the future"
    return Reject(known[0].partition, "timestamp", f"period.datetimeTo.utc: {when}", payload, time)

"""What a commit does to columns before it writes: sort, drop duplicates, compare with what is
stored. Pure NumPy; shared by the pipeline and the SQL stores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loader.readings import DAY, Bool, Float64, Int64, Readings


def sort_keys(series: Int64, time: Int64) -> tuple[Int64, Int64 | None]:
    """A stable order of (series, time), and the keys packed into one int64 in that order.

    Packed as series * span + (time - min) where that fits into 63 bits; else the second
    result is None and the order comes from a lexsort.
    """
    if len(time) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low = int(time.min())
    span = int(time.max()) - low + 1
    if (int(series.max()) + 1) * span < 2**63:
        packed = series.astype(np.int64) * span + (time - low)
        if bool(np.all(packed[1:] >= packed[:-1])):
            return np.arange(len(packed), dtype=np.int64), packed
        order = np.argsort(packed, kind="stable")
        return order, packed[order]
    return np.lexsort((time, series)), None


def deduplicate(readings: Readings) -> tuple[Readings, Readings]:
    """Readings sorted by (series, time), each key once: the last in the given order wins.
    Also returns those that were dropped, sorted likewise."""
    order, packed = sort_keys(readings.series.astype(np.int64), readings.time)
    if len(order) < 2:
        return readings, Readings.empty()
    if packed is not None:
        last = np.append(packed[1:] != packed[:-1], True)
    else:
        series, time = readings.series[order], readings.time[order]
        last = np.append((series[1:] != series[:-1]) | (time[1:] != time[:-1]), True)
    return readings.take(order[last]), readings.take(order[~last])


def among(some: Readings, readings: Readings) -> Readings:
    """Those of `some` (in any order, any number of times) whose series and time is one of `readings`
    (sorted by them)."""
    there = np.zeros(len(some), bool)
    for index in set(some.series.tolist()):
        times = readings.time[slice(*np.searchsorted(readings.series, [index, index + 1]))]
        mine = np.flatnonzero(some.series == index)
        if len(times):
            at = np.minimum(np.searchsorted(times, some.time[mine]), len(times) - 1)
            there[mine] = times[at] == some.time[mine]
    return some.take(there)


def by_day(readings: Readings) -> tuple[Int64, Int64, Int64]:
    """How many readings a series has on a day, for those that have any: (series index, start of the
    day, number). A day (UTC) has its own end, not its start."""
    days = (readings.time - 1) // DAY * DAY
    order, _ = sort_keys(readings.series.astype(np.int64), days)
    series, days = readings.series[order], days[order]
    begins = np.ones(len(order), bool)
    np.logical_or(series[1:] != series[:-1], days[1:] != days[:-1], out=begins[1:])
    at = np.flatnonzero(begins)
    return series[at].astype(np.int64), days[at], np.diff(at, append=len(order))


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a batch means against the store. Masks over the incoming readings:

    new, refetched, revised  exactly one of them is true for each
    old                      positions in the stored rows of the revised ones, in their order
    unseen                   positions of stored rows that no incoming reading answers
    """

    new: Bool
    refetched: Bool
    revised: Bool
    old: Int64
    unseen: Int64


def split(incoming: Readings, stored_series: Int64, stored_time: Int64, stored_value: Float64) -> Split:
    """Compare incoming readings with stored rows (both sorted by (series, time), keys unique).

    `stored_value` is float64, NaN for NULL; NULL equals NULL. Series numbers must be the same
    kind on both sides (ids or indices).
    """
    n, m = len(incoming), len(stored_time)
    if m == 0:
        return Split(
            np.ones(n, bool),
            np.zeros(n, bool),
            np.zeros(n, bool),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
        )
    order, packed = sort_keys(
        np.concatenate([stored_series.astype(np.int64), incoming.series.astype(np.int64)]),
        np.concatenate([stored_time, incoming.time]),
    )
    if packed is not None:
        same = packed[1:] == packed[:-1]
    else:
        series = np.concatenate([stored_series, incoming.series])[order]
        time = np.concatenate([stored_time, incoming.time])[order]
        same = (series[1:] == series[:-1]) & (time[1:] == time[:-1])
    # The order is stable, so of a pair the stored row stands first.
    stored_at, incoming_at = order[:-1][same], order[1:][same] - m
    old, now = stored_value[stored_at], incoming.value[incoming_at]
    equal = (old == now) | (np.isnan(old) & np.isnan(now))
    refetched, revised = np.zeros(n, bool), np.zeros(n, bool)
    refetched[incoming_at[equal]] = True
    revised[incoming_at[~equal]] = True
    unseen = np.ones(m, bool)
    unseen[stored_at] = False
    return Split(~(refetched | revised), refetched, revised, stored_at[~equal], np.flatnonzero(unseen))

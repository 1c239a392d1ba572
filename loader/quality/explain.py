"""Why a reading is flagged: a sentence with the figures, for each test that objects to it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loader.quality.kernels import Climatology, GrossRange, RateOfChange, Spike, TimeGap
from loader.quality.rows import Kernel, Rows
from loader.quality.windows import AttenuatedSignal, FlatLine, PrecisionChange
from loader.readings import DAY, HOUR, SECOND, Check, Flag, Reach

MINUTE = 60 * SECOND
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explanation:
    """One test's objection to one reading."""

    check: Check
    flag: Flag
    text: str


def explain(rows: Rows, row: int, tests: Sequence[Kernel], unit: str = "") -> list[Explanation]:
    """The objections (flags 3 and 4) to the reading at `row`, in the order of the tests.

    `rows` has to hold what is in reach of it; `unit` is put behind values.
    """
    found = []
    for test in tests:
        near, at = within(rows, row, test.reach(int(rows.series[row])))
        flag = int(test.flags(near)[at])
        if flag in {Flag.SUSPECT, Flag.FAIL}:
            text = _SENTENCES[type(test)](test, near, at, Flag(flag), f" {unit}" if unit else "")
            found.append(Explanation(test.check, Flag(flag), text))
    return found


def within(rows: Rows, row: int, reach: Reach) -> tuple[Rows, int]:
    """The rows that are in reach of one, and its position among them."""
    run = int(np.searchsorted(rows.first, row, side="right")) - 1
    begin, end = int(rows.first[run]), int(rows.last[run]) + 1
    time = rows.time[begin:end]
    low = begin + int(np.searchsorted(time, rows.time[row] - reach.before, side="left"))
    high = begin + int(np.searchsorted(time, rows.time[row] + reach.after, side="right"))
    low = max(begin, min(low, row - reach.rows))
    high = min(end, max(high, row + reach.rows + 1))
    part = slice(low, high)
    return Rows.of(rows.series[part], rows.time[part], rows.value[part]), row - low


def _gross_range(test: GrossRange, rows: Rows, at: int, flag: Flag, unit: str) -> str:
    fail, suspect = test.spans
    series = int(rows.series[at])
    value = float(rows.value[at])
    if np.isinf(value):
        return f"{value:g} is no measurement"
    low, high = fail if flag == Flag.FAIL else suspect
    return f"{value:.10g}{unit} is outside {_span(low[series], high[series], unit)}"


def _spike(test: Spike, rows: Rows, at: int, flag: Flag, unit: str) -> str:
    before, value, after = (float(x) for x in rows.number[at - 1 : at + 2])
    limit = _limit(test, rows, at, flag)
    if test.differential:
        off, what = min(abs(value - before), abs(after - value)), "the nearer of its neighbours"
    else:
        off, what = abs(value - (before + after) / 2), "the mean of its neighbours"
    return (
        f"{value:.10g}{unit} is {off:.6g}{unit} off {what}, {before:.10g} and {after:.10g}; "
        f"{limit:.6g}{unit} is allowed"
    )


def _rate(test: RateOfChange, rows: Rows, at: int, flag: Flag, unit: str) -> str:
    before, value = float(rows.number[at - 1]), float(rows.number[at])
    elapsed = int(rows.time[at] - rows.time[at - 1])
    # The test counts by the second; thresholds are set by the hour.
    rate = abs(value - before) / abs(elapsed / HOUR)
    return (
        f"from {before:.10g} to {value:.10g}{unit} in {duration(elapsed)} is {rate:.6g}{unit} per hour; "
        f"{_limit(test, rows, at, flag) * (HOUR / SECOND):.6g} is allowed"
    )


def _time_gap(test: TimeGap, rows: Rows, at: int, flag: Flag, unit: str) -> str:  # noqa: ARG001
    limit = duration(int(test.limit[rows.series[at]]))
    if at == 0:
        later = duration(int(rows.time[1] - rows.time[0]))
        return f"the second reading came {later} later; {limit} is allowed"
    since = duration(int(rows.time[at] - rows.time[at - 1]))
    return f"{since} since the reading before; {limit} is allowed"


def _climatology(test: Climatology, rows: Rows, at: int, flag: Flag, unit: str) -> str:
    value = float(rows.value[at])
    if np.isinf(value):
        return f"{value:g} is no measurement"
    months, hours = test.cells(rows)
    month, hour = int(months[at]), int(hours[at])
    span = test.spans[test.table[rows.series[at]], month, hour]
    low, high = sorted(span[[0, 3]] if flag == Flag.FAIL else span[[1, 2]])
    when = f"in {MONTHS[month]} at {hour:02}h"
    return f"{value:.10g}{unit} is outside {_span(low, high, unit)}, which is usual {when}"


def _flat(test: FlatLine, rows: Rows, at: int, flag: Flag, unit: str) -> str:
    series = int(rows.series[at])
    threshold = test.fail if flag == Flag.FAIL else test.suspect
    last = np.array([at])
    first = int(test.opening(rows, last, test.steps(threshold)[[series]])[0])
    values = rows.number[first : at + 1]
    low, high = np.nanmin(values), np.nanmax(values)
    return (
        f"{len(values)} readings in {duration(int(rows.time[at] - rows.time[first]))} span "
        f"{high - low:.6g}{unit} about {values[-1]:.10g}; they may stand still for "
        f"{duration(int(threshold[series]))}"
    )


def _attenuated(test: AttenuatedSignal, rows: Rows, at: int, flag: Flag, unit: str) -> str:
    series = int(rows.series[at])
    period = int(test.period[series])
    first = np.searchsorted(rows.time, rows.time[at] - period, side="right")
    moved = test.movement(rows.number, np.array([first]), np.array([at]))[0]
    what = "have a standard deviation of" if test.deviation else "span"
    return (
        f"the readings of {duration(period)} {what} {moved:.6g}{unit}; "
        f"{_limit(test, rows, at, flag):.6g}{unit} is the least expected"
    )


def _precision(test: PrecisionChange, rows: Rows, at: int, flag: Flag, unit: str) -> str:  # noqa: ARG001
    later, earlier, _ = test.decimals(rows)
    more = later[0][at] > earlier[1][at]
    now, then = (later[0][at], earlier[1][at]) if more else (later[1][at], earlier[0][at])
    period = duration(int(test.period[rows.series[at]]))
    return f"{now} decimals in the last {period}, {then} in the {period} before"


_SENTENCES: dict[type, Callable[[Any, Rows, int, Flag, str], str]] = {
    GrossRange: _gross_range,
    Spike: _spike,
    RateOfChange: _rate,
    TimeGap: _time_gap,
    Climatology: _climatology,
    FlatLine: _flat,
    AttenuatedSignal: _attenuated,
    PrecisionChange: _precision,
}


def _limit(test: Spike | RateOfChange | AttenuatedSignal, rows: Rows, at: int, flag: Flag) -> float:
    """The threshold that the row's flag stands for."""
    return float((test.fail if flag == Flag.FAIL else test.suspect)[rows.series[at]])


def _span(low: float, high: float, unit: str) -> str:
    """The same in words; NaN is an open side."""
    if np.isnan(low):
        return f"up to {high:g}{unit}"
    return f"{low:g}{unit} and more" if np.isnan(high) else f"{low:g} to {high:g}{unit}"


def duration(micros: int) -> str:
    """Microseconds in the largest unit of which there is at least one: `1.5 h`, `0.1 s`."""
    for size, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if abs(micros) >= size:
            return f"{micros / size:.4g} {name}"
    return f"{micros / SECOND:.4g} s"

"""The QARTOD tests reading by reading, as their definitions say, and made-up readings to try them on.

`KINDS` names for every test a strategy that draws its thresholds for so many series, and a
reference that flags one series' times and values with one series' thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from loader.quality.kernels import Climatology, GrossRange, RateOfChange, Spike, TimeGap, climatology
from loader.quality.rows import Kernel, Rows
from loader.quality.windows import MOST_DECIMALS, AttenuatedSignal, FlatLine, PrecisionChange
from loader.readings import SECOND

NAN, INF = math.nan, math.inf
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BEGIN = 1_767_225_600 * SECOND
"""2026-01-01T00:00:00Z."""

STEPS = [1, 100_000, 1_000_000, 1_000_000, 1_000_000, 1_500_000, 2_000_000, 7_000_000, 3_600_000_000]
GRID = [-1.0, 0.0, 0.25, 0.5, 0.5, 0.75, 1.0, 1.0, 1.5, 2.0, 2.25, 5.0, NAN]
ODD = [INF, -INF, 0.1, 0.12, 1.123, 2.5, 99.99, 1e6, 123456.789, 1 / 3, -2 / 3, 1e-5]
VALUES = [*GRID * 2, *ODD]
Reference = Callable[[Any, int, list[int], list[float]], list[int]]


@st.composite
def worlds(draw: st.DrawFn, series: int = 4, longest: int = 16) -> Rows:
    """Readings of up to `series` series, not all of which need have any."""
    ids: list[int] = []
    times: list[int] = []
    values: list[float] = []
    for i in range(series):
        calm = draw(st.booleans())
        # Two bytes a reading: many draws of their own would take most of the time.
        dice = np.frombuffer(draw(st.binary(max_size=2 * longest)), np.uint8)
        dice = dice[: len(dice) // 2 * 2].reshape(-1, 2)
        steps, of_these = (STEPS[1:7], [*GRID[1:5] * 2, NAN]) if calm else (STEPS, VALUES)
        ids += [i] * len(dice)
        times += (BEGIN + np.cumsum(np.array(steps)[dice[:, 0] % len(steps)])).tolist()
        values += np.array(of_these)[dice[:, 1] % len(of_these)].tolist()
    return rows_of(ids, times, values)


def rows_of(series: Sequence[int], time: Sequence[int], value: Sequence[float]) -> Rows:
    return Rows.of(np.array(series, np.int32), np.array(time, np.int64), np.array(value, np.float64))


def column(values: list[float], n: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Thresholds for n series out of these; integers make a column of microseconds."""
    kind = np.int64 if all(isinstance(v, int) for v in values) else np.float64
    return st.lists(st.sampled_from(values), min_size=n, max_size=n).map(lambda of: np.array(of, kind))


def worst(suspect: bool, fail: bool) -> int:
    return 4 if fail else 3 if suspect else 1


def gross_range(test: GrossRange, s: int, _times: list[int], values: list[float]) -> list[int]:
    bounds = [float(c[s]) for c in (test.fail_low, test.fail_high, test.suspect_low, test.suspect_high)]
    fail, suspect = (
        tuple(sorted(span)) if not any(map(math.isnan, span)) else span for span in (bounds[:2], bounds[2:])
    )
    found = []
    for x in values:
        if math.isnan(x):
            found.append(9)
        elif math.isinf(x):
            found.append(4)
        elif all(map(math.isnan, bounds)):
            found.append(2)
        else:
            found.append(worst(x < suspect[0] or x > suspect[1], x < fail[0] or x > fail[1]))
    return found


def spike(test: Spike, s: int, _times: list[int], values: list[float]) -> list[int]:
    suspect, fail = float(test.suspect[s]), float(test.fail[s])
    found = []
    for i, x in enumerate(values):
        around = values[i - 1 : i] + values[i + 1 : i + 2]
        if not math.isfinite(x):
            found.append(9)
        elif (math.isnan(suspect) and math.isnan(fail)) or sum(map(math.isfinite, around)) < 2:
            found.append(2)
        elif test.differential:
            a, b = x - around[0], around[1] - x
            d = min(abs(a), abs(b)) if (a < 0 < b) or (b < 0 < a) else 0.0
            found.append(worst(d > suspect, d > fail))
        else:
            d = abs(x - (around[0] / 2 + around[1] / 2))
            found.append(worst(d > suspect, d > fail))
    return found


def rate_of_change(test: RateOfChange, s: int, times: list[int], values: list[float]) -> list[int]:
    suspect, fail = float(test.suspect[s]), float(test.fail[s])
    found = []
    for i, x in enumerate(values):
        if not math.isfinite(x):
            found.append(9)
        elif math.isnan(suspect) and math.isnan(fail):
            found.append(2)
        elif i == 0 or not math.isfinite(values[i - 1]):
            found.append(1)
        else:
            rate = abs(x - values[i - 1]) / abs((times[i] - times[i - 1]) / SECOND)
            found.append(worst(rate > suspect, rate > fail))
    return found


def time_gap(test: TimeGap, s: int, times: list[int], _values: list[float]) -> list[int]:
    limit = int(test.limit[s])
    if limit == 0 or len(times) == 1:
        return [2] * len(times)
    found = [worst(False, b - a > limit) for a, b in pairwise(times)]
    return found[:1] + found


def month_and_hour(test: Climatology, s: int, times: list[int], values: list[float]) -> list[int]:
    found = []
    for t, x in zip(times, values, strict=True):
        at = EPOCH + timedelta(microseconds=t + int(test.shift[s]))
        span = [NAN] * 4
        if test.table[s] >= 0:
            span = test.spans[test.table[s], at.month - 1, at.hour].tolist()
        without = all(map(math.isnan, span))
        if math.isnan(x) or (math.isinf(x) and without):
            found.append(9)
        elif math.isinf(x):
            found.append(4)
        elif without:
            found.append(2)
        else:
            found.append(worst(x < span[1] or x > span[2], x < span[0] or x > span[3]))
    return found


def flat_line(test: FlatLine, s: int, times: list[int], values: list[float]) -> list[int]:
    cadence, gap, tolerance = int(test.cadence[s]), int(test.gap[s]), float(test.tolerance[s])
    thresholds = {3: int(test.suspect[s]), 4: int(test.fail[s])}
    found = []
    for i, x in enumerate(values):
        flag = 1 if cadence and any(thresholds.values()) else 2
        for level, threshold in thresholds.items():
            if not (cadence and threshold):
                continue
            c = max(1, threshold // cadence)
            if i < c:
                continue
            first = min(i - c, next(j for j in range(i + 1) if times[j] >= times[i] - c * cadence))
            window = range(first, i + 1)
            if not (c - 1) * cadence < times[i] - times[first] <= threshold + gap:
                continue
            if any(times[j] - times[j - 1] > gap for j in window[1:]):
                continue
            seen = [values[j] for j in window if math.isfinite(values[j])]
            if len(seen) >= max(2, len(window) / 2) and (
                max(seen) - min(seen) < tolerance or max(seen) == min(seen)
            ):
                flag = level
        found.append(flag if math.isfinite(x) else 9)
    return found


def attenuated(test: AttenuatedSignal, s: int, times: list[int], values: list[float]) -> list[int]:
    suspect, fail, period = float(test.suspect[s]), float(test.fail[s]), int(test.period[s])
    found = []
    for t, x in zip(times, values, strict=True):
        stretch = zip(times, values, strict=True)
        seen = [v for at, v in stretch if t - period < at <= t and math.isfinite(v)]
        if not math.isfinite(x):
            found.append(9)
        elif not period or (math.isnan(suspect) and math.isnan(fail)) or len(seen) < max(2, test.least[s]):
            found.append(2)
        elif test.deviation:
            mean = math.fsum(seen) / len(seen)
            moved = math.sqrt(math.fsum((v - mean) ** 2 for v in seen) / len(seen))
            found.append(worst(moved < suspect, moved < fail))
        else:
            moved = max(seen) - min(seen)
            found.append(worst(moved < suspect, moved < fail))
    return found


def places(number: float) -> int:
    """Decimals of the shortest decimal number that reads back as this one."""
    exponent = Decimal(repr(number)).normalize().as_tuple().exponent
    return min(MOST_DECIMALS, max(0, -int(exponent)))


def precision(test: PrecisionChange, s: int, times: list[int], values: list[float]) -> list[int]:
    period = int(test.period[s])
    found = []
    for t, x in zip(times, values, strict=True):
        given = [(at, places(v)) for at, v in zip(times, values, strict=True) if math.isfinite(v) and v]
        later = [d for at, d in given if t - period < at <= t]
        earlier = [d for at, d in given if t - 2 * period < at <= t - period]
        if not math.isfinite(x):
            found.append(9)
        elif not period or min(len(later), len(earlier)) < max(2, test.least[s]):
            found.append(2)
        else:
            usual = [
                max(d for d in range(MOST_DECIMALS + 1) if 2 * sum(e >= d for e in of) >= len(of))
                for of in (later, earlier)
            ]
            found.append(worst(usual[0] > max(earlier) or max(later) < usual[1], False))
    return found


def tables() -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Two climatologies: one with a span for every month and hour, one for some."""
    whole, cold = (-5.0, 0.0, 1.5, 5.0), (0.25, NAN, 0.5, NAN)
    return st.sampled_from(
        [
            np.stack([climatology({(None, None): whole}), climatology({(1, 0): cold})]),
            np.stack([climatology({(1, None): cold, (None, 1): whole}), climatology({})]),
        ]
    )


TIMES: list[float] = [0, 1_000_000, 1_500_000, 3_000_000, 4_000_000]
MOVES = [NAN, 0.0, 0.25, 0.5, 1.0]


@dataclass(frozen=True)
class Kind:
    """A test: its thresholds for n series, and the reference."""

    draw: Callable[[int], st.SearchStrategy[Kernel]]
    reference: Reference


KINDS: dict[str, Kind] = {
    "gross range": Kind(
        lambda n: st.builds(GrossRange, *(column([NAN, -1.0, 0.0, 0.5, 1.0, 5.0], n),) * 4), gross_range
    ),
    "spike, average": Kind(lambda n: st.builds(Spike, *(column(MOVES, n),) * 2), spike),
    "spike, differential": Kind(lambda n: st.builds(Spike, *(column(MOVES, n),) * 2, st.just(True)), spike),
    "rate of change": Kind(lambda n: st.builds(RateOfChange, *(column(MOVES, n),) * 2), rate_of_change),
    "time gap": Kind(lambda n: st.builds(TimeGap, column(TIMES, n)), time_gap),
    "climatology": Kind(
        lambda n: st.builds(
            Climatology, tables(), column([-1, 0, 1], n), column([-3_600_000_000, 0, 1], n)
        ),
        month_and_hour,
    ),
    "flat line": Kind(
        lambda n: st.builds(
            FlatLine,
            *(column(TIMES, n),) * 2,
            column([0.0, 0.25, 0.5, 1.0], n),
            column([0, 100_000, 1_000_000, 1_000_000, 1_500_000], n),
            column([0, 1_000_000, 1_500_000, 2_000_000, 5_000_000], n),
        ),
        flat_line,
    ),
    "attenuated signal, range": Kind(
        lambda n: st.builds(
            AttenuatedSignal, *(column(MOVES, n),) * 2, column(TIMES, n), column([0, 3], n), st.just(False)
        ),
        attenuated,
    ),
    # No standard deviation of the numbers on the grid comes near these thresholds.
    "attenuated signal, deviation": Kind(
        lambda n: st.builds(
            AttenuatedSignal,
            *(column([NAN, 0.1003, 0.3001, 0.7777], n),) * 2,
            column(TIMES, n),
            column([0, 3], n),
            st.just(True),
        ),
        attenuated,
    ),
    "precision change": Kind(
        lambda n: st.builds(PrecisionChange, column(TIMES, n), column([0, 3], n)), precision
    ),
}


def series_of(rows: Rows) -> list[tuple[int, slice]]:
    """Each series that occurs and where its rows stand."""
    found = []
    for s, begin, length in zip(rows.present, rows.first, rows.length, strict=True):
        found.append((int(s), slice(int(begin), int(begin + length))))
    return found


def expected(kind: Kind, test: Kernel, rows: Rows) -> list[int]:
    """What the reference says of all rows."""
    found: list[int] = []
    for s, part in series_of(rows):
        found += kind.reference(test, s, rows.time[part].tolist(), rows.value[part].tolist())
    return found

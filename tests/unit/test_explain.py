"""Each objection is explained with the figures that led to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.quality.explain import duration, explain
from loader.quality.kernels import Climatology, GrossRange, RateOfChange, Spike, TimeGap, climatology
from loader.quality.rows import Kernel
from loader.quality.windows import AttenuatedSignal, FlatLine, PrecisionChange
from loader.readings import DAY, HOUR, SECOND, Check, Flag
from tests.unit.qartod import BEGIN, INF, KINDS, NAN, rows_of, worlds

MINUTE = 60 * SECOND


def one(*thresholds: float) -> list[np.ndarray]:
    """Thresholds of one series."""
    return [np.array([t], np.int64 if isinstance(t, int) else np.float64) for t in thresholds]


CASES: list[tuple[Kernel, list[float], int, int, str]] = [
    (GrossRange(*one(0.0, 500.0, 0.0, 300.0)), [350.0], 0, 3, "350 °C is outside 0 to 300 °C"),
    (GrossRange(*one(0.0, NAN, NAN, NAN)), [-1.5], 0, 4, "-1.5 °C is outside 0 °C and more"),
    (GrossRange(*one(NAN, 7.0, NAN, NAN)), [7.25], 0, 4, "7.25 °C is outside up to 7 °C"),
    (GrossRange(*one(0.0, NAN, NAN, NAN)), [INF], 0, 4, "inf is no measurement"),
    (
        Spike(*one(5.0, 10.0)), [3.0, 12.5, 5.0], 1, 3,
        "12.5 °C is 8.5 °C off the mean of its neighbours, 3 and 5; 5 °C is allowed",
    ),
    (
        Spike(*one(2.0, 7.0), differential=True), [3.0, 12.5, 5.0], 1, 4,
        "12.5 °C is 7.5 °C off the nearer of its neighbours, 3 and 5; 7 °C is allowed",
    ),
    (
        RateOfChange(*one(0.05, 0.5)), [1.0, 7.0], 1, 3,
        "from 1 to 7 °C in 1 min is 360 °C per hour; 180 is allowed",
    ),
    (TimeGap(*one(30 * SECOND)), [1.0, 2.0], 1, 4, "1 min since the reading before; 30 s is allowed"),
    (TimeGap(*one(30 * SECOND)), [1.0, 2.0], 0, 4, "the second reading came 1 min later; 30 s is allowed"),
    (
        FlatLine(*one(2 * MINUTE, HOUR, 0.5, MINUTE, MINUTE)), [5.0, 5.0, NAN, 5.25], 3, 3,
        "3 readings in 2 min span 0.25 °C about 5.25; they may stand still for 2 min",
    ),
    (
        AttenuatedSignal(*one(2.0, 1.0, HOUR, 3)), [5.0, 5.0, 5.5], 2, 4,
        "the readings of 1 h span 0.5 °C; 1 °C is the least expected",
    ),
    (
        AttenuatedSignal(*one(2.0, 0.1, HOUR, 3), deviation=True), [4.0, 5.0, 6.0, 5.0], 3, 3,
        "the readings of 1 h have a standard deviation of 0.707107 °C; 2 °C is the least expected",
    ),
    (
        Climatology(climatology({(1, 0): (-30.0, -10.0, 15.0, 25.0)})[None], *one(0, 0)), [20.0], 0, 3,
        "20 °C is outside -10 to 15 °C, which is usual in January at 00h",
    ),
    (
        PrecisionChange(*one(3 * MINUTE, 3)), [1.25, 1.26, 1.31, 1.5, 1.1, 1.2], 5, 3,
        "1 decimals in the last 3 min, 2 in the 3 min before",
    ),
    (
        PrecisionChange(*one(3 * MINUTE, 3)), [1.0, 2.0, 4.0, 1.5, 1.1, 1.2], 5, 3,
        "1 decimals in the last 3 min, 0 in the 3 min before",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("test", "values", "row", "flag", "text"), CASES)
def test_an_objection_is_explained(
    test: Kernel, values: list[float], row: int, flag: int, text: str
) -> None:
    """The sentence names the value, what it was held against and the threshold."""
    rows = rows_of([0] * len(values), [BEGIN + i * MINUTE for i in range(len(values))], values)
    (found,) = explain(rows, row, [test], unit="°C")
    assert (found.check, found.flag, found.text) == (test.check, flag, text)


@settings(max_examples=30)
@given(data=st.data())
def test_just_the_objections_are_explained(data: st.DataObject) -> None:
    """There is an explanation for every flag 3 or 4, and for no other."""
    rows = data.draw(worlds(2))
    tests = [data.draw(kind.draw(2)) for kind in KINDS.values()]
    flags = [test.flags(rows) for test in tests]
    for i in range(len(rows)):
        told = [(e.check, e.flag) for e in explain(rows, i, tests)]
        assert told == [
            (test.check, flag[i]) for test, flag in zip(tests, flags, strict=True) if flag[i] in {3, 4}
        ]
        assert all(e.text for e in explain(rows, i, tests))


def test_every_kind_of_test_has_its_sentence() -> None:
    """The cases above cover every bit that one of these tests sets."""
    mine = {check for check in Check if Check.UNIT < check < Check.NEIGHBOURS} | {Check.GROSS_RANGE}
    assert {case[0].check for case in CASES} == mine
    assert {case[3] for case in CASES} == {Flag.SUSPECT, Flag.FAIL}


@pytest.mark.parametrize(
    ("micros", "text"),
    [(100_000, "0.1 s"), (90 * SECOND, "1.5 min"), (36 * HOUR, "1.5 d"), (HOUR, "1 h"), (7 * DAY, "7 d")],
)
def test_durations_are_in_the_largest_unit_that_fits(micros: int, text: str) -> None:
    """Hours are not told in seconds, nor fractions of a second in hours."""
    assert duration(micros) == text

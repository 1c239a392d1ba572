"""The QARTOD tests against flags that the reference implementation gave, thresholds row by row.

Rows marked QUIRK, where it departs from the definitions, are left out.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loader.quality.kernels import GrossRange, RateOfChange, Spike, TimeGap, aggregate, evaluate
from loader.quality.rows import Kernel, Rows
from loader.quality.windows import AttenuatedSignal, FlatLine
from loader.readings import HOUR, SECOND, Flag
from tests.unit.qartod import rows_of

ORACLE = Path(__file__).resolve().parents[2] / ".." / "shared" / "oracle"
Case = list[dict[str, str]]


def oracle(name: str, by: str = "case") -> list[Case]:
    """The cases of one file of reference flags."""
    path = ORACLE / name
    if not path.exists():
        pytest.skip(f"no reference flags at {ORACLE.resolve()}")
    cases: dict[str, Case] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            cases.setdefault(row[by], []).append(row)
    return list(cases.values())


def rows(cases: list[Case]) -> Rows:
    """All cases as series of one set of columns; without times they lie a second apart."""
    ids, times, values = [], [], []
    for i, case in enumerate(cases):
        for j, row in enumerate(case):
            ids.append(i)
            times.append(stamp(row["ts"]) if "ts" in row else j * SECOND)
            values.append(float(row.get("value", "1")))
    return rows_of(ids, times, values)


def stamp(text: str) -> int:
    return round(datetime.fromisoformat(text + "+00:00").timestamp() * 1000) * 1000


def column(cases: list[Case], name: str, unit: int = 0) -> np.ndarray[Any, Any]:
    """A threshold by case: a number, or a time in microseconds where its unit is given."""
    texts = [case[0][name] for case in cases]
    if unit:
        return np.array([int(float(text) * unit) for text in texts])
    return np.array([float(text) if text else math.nan for text in texts])


def cadence(cases: list[Case]) -> np.ndarray[Any, Any]:
    """The median step by case, as the reference takes it."""
    steps = [[b - a for a, b in pairwise([stamp(row["ts"]) for row in case])] for case in cases]
    return np.array([int(statistics.median(s)) for s in steps])


def gross_range(cases: list[Case]) -> Kernel:
    return GrossRange(*(column(cases, c) for c in ("fail_min", "fail_max", "suspect_min", "suspect_max")))


def spike(cases: list[Case]) -> Kernel:
    return Spike(column(cases, "suspect_threshold"), column(cases, "fail_threshold"))


def differential(cases: list[Case]) -> Kernel:
    return Spike(column(cases, "suspect_threshold"), column(cases, "fail_threshold"), differential=True)


def rate_of_change(cases: list[Case]) -> Kernel:
    return RateOfChange(column(cases, "suspect_threshold"), column(cases, "fail_threshold"))


def time_gap(cases: list[Case]) -> Kernel:
    return TimeGap(column(cases, "fail_span_hours", HOUR))


def flat_line(cases: list[Case]) -> Kernel:
    suspect = column(cases, "suspect_threshold_s", SECOND)
    fail = column(cases, "fail_threshold_s", SECOND)
    return FlatLine(suspect, fail, column(cases, "tolerance"), cadence(cases), suspect)


def attenuated(cases: list[Case], deviation: bool) -> Kernel:
    return AttenuatedSignal(
        column(cases, "suspect_threshold"),
        column(cases, "fail_threshold"),
        column(cases, "test_period_s", SECOND),
        column(cases, "min_obs", 1),
        deviation,
    )


@pytest.mark.parametrize(
    ("name", "build", "only"),
    [
        ("gross_range.csv", gross_range, {}),
        ("spike.csv", spike, {"method": "average"}),
        ("spike.csv", differential, {"method": "differential"}),
        ("rate_of_change.csv", rate_of_change, {}),
        ("time_gap.csv", time_gap, {}),
        ("flat_line.csv", flat_line, {}),
        ("attenuated_signal.csv", lambda cases: attenuated(cases, False), {"check_type": "range"}),
        ("attenuated_signal.csv", lambda cases: attenuated(cases, True), {"check_type": "std"}),
    ],
)
def test_flags_are_the_references(
    name: str, build: Callable[[list[Case]], Kernel], only: dict[str, str]
) -> None:
    """Every flag of every case without a quirk is the one that the reference gave."""
    cases = [
        case
        for case in oracle(name)
        if all(case[0][key] == value for key, value in only.items())
        and not case[0].get("quirk", "").startswith("QUIRK")
    ]
    flags = build(cases).flags(rows(cases))
    told = [f"{row['case']} {row['i']}: {row['expected_flag']}" for case in cases for row in case]
    found = [f"{row['case']} {row['i']}: " for case in cases for row in case]
    assert len(told) > 10
    assert [text + str(flag) for text, flag in zip(found, flags, strict=True)] == told


def test_flags_of_long_random_series_are_the_references() -> None:
    """Four tests and their verdict over four sensors with gaps and missing values, all flags."""
    cases = oracle("random_series.csv", by="sensor")
    columns = rows(cases)
    # The reference counts rows and ignores silences; the longest here is 26 hours.
    ignored = np.full(len(cases), 100 * HOUR)
    tests: dict[str, Kernel] = {
        "gross_range": gross_range(cases),
        "spike": Spike(column(cases, "spike_suspect"), column(cases, "spike_fail")),
        "rate_of_change": RateOfChange(column(cases, "roc_suspect_per_s"), column(cases, "roc_fail_per_s")),
        "flat_line": FlatLine(
            column(cases, "flat_suspect_s", SECOND),
            column(cases, "flat_fail_s", SECOND),
            column(cases, "flat_tolerance"),
            cadence(cases),
            ignored,
        ),
    }
    for name, test in tests.items():
        told = [int(row[name]) for case in cases for row in case]
        assert len(set(told)) >= 4, name
        assert np.flatnonzero(test.flags(columns) != told).tolist() == [], name
    verdict, _ = evaluate(columns, list(tests.values()))
    assert verdict.tolist() == [int(row["aggregate"]) for case in cases for row in case]


def test_verdicts_are_the_references() -> None:
    """Each pair of flags combines as in the reference."""
    pairs = [row for case in oracle("aggregate.csv", by="flag_a") for row in case]
    assert len(pairs) == len(Flag) ** 2
    a, b, told = (
        np.array([int(row[name]) for row in pairs], np.uint8)
        for name in ("flag_a", "flag_b", "expected_flag")
    )
    assert aggregate(a, b).tolist() == told.tolist()
    assert aggregate(a).tolist() == a.tolist()

"""The checks of one reading alone, against the reference implementation's flags and a
reading-by-reading reference."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.quality.checks import Checks, check_names
from loader.readings import Check, Flag, Readings, Series, plain_unit
from loader.settings.quality import ParameterRule
from loader.settings.rules import made

CODES = (-999.0, -9999.0)
ORACLE = Path(__file__).resolve().parents[2] / ".." / "shared" / "oracle"


@dataclass(frozen=True)
class Rules:
    """What is expected of each parameter, without anything shipped."""

    parameters: Mapping[str, ParameterRule] = field(default_factory=dict)
    sentinels: tuple[float, ...] = ()


def rule(low: float | None = None, high: float | None = None, **more: Any) -> ParameterRule:
    """One with a range where a bound is given."""
    ranged = {} if low is high is None else {"range": (low, high)}
    return ParameterRule.model_validate(ranged | more)


def checker(rules: Rules) -> Checks:
    none = ParameterRule()
    return Checks(lambda s: made(rules.parameters.get(s.parameter, none), s.unit, rules.sentinels))


def series(parameter: str = "pm25", unit: str = "µg/m³", sensor: str = "s") -> Series:
    return Series(sensor, parameter, unit, station="a", partition="a/s")


def flags(rules: Rules, of: Series, *values: float) -> list[int]:
    """The flags of one series' values."""
    flag, _ = checker(rules).alone([of], Readings.of([0] * len(values), range(len(values)), values))
    return [int(f) for f in flag]


def bits(rules: Rules, of: Series, *values: float, brought: int = 0) -> list[int]:
    """The test bits of one series' values that all came with the bits `brought`."""
    n = len(values)
    _, tests = checker(rules).alone([of], Readings.of([0] * n, range(n), values, tests=[brought] * n))
    return [int(t) for t in tests]


def oracle(name: str) -> list[dict[str, str]]:
    """The rows of one file of reference flags."""
    path = ORACLE / name
    if not path.exists():
        pytest.skip(f"no reference flags at {ORACLE.resolve()}")
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if not row.get("quirk", "").startswith("QUIRK")]


def number(text: str) -> float:
    return float(text) if text else math.nan


@pytest.mark.parametrize(
    ("name", "flag_column"), [("gross_range.csv", "expected_flag"), ("random_series.csv", "gross_range")]
)
def test_gross_range_is_the_references(name: str, flag_column: str) -> None:
    """Fail span, suspect span, absent and infinite values have the flags of the reference."""
    rows = oracle(name)
    assert len(rows) > 30
    verdicts = set()
    for row in rows:
        spans = {
            key: tuple(float(row[column]) if row[column] else None for column in columns)
            for key, columns in {
                "range": ("fail_min", "fail_max"),
                "suspect": ("suspect_min", "suspect_max"),
            }.items()
        }
        # The reference turns a span the wrong way round; here that is a configuration error.
        spans = {key: sorted(span) if None not in span else span for key, span in spans.items()}
        (flag,) = flags(Rules({"pm25": rule(**spans)}), series(), number(row["value"]))
        assert flag == int(row[flag_column]), row
        verdicts.add(flag)
    assert verdicts == {Flag.GOOD, Flag.SUSPECT, Flag.FAIL, Flag.MISSING}


def test_bounds_pass_and_what_lies_beyond_fails() -> None:
    """The range is strict: its bounds are good, the next float beyond either is not."""
    rules = Rules({"pm25": rule(0, 1000)})
    beyond = (np.nextafter(0, -1), np.nextafter(1000, 2000))
    assert flags(rules, series(), 0.0, 1000.0, *beyond) == [1, 1, 4, 4]
    assert bits(rules, series(), 0.0, *beyond) == [0, Check.GROSS_RANGE, Check.GROSS_RANGE]


def test_a_range_may_have_one_side() -> None:
    """An open side lets every finite value pass; infinity fails all the same."""
    assert flags(Rules({"pm25": rule(low=0)}), series(), -1, 1e300, math.inf) == [4, 1, 4]
    assert flags(Rules({"pm25": rule(high=10)}), series(), -1e300, 11, -math.inf) == [1, 4, 4]


def test_a_parameter_without_a_rule_is_not_evaluated() -> None:
    """Without a rule a value is flagged 2, but absent, sentinel and infinite ones are still seen."""
    values = (5.0, math.nan, -999.0, math.inf)
    assert flags(Rules(sentinels=CODES), series(), *values) == [2, 9, 9, 4]
    assert flags(Rules({"pm25": rule()}, CODES), series(), *values) == [2, 9, 9, 4]
    assert flags(Rules(), series(), *values) == [2, 9, 2, 4]


def test_a_sentinel_is_missing_whatever_else_is_wrong() -> None:
    """Flag 9 wins over the range and the unit, whose bits are kept; NaN sets no sentinel bit."""
    rules = Rules({"pm25": rule(0, 1000, unit="ppm")}, CODES)
    assert flags(rules, series(), -999.0, math.nan) == [9, 9]
    assert bits(rules, series(), -999.0, math.nan) == [Check.SENTINEL | Check.UNIT, Check.UNIT]
    rules = Rules({"pm25": rule(0, 1000)}, CODES)
    assert bits(rules, series(), -999.0, math.nan) == [Check.SENTINEL | Check.GROSS_RANGE, 0]


def test_a_rule_may_bring_its_own_sentinels() -> None:
    """A parameter's sentinels replace the general ones for its series only."""
    rules = Rules({"pm25": rule(sentinels=(985.0,)), "o3": rule()}, sentinels=(-999.0,))
    readings = Readings.of([0, 0, 1, 1], [1, 2, 1, 2], [985.0, -999.0, 985.0, -999.0])
    flag, tests = checker(rules).alone([series(), series("o3", sensor="t")], readings)
    assert flag.tolist() == [9, 2, 2, 9]
    assert tests.tolist() == [Check.SENTINEL, 0, 0, Check.SENTINEL]


def test_a_foreign_unit_is_suspect_and_its_range_is_not_tried() -> None:
    """A series in another unit than configured is suspect as a whole, not out of range."""
    rules = Rules({"o3": rule(0, 1, unit="ppm")})
    assert flags(rules, series("o3", "µg/m³"), 50.0, math.inf) == [3, 4]
    assert bits(rules, series("o3", "µg/m³"), 50.0) == [Check.UNIT]
    assert flags(rules, series("o3", "ppm"), 50.0, 0.5) == [4, 1]


def test_each_unit_may_have_its_own_range() -> None:
    """The range listed for a series' unit applies; a unit listed nowhere is foreign."""
    rules = Rules({"o3": rule(ranges={"ppm": (0, 1), "ug/m3": (0, 1000)})})
    assert flags(rules, series("o3", "ppm"), 0.5, 2) == [1, 4]
    assert flags(rules, series("o3", "µg/m³"), 500, 2000) == [1, 4]
    assert flags(rules, series("o3", "ppb"), 50) == [3]
    both = Rules({"o3": rule(0, 100, ranges={"ppm": (0, 1)})})
    assert flags(both, series("o3", "ppb"), 50, 200) == [1, 4]
    assert flags(both, series("o3", "ppm"), 50) == [4]


def test_a_configured_unit_alone_is_a_check() -> None:
    """A rule with a unit and no range makes a series in that unit good."""
    assert flags(Rules({"o3": rule(unit="ppm")}), series("o3", "ppm"), 1e9) == [1]


@pytest.mark.parametrize("spelling", ["µg/m³", "μg/m³", "ug/m3", "ug / m3"])
def test_a_unit_has_many_spellings(spelling: str) -> None:
    """Micro sign, Greek mu and plain u are one unit; another capital letter is another unit."""
    assert plain_unit(spelling) == "ug/m3"
    assert plain_unit("mS") != plain_unit("ms")


def test_the_sources_own_flag_is_kept_and_decides_nothing() -> None:
    """A bit that a reading brings along stays, beside those added, without changing the flag."""
    rules = Rules({"pm25": rule(0, 1000)})
    upstream = int(Check.UPSTREAM)
    assert bits(rules, series(), 5.0, 2000.0, brought=upstream) == [upstream, upstream | Check.GROSS_RANGE]
    flag, _ = checker(rules).alone([series()], Readings.of([0], [1], [5.0], tests=[upstream], flag=[4]))
    assert flag.tolist() == [Flag.GOOD]


def test_the_readings_handed_in_are_left_alone() -> None:
    """Checking changes none of its arguments, so that a repeated batch is checked alike."""
    readings = Readings.of([0, 0], [1, 2], [-999.0, 2000.0], tests=[1, 0])
    check = checker(Rules({"pm25": rule(0, 1000)}, CODES)).alone
    first = check([series()], readings)
    again = check([series()], readings)
    assert readings.tests.tolist() == [1, 0]
    assert readings.flag.tolist() == [2, 2]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert first[0].dtype == np.uint8
    assert first[1].dtype == np.uint32


@pytest.mark.parametrize("of", [[], [series()]])
def test_nothing_gives_nothing(of: list[Series]) -> None:
    """No readings, with or without series, give empty flags and bits of the right types."""
    flag, tests = checker(Rules()).alone(of, Readings.empty())
    assert (len(flag), len(tests)) == (0, 0)
    assert (flag.dtype.name, tests.dtype.name) == ("uint8", "uint32")


UNITS = ["ppm", "µg/m³", "ug/m3", "ppb"]
PARAMETERS = ["o3", "no2", "pm25"]
numbers = st.sampled_from([-999.0, -9999.0, 0.0, 1.0, 50.0, -1.0, math.nan, math.inf, -math.inf, 0.5])
rule_st = st.builds(
    rule,
    low=st.none() | st.sampled_from([-1.0, 0.0]),
    high=st.none() | st.sampled_from([1.0, 50.0]),
    unit=st.none() | st.sampled_from(UNITS),
    ranges=st.dictionaries(st.sampled_from(["ppm", "ug/m3"]), st.just((0.0, 1.0)), max_size=2),
    sentinels=st.none() | st.just(()) | st.just((50.0, -1.0)),
    suspect=st.none() | st.just((0.25, 20.0)),
)
rules_st = st.builds(
    Rules, st.dictionaries(st.sampled_from(PARAMETERS), rule_st), st.sampled_from([(), (-999.0, -9999.0)])
)


def judge(rules: Rules, of: Series, value: float, brought: int) -> tuple[int, int]:
    """One reading, one rule, one if after the other."""
    own = rules.parameters.get(of.parameter)
    codes = rules.sentinels if own is None or own.sentinels is None else own.sentinels
    flag, tests = 2, brought
    spelling = {"µg/m³": "ug/m3"}.get(of.unit, of.unit)
    span = usual = None
    if own is not None:
        expected = {"µg/m³": "ug/m3"}.get(own.unit or "", own.unit)
        if spelling in own.ranges:
            span, usual, flag = own.ranges[spelling], own.suspect, 1
        elif expected != spelling if expected else own.ranges and own.range is None:
            flag = 3
            tests |= Check.UNIT
        else:
            span, usual = own.range, own.suspect
            if span or usual or expected:
                flag = 1
    if usual is not None and outside(value, usual):
        flag = 3
        tests |= Check.GROSS_RANGE
    if (span is not None and outside(value, span)) or math.isinf(value):
        flag = 4
        tests |= Check.GROSS_RANGE
    if value in codes:
        tests |= Check.SENTINEL
    if value in codes or math.isnan(value):
        flag = 9
    return flag, int(tests)


def outside(value: float, span: tuple[float | None, float | None]) -> bool:
    low, high = span
    return (low is not None and value < low) or (high is not None and value > high)


@given(
    rules=rules_st,
    of=st.lists(
        st.tuples(st.sampled_from([*PARAMETERS, "so2"]), st.sampled_from(UNITS)), min_size=1, max_size=6
    ),
    rows=st.lists(
        st.tuples(st.integers(0, 5), numbers | st.floats(-100, 100), st.sampled_from([0, 1])), max_size=40
    ),
)
def test_many_series_at_once_are_judged_as_one_by_one(
    rules: Rules, of: list[tuple[str, str]], rows: list[tuple[int, float, int]]
) -> None:
    """Whatever the rules and the mixture, each reading gets what the scalar reference gives it."""
    every = [series(parameter, unit, f"s{i}") for i, (parameter, unit) in enumerate(of)]
    index = [i % len(every) for i, _, _ in rows]
    values, brought = [v for _, v, _ in rows], [b for _, _, b in rows]
    flag, tests = checker(rules).alone(every, Readings.of(index, range(len(rows)), values, tests=brought))
    expected = [judge(rules, every[i], v, b) for i, v, b in zip(index, values, brought, strict=True)]
    assert list(zip(flag.tolist(), tests.tolist(), strict=True)) == expected


def test_bits_have_names() -> None:
    """Every bit is decoded, by bit; nothing is set, nothing is named."""
    assert check_names(0) == []
    assert check_names(Check.SENTINEL | Check.FLAT | Check.GROSS_RANGE) == [
        "sentinel",
        "gross_range",
        "flat_line",
    ]
    assert check_names(sum(Check)) == [
        "upstream",
        "sentinel",
        "gross_range",
        "unit",
        "spike",
        "rate",
        "flat_line",
        "gap",
        "attenuated",
        "climatology",
        "precision",
        "neighbours",
    ]

"""The checks that look at one reading at a time: missing, sentinel, gross range, unit.

A reading's flag is the worst of what its checks say, in the order fail, suspect, good, not
evaluated; missing (9) stands above all of them, because a value that is not there can be neither
good nor bad. The bits of every check that did not pass are kept beside the flag, those of
missing readings included.

Everything here is pure: the same series and readings give the same flags, however often and in
whatever portions they come.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf

import numpy as np

from loader.contracts import Checker
from loader.readings import Bool, Check, Flag, Float64, Readings, Series, UInt8, UInt32


@dataclass(frozen=True, slots=True)
class Rule:
    """What is expected of one parameter.

    low, high  the range outside of which a value fails; the bounds themselves pass. None leaves
               that side open. Given the wrong way round they are swapped.
    unit       the unit that `low` and `high` are in; a series in another unit is suspect.
               None: the range holds in any unit.
    ranges     (low, high) by unit, for a parameter that comes in several; a unit listed here
               is as good as `unit`, and its own range applies
    sentinels  this parameter's codes for "no value"; None: those of `Rules`
    """

    low: float | None = None
    high: float | None = None
    unit: str | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sentinels: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules by parameter name, and the sentinels of every parameter that has none of its own."""

    parameters: Mapping[str, Rule] = field(default_factory=dict)
    sentinels: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Expectation:
    """A rule as it applies to one series. `tested` is false where it says nothing about it."""

    low: float = -inf
    high: float = inf
    tested: bool = False
    foreign_unit: bool = False
    sentinels: tuple[float, ...] = ()


@lru_cache(maxsize=1024)
def plain_unit(unit: str) -> str:
    """A unit in one spelling: `µg/m³`, `μg/m³` (Greek mu) and `ug/m3` are the same."""
    return "".join(unicodedata.normalize("NFKC", unit).replace("μ", "u").split())


def checker(rules: Rules) -> Checker:
    """A function that flags readings by these rules.

    It takes the series list and readings that index it, and returns (flag uint8, tests uint32)
    of the readings' length. Bits that a reading brings along (the source's own flag) are kept
    and leave the flag alone: what a source means by them differs from source to source. Flags
    that it brings along are ignored.

      NaN, or equal to a sentinel                        9 missing (a sentinel sets its bit)
      infinite, or outside the range                     4 fail, GROSS_RANGE
      unit is not the configured one                     3 suspect, UNIT; the range is not tried
      within the range, or of the configured unit        1 good
      parameter without a rule, rule that says nothing   2 not evaluated
    """

    def check(series: Sequence[Series], readings: Readings) -> tuple[UInt8, UInt32]:
        if len(readings) == 0:
            return np.empty(0, np.uint8), np.empty(0, np.uint32)
        expected = [_expect(rules, s) for s in series]
        index, value = readings.series, readings.value
        low = np.array([e.low for e in expected])[index]
        high = np.array([e.high for e in expected])[index]
        foreign = np.array([e.foreign_unit for e in expected])[index]
        tested = np.array([e.tested for e in expected])[index]
        sentinel = _sentinels(expected, readings)
        # NaN compares false on both sides, so it never counts as out of range.
        outside = (value < low) | (value > high) | np.isinf(value)

        flag = np.where(tested, np.uint8(Flag.GOOD), np.uint8(Flag.NOT_EVALUATED))
        flag[foreign] = Flag.SUSPECT
        flag[outside] = Flag.FAIL
        flag[sentinel | np.isnan(value)] = Flag.MISSING
        tests = readings.tests.copy()
        tests[sentinel] |= np.uint32(Check.SENTINEL)
        tests[outside] |= np.uint32(Check.GROSS_RANGE)
        tests[foreign] |= np.uint32(Check.UNIT)
        return flag, tests

    return check


def _expect(rules: Rules, series: Series) -> _Expectation:
    rule = rules.parameters.get(series.parameter)
    if rule is None:
        return _Expectation(sentinels=rules.sentinels)
    sentinels = rules.sentinels if rule.sentinels is None else rule.sentinels
    unit = plain_unit(series.unit)
    for name, span in rule.ranges.items():
        if plain_unit(name) == unit:
            return _Expectation(min(span), max(span), True, False, sentinels)
    ranged = rule.low is not None or rule.high is not None
    foreign = bool(rule.ranges) and not ranged if rule.unit is None else plain_unit(rule.unit) != unit
    if foreign:
        return _Expectation(tested=True, foreign_unit=True, sentinels=sentinels)
    low = -inf if rule.low is None else rule.low
    high = inf if rule.high is None else rule.high
    if low > high:
        low, high = high, low
    return _Expectation(low, high, ranged or rule.unit is not None, False, sentinels)


def _sentinels(expected: Sequence[_Expectation], readings: Readings) -> Bool:
    """Which readings equal a sentinel of their series."""
    found = np.zeros(len(readings), bool)
    by_codes: dict[tuple[float, ...], list[int]] = {}
    for i, e in enumerate(expected):
        by_codes.setdefault(e.sentinels, []).append(i)
    for codes, members in by_codes.items():
        equal = _any_of(readings.value, codes)
        if len(by_codes) > 1:
            of_these = np.zeros(len(expected), bool)
            of_these[members] = True
            equal &= of_these[readings.series]
        found |= equal
    return found


def _any_of(value: Float64, codes: tuple[float, ...]) -> Bool:
    equal = np.zeros(len(value), bool)
    for code in codes:
        equal |= value == code
    return equal

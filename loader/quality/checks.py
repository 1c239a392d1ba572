"""What every reading goes through: all checks of its series' rule, and one flag made of them.

A reading's flag is the worst of what its checks say, in the order fail, suspect, good, not
evaluated; missing (9) stands above all of them, because a value that is not there can be neither
good nor bad. The bits of every check that objects (3 or 4) are kept beside the flag, those of
missing readings included.

Everything here is pure: the same series and readings give the same flags, however often and in
whatever portions they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loader.errors import Objection, Refused
from loader.quality.explain import Explanation, explain
from loader.quality.kernels import GrossRange, aggregate, evaluate
from loader.quality.rows import Kernel, Rows
from loader.quality.rules import (
    FLAG,
    STOP,
    Rule,
    RuleOf,
    climatology_test,
    context_tests,
    range_test,
    reach_of,
)
from loader.readings import KEPT, Bool, Check, Flag, Float64, Reach, Readings, Series, UInt8, UInt32

CHECK_NAMES: Mapping[Check, str] = {
    check: "flat_line" if check == Check.FLAT else str(check.name).lower() for check in Check
}
"""What each check is called in the configuration, in tables and in commands."""


EVERY = Check(sum(Check))

ALWAYS = Check.UPSTREAM | Check.SENTINEL | Check.UNIT | Check.PRECISION
"""Checks that know no failing: a policy acts whenever they object. Of the others it acts on what fails."""


def check_names(tests: int) -> list[str]:
    """The names of the checks whose bits are set, by bit."""
    return [name for check, name in CHECK_NAMES.items() if tests & check]


class Checks:
    """The checker of one source: see `loader.contracts.Checker`.

    Bits that a reading brings along and that are in `KEPT` stay. The source's own flag leaves ours
    alone: what a source means by it differs from source to source. One that differs from its
    neighbours is suspect at least.

      NaN, or equal to a sentinel                        9 missing (a sentinel sets its bit)
      infinite, or outside the range                     4 fail, GROSS_RANGE
      outside the suspect range                          3 suspect, GROSS_RANGE
      unit is not the configured one                     3 suspect, UNIT; no range is tried
      a test among the neighbours objects                3 or 4, its bit
      within the range, or of the configured unit        1 good
      nothing was said about it                          2 not evaluated
    """

    def __init__(self, rule_of: RuleOf) -> None:
        """`rule_of` may look at a series' station, sensor, parameter and unit."""
        self._rule_of = rule_of
        self._rules: dict[tuple[str, ...], Rule] = {}
        self._reaches: dict[tuple[str | float | None, ...], Reach] = {}
        self._tests = _Tests.of((), ())

    def rule(self, series: Series) -> Rule:
        """What is expected of a series."""
        key = (series.station, *series.key)
        if key not in self._rules:
            self._rules[key] = self._rule_of(series)
        return self._rules[key]

    def reach(self, series: Series) -> Reach:
        key = (series.station, *series.key, series.cadence_s)
        if key not in self._reaches:
            self._reaches[key] = reach_of(self.rule(series), series)
        return self._reaches[key]

    def alone(self, series: Sequence[Series], readings: Readings) -> tuple[UInt8, UInt32]:
        tests = self._tests_of(series)
        if not len(readings):
            return np.empty(0, np.uint8), np.empty(0, np.uint32)
        flag, bits, value = tests.each(readings)
        if tests.climate:
            order = np.argsort(readings.series, kind="stable")
            rows = Rows.of(readings.series[order], readings.time[order], value[order])
            found, of_these = evaluate(rows, tests.climate)
            flag[order] = aggregate(flag[order], found)
            bits[order] |= of_these
        return _settle(flag, value), bits

    def __call__(self, series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        tests = self._tests_of(series)
        if not len(readings):
            return np.empty(0, np.uint8), np.empty(0, np.uint32)
        flag, bits, value = tests.each(readings)
        rows = Rows.of(readings.series, readings.time, value)
        failing = None
        if tests.refusing is not None:
            # A code that stands for no value is none out of range.
            far = (flag == Flag.FAIL) & ~np.isnan(value)
            failing = np.where(far, np.uint32(Check.GROSS_RANGE), np.uint32(0))
        if tests.climate or tests.context:
            found, of_these = evaluate(rows, [*tests.climate, *tests.context], failing)
            flag = aggregate(flag, found)
            bits |= of_these
        flag = _settle(flag, value)
        if tests.refusing is not None and failing is not None:
            failing |= bits & np.uint32(ALWAYS)
            failing &= tests.refusing[readings.series]
            refused = np.flatnonzero(written & (failing != 0))
            if len(refused):
                raise Refused([_objection(tests, readings, rows, failing, i) for i in refused])
        return flag, bits

    def explain(self, series: Sequence[Series], readings: Readings, row: int) -> list[Explanation]:
        """Why the reading at `row` has its flag: a sentence for each check that objects to it.

        The readings are as for a call, with `tests` as stored: of these the bits in `KEPT` count.
        """
        tests = self._tests_of(series)
        rows = Rows.of(readings.series, readings.time, tests.each(readings)[2])
        return tests.explain(readings, rows, row, EVERY)

    def _tests_of(self, series: Sequence[Series]) -> _Tests:
        """The tests of these series; those of the last call where it had the same ones."""
        listed, tests = tuple(series), self._tests
        if listed != tests.series:
            tests = self._tests = _Tests.of(listed, [self.rule(one) for one in listed])
        return tests


@dataclass(frozen=True, slots=True, eq=False)
class _Tests:
    """The rules of a list of series as columns."""

    series: tuple[Series, ...]
    rules: tuple[Rule, ...]
    span: GrossRange
    start: UInt8
    """The flag of a value that no check objects to."""
    foreign: UInt32
    """The bit of a foreign unit, or 0."""
    climate: tuple[Kernel, ...]
    context: tuple[Kernel, ...]
    refusing: UInt32 | None
    """The checks whose policy is not just to flag; None where there are none at all."""

    @classmethod
    def of(cls, series: Sequence[Series], rules: Sequence[Rule]) -> _Tests:
        climate = climatology_test(rules)
        refusing = [_mask(c for c, what in r.policy.items() if what != FLAG) for r in rules]
        levels = [
            Flag.SUSPECT if r.foreign else Flag.GOOD if r.expected else Flag.NOT_EVALUATED for r in rules
        ]
        return cls(
            tuple(series),
            tuple(rules),
            range_test(rules),
            np.array(levels, np.uint8),
            np.array([Check.UNIT if r.foreign else 0 for r in rules], np.uint32),
            () if climate is None else (climate,),
            tuple(context_tests(rules, series)),
            np.array(refusing, np.uint32) if any(refusing) else None,
        )

    def each(self, readings: Readings) -> tuple[UInt8, UInt32, Float64]:
        """Flags and bits by what is seen in one reading alone, in any order; and the values, NaN
        where there is none. Missing readings are not flagged so yet."""
        index, value = readings.series, readings.value
        (low, high), (suspect_low, suspect_high) = self.span.spans
        # NaN compares false on both sides, so it never counts as out of range.
        outside = (value < low[index]) | (value > high[index]) | np.isinf(value)
        odd = (value < suspect_low[index]) | (value > suspect_high[index])
        flag = self.start[index]
        flag[odd] = Flag.SUSPECT
        flag[outside] = Flag.FAIL
        bits = readings.tests & np.uint32(KEPT)
        bits |= self.foreign[index]
        bits[outside | odd] |= np.uint32(Check.GROSS_RANGE)
        flag[(bits & np.uint32(Check.NEIGHBOURS) != 0) & (flag < Flag.SUSPECT)] = Flag.SUSPECT
        sentinel = _sentinels(self.rules, readings)
        if sentinel.any():
            bits[sentinel] |= np.uint32(Check.SENTINEL)
            value = np.where(sentinel, np.nan, value)
        return flag, bits, value

    def explain(self, readings: Readings, rows: Rows, row: int, wanted: Check) -> list[Explanation]:
        """The objections of the checks `wanted` to one reading, by bit. `rows` are the readings
        without the codes that stand for no value."""
        one = readings.take(np.array([row]))
        flag, bits, _ = self.each(one)
        number, series = int(readings.series[row]), self.series[int(readings.series[row])]
        rule, value = self.rules[number], float(readings.value[row])
        sentences = {
            Check.UPSTREAM: "the source itself flagged it",
            Check.SENTINEL: f"{value:.10g} stands for no value",
            Check.UNIT: f"it comes in {series.unit or 'no unit'}; expected is {' or '.join(rule.units)}",
            Check.NEIGHBOURS: "it differs too much from the same parameter at near stations",
        }
        levels = {Check.SENTINEL: Flag.MISSING, Check.UPSTREAM: Flag(int(flag[0]))}
        found = [
            Explanation(check, levels.get(check, Flag.SUSPECT), text)
            for check, text in sentences.items()
            if int(bits[0]) & check & wanted
        ]
        # The range is tried on the code that stands for no value, too: its bit is set.
        lone = Rows.of(one.series, one.time, one.value)
        if wanted & Check.GROSS_RANGE:
            found += explain(lone, 0, [self.span], series.unit)
        tests = [test for test in (*self.climate, *self.context) if wanted & test.check]
        found += explain(rows, row, tests, series.unit)
        return sorted(found, key=lambda one: one.check)


def _settle(flag: UInt8, value: Float64) -> UInt8:
    flag[np.isnan(value)] = Flag.MISSING
    return flag


def _objection(tests: _Tests, readings: Readings, rows: Rows, bits: UInt32, at: np.int64) -> Objection:
    """What the most severe of the rules that keep a reading out (`bits`) says of it."""
    row = int(at)
    number = int(readings.series[row])
    policy = tests.rules[number].policy
    objecting = [c for c in Check if int(bits[row]) & c]
    check = min(objecting, key=lambda c: (policy[c] != STOP, c))
    said = tests.explain(readings, rows, row, check)
    return Objection(
        series=number,
        time=int(readings.time[row]),
        value=float(readings.value[row]),
        rule=CHECK_NAMES[check],
        reason=said[0].text,
        stop=policy[check] == STOP,
    )


def _sentinels(rules: Sequence[Rule], readings: Readings) -> Bool:
    """Which readings equal a sentinel of their series."""
    found = np.zeros(len(readings), bool)
    by_codes: dict[tuple[float, ...], list[int]] = {}
    for i, rule in enumerate(rules):
        by_codes.setdefault(rule.sentinels, []).append(i)
    for codes, members in by_codes.items():
        equal = _any_of(readings.value, codes)
        if len(by_codes) > 1:
            of_these = np.zeros(len(rules), bool)
            of_these[members] = True
            equal &= of_these[readings.series]
        found |= equal
    return found


def _any_of(value: Float64, codes: tuple[float, ...]) -> Bool:
    equal = np.zeros(len(value), bool)
    for code in codes:
        equal |= value == code
    return equal


def _mask(checks: Iterable[Check]) -> int:
    mask = 0
    for check in checks:
        mask |= check
    return mask

"""The checker among a reading's neighbours: its flags, its reach, what it refuses and how it explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.errors import Refused
from loader.quality.checks import CHECK_NAMES, Checks
from loader.quality.kernels import Spike
from loader.quality.rows import Kernel, Rows
from loader.quality.rules import (
    MOST_STEPS,
    AttenuatedRule,
    ClimatologyRule,
    FlatRule,
    Limits,
    PrecisionRule,
    Rule,
    SpikeRule,
    climatology_test,
    context_tests,
    range_test,
)
from loader.quality.windows import AttenuatedSignal
from loader.readings import DAY, HOUR, KEPT, SECOND, Check, Flag, Reach, Readings, Series
from tests.unit.qartod import KINDS, MOVES, NAN, TIMES, expected, worlds

SERIES = 3
FOREIGN = Check.UNIT


def series(name: str, cadence_s: float | None = 1.0) -> Series:
    return Series(name, "pm25", "µg/m³", station="a", partition="a", cadence_s=cadence_s)


def checks(*rules: Rule) -> Checks:
    """A checker by the sensors' names: their positions among the rules."""
    return Checks(lambda of: rules[int(of.sensor)])


def flagged(
    check: Checks, listed: Sequence[Series], readings: Readings, written: Sequence[bool] | None = None
) -> list[tuple[int, int]]:
    marks = np.ones(len(readings), bool) if written is None else np.array(written, bool)
    flag, tests = check(listed, readings, marks)
    return list(zip(flag.tolist(), tests.tolist(), strict=True))


limits = st.builds(Limits, st.sampled_from(MOVES), st.sampled_from(MOVES))
moments = st.sampled_from([int(t) for t in TIMES])
spans = st.sampled_from([(NAN, NAN), (0.0, 1.5), (-1.0, NAN), (0.25, 5.0)])
rules = st.builds(
    Rule,
    expected=st.booleans(),
    foreign=st.booleans(),
    units=st.just(("ppm",)),
    sentinels=st.sampled_from([(), (0.5,), (0.5, 2.0)]),
    fail=spans,
    suspect=spans,
    spike=st.none() | st.builds(SpikeRule, limits, st.booleans()),
    rate=st.none() | limits,
    flat=st.none() | st.builds(FlatRule, moments, moments, st.sampled_from([0.0, 0.5])),
    gap=moments,
    attenuated=st.none()
    | st.builds(AttenuatedRule, limits, moments, st.just(3), st.just(False))
    | st.builds(AttenuatedRule, st.just(Limits(0.1003, 0.3001)), moments, st.just(3), st.just(True)),
    climatology=st.none() | st.just(ClimatologyRule((((None, None), (-1.0, 0.0, 1.5, 5.0)),), HOUR)),
    precision=st.none() | st.builds(PrecisionRule, moments, st.just(3)),
    cadence=st.sampled_from([0, 100_000, 1_000_000, 1_500_000]),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Checks, list[Rule], list[Series], Readings]:
    """Rules of several series, and readings of them as a store hands them in."""
    rows = draw(worlds(SERIES))
    mine = [draw(rules) for _ in range(SERIES)]
    listed = [series(str(i), draw(st.sampled_from([None, 0.1, 1.0]))) for i in range(SERIES)]
    brought = draw(st.lists(st.sampled_from([0, 0, 1, 2048, 2049, 16]), min_size=1, max_size=8))
    bits = np.resize(np.array(brought, np.uint32), len(rows))
    return checks(*mine), mine, listed, Readings.of(rows.series, rows.time, rows.value, tests=bits)


def kind_of(test: Kernel) -> str:
    """The name under which the reference of a test is known."""
    name = {check: name.replace("_", " ") for check, name in CHECK_NAMES.items()}[test.check]
    if isinstance(test, Spike):
        return f"spike, {'differential' if test.differential else 'average'}"
    if isinstance(test, AttenuatedSignal):
        return f"attenuated signal, {'deviation' if test.deviation else 'range'}"
    return {"rate": "rate of change", "gap": "time gap", "precision": "precision change"}.get(name, name)


def by_hand(mine: list[Rule], listed: list[Series], readings: Readings) -> list[tuple[int, int]]:
    """The verdict reading by reading: each test's reference, and then the worst of them."""
    codes = [
        float(v) in mine[s].sentinels
        for s, v in zip(readings.series.tolist(), readings.value.tolist(), strict=True)
    ]
    value = np.where(codes, np.nan, readings.value)
    rows = Rows.of(readings.series, readings.time, value)
    of_test = []
    climate = climatology_test(mine)
    for test in [*([climate] if climate else []), *context_tests(mine, listed)]:
        kind = kind_of(test)
        of_test.append((test.check, expected(KINDS[kind], test, rows)))
    whole = Rows.of(readings.series, readings.time, readings.value)
    span = range_test(mine)
    of_range = expected(KINDS["gross range"], span, whole)
    out = []
    for i, s in enumerate(readings.series.tolist()):
        rule, bits = mine[s], int(readings.tests[i]) & int(KEPT)
        found = [3 if rule.foreign else 1 if rule.expected else 2]
        # The range itself says nothing good: that is what `expected` is for.
        for check, flag in [(span.check, of_range[i]), *((c, flags[i]) for c, flags in of_test)]:
            if flag in (3, 4):
                bits |= check
            if flag in (3, 4) or check != Check.GROSS_RANGE:
                found.append(flag)
        bits |= (FOREIGN if rule.foreign else 0) | (Check.SENTINEL if codes[i] else 0)
        if bits & Check.NEIGHBOURS:
            found.append(3)
        worst = next(f for f in (4, 3, 1, 2, 9) if f in found)
        out.append((9 if math.isnan(value[i]) else worst, int(bits)))
    return out


@settings(max_examples=60)
@given(cases())
def test_the_verdict_is_the_worst_of_every_tests_reference(
    case: tuple[Checks, list[Rule], list[Series], Readings],
) -> None:
    """Whatever the rules, readings, codes and bits brought along, each flag and bit is as defined."""
    check, mine, listed, readings = case
    assert flagged(check, listed, readings) == by_hand(mine, listed, readings)


@settings(max_examples=60)
@given(case=cases(), data=st.data())
def test_flags_do_not_depend_on_how_the_data_was_cut(
    case: tuple[Checks, list[Rule], list[Series], Readings], data: st.DataObject
) -> None:
    """Some of the readings, with what is in reach of them, get the flags they have among all."""
    check, _, listed, readings = case
    whole = flagged(check, listed, readings)
    n = len(readings)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    needed = np.zeros(n, bool)
    for i in np.flatnonzero(chosen):
        reach = check.reach(listed[readings.series[i]])
        mine = np.flatnonzero(readings.series == readings.series[i])
        time = readings.time[mine]
        near = (time >= readings.time[i] - reach.before) & (time <= readings.time[i] + reach.after)
        needed[mine[near | (np.abs(mine - i) <= reach.rows)]] = True
    part = flagged(check, listed, readings.take(needed))
    where = np.cumsum(needed) - 1
    assert [part[where[i]] for i in np.flatnonzero(chosen)] == [whole[i] for i in np.flatnonzero(chosen)]


@settings(max_examples=40)
@given(cases())
def test_what_else_is_in_a_batch_does_not_matter(
    case: tuple[Checks, list[Rule], list[Series], Readings],
) -> None:
    """The flags of a series alone are those it has among others with other rules."""
    check, _, listed, readings = case
    whole = flagged(check, listed, readings)
    for i, one in enumerate(listed):
        at = np.flatnonzero(readings.series == i)
        lone = replace(readings.take(at), series=np.zeros(len(at), np.int32))
        assert flagged(check, [one], lone) == [whole[j] for j in at]


@settings(max_examples=40)
@given(cases())
def test_every_objection_is_explained(case: tuple[Checks, list[Rule], list[Series], Readings]) -> None:
    """There is a sentence for each bit of a reading, and for no other; the worst is its flag."""
    check, _, listed, readings = case
    for i, (flag, bits) in enumerate(flagged(check, listed, readings)):
        told = check.explain(listed, readings, i)
        assert [e.check for e in told] == sorted(e.check for e in told)
        assert sum({int(e.check) for e in told}) == bits
        assert all(e.text for e in told)
        if flag in (Flag.SUSPECT, Flag.FAIL):
            assert flag == max(e.flag for e in told if e.flag != Flag.MISSING)


def test_a_cache_of_thresholds_never_answers_for_other_series() -> None:
    """Lists of series in another order, or with another cadence, are not mixed up."""
    check = checks(Rule(fail=(0.0, 1.0)), Rule(fail=(0.0, 10.0)), Rule(flat=FlatRule(fail=3 * SECOND)))
    listed = [series("0"), series("1")]
    readings = Readings.of([0, 1], [1, 1], [5.0, 5.0])
    assert [f for f, _ in flagged(check, listed, readings)] == [4, 2]
    assert [f for f, _ in flagged(check, listed[::-1], readings)] == [2, 4]
    still = Readings.of([0] * 4, [i * SECOND for i in range(4)], [7.0] * 4)
    assert [f for f, _ in flagged(check, [series("2")], still)] == [1, 1, 1, 4]
    assert [f for f, _ in flagged(check, [series("2", None)], still)] == [2, 2, 2, 2]
    assert [f for f, _ in flagged(check, [series("2", 0.5)], still)] == [1, 1, 1, 1]


def test_reach_is_that_of_the_tests_that_are_made() -> None:
    """Without neighbours nothing is in reach; a flat line that cannot be looked for adds none."""
    flat = Rule(flat=FlatRule(suspect=HOUR, fail=DAY))
    assert checks(Rule(fail=(0.0, 1.0))).reach(series("0")) == Reach()
    assert checks(Rule(gap=HOUR)).reach(series("0")) == Reach(rows=1)
    assert checks(flat).reach(series("0", 60)) == Reach(before=DAY + DAY // 2)
    assert checks(flat).reach(series("0", None)) == Reach()
    # A day of seconds is more than is looked at; an hour of them is more, too.
    assert checks(flat).reach(series("0", 1.0)) == Reach()
    few = HOUR / SECOND / MOST_STEPS
    assert checks(flat).reach(series("0", few)) == Reach(before=HOUR + HOUR // 2)


def test_a_flat_line_at_a_tenth_of_a_second_is_timed_exactly() -> None:
    """Thresholds count the cadence in microseconds: 0.25 s at 100 ms are two steps, not none."""
    check = checks(Rule(flat=FlatRule(fail=SECOND // 4)))
    still = Readings.of([0] * 4, [i * SECOND // 10 for i in range(4)], [7.0] * 4)
    assert [f for f, _ in flagged(check, [series("0", 0.1)], still)] == [1, 1, 4, 4]


def test_no_information_never_becomes_good() -> None:
    """The source's own flag is kept and leaves a reading without a rule not evaluated; one that
    differs from its neighbours is suspect, and a missing one stays missing."""
    bits = [Check.UPSTREAM, Check.NEIGHBOURS, Check.NEIGHBOURS, Check.SPIKE]
    readings = Readings.of([0] * 4, [1, 2, 3, 4], [5.0, 5.0, NAN, 5.0], tests=bits, flag=[1, 1, 1, 4])
    assert flagged(checks(Rule()), [series("0")], readings) == [(2, 1), (3, 2048), (9, 2048), (2, 0)]


POLICY = Rule(
    expected=True,
    fail=(0.0, 100.0),
    suspect=(0.0, 50.0),
    sentinels=(-999.0,),
    spike=SpikeRule(Limits(fail=20.0), differential=True),
    policy={Check.SENTINEL: "quarantine", Check.GROSS_RANGE: "stop", Check.SPIKE: "flag"},
)


def refused(rule: Rule, values: list[float], written: list[bool]) -> list[tuple[int, str, str, bool]]:
    """What the checker objects to: time, rule, reason, stop."""
    readings = Readings.of([0] * len(values), range(1, len(values) + 1), values)
    with pytest.raises(Refused) as caught:
        flagged(checks(rule), [series("0")], readings, written)
    return [(o.time, o.rule, o.reason, o.stop) for o in caught.value.objections]


def test_policies_keep_readings_out() -> None:
    """Each reading that fails a rule which does not just flag is objected to once, with rule and
    figures, by `stop` before `quarantine`. What is only suspect stays, and a code that stands for no
    value is no value out of range."""
    assert refused(POLICY, [5.0, 60.0, 5.0, 200.0, -999.0, -math.inf], [True] * 6) == [
        (4, "gross_range", "200 µg/m³ is outside 0 to 100 µg/m³", True),
        (5, "sentinel", "-999 stands for no value", False),
        (6, "gross_range", "-inf is no measurement", True),
    ]
    only = replace(POLICY, spike=SpikeRule(Limits(5.0, 20.0)), policy={Check.SPIKE: "quarantine"})
    assert flagged(checks(only), [series("0")], Readings.of([0] * 3, range(3), [5.0, 15.0, 5.0])) == [
        (1, 0), (3, Check.SPIKE), (1, 0),
    ]  # fmt: skip
    assert [t for t, *_ in refused(only, [5.0, 45.0, 5.0], [True] * 3)] == [2]


def test_checks_without_a_level_to_fail_are_obeyed_whenever_they_object() -> None:
    """A foreign unit, another precision and the source's own flag are never more than suspect."""
    policy = {Check.PRECISION: "stop", Check.UPSTREAM: "quarantine"}
    changed = Rule(precision=PrecisionRule(3, 3), policy=policy)
    found = refused(changed, [1.5, 2.5, 1.5, 2.0, 1.0, 2.0], [True] * 6)
    assert [(time, name, stop) for time, name, _, stop in found] == [(6, "precision", True)]
    told = Readings.of([0] * 2, [1, 2], [5.0, NAN], [0, Check.UPSTREAM])
    with pytest.raises(Refused) as caught:
        flagged(checks(changed), [series("0")], told)
    assert [(o.time, o.rule) for o in caught.value.objections] == [(2, "upstream")]


def test_what_is_stored_is_never_refused() -> None:
    """Only readings about to be written count; neighbours that are stored already just get flags."""
    readings = Readings.of([0] * 3, [1, 2, 3], [5.0, 200.0, 5.0])
    found = flagged(checks(POLICY), [series("0")], readings, [True, False, True])
    assert [flag for flag, _ in found] == [1, 4, 1]
    assert [t for t, *_ in refused(POLICY, [200.0, 200.0], [False, True])] == [2]


def test_alone_refuses_nothing() -> None:
    """What is counted before the store is asked is never refused, and needs no order."""
    readings = Readings.of([0] * 3, [3, 1, 2], [200.0, -999.0, 5.0])
    flag, tests = checks(POLICY).alone([series("0")], readings)
    assert flag.tolist() == [4, 9, 1]
    assert tests.tolist() == [4, 6, 0]


def test_a_foreign_unit_is_refused_by_its_name() -> None:
    """The sentence names the unit that came and those that are expected."""
    rule = Rule(expected=True, foreign=True, units=("ppm", "ppb"), policy={Check.UNIT: "stop"})
    assert refused(rule, [1.0], [True]) == [(1, "unit", "it comes in µg/m³; expected is ppm or ppb", True)]

"""What a commit looks at around its readings: flags that depend on nothing but the readings."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from loader import columns, context
from loader.context import Stretch, flagged
from loader.contracts import Checker
from loader.quality.checks import Checks
from loader.quality.rules import AttenuatedRule, FlatRule, Limits, PrecisionRule, Rule, SpikeRule
from loader.readings import DAY, SECOND, Bool, Check, Flag, Reach, Readings, Series, UInt8, UInt32, Window
from tests import checks

MINUTE = 60 * SECOND
SERIES = tuple(Series(name, name, "u", "st", "p") for name in ("full", "spike", "plain", "time"))

FULL = Rule(
    expected=True,
    sentinels=(-999.0,),
    fail=(-50.0, 60.0),
    suspect=(-20.0, 40.0),
    spike=SpikeRule(Limits(2.0, 6.0)),
    rate=Limits(0.05, 0.2),
    flat=FlatRule(suspect=3 * MINUTE, fail=5 * MINUTE, tolerance=0.15),
    gap=4 * MINUTE,
    attenuated=AttenuatedRule(Limits(1.0, 0.3), period=6 * MINUTE, least=3, deviation=True),
    precision=PrecisionRule(period=4 * MINUTE, least=2),
    cadence=MINUTE,
)
RULES = {
    "full": FULL,
    "spike": Rule(spike=SpikeRule(Limits(2.0), differential=True)),
    "plain": Rule(expected=True, fail=(0.0, 10.0)),
    "time": Rule(gap=2 * MINUTE),
}

UNHARMED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""The fixture only sets a constant, anew for each test."""

Cell = tuple[int, int]
"""Series index and time."""


def real_checker() -> Checks:
    return Checks(lambda series: RULES[series.parameter])


@dataclass
class Memory:
    """A `Stored` in memory; `loaded` and `asked` count readings and questions, `most` the
    readings that one question brought at most."""

    tables: dict[int, Readings] = field(default_factory=dict)
    loaded: int = 0
    most: int = 0

    def table(self, index: int) -> Readings:
        return self.tables.get(index, Readings.empty())

    def _inside(self, one: Stretch) -> tuple[int, int]:
        time = self.table(one.series).time
        first, last = np.searchsorted(time, one.first), np.searchsorted(time, one.last, side="right")
        return int(first), int(last)

    def count(self, stretches: Sequence[Stretch]) -> list[int]:
        inside = [self._inside(one) for one in stretches]
        return [min(last - first, context.ROWS) for first, last in inside]

    def edges(self, stretches: Sequence[Stretch]) -> list[tuple[int, int]]:
        found = []
        for one in stretches:
            time, (first, last) = self.table(one.series).time, self._inside(one)
            before, after = time[max(0, first - one.rows) : first], time[last : last + one.rows]
            found.append(
                (int(before[0]) if len(before) else one.first, int(after[-1]) if len(after) else one.last)
            )
        return found

    def readings(self, stretches: Sequence[Stretch]) -> Readings:
        parts = []
        for one in stretches:
            first, last = self._inside(one)
            parts.append(self.table(one.series).take(np.arange(*self._rows(one, first, last))))
        found = Readings.concat(parts)
        self.loaded += len(found)
        self.most = max(self.most, len(found))
        # In any order: the caller must not rely on one.
        return found.take(np.random.default_rng(len(found)).permutation(len(found)))

    def _rows(self, one: Stretch, first: int, last: int) -> tuple[int, int]:
        return max(0, first - one.rows), min(len(self.table(one.series)), last + one.rows)

    def write(self, readings: Readings) -> None:
        """Insert readings, or replace those of the same series and time."""
        for index in np.unique(readings.series).tolist():
            both = Readings.concat([self.table(index), readings.take(readings.series == index)])
            self.tables[index], _ = columns.deduplicate(both)

    def commit(self, check: Checker, incoming: Readings) -> tuple[context.Flagged, Readings]:
        """What a store does: write what is new or revised, and the flags of the neighbours. Also
        returns everything as it was before."""
        before = self.all()
        split = columns.split(incoming, before.series.astype(np.int64), before.time, before.value)
        found = flagged(check, SERIES, incoming.take(split.new | split.revised), self)
        self.write(found.readings)
        self.write(found.neighbours)
        return found, before

    def all(self) -> Readings:
        return Readings.concat([self.tables[index] for index in sorted(self.tables)])


def same(one: Readings, other: Readings) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "value")
        for name in ("series", "time", "value", "flag", "tests")
    )


VALUES = st.one_of(
    st.sampled_from([math.nan, -999.0, math.inf, 7.0, 7.0, 7.1, 7.05]),
    st.floats(-60, 70).map(partial(round, ndigits=2)),
    st.floats(6.0, 8.0),
)
CELLS = st.tuples(st.integers(0, len(SERIES) - 1), st.integers(0, 40).map(lambda n: n * MINUTE))
STRAY = st.tuples(st.integers(0, 1), st.integers(-5 * DAY, 5 * DAY) | st.integers(0, 40 * MINUTE))


@st.composite
def histories(draw: st.DrawFn) -> list[dict[Cell, tuple[float, int]]]:
    """Commits in the order of their coming: what is the same reading may come again, or changed."""
    cells = draw(st.lists(CELLS | STRAY, min_size=1, max_size=60, unique=True))
    if draw(st.booleans()):
        runs = draw(st.sampled_from([(0, 10), (5, 30), (20, 40)]))
        cells = list(dict.fromkeys([*cells, *((0, n * MINUTE) for n in range(*runs))]))
    order = draw(st.permutations(cells))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=6)))
    commits = []
    for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        again = draw(st.lists(st.sampled_from(order[: max(1, start)]), max_size=5))
        rows = {
            cell: (draw(VALUES), draw(st.sampled_from([0, 0, 1]))) for cell in [*again, *order[start:end]]
        }
        commits.append(rows)
    return commits


def readings(rows: dict[Cell, tuple[float, int]]) -> Readings:
    cells = sorted(rows)
    return Readings.of(
        [c[0] for c in cells],
        [c[1] for c in cells],
        [rows[c][0] for c in cells],
        [rows[c][1] for c in cells],
    )


@pytest.mark.parametrize("rows", [4, 25, context.ROWS])
@settings(max_examples=25, suppress_health_check=UNHARMED)
@given(history=histories())
def test_flags_depend_on_nothing_but_the_readings(
    monkeypatch: pytest.MonkeyPatch, rows: int, history: list[dict[Cell, tuple[float, int]]]
) -> None:
    """Whatever the cut, the order and the number of readings looked at together: every stored flag
    is the one that the whole has; only what differed is written, and all of it is touched."""
    monkeypatch.setattr(context, "ROWS", rows)
    check, memory = real_checker(), Memory()
    for commit in history:
        found, before = memory.commit(check, readings(commit))
        after = memory.all()
        assert same(after, whole(check, after))
        assert_touched(found, before, after)
    event(f"{len(np.unique(memory.all().flag))} flags")


REACHES = st.builds(
    Reach,
    before=st.integers(0, 6).map(lambda n: n * MINUTE),
    after=st.integers(0, 6).map(lambda n: n * MINUTE),
    rows=st.integers(0, 3),
)


@pytest.mark.parametrize("rows", [4, context.ROWS])
@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories(), reaches=st.lists(REACHES, min_size=len(SERIES), max_size=len(SERIES)))
def test_whatever_is_in_reach_is_there(
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    history: list[dict[Cell, tuple[float, int]]],
    reaches: list[Reach],
) -> None:
    """A checker whose flags tell every single reading in their reach apart answers as for the whole."""
    monkeypatch.setattr(context, "ROWS", rows)
    check, memory = Fingerprints(reaches), Memory()
    for commit in history:
        memory.commit(check, readings(commit))
        after = memory.all()
        assert same(after, after.with_flags(*check(SERIES, after, np.ones(len(after), bool))))


@dataclass
class Fingerprints:
    """A checker that makes the flag of a reading of all readings in its reach."""

    reaches: list[Reach]

    def reach(self, series: Series) -> Reach:
        return self.reaches[SERIES.index(series)]

    def alone(self, _: Sequence[Series], found: Readings) -> tuple[UInt8, UInt32]:
        return found.flag, found.tests

    def __call__(self, _: Sequence[Series], found: Readings, __: Bool) -> tuple[UInt8, UInt32]:
        tests = np.empty(len(found), np.uint32)
        for index, reach in enumerate(self.reaches):
            mine = np.flatnonzero(found.series == index)
            time, value = found.time[mine], found.value[mine]
            for at in range(len(mine)):
                inside = (time >= time[at] - reach.before) & (time <= time[at] + reach.after)
                inside |= abs(np.arange(len(mine)) - at) <= reach.rows
                seen = (time[inside] - time[at]).tobytes() + value[inside].tobytes()
                tests[mine[at]] = zlib.crc32(seen)
        return (1 + tests % 4).astype(np.uint8), tests


def whole(check: Checks, stored: Readings) -> Readings:
    """The readings with the flags of one evaluation; bits of ours are given, to be taken away."""
    given = stored.with_flags(stored.flag, stored.tests | np.uint32(Check.RATE))
    return stored.with_flags(*check(SERIES, given, np.ones(len(stored), bool)))


def assert_touched(found: context.Flagged, before: Readings, after: Readings) -> None:
    old = {(index, time): row for index, time, row in rows_of(before)}
    changed: dict[int, list[int]] = {}
    for index, time, row in rows_of(after):
        if old.get((index, time)) != row:
            changed.setdefault(index, []).append(time)
    assert set(found.touched) == set(changed)
    for index, times in changed.items():
        mine = after.time[after.series == index]
        earlier = mine[mine < times[0]]
        start = int(earlier[-1]) if len(earlier) else times[0] - 1
        assert found.touched[index] == Window(start, times[-1])


def rows_of(stored: Readings) -> list[tuple[int, int, Any]]:
    values = (repr(v) for v in stored.value.tolist())
    rest = zip(values, stored.flag.tolist(), stored.tests.tolist(), strict=True)
    return [
        (i, t, row) for i, t, row in zip(stored.series.tolist(), stored.time.tolist(), rest, strict=True)
    ]


def dense(hours: int) -> Memory:
    """A reading a second."""
    memory = Memory()
    seconds = np.arange(hours * 3600)
    flag = np.full(len(seconds), Flag.GOOD)
    memory.write(Readings.of(np.zeros(len(seconds)), seconds * SECOND, np.sin(seconds / 100), flag=flag))
    return memory


def test_sparse_late_readings_load_what_is_around_them_only() -> None:
    """A late reading every ten minutes in a reading a second: some rows each, not all that lies
    between, though nobody said how dense the series is."""
    memory = dense(24)
    late = [n * 600 * SECOND + 1 for n in range(1, 144)]
    found = flagged(checks.good, SERIES, Readings.of([0] * 143, late, [1.0] * 143), memory)
    assert len(found.readings) == 143
    assert memory.loaded <= 143 * 4

    memory.loaded = 0
    reach = Reach(before=30 * SECOND, after=10 * SECOND, rows=1)
    flagged(checks.Checks(checks.present, reach), SERIES, Readings.of([0] * 143, late, [1.0] * 143), memory)
    assert 143 * 80 <= memory.loaded <= 143 * 90


def test_much_that_changed_is_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where late readings lie everywhere, all of the series has to be flagged anew; at no time is
    more of it in memory than about ROWS, in whatever number of series it is."""
    monkeypatch.setattr(context, "ROWS", 5000)
    memory = dense(24)
    late = [n * 20 * SECOND + 1 for n in range(24 * 180)]
    check = checks.Checks(checks.present, Reach(before=30 * SECOND, rows=1))
    found = flagged(check, SERIES, Readings.of([0] * len(late), late, [1.0] * len(late)), memory)
    assert len(found.readings) == len(late)
    assert memory.loaded >= 24 * 3600
    assert memory.most <= 5000 + 2 * 31


def test_many_series_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One new reading each in several series with a long reach: not all of them at once."""
    monkeypatch.setattr(context, "ROWS", 5000)
    memory = Memory()
    stored = np.arange(3000) * SECOND
    for index in range(4):
        memory.write(Readings.of(np.full(3000, index), stored, np.zeros(3000)))
    check = checks.Checks(checks.present, Reach(before=2500 * SECOND))
    found = flagged(check, SERIES, Readings.of([0, 1, 2, 3], [3000 * SECOND] * 4, [1.0] * 4), memory)
    assert found.readings.flag.tolist() == [Flag.GOOD] * 4
    assert 4 * 2500 <= memory.loaded <= 4 * 2503
    assert memory.most <= 2503


def test_a_reading_far_after_the_others_loads_two() -> None:
    """Its neighbours on either side, however far away; with nothing after it, the one before."""
    memory = dense(1)
    check = checks.Checks(checks.present, Reach(rows=1))
    found = flagged(check, SERIES, Readings.of([0], [9 * DAY], [1.0]), memory)
    assert found.touched == {0: Window(3599 * SECOND, 9 * DAY)}
    assert memory.loaded <= 2


def test_a_checker_that_answers_for_fewer_is_told_so() -> None:
    """Flags that do not fit the readings are an error, not cut or spread."""

    def half(_: Sequence[Series], found: Readings, __: Bool) -> tuple[UInt8, UInt32]:
        return found.flag[::2], found.tests[::2]

    with pytest.raises(ValueError, match="2 flags for 3 readings"):
        flagged(checks.Checks(half), SERIES, Readings.of([0] * 3, [1, 2, 3], [1.0] * 3), Memory())


def test_the_checker_is_told_what_is_about_to_be_written() -> None:
    """Each changed reading is marked once, in whatever parts they are looked at; stored ones are not."""
    marked: list[tuple[int, int]] = []

    def note(listed: Sequence[Series], found: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        marked.extend(zip(found.series[written].tolist(), found.time[written].tolist(), strict=True))
        return checks.present(listed, found, written)

    memory = dense(2)
    times = [n * 1000 * SECOND for n in range(12)]
    incoming = Readings.of([0] * 8 + [1] * 4, times[:8] + times[:4], [5.0] * 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "ROWS", 1500)
        flagged(checks.Checks(note, Reach(before=300 * SECOND, rows=1)), SERIES, incoming, memory)
    assert sorted(marked) == sorted(zip(incoming.series.tolist(), incoming.time.tolist(), strict=True))

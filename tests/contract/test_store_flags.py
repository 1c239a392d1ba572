"""Flags among neighbours: the same whatever the cut and the order, in the one transaction."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import ZERO, Loading, Row, at, readings, series, span
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from stores import AnyStore, StoreCase

from benchmarks.airfiles import france
from loader import context
from loader.errors import Refused
from loader.quality import rules
from loader.quality.checks import Checks
from loader.readings import (
    HOUR,
    SECOND,
    Bool,
    Check,
    Flag,
    Progress,
    Reach,
    Readings,
    Series,
    UInt8,
    UInt32,
    Window,
)
from loader.settings.quality import QualitySettings, SourceQuality
from loader.settings.rules import rule_of
from tests import checks

Query = Callable[[str], list[tuple[Any, ...]]]
SETTINGS = settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SOURCES = count()
"""A source of its own for each example: cheaper than a store of its own."""

S1, S2, S3 = series("s1", parameter="all"), series("s2", parameter="spike"), series("s3", parameter="plain")

RULES = {
    "all": rules.Rule(
        expected=True,
        sentinels=(-999.0,),
        fail=(-50.0, 60.0),
        spike=rules.SpikeRule(rules.Limits(2.0, 6.0)),
        rate=rules.Limits(3.0 / 3600, 9.0 / 3600),
        flat=rules.FlatRule(suspect=3 * HOUR, fail=5 * HOUR, tolerance=0.15),
        gap=4 * HOUR,
        attenuated=rules.AttenuatedRule(rules.Limits(1.0, 0.3), period=6 * HOUR, least=3),
        precision=rules.PrecisionRule(period=4 * HOUR, least=2),
        cadence=HOUR,
    ),
    "spike": rules.Rule(spike=rules.SpikeRule(rules.Limits(2.0, 6.0), differential=True)),
    "plain": rules.Rule(expected=True, fail=(0.0, 10.0)),
}

FRANCE = Path(__file__).parents[2] / ".." / "shared" / "data" / "openaq" / "france_raw_vs_injected"

Truth = dict[tuple[str, float], float | None]


def checker(policy: dict[Check, str] | None = None) -> Checks:
    if policy is None:
        return Checks(lambda one: RULES[one.parameter])
    return Checks(lambda _: replace(RULES["spike"], policy=policy))


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return Loading(store)


def columns_of(store: AnyStore, source: str) -> tuple[list[Series], Readings]:
    """Everything stored of a source, as a checker is given it."""
    known = store.series(source)
    chunks = list(store.scan([one.id for one in known], Window(-(2**62), 2**62)))
    stored = Readings.concat(chunks)
    index = np.searchsorted([one.id for one in known], stored.series).astype(np.int32)
    whole = Readings(index, stored.time, stored.value, stored.flag, stored.tests)
    return [one.series for one in known], whole


def assert_flags_of_the_whole(check: Checks, store: AnyStore, source: str) -> None:
    """Every stored flag is the one that a single evaluation over everything gives."""
    listed, stored = columns_of(store, source)
    flag, tests = check(listed, stored, np.zeros(len(stored), bool))
    np.testing.assert_array_equal(stored.flag, flag)
    np.testing.assert_array_equal(stored.tests, tests)


VALUES = st.sampled_from([None, -999.0, 7.0, 7.0, 7.1, 7.05, 7.25]) | st.floats(-60, 70).map(
    lambda value: round(value, 1)
)
HOURS = st.sampled_from([n / 2 for n in range(30)]) | st.integers(-500, 500).map(float)
CELLS = st.tuples(st.sampled_from(["s1", "s1", "s2", "s3"]), HOURS)


@st.composite
def histories(draw: st.DrawFn) -> list[Truth]:
    """Commits in the order of their coming: late readings, some again, some with another value."""
    cells = draw(st.lists(CELLS, min_size=1, max_size=30, unique=True))
    if draw(st.booleans()):
        cells = list(dict.fromkeys([*cells, *(("s1", float(n)) for n in range(12))]))
    order = draw(st.permutations(cells))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    commits = []
    for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        again = draw(st.lists(st.sampled_from(order[: max(1, start)]), max_size=3))
        commits.append({cell: draw(VALUES) for cell in [*again, *order[start:end]]})
    return commits


@SETTINGS
@given(history=histories(), rows=st.sampled_from([3, context.ROWS]))
def test_flags_depend_neither_on_the_cut_nor_on_the_order(
    case: StoreCase, address: str, history: list[Truth], rows: int
) -> None:
    """The same readings in any portions and order, late and revised ones included: their flags are
    those of one evaluation over the whole, the revisions those of values only, and what changed is
    pending from the reading before it on."""
    store = case.open(address)
    check, by_name = checker(), {one.sensor: one for one in (S1, S2, S3)}
    try:
        loading = Loading(store, f"flags{next(SOURCES)}")
        truth: Truth = {}
        touched: dict[str, Window] = {}
        revised = 0
        for commit in history:
            before = readings(store, loading.source)
            batch = [(by_name[sensor], hour, value) for (sensor, hour), value in commit.items()]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(context, "ROWS", rows)
                counts = loading.commit(batch, check=check)
            expected = [cell for cell, value in commit.items() if truth.get(cell, value) != value]
            assert counts.revised == len(expected)
            revised += counts.revised
            truth |= commit
            stretch(touched, before, readings(store, loading.source))
        assert {(key[0], key[3]): row[0] for key, row in readings(store, loading.source).items()} == truth
        assert_flags_of_the_whole(check, store, loading.source)
        names = {one.id: one.series.sensor for one in store.series(loading.source)}
        assert {names[p.series_id]: p.window for p in store.pending(loading.source)} == touched
        report = loading.finish()
        assert (report.counts.new, report.counts.revised) == (len(truth), revised)
        event(f"revised: {revised > 0}")
        loading.lease.release()
    finally:
        store.close()


def stretch(touched: dict[str, Window], before: dict[Any, Any], after: dict[Any, Any]) -> None:
    """Add what differs between two states to the windows that are to be pending."""
    for sensor in {key[0] for key in after}:
        hours = sorted(key[3] for key in after if key[0] == sensor)
        changed = [key[3] for key in after if key[0] == sensor and after[key] != before.get(key)]
        if changed:
            earlier = [hour for hour in hours if hour < min(changed)]
            start = at(earlier[-1]) if earlier else at(min(changed)) - 1
            known = touched.get(sensor, Window(start, at(max(changed))))
            touched[sensor] = Window(min(known.start, start), max(known.end, at(max(changed))))


def test_flags_of_real_readings_are_those_of_the_whole(store: AnyStore) -> None:
    """Air data with the shipped rules, in shuffled portions of any size: first as it was measured, then
    revised by the same with errors in it; every flag is the one that the files have as a whole."""
    if not FRANCE.is_dir():
        pytest.skip(f"no air data at {FRANCE.resolve()}")
    measured: dict[tuple[Series, int], float] = {}
    spoilt: dict[tuple[Series, int], float] = {}
    for file in france(FRANCE):
        for rows, (times, numbers) in ((measured, file.raw), (spoilt, file.injected)):
            rows |= {(file.series, t): v for t, v in zip(times.tolist(), numbers.tolist(), strict=True)}
    check = Checks(rule_of(QualitySettings(), SourceQuality()))
    for size in (150, 1500):
        loading = Loading(store, f"portions of {size}")
        for rows in (measured, spoilt):
            cells = list(rows)
            random.Random(size).shuffle(cells)
            for start in range(0, len(cells), size):
                portion = cells[start : start + size]
                loading.commit([(s, (t - ZERO) / HOUR, rows[s, t]) for s, t in portion], check=check)
        assert_flags_of_the_whole(check, store, loading.source)
        _, stored = columns_of(store, loading.source)
        assert len(stored) == len(measured | spoilt)
        objections = np.bitwise_or.reduce(stored.tests)
        assert objections & Check.SPIKE
        assert objections & Check.GROSS_RANGE
        loading.lease.release()


def test_a_changed_flag_is_no_revision(loading: Loading, query: Query) -> None:
    """The next reading settles the flag of the one before: nothing is revised, its run stays, and
    the commit counts the flags of what it brought itself only."""
    check = checker()
    first = [(S2, hour, 1.0) for hour in range(3)]
    assert loading.commit([*first, (S2, 3, 50.0)], check=check).failed == 0
    run = loading.run
    assert loading.readings()["s2", "spike", "ug/m3", 3] == (50.0, Flag.NOT_EVALUATED, 0)
    loading.finish()
    loading.begin()
    counts = loading.commit([(S2, 4, 1.0)], check=check)
    assert loading.readings()["s2", "spike", "ug/m3", 3] == (50.0, Flag.FAIL, Check.SPIKE)
    assert (counts.new, counts.revised, counts.suspect, counts.failed) == (1, 0, 0, 0)
    assert query("SELECT count(*) FROM revision") == [(0,)]
    assert query(f"SELECT count(*) FROM reading WHERE run_id = {run}") == [(4,)]


def test_a_late_reading_flags_both_its_sides(loading: Loading) -> None:
    """A late reading between two that were fine makes the one after it too fast; a revision of it
    takes that back."""
    check = checker()
    loading.commit([(S1, 0, 5.0), (S1, 2, 5.2), (S1, 2.5, 6.0)], check=check)
    assert loading.readings()["s1", "all", "ug/m3", 2][2] & Check.RATE == 0
    loading.commit([(S1, 1, 40.0)], check=check)
    assert loading.readings()["s1", "all", "ug/m3", 1][2] & Check.SPIKE
    assert loading.readings()["s1", "all", "ug/m3", 2][2] & Check.RATE
    loading.commit([(S1, 1, 5.1)], check=check)
    assert loading.readings()["s1", "all", "ug/m3", 1][2] & Check.SPIKE == 0
    assert loading.readings()["s1", "all", "ug/m3", 2][2] & Check.RATE == 0


def test_a_batch_that_was_committed_asks_no_more(loading: Loading) -> None:
    """Neither the same batch again nor the same readings in another one change a flag, or ask for one
    of what is stored; and nothing more is pending."""
    check = checker()
    batch = loading.batch([(S1, hour, 5.0 + hour % 3) for hour in range(9)])
    loading.write(batch, check)
    loading.commit([(S1, 9, 30.0)], check=check)
    before, pending = loading.readings(), loading.store.pending("src")
    never = checks.Checks(lambda *_: pytest.fail("asked"))
    assert loading.write(batch, never).replayed
    assert loading.commit([(S1, 9, 30.0), (S1, 3, 5.0)], check=never).refetched == 2
    assert (loading.readings(), loading.store.pending("src")) == (before, pending)


def test_what_is_refused_changes_nothing(loading: Loading, query: Query) -> None:
    """A rule that keeps readings out names them; flags, pending and counts are as before, and the
    batch can be committed without them."""
    loading.commit([(S2, 0, 1.0), (S2, 1, 50.0)], check=checker({Check.SPIKE: rules.FLAG}))
    before, pending = loading.readings(), loading.store.pending("src")
    check = checker({Check.SPIKE: rules.QUARANTINE})
    rows: list[Row] = [(S2, 2, 1.0), (S2, 3, 1.0), (S2, 4, 80.0), (S2, 5, 1.0)]
    batch = loading.batch(rows, Progress("p-s2", cover=(span(1, 5),), watermark=at(5)))
    with pytest.raises(Refused) as refused:
        loading.write(batch, check)
    (objection,) = refused.value.objections
    assert (batch.series[objection.series], objection.time, objection.value) == (S2, at(4), 80.0)
    assert (objection.rule, objection.stop) == ("spike", False)
    assert (loading.readings(), loading.store.pending("src")) == (before, pending)
    assert query("SELECT count(*) FROM batch") == [(1,)]
    loading.seq -= 1
    assert loading.commit([rows[0], rows[1], rows[3]], check=check).new == 3
    assert loading.readings()["s2", "spike", "ug/m3", 1][1] == Flag.FAIL, "stored ones are only flagged"


def test_a_checker_that_breaks_off_leaves_all_flags(loading: Loading) -> None:
    """Whatever it has answered before: flags of stored neighbours are part of the transaction."""
    loading.commit([(S1, hour, 5.0) for hour in range(6)], check=checker())
    before, pending = loading.readings(), loading.store.pending("src")
    real = checker()

    def breaks(listed: Sequence[Series], found: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        real(listed, found, written)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loading.write(loading.batch([(S1, 2.5, 60.0)]), checks.Checks(breaks, real.reach(S1)))
    assert (loading.readings(), loading.store.pending("src")) == (before, pending)


def test_many_stored_rows_around_a_late_reading(loading: Loading) -> None:
    """A test that looks far needs more rows at once than any store reads in one go, of several
    series: all that have the late reading in their reach are flagged anew, and no other."""
    rows = 22_000
    seconds = np.arange(rows) / 3600
    loading.commit([(one, float(hour), 1.0) for one in (S1, S2) for hour in seconds], check=checks.good)

    def counting(_: Sequence[Series], found: Readings, __: Bool) -> tuple[UInt8, UInt32]:
        late = found.time[found.value == 2.0]
        near = np.zeros(len(found), bool)
        for time in late.tolist():
            near |= (found.time >= time) & (found.time <= time + 21_000 * SECOND)
        return np.where(near, Flag.SUSPECT, Flag.GOOD).astype(np.uint8), found.tests

    check = checks.Checks(counting, Reach(before=21_000 * SECOND))
    late = 500.5 / 3600
    loading.commit([(S1, late, 2.0), (S2, late, 2.0)], check=check)
    _, stored = columns_of(loading.store, "src")
    suspect = (stored.time >= at(late)) & (stored.time <= at(late) + 21_000 * SECOND)
    np.testing.assert_array_equal(stored.flag, np.where(suspect, Flag.SUSPECT, Flag.GOOD))
    assert stored.time[suspect].max() == at(21_500 / 3600)


def test_the_sources_own_flag_is_kept(loading: Loading) -> None:
    """A neighbour that is flagged anew keeps what the source said of it."""
    check = checker()
    upstream = loading.batch([(S2, 0, 1.0), (S2, 1, 50.0)])
    upstream.readings.tests[:] = Check.UPSTREAM
    loading.write(upstream, check)
    loading.commit([(S2, 2, 1.0)], check=check)
    assert loading.readings()["s2", "spike", "ug/m3", 1] == (50.0, Flag.FAIL, Check.SPIKE | Check.UPSTREAM)
    assert loading.readings()["s2", "spike", "ug/m3", 0] == (1.0, Flag.NOT_EVALUATED, Check.UPSTREAM)

"""Rules that do more than flag: readings put aside, partitions stopped; on both SQL stores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runbench import START, Bench

from loader import putaside
from loader.batches import Gathering
from loader.errors import LoaderError, Objection
from loader.pipeline import Order
from loader.quality.cadence import Cadences
from loader.quality.checks import Checks
from loader.quality.rules import QUARANTINE, STOP, Limits, Rule, SpikeRule
from loader.reading import Piece
from loader.readings import (
    HOUR,
    Check,
    Page,
    PartitionState,
    Progress,
    Readings,
    Series,
    Task,
    TaskKind,
    Window,
)
from loader.records import Counts, Outcome, Quarantined
from loader.replay import replay
from tests import postgres

BAD = START - 5 * HOUR


def checks(policy: Mapping[Check, str], high: float = 1000.0, **more: object) -> Checks:
    """A range of 0 to `high`, and what becomes of readings outside of it."""
    rule = Rule(expected=True, fail=(0.0, high), policy=policy, **more)  # type: ignore[arg-type]
    return Checks(lambda series: rule)  # noqa: ARG005


@pytest.fixture(params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Two hourly sensors; `a` has one reading out of range."""
    server = None
    if request.param == "postgres":
        if reason := postgres.missing():
            pytest.skip(reason)
        from loader.stores.postgres import PostgresStore

        server = postgres.server(postgres.majors()[-1])
        url = server.migrated()
        made = Bench(tmp_path, PostgresStore(url))
    else:
        made = Bench(tmp_path)
    for sensor in ("a", "b"):
        made.fill(sensor, -48, 0)
    made.world.rows["a"][BAD] = 5000.0
    yield made
    made.store.close()
    if server is not None:
        server.drop(url)


def quarantined(bench: Bench) -> list[Quarantined]:
    return bench.store.quarantined("world", 100)


def states(bench: Bench) -> dict[str, PartitionState]:
    return {state.name: state for state in bench.store.partitions("world")}


def without(bench: Bench, *times: int) -> dict[int, float]:
    return {t: v for t, v in bench.world.rows["a"].items() if t not in times}


def test_a_reading_is_put_aside_and_the_rest_is_stored(bench: Bench) -> None:
    """It is a quarantined record of our own form, counted; every other reading is there."""
    bench.check = checks({Check.GROSS_RANGE: QUARANTINE})
    report = bench.run()
    assert (report.outcome, report.error) == (Outcome.OK, None)
    assert bench.loaded() == {"a": without(bench, BAD), "b": bench.world.rows["b"]}
    counts = report.counts
    assert (counts.fetched, counts.new, counts.quarantined, counts.failed) == (98, 97, 1, 0)
    assert counts.due - counts.observed == 1
    (record,) = quarantined(bench)
    assert (record.partition, record.rule, record.time, record.count) == ("a", "gross_range", BAD, 1)
    assert json.loads(record.payload) == {
        "reading": {
            "sensor": "a",
            "parameter": "pm25",
            "unit": "µg/m³",
            "station": "station",
            "time": putaside.stamp(BAD),
            "value": 5000.0,
        }
    }


def test_refused_again_it_is_the_same_record(bench: Bench) -> None:
    """An overlapping read raises its count; nothing is doubled."""
    bench.check = checks({Check.GROSS_RANGE: QUARANTINE})
    bench.run()
    bench.run()
    (record,) = quarantined(bench)
    assert record.count == 2
    assert bench.loaded()["a"] == without(bench, BAD)


def test_a_replay_goes_through_the_checks_again(bench: Bench) -> None:
    """Under the same rule it stays where it is; under another it is stored."""
    bench.check = checks({Check.GROSS_RANGE: QUARANTINE})
    bench.run()
    kept = replay(bench.pipeline(), quarantined(bench))
    assert (kept.outcome, kept.error) == (Outcome.PARTIAL, "rules keep 1 of 1 records out")
    assert [(q.replayed_by, q.count) for q in quarantined(bench)] == [(None, 1)]
    assert kept.counts.new == kept.counts.quarantined == 0
    bench.check = checks({Check.GROSS_RANGE: QUARANTINE}, high=6000.0)
    done = replay(bench.pipeline(), quarantined(bench))
    assert (done.outcome, done.counts.new) == (Outcome.OK, 1)
    assert bench.loaded() == bench.world.rows
    assert [q.replayed_by for q in quarantined(bench)] == [done.id]
    bench.check = checks({})
    assert bench.run().counts.new == 0


def test_a_partition_is_stopped_and_the_others_load(bench: Bench) -> None:
    """Nothing of it is committed, its failure names rule and reading, and it is tried again."""
    bench.check = checks({Check.GROSS_RANGE: STOP})
    report = bench.run()
    assert report.outcome is Outcome.PARTIAL
    assert (report.partitions_ok, report.partitions_failed) == (1, 1)
    assert bench.loaded() == {"a": {}, "b": bench.world.rows["b"]}
    assert quarantined(bench) == []
    counts = report.counts
    assert (counts.fetched, counts.new, counts.due, counts.observed) == (49, 49, 49, 49)
    for said in ("gross_range", "sensor a", putaside.stamp(BAD), "value 5000"):
        assert said in str(report.error)
    a, b = states(bench)["a"], states(bench)["b"]
    assert (a.watermark, a.coverage, a.holes, a.failures) == (None, (), (), 1)
    assert a.last_error == report.error
    assert (b.watermark, b.failures) == (START, 0)
    assert bench.run().outcome is Outcome.PARTIAL
    assert states(bench)["a"].failures == 2
    bench.world.rows["a"][BAD] = 50.0
    healed = bench.run()
    assert (healed.outcome, healed.counts.new) == (Outcome.OK, 49)
    assert (states(bench)["a"].failures, states(bench)["a"].last_error) == (0, None)
    assert bench.loaded() == bench.world.rows


def test_a_run_that_is_stopped_altogether_is_partial(bench: Bench) -> None:
    """Even where nothing at all was committed: the source did answer."""
    bench.check = checks({Check.GROSS_RANGE: STOP}, high=0.5)
    report = bench.run()
    assert (report.outcome, report.partitions_failed, report.counts.new) == (Outcome.PARTIAL, 2, 0)


def test_a_stopped_partition_is_read_no_further(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed before stays; the pages behind the bad one are dropped, those that were
    read already included."""
    monkeypatch.setattr("loader.batches.MAX_READINGS", 50)
    bench.fill("a", -160, -6)
    bench.world.rows["a"][START - 100 * HOUR] = -1.0
    bench.check = checks({Check.GROSS_RANGE: STOP})
    report = bench.run()
    assert report.outcome is Outcome.PARTIAL
    stored = bench.loaded()
    assert stored["b"] == bench.world.rows["b"]
    assert stored["a"] == {t: v for t, v in bench.world.rows["a"].items() if t <= START - 111 * HOUR}
    assert states(bench)["a"].watermark == START - 111 * HOUR


def test_a_backfill_obeys(bench: Bench) -> None:
    """The stretch that a rule stopped is not covered, and is asked for again."""
    bench.fill("a", -400, -300, value=600.0)
    bench.check = checks({Check.GROSS_RANGE: STOP})
    bench.world.rows["a"][BAD] = 50.0
    bench.run()
    bench.world.rows["a"][START - 350 * HOUR] = 5000.0
    order = Order(window=Window(START - 500 * HOUR, START - 200 * HOUR), backfill=True)
    before = states(bench)["a"]
    assert bench.pipeline().run(order).outcome is Outcome.PARTIAL
    after = states(bench)["a"]
    assert (after.watermark, after.coverage) == (before.watermark, before.coverage)
    bench.check = checks({Check.GROSS_RANGE: QUARANTINE})
    done = bench.pipeline().run(order)
    assert (done.outcome, done.counts.new, done.counts.quarantined) == (Outcome.OK, 100, 1)
    assert bench.loaded()["a"] == without(bench, START - 350 * HOUR)


def test_a_replay_is_stopped_without_touching_the_ledger(bench: Bench) -> None:
    """The partition's records stay in quarantine, the run names the rule."""
    bench.check = checks({Check.GROSS_RANGE: QUARANTINE})
    bench.world.rows["a"][BAD + HOUR] = 2000.0
    bench.run()
    before = states(bench)
    bench.check = checks({Check.GROSS_RANGE: STOP}, high=3000.0)
    done = replay(bench.pipeline(), quarantined(bench))
    assert (done.outcome, done.counts.new) == (Outcome.PARTIAL, 0)
    assert "rules keep 2 of 2 records out" in str(done.error)
    assert "gross_range" in str(done.error)
    assert states(bench) == before
    assert [q.replayed_by for q in quarantined(bench)] == [None, None]


def test_what_only_the_context_shows_is_put_aside(bench: Bench) -> None:
    """A spike is seen among its neighbours, stored ones included; they are not touched."""
    bench.world.rows["a"][BAD] = 200.0
    bench.world.rows["a"][START - 20 * HOUR] = 900.0
    bench.check = checks({Check.SPIKE: QUARANTINE}, spike=SpikeRule(Limits(fail=100.0)))
    report = bench.run()
    # Beside a spike its neighbours stand out as well; without it they do not.
    assert {q.time for q in quarantined(bench)} == {START - h * HOUR for h in (19, 20, 21)}
    assert (report.counts.suspect, report.counts.failed) == (0, 0)
    bench.now += HOUR
    bench.fill("a", 1, 1)
    bench.world.rows["a"][START + HOUR] = 900.0
    assert bench.run().counts.new == 1, "the newest reading's spike flag is provisional"


def test_a_rule_that_objects_without_end_keeps_the_series_out(bench: Bench) -> None:
    """A level that moved is out of reach of the last good reading, again and again: after some
    rounds the rest of the batch's readings of that series go together."""
    bench.world.rows["a"][BAD] = 200.0
    bench.fill("a", -30, 0, value=900.0)
    bench.check = checks({Check.RATE: QUARANTINE}, rate=Limits(fail=10.0 / 3600.0))
    report = bench.run()
    assert report.outcome is Outcome.OK
    assert report.counts.fetched == report.counts.new + report.counts.quarantined == 98
    assert bench.loaded()["b"] == bench.world.rows["b"]
    reasons = {q.reason for q in quarantined(bench)}
    assert any("one reading of its series after another" in reason for reason in reasons)


def test_a_revision_that_is_put_aside_leaves_the_stored_value(bench: Bench) -> None:
    """The value that was good stays, and nothing counts as revised."""
    bench.world.rows["a"][BAD] = 50.0
    bench.check = checks({Check.GROSS_RANGE: QUARANTINE})
    bench.run()
    bench.world.rows["a"][BAD] = 5000.0
    report = bench.run()
    assert (report.counts.revised, report.counts.quarantined) == (0, 1)
    assert bench.loaded()["a"][BAD] == 50.0


def test_of_repeated_readings_the_last_is_put_aside() -> None:
    """The one before it does not take its place, and counts as repeated still."""
    series = Series("a", "pm25", "µg/m³", "station", "a", cadence_s=3600.0)
    task = Task("a", Window(BAD - HOUR, BAD), TaskKind.RANGE)
    gathering = Gathering(checks({}), Cadences())
    for value in (10.0, 5000.0):
        page = Page(Readings.of([0], [BAD], [value]), (series,), BAD, 1)
        gathering.add(Piece(task, Progress("a", read=(task.window,)), page, task.window))
    batch = partial(gathering.batch, run_id=1, seq=0, source="world", read_at=0, used=Counts())
    made = batch()
    assert (made.readings.value.tolist(), made.repeated.value.tolist()) == ([5000.0], [10.0])
    objection = Objection(0, BAD, 5000.0, "gross_range", "too high", stop=False)
    assert gathering.refuse(made.series, [objection]) == {}
    made = batch()
    assert (made.readings.value.tolist(), made.repeated.value.tolist()) == ([], [10.0])
    counts = made.counts
    assert (counts.fetched, counts.duplicate, counts.quarantined, counts.observed) == (2, 1, 1, 0)
    assert [json.loads(r.payload)["reading"]["value"] for r in made.rejects] == [5000.0]
    with pytest.raises(LoaderError, match="not in the batch"):
        gathering.refuse(made.series, [objection])


changes = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from("ab"), st.integers(-20, 6)), st.sampled_from([5.0, 9.0, 5000.0])
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=8, deadline=None)
@given(changes, st.sampled_from([QUARANTINE, STOP]))
def test_no_bad_reading_gets_in_and_every_record_is_counted(
    steps: list[dict[tuple[str, int], float]], policy: str
) -> None:
    """Whatever a source comes to say: a good reading is stored with its newest value, unless its
    partition was stopped; a bad one never; and what was fetched became one thing or another."""
    with TemporaryDirectory() as folder:
        made = Bench(Path(folder))
        made.check = checks({Check.GROSS_RANGE: policy})
        wanted: dict[str, dict[int, float]] = {"a": {}, "b": {}}
        for step in steps:
            made.now += HOUR
            for (sensor, hours), value in step.items():
                made.world.rows[sensor][START + hours * HOUR] = value
            report = made.run()
            spoilt = set()
            for sensor, rows in made.world.rows.items():
                due = {t: v for t, v in rows.items() if t <= made.now}
                if policy == STOP and any(v > 1000.0 for v in due.values()):
                    spoilt.add(sensor)
                else:
                    wanted[sensor] |= {t: v for t, v in due.items() if v <= 1000.0}
            assert made.loaded() == wanted
            assert report.outcome is (Outcome.PARTIAL if spoilt else Outcome.OK)
            assert report.partitions_failed == len(spoilt)
            assert {name for name, state in states(made).items() if state.failures} == spoilt
            c = report.counts
            assert c.fetched == c.new + c.duplicate + c.refetched + c.revised + c.quarantined
            assert c.observed <= c.due
        made.check_sums()
        made.store.close()


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(numbers, st.integers(-(10**15), 4 * 10**15), st.text(), st.booleans())
def test_a_record_of_ours_is_the_same_reading_again(
    value: float, time: int, name: str, upstream: bool
) -> None:
    """Whatever its value, time and names; and the same reading makes the same bytes."""
    known = Series("s", "p", "u", "station", "part", cadence_s=60.0)
    state = PartitionState("part", "station", 0, 0, series=(known,))
    for series in (known, Series(name, "p", "u", name, "part")):
        readings = Readings.of([0], [time], [value], [Check.UPSTREAM if upstream else 0])
        objection = Objection(0, time, value, "spike", "because", stop=False)
        made = putaside.reject("part", series, readings, 0, objection)
        assert made == putaside.reject("part", series, readings, 0, objection)
        record = Quarantined("x", "part", made.rule, "", made.reason, made.payload, time, 1, 1, 1, None)
        page = putaside.page(record, state)
        assert page is not None
        assert page.series[0].key == series.key
        if series is known:
            assert page.series == (known,)
        again = page.readings
        assert again.time.tolist() == [time]
        assert str(again.value.tolist()) == str([value])
        assert bool(again.tests[0]) == upstream


@given(st.one_of(st.binary(), st.sampled_from([b"{}", b'{"reading": 3}', b'{"reading": {"sensor": 1}}'])))
def test_other_records_are_left_to_the_source(payload: bytes) -> None:
    """What is not of our form is not decoded here, whatever it is."""
    record = Quarantined("x", "p", "schema", "", "", payload, None, 1, 1, 1, None)
    assert putaside.page(record, PartitionState("p", "s", 0, 0)) is None

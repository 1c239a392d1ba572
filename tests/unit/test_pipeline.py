"""One run, whole: simulator and SQLite, sums and ledger, stops and failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runbench import START, Bench

from loader.errors import AccessDenied, LeaseHeld, SourceUnavailable, UsageError
from loader.planner import Policy
from loader.readings import DAY, HOUR, Window
from loader.records import Outcome
from loader.replay import replay
from loader.stores.sqlite import SQLiteStore


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_runs_load_what_is_new_late_and_revised_and_nothing_twice(bench: Bench) -> None:
    """Over several runs the store equals the source, whatever came late or changed."""
    bench.fill("a", -160, 0)
    bench.fill("b", -160, -5)
    del bench.world.rows["a"][START - 7 * HOUR]
    first = bench.run()
    assert (first.outcome, first.counts.new) == (Outcome.OK, 160 + 156)
    assert bench.stored() == bench.world.rows
    bench.now += 2 * HOUR
    bench.fill("a", 1, 2)
    bench.fill("a", -7, -7, value=9.0)
    bench.world.rows["b"][START - 6 * HOUR] = 77.0
    second = bench.run()
    assert (second.counts.new, second.counts.late, second.counts.revised) == (3, 1, 1)
    assert bench.stored() == bench.world.rows
    third = bench.run()
    assert (third.counts.new, third.counts.revised) == (0, 0)
    assert third.counts.refetched > 0
    assert third.quality == 100.0
    bench.check_sums()


def test_a_poisoned_hour_becomes_a_hole_and_is_filled_when_it_heals(bench: Bench) -> None:
    """The rest loads, the run is partial, the next run reads around the hole, a retry fills it."""
    bench.fill("a", -160, 0)
    bad = START - 50 * HOUR
    bench.world.poison.add(bad)
    report = bench.run()
    assert report.outcome is Outcome.PARTIAL
    wanted = {t: v for t, v in bench.world.rows["a"].items() if t != bad}
    assert bench.stored()["a"] == wanted
    ((cause, isolated, start, end),) = bench.query("SELECT cause, isolated, from_time, to_time FROM hole")
    assert (cause, isolated) == ("fetch failed: HTTP 500", 1)
    assert int(str(start)) < bad <= int(str(end))
    again = bench.run()
    assert again.outcome is Outcome.OK, "an isolated hole whose next try has not come was read"
    bench.world.poison.clear()
    healed = bench.run(retry_holes=True)
    assert healed.counts.new == 1
    assert bench.query("SELECT * FROM hole") == []
    assert bench.stored() == bench.world.rows
    bench.check_sums()


def test_a_backfill_continues_where_it_was_and_leaves_the_watermark(bench: Bench) -> None:
    """A backfill adds old time once; done again it asks for nothing."""
    bench.fill("a", -2000, 0)
    bench.run()
    marks = bench.query("SELECT partition, watermark FROM partition ORDER BY 1")
    window = Window(START - 2001 * HOUR, START)
    filled = bench.run(window=window, backfill=True)
    assert filled.counts.new == 2001 - 168
    assert bench.query("SELECT partition, watermark FROM partition ORDER BY 1") == marks
    asked = bench.world.pages
    bench.run(window=window, backfill=True)
    assert bench.world.pages - asked <= 2, "only what is not yet due may be asked for again"
    assert bench.stored() == bench.world.rows
    bench.check_sums()


def test_rejects_are_quarantined_and_replayed_through_the_commit(bench: Bench) -> None:
    """A record that became legible is loaded by a replay; one that did not stays as it was."""
    bench.fill("a", -3, 0)
    good = str(START - 5 * HOUR).encode() + b"=4.5"
    bench.world.rejects = (good, b"rubbish")
    report = bench.run(sensors=("a",))
    assert report.counts.quarantined == 2
    done = replay(bench.pipeline(), bench.store.quarantined("world", 100))
    assert (done.outcome, done.counts.new) == (Outcome.PARTIAL, 1)
    assert bench.stored()["a"][START - 5 * HOUR] == 4.5
    marked = dict(bench.query("SELECT payload, replayed_by FROM quarantine"))
    assert marked == {good: done.id, b"rubbish": None}
    bench.check_sums()


def test_a_stop_finishes_the_batch_and_the_next_run_continues(bench: Bench) -> None:
    """What was read before a stop is committed, the run is recorded as interrupted."""
    bench.policy = Policy(start=lambda discovered: discovered - 5000 * DAY)
    bench.fill("a", -20_000, 0)
    bench.world.after_page = bench.stop
    bench.world.concurrency = 1
    report = bench.run()
    assert report.outcome is Outcome.INTERRUPTED
    assert 0 < report.counts.new < 20_000
    bench.world.after_page = None
    bench.stop.clear()
    assert bench.run().outcome is Outcome.OK
    assert bench.stored() == bench.world.rows
    bench.check_sums()


def test_a_dry_run_writes_nothing(bench: Bench) -> None:
    """It reads and counts, and leaves no trace in the store."""
    bench.fill("a", -10, 0)
    report = bench.run(dry_run=True)
    assert (report.id, report.counts.fetched) == (0, 11)
    for table in ("run", "reading", "partition", "series", "batch"):
        assert bench.query(f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_source_that_is_down_is_a_failed_run(bench: Bench) -> None:
    """The failure is recorded and reported, not raised."""
    bench.world.trouble = SourceUnavailable("connection refused")
    report = bench.run()
    assert (report.outcome, report.error) == (Outcome.FAILED, "connection refused")
    assert bench.query("SELECT outcome, error FROM run") == [("failed", "connection refused")]


def test_a_refused_key_is_raised_after_the_run_was_recorded(bench: Bench) -> None:
    """What the user must mend reaches him as an error, and stands in the runs."""
    bench.world.trouble = AccessDenied("the key is refused")
    with pytest.raises(AccessDenied):
        bench.run()
    assert bench.query("SELECT outcome, error FROM run") == [("failed", "the key is refused")]


def test_a_held_lease_skips_the_run_and_records_it(bench: Bench) -> None:
    """Two loaders never write the same source; the one that comes second leaves a row."""
    other = SQLiteStore(bench.path)
    lease = other.acquire("world")
    with pytest.raises(LeaseHeld):
        bench.run()
    lease.release()
    other.close()
    assert bench.query("SELECT outcome FROM run") == [("skipped",)]
    assert bench.run().outcome is Outcome.OK


def test_an_unknown_sensor_is_a_usage_error(bench: Bench) -> None:
    """A misspelt name is answered with the names there are."""
    with pytest.raises(UsageError, match="station"):
        bench.run(sensors=("c",))
    bench.check_sums()


def test_a_vanished_reading_is_kept_and_counted(bench: Bench) -> None:
    """What the source no longer serves stays in the store."""
    bench.fill("a", -20, 0)
    bench.run()
    kept = bench.stored()
    del bench.world.rows["a"][START - 3 * HOUR]
    report = bench.run()
    assert report.counts.vanished == 1
    assert bench.stored() == kept

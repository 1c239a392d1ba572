"""Cadences that were learned, in what is missing and in the score of a run; healing in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from runbench import START, Bench

from loader import gaps, healing
from loader.findings import Assessment, Cadence
from loader.quality.cadence import Episode
from loader.readings import DAY, HOUR, Window
from loader.records import Outcome, StoredSeries


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    del made.world.rows["b"]
    yield made
    made.store.close()


def series(bench: Bench) -> list[StoredSeries]:
    return bench.store.series("world")


def learned(bench: Bench, *episodes: Episode) -> None:
    """What an assessment would have found."""
    ((number, lease),) = [(s.id, bench.store.acquire("world")) for s in series(bench)]
    rows = tuple(Cadence(number, at, cadence_s) for at, cadence_s in episodes)
    bench.store.assess(lease, Assessment(number, cadences=rows))
    lease.release()


def missing(bench: Bench, set_s: float | None = None) -> list[tuple[int, int, float]]:
    """(first missing stamp, how many, cadence in seconds) of each gap up to the last hour."""
    found = healing.find(
        bench.store, series(bench), lambda _: lambda _: set_s, since=START - 100 * HOUR, until=START
    )
    return [
        (g.window.end - round((g.missing - 1) * g.cadence_s * 1e6), g.missing, g.cadence_s)
        for _, g in found
    ]


def test_each_stretch_is_held_against_its_own_cadence(bench: Bench) -> None:
    """An hourly station that goes two-hourly is missing nothing from then on; what is configured
    goes before what was learned."""
    change = START - 40 * HOUR
    stamps = [*range(change - 60 * HOUR + HOUR, change + 1, HOUR), *range(change, START + 1, 2 * HOUR)]
    lost = {change - 9 * HOUR, change + 10 * HOUR, change + 12 * HOUR}
    bench.world.rows["a"] = {t: 5.0 for t in stamps if t not in lost}
    bench.run()
    assert sum(count for _, count, _ in missing(bench)) == 20 + 3
    learned(bench, (change, 7200.0))
    assert missing(bench) == [(change - 9 * HOUR, 1, 3600.0), (change + 10 * HOUR, 2, 7200.0)]
    assert sum(count for _, count, _ in missing(bench, 3600.0)) == 20 + 3


def test_a_run_is_due_what_the_learned_cadence_says(bench: Bench) -> None:
    """A station that reports every two hours is complete with half of the hours."""
    bench.world.rows["a"] = {START + h * HOUR: 5.0 for h in range(-160, 1, 2)}
    first = bench.run()
    assert first.counts.due == pytest.approx(2 * first.counts.observed, abs=2)
    learned(bench, (START - 160 * HOUR, 7200.0))
    bench.now += 4 * HOUR
    bench.world.rows["a"] |= {START + h * HOUR: 5.0 for h in (2, 4)}
    again = bench.run(window=Window(START - 100 * HOUR, bench.now))
    assert again.counts.due == again.counts.observed == 52
    assert again.quality == 100.0
    lax = replace(bench.pipeline(), cadence_s=lambda _: 14_400.0)
    assert lax.gathering()._cadences.set_s(bench.world.series("a")) == 14_400.0


def test_readings_off_the_grid_are_inconsistent(bench: Bench) -> None:
    """Those that do not lie where most of a page's stamps do."""
    bench.fill("a", -40, 0)
    for hours in (7, 20):
        bench.world.rows["a"][START - hours * HOUR + HOUR // 3] = 5.0
    report = bench.run()
    assert (report.counts.inconsistent, report.counts.fetched) == (2, 43)


def test_what_has_come_meanwhile_is_found(bench: Bench) -> None:
    """Only what another read may fill is read; what is found and what is left adds up."""
    bench.fill("a", -167, 0)
    rows = bench.world.rows["a"]
    late = [START - h * HOUR for h in (3, 4, 5, 30)]
    old = [START - h * HOUR for h in (120, 121)]
    withheld = {t: rows.pop(t) for t in [*late, *old]}
    bench.run()
    rows |= {t: withheld[t] for t in [*late[:-1], *old]}
    pipeline = bench.pipeline()
    plan = healing.plan(pipeline, series(bench), since=None, until=START)
    assert plan.missing == len(late)
    assert [(s.series.sensor, g.cause) for s, g in plan.gaps] == [("a", gaps.SOURCE_HAD_NOTHING)] * 2
    assert plan.windows == {"a": (Window(START - 31 * HOUR, START - 5 * HOUR // 2),)}
    assert plan.requests == 1
    lease = bench.store.acquire("world")
    healed = healing.heal(pipeline, series(bench), lease, since=None, until=START)
    assert healed.report is not None
    assert (healed.missing, healed.left, healed.report.counts.new) == (4, 1, 3)
    assert (healed.report.trigger, healed.report.outcome) == ("backfill", Outcome.OK)
    bench.policy = replace(bench.policy, lookback_max=30 * DAY)
    healed = healing.heal(bench.pipeline(), series(bench), lease, since=None, until=START - DAY)
    assert (healed.missing, healed.left) == (3, 1)
    healed = healing.heal(bench.pipeline(), series(bench), lease, since=None, until=START - 2 * DAY)
    assert healed == healing.Healed(0, 0, None)
    lease.release()
    bench.check_sums()

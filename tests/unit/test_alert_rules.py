"""Each rule at its boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

from loader.alerts.freshness import interval
from loader.alerts.machine import Machine, judge_machine
from loader.alerts.rules import NETWORK, NO_WAY, judge
from loader.alerts.situation import Finding, Situation, Watched
from loader.contracts import DIED
from loader.findings import Standing
from loader.journal import LimitEvent, Severity
from loader.lateness import BUCKETS
from loader.log import MASK, register_secret
from loader.readings import DAY, HOUR, SECOND, PartitionState, Series
from loader.records import Counts, Outcome, RunReport, StoredSeries
from loader.schedule import Cron, Every
from loader.settings.alerting import Rules, SourceRules
from loader.transport import meaning

NOW = 1_800_000_000_000_000 // HOUR * HOUR
WATCHED = Watched("src", Rules(), Every(2 * HOUR), 2 * HOUR, 3 * DAY)
IDS = count(1000, -1)


def run(outcome: Outcome | None = Outcome.OK, ago: int = 0, **more: Any) -> RunReport:
    at = NOW - ago
    ended = None if outcome is None else at
    given = {"trigger": "schedule", "started": at - SECOND, "finished": ended, "outcome": outcome, **more}
    return RunReport(next(IDS), "src", **given)


def seen(*runs: RunReport, watched: Watched = WATCHED, **more: Any) -> dict[str, Finding]:
    """The findings by rule, or by rule and subject."""
    found = judge(Situation(watched, NOW, runs, **more)).findings
    return {f"{f.rule} {f.subject}".strip(): f for f in found}


FAILED = {"outcome": Outcome.FAILED, "error": "src: 500"}


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ("ff", (2, False)),
        ("fff", (3, True)),
        ("ffff", (4, True)),
        ("ffof", (2, False)),
        ("ffpf", (2, False)),
        ("offf", None),
        ("pfff", None),
        ("fsfmfif", (4, True)),
        ("sfff", (3, True)),
        ("ddd", (3, True)),
        ("dfi", (2, False)),
        ("rff", (2, False)),
        ("frff", (3, True)),
        ("s", None),
        ("", None),
    ],
)
def test_failures_in_a_row(outcomes: str, expected: tuple[int, bool] | None) -> None:
    """Newest first: failed and died runs count; ok and partial end the row; skipped, missed,
    interrupted and running ones neither add nor reset, nor does a replay."""
    made = {
        "f": lambda: run(**FAILED),
        "o": run,
        "p": lambda: run(Outcome.PARTIAL),
        "s": lambda: run(Outcome.SKIPPED),
        "m": lambda: run(Outcome.MISSED),
        "i": lambda: run(Outcome.INTERRUPTED),
        "d": lambda: run(Outcome.INTERRUPTED, error=DIED),
        "r": lambda: run(Outcome.OK, trigger="replay") if "f" in outcomes else run(None),
    }
    found = seen(*(made[o]() for o in outcomes)).get("failures")
    assert (found and (found.count, found.broken)) == expected
    if found is not None:
        assert found.severity is Severity.CRITICAL


def test_a_running_run_says_nothing_of_failures() -> None:
    """While the fourth try runs, three have failed."""
    assert seen(run(None), *(run(**FAILED) for _ in range(3)))["failures"].count == 3


def test_failures_say_the_last_error_in_a_line_without_secrets() -> None:
    """Line breaks and registered secrets do not get into an alert."""
    register_secret("hunter2-hunter2")
    detail = seen(run(Outcome.FAILED, error="bad\nkey hunter2-hunter2 \x1b[31m" + "x" * 999))[
        "failures"
    ].detail
    assert detail.startswith(f"last error: bad key {MASK} ?[31mx")
    assert len(detail) < 330


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError(NewConnectionError(None, "refused")),  # type: ignore[arg-type]
        requests.ConnectionError(NameResolutionError("h", None, OSError())),  # type: ignore[arg-type]
        requests.exceptions.ProxyError("ProxyError"),
        requests.ConnectTimeout(),
    ],
)
def test_no_way_to_the_server_is_a_cause(error: Exception) -> None:
    """What the transport says of a connection that cannot be made is told as the network's."""
    text = str(meaning("http://h", error)[0])
    assert any(sign in text for sign in NO_WAY)
    assert seen(run(Outcome.FAILED, error=text))["failures"].cause == NETWORK
    assert seen(run(**FAILED))["failures"].cause == ""


def partition(station: str = "st", **more: Any) -> PartitionState:
    given = {"name": f"p-{station}", "discovered_at": NOW - 90 * DAY, "listed_at": NOW, **more}
    return PartitionState(station=station, **given)


def test_a_station_fails_while_others_do_not() -> None:
    """After a partial run, the partitions that failed three times in a row are told by station."""
    states = [partition("x", failures=3, last_error="404"), partition("y", failures=2), partition("z")]
    found = seen(run(Outcome.PARTIAL), partitions=states)
    assert {k: f.broken for k, f in found.items() if k.startswith("failures")} == {
        "failures x": True,
        "failures y": False,
    }
    assert found["failures x"].detail == "last error: 404"


def test_stations_are_not_told_apart_while_the_source_fails() -> None:
    """Nothing is said of them: neither that they fail nor that they are well."""
    verdict = judge(Situation(WATCHED, NOW, [run(**FAILED)], [partition("x", failures=9)]))
    assert [f.subject for f in verdict.findings if f.rule == "failures"] == [""]
    assert "failures" in verdict.unsaid


def series(station: str, last: int | None, cadence_s: float | None = 3600.0) -> StoredSeries:
    described = Series(f"s-{station}", "pm25", "ug/m3", station, f"p-{station}", cadence_s=cadence_s)
    return StoredSeries(len(station), "src", described, last, last)


def silent(
    age: int, watched: Watched = WATCHED, cadence_s: float | None = 3600.0, delays: Sequence[int] = ()
) -> bool:
    states = [partition(delays=tuple(delays))]
    found = seen(run(), watched=watched, partitions=states, series=[series("st", NOW - age, cadence_s)])
    return "freshness st" in found


def test_freshness_by_the_schedule() -> None:
    """Three schedules of two hours, where the readings come more often."""
    assert not silent(6 * HOUR, cadence_s=60)
    assert silent(6 * HOUR + 1, cadence_s=60)


def test_freshness_by_cadence_and_usual_delay() -> None:
    """Three cadences, and the least lookback while no delay has been learned."""
    assert not silent(3 * 6 * HOUR + 2 * HOUR, cadence_s=6 * 3600)
    assert silent(3 * 6 * HOUR + 2 * HOUR + 1, cadence_s=6 * 3600)


def test_freshness_by_learned_delay() -> None:
    """The delay that 99 % of the late readings kept, to its bucket's edge: 64 minutes of bucket 12."""
    delays = [0] * BUCKETS
    delays[12] = 300
    edge = 64 * 60 * SECOND
    hours6 = 3 * 6 * HOUR
    assert not silent(hours6 + edge, cadence_s=6 * 3600, delays=delays)
    assert silent(hours6 + edge + 1, cadence_s=6 * 3600, delays=delays)


def test_freshness_is_off_for_what_does_not_change() -> None:
    """Files that are complete send nothing new, and that is well."""
    still = Watched("src", Rules(), Every(2 * HOUR), 2 * HOUR, 3 * DAY, alive=False)
    assert not silent(99 * DAY, watched=still)


def test_a_station_that_never_sent_counts_from_its_discovery() -> None:
    """It is not overdue on its first day of grace, and then it is."""
    for discovered, expected in ((NOW - 6 * HOUR, False), (NOW - 6 * HOUR - 1, True)):
        states = [partition(discovered_at=discovered)]
        found = seen(run(), partitions=states, series=[series("st", None)])
        assert ("freshness st" in found) is expected


def test_silence_says_nothing_while_the_loader_stood_still() -> None:
    """After a standstill the stations are judged by the first run that has ended, not before."""
    states, its = [partition()], [series("st", NOW - 2 * DAY)]
    verdict = judge(Situation(WATCHED, NOW, [run(None), run(ago=DAY)], states, its))
    assert not [f for f in verdict.findings if f.rule == "freshness"]
    assert "freshness" in verdict.unsaid
    assert "freshness st" in seen(run(), run(ago=DAY), partitions=states, series=its)


def test_the_interval_of_a_weekday_timetable_is_its_weekend() -> None:
    """Friday to Monday: a crontab line without weekends is not late on Sunday."""
    assert interval(Cron.parse("0 8 * * 1-5"), NOW) == 3 * DAY
    assert interval(Every(HOUR), NOW) == HOUR


def brought(
    new: int, failed: int = 0, ago: int = 0, *, late: int = 0, due: int = 0, **more: Any
) -> RunReport:
    """A run with so many new readings; `due` unless all that was due came."""
    counts = Counts(fetched=new, new=new, due=due or new, observed=new, failed=failed, late=late)
    return run(ago=ago, counts=counts, **more)


@pytest.mark.parametrize(
    ("new", "failed", "bad"), [(40, 13, False), (40, 14, True), (20, 20, True), (19, 19, False)]
)
def test_quality(new: int, failed: int, bad: bool) -> None:
    """Below 90, which it is when more than a third of twenty readings or more fail."""
    assert ("quality_below" in seen(brought(new, failed))) is bad


def test_what_is_missing_lowers_no_quality_unless_asked_to() -> None:
    """A run that had half of what was due scores 82.5 and alerts only where missing readings count; one
    whose readings fail alerts anyway."""
    counting = replace(WATCHED, rules=Rules.model_validate({"quality_below": {"at": 90, "missing": True}}))
    assert "quality_below" not in seen(brought(20, due=40))
    found = seen(brought(20, due=40), watched=counting)
    assert found["quality_below"].value == pytest.approx(82.5)
    found = seen(brought(20, 10, due=40))
    assert found["quality_below"].value == pytest.approx(85)
    said = "the newest 20 readings score 85.0, wanted 90, validity 50.0%"
    assert found["quality_below"].detail == said


def test_quality_is_of_enough_readings() -> None:
    """A source that brings one reading an hour is judged by twenty of them: neither one that fails nor one
    that is late alerts, and a run that brings nothing ends no alert."""
    good = [brought(1, ago=i * HOUR) for i in range(2, 30)]
    assert "quality_below" not in seen(brought(1, 1), brought(1, late=1, ago=HOUR), *good)
    bad = [brought(1, 1, ago=i * HOUR) for i in range(7)]
    assert "quality_below" in seen(*bad, *good)
    assert "quality_below" in seen(
        run(counts=Counts(fetched=9, due=9, observed=9, refetched=9)), *bad, *good
    )


def test_what_was_asked_for_by_hand_is_no_bad_quality() -> None:
    """A backfill over time that had been read before brings nothing but late readings."""
    assert "quality_below" not in seen(brought(40, 40, late=40, trigger="backfill"), brought(40))


def test_quality_counts_from_the_first_run_that_was_bad() -> None:
    """Runs that brought nothing are passed over; the row's beginning is when it became bad."""
    found = seen(run(), brought(20, 20, HOUR), brought(20, 10, 2 * HOUR), brought(20, 0, 3 * HOUR))
    assert (found["quality_below"].count, round(found["quality_below"].value or 0)) == (2, 70)
    assert found["quality_below"].since == NOW - 2 * HOUR


@pytest.mark.parametrize(("seconds", "bad"), [(60.0, False), (60.001, True)])
def test_slow_request(seconds: float, bad: bool) -> None:
    """Longer than a minute."""
    assert ("slow_request" in seen(run(slowest_request_s=seconds))) is bad


@pytest.mark.parametrize(
    ("runs", "bad"),
    [
        ([(20, 2)], False),
        ([(20, 3)], True),
        ([(19, 19)], False),
        ([(10, 2), (10, 0)], False),
        ([(10, 2), (10, 1)], True),
        ([(20, 0), (20, 20)], False),
        ([(19, 0), (20, 20)], True),
        ([], False),
    ],
)
def test_error_rate(runs: list[tuple[int, int]], bad: bool) -> None:
    """More than a tenth of the newest requests, of as many runs as it takes to see twenty."""
    made = [run(counts=Counts(requests=n, errors=e)) for n, e in runs]
    assert ("error_rate" in seen(*made)) is bad


def test_an_outage_is_told_by_one_rule() -> None:
    """Requests of runs that failed as a whole are no second alert, and hide none from before."""
    failed = [run(Outcome.FAILED, error="no", counts=Counts(requests=20, errors=20)) for _ in range(3)]
    before = run(counts=Counts(requests=20, errors=3))
    assert set(seen(*failed)) == {"failures"}
    assert set(seen(*failed, before)) == {"failures", "error_rate"}


@pytest.mark.parametrize(("rejected", "bad"), [(5, False), (6, True)])
def test_quarantined(rejected: int, bad: bool) -> None:
    """More than 5 % of what was fetched; a run that fetched nothing is passed over."""
    counts = Counts(fetched=100, quarantined=rejected)
    assert ("quarantined" in seen(run(), run(counts=counts))) is bad


def test_missed() -> None:
    """Since the run before the newest one that took place; skipped runs do not count as such."""
    missed, skipped, ok = Outcome.MISSED, Outcome.SKIPPED, Outcome.OK

    def number(*outcomes: Outcome) -> int:
        found = seen(*(run(o) for o in outcomes)).get("missed")
        return found.count if found else 0

    assert number(ok, ok) == 0
    assert number(ok, missed, missed, ok, missed) == 2
    assert number(missed, ok, skipped, missed, ok) == 2
    assert number(ok, ok, missed, ok) == 0
    assert number(missed) == 1


def test_missed_has_its_number() -> None:
    """Below it the runs are only counted."""
    rules = SourceRules.model_validate({"missed": 2}).over(Rules())
    watched = Watched("src", rules, Every(HOUR), HOUR, DAY)
    assert not seen(run(Outcome.MISSED), watched=watched)["missed"].broken
    assert seen(run(Outcome.MISSED), run(Outcome.MISSED), watched=watched)["missed"].broken


def test_a_source_has_rules_of_its_own() -> None:
    """Numbers, severities and switches; the severity that is not named stays."""
    own = SourceRules.model_validate({"failures": 1, "quality_below": {"at": 50, "enabled": False}})
    watched = Watched("src", own.over(Rules()), Every(HOUR), HOUR, DAY)
    found = seen(run(Outcome.FAILED, counts=brought(20, 20).counts), watched=watched)
    assert found["failures"].broken
    assert found["failures"].severity is Severity.CRITICAL
    assert "quality_below" not in found


def test_a_rule_keeps_what_is_not_named_of_it() -> None:
    """A number alone leaves the severity, a severity alone the number; so does a file's text."""
    rules = Rules.model_validate(
        {"failures": 5, "store": {"severity": "warning"}, "memory": "1GB", "missed": {"enabled": False}},
        context={"file": True},
    )
    assert (rules.failures.at, rules.failures.severity) == (5, Severity.CRITICAL)
    assert (rules.store.at, rules.store.severity) == (60 * SECOND, Severity.WARNING)
    assert (rules.memory.at, rules.quality_below.at) == (1 << 30, 90)
    assert (rules.missed.at, rules.missed.enabled) == (1, False)


def test_limits_that_last() -> None:
    """One finding a series, of the higher level; what has ended is none."""
    one = series("st", NOW)

    def event(level: Severity, ended: int | None = None) -> LimitEvent:
        return LimitEvent(one.id, level, 35.0, NOW - HOUR, ended, 80.0, 3)

    warning, critical = event(Severity.WARNING), event(Severity.CRITICAL)
    for events in ([warning, critical], [critical, warning]):
        found = seen(run(), series=[one], events=events)["limit st pm25 (s-st)"]
        assert (found.severity, found.since, found.value) == (Severity.CRITICAL, NOW - HOUR, 80.0)
    assert seen(run(), series=[one], events=[event(Severity.WARNING, NOW)]) == {}


def machine(alerting: Sequence[str] = (), **more: int) -> list[str]:
    return [f.rule for f in judge_machine(Machine(**more), Rules(), alerting)]


def test_memory_and_disk() -> None:
    """More than 400 MB, less than a tenth; what is not known is not judged."""
    assert machine(resident=400 << 20) == []
    assert machine(resident=(400 << 20) + 1) == ["memory"]
    assert machine(disk_free=100, disk_total=1000) == []
    assert machine(disk_free=99, disk_total=1000) == ["disk_free"]
    assert machine() == []


def test_memory_and_disk_have_to_be_well_back() -> None:
    """What crosses its limit every few seconds is one alert: 5 % back ends it."""
    assert machine(["memory"], resident=390 << 20) == ["memory"]
    assert machine(["memory"], resident=380 << 20) == []
    assert machine(["disk_free"], disk_free=104, disk_total=1000) == ["disk_free"]
    assert machine(["disk_free"], disk_free=106, disk_total=1000) == []


def standing(series_id: int, detector: str, *, alerting: bool = True, since: int = NOW) -> Standing:
    return Standing(series_id, detector, alerting, 1, since, NOW, f"{detector}: 3 anomalies")


OZONE = StoredSeries(1, "src", Series("s1", "o3", "ppm", "st", "s1", name="Harbour"), NOW - DAY, NOW)


def test_a_series_that_stands_alerting_is_told_once() -> None:
    """Two detectors make one alert of one series, since the first of them; what stands well makes none."""
    found = seen(
        series=[OZONE],
        standings=[
            standing(1, "unit_scale", since=NOW - HOUR),
            standing(1, "robust_zscore", since=NOW - 2 * HOUR),
            standing(1, "zscore", alerting=False),
        ],
    )
    one = found.pop("anomaly st Harbour o3 (s1)")
    assert not found
    assert (one.since, one.broken, one.severity) == (NOW - 2 * HOUR, True, Severity.WARNING)
    assert one.detail == "robust_zscore: 3 anomalies; unit_scale: 3 anomalies"


def test_drift_has_a_rule_of_its_own() -> None:
    """A drifting series is told by the rule drift, not by anomaly; a series that is gone is not told."""
    found = seen(series=[OZONE], standings=[standing(1, "drift"), standing(2, "drift")])
    assert list(found) == ["drift st Harbour o3 (s1)"]


@pytest.mark.parametrize("rule", ["anomaly", "drift"])
def test_the_rules_of_standings_can_be_turned_off_and_made_critical(rule: str) -> None:
    """Each by itself, for all sources or for one."""
    stands = [standing(1, "drift"), standing(1, "zscore")]
    rules = SourceRules.model_validate({rule: {"enabled": False}}).over(Rules())
    off = Watched("src", rules, Every(2 * HOUR), 2 * HOUR, 3 * DAY)
    assert not [key for key in seen(watched=off, series=[OZONE], standings=stands) if key.startswith(rule)]
    rules = Rules.model_validate({rule: {"severity": "critical"}})
    loud = Watched("src", rules, Every(2 * HOUR), 2 * HOUR, 3 * DAY)
    told = seen(watched=loud, series=[OZONE], standings=stands)
    assert {key.split()[0]: one.severity for key, one in told.items()}[rule] is Severity.CRITICAL

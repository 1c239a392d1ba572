"""The rule `failing_sensor` at its boundaries."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from loader.alerts.rules import judge
from loader.alerts.seriesrules import lately
from loader.alerts.situation import Finding, Lately, Situation, Watched
from loader.alerts.wording import command, figure
from loader.findings import QualityDay
from loader.journal import Alert, Phase, Severity
from loader.readings import DAY, HOUR, Series
from loader.records import StoredSeries
from loader.schedule import Every
from loader.settings.alerting import Rules, SourceRules

TODAY = 20_000 * DAY
NEWEST = TODAY + 6 * HOUR
HARBOUR = Series("s1", "o3", "ppm", "st", "s1", name="Harbour")
SERIES = [StoredSeries(1, "src", HARBOUR, TODAY - 9 * DAY, NEWEST)]


def day(
    ago: int, good: int = 0, bad: int = 0, missing: int = 0, number: int = 1, **more: int
) -> QualityDay:
    return QualityDay(number, TODAY - ago * DAY, good=good, failed=bad, missing=missing, **more)


def seen(days: Iterable[QualityDay], rules: Rules | None = None, *alerting: str) -> dict[str, Finding]:
    """The findings by subject."""
    watched = Watched("src", rules or Rules(), Every(HOUR), HOUR, DAY)
    standing = {("failing_sensor", subject) for subject in alerting}
    bad = tuple(lately(days, NEWEST))
    found = judge(Situation(watched, NEWEST, series=SERIES, lately=bad, alerting=standing)).findings
    assert {one.rule for one in found} <= {"failing_sensor"}
    return {one.subject: one for one in found}


STATION = "st Harbour o3 (s1)"


@pytest.mark.parametrize(
    ("days", "bad"),
    [
        ([day(1, bad=24), day(0, bad=6)], True),
        ([day(1, missing=24), day(0, missing=6)], True),
        ([day(1, good=3, bad=21), day(0, bad=3, missing=3)], True),
        ([day(1, good=4, bad=20), day(0, bad=3, missing=3)], False),
        ([day(1, suspect=24), day(0, suspect=6)], False),
        ([day(1, unevaluated=24), day(0, unevaluated=6)], False),
        ([day(1, suspect=12, bad=12), day(0, bad=6)], False),
        ([day(2, good=24), day(1, bad=24), day(0, bad=6)], True),
        ([day(1, good=24), day(0, bad=24)], False),
        ([day(0, bad=20)], True),
        ([day(0, bad=19)], False),
        ([day(3, good=8), day(2, bad=8), day(1, bad=8), day(0, bad=4)], True),
        ([day(3, good=8), day(2, bad=8), day(1, bad=8), day(0, bad=3)], False),
        ([day(4, bad=24), day(3, bad=24), *(day(ago, due=24) for ago in (2, 1, 0))], True),
        ([day(5, bad=24), day(4, bad=24), *(day(ago, due=24) for ago in (3, 2, 1, 0))], False),
        ([], False),
    ],
)
def test_when_a_sensor_fails(days: list[QualityDay], bad: bool) -> None:
    """Nine in ten of its newest two days, or of as many as hold twenty readings, failed or have no value;
    suspect and unevaluated ones do not count, nor does a series that is gone."""
    assert bool(seen(days)) == bad


def test_each_series_is_judged_by_itself() -> None:
    """A good one beside it, and one that is not known any more, change nothing; the finding has its
    figures."""
    days = [day(1, bad=22, missing=2), day(0, good=1, bad=5)]
    others = [day(ago, good=24, number=2) for ago in (1, 0)] + [
        day(ago, bad=24, number=3) for ago in (1, 0)
    ]
    assert list(lately(days + others, NEWEST)) == [
        Lately(1, TODAY - DAY, 30, 27, 2),
        Lately(3, TODAY - DAY, 48, 48, 0),
    ]
    (found,) = seen(days + others).values()
    assert found == Finding(
        "src",
        "failing_sensor",
        STATION,
        Severity.WARNING,
        True,
        since=TODAY - DAY,
        value=29 / 30,
        detail="of its newest 30 readings 27 failed and 2 have no value",
    )
    alert = Alert(*found.key, Phase.ALERTING, Severity.WARNING, 1, 0, 0, value=found.value)
    assert figure(alert) == "96.7%"
    assert command(found.rule, ["src"]) == "loader quality --by series --since 2d --source src"


def test_a_share_that_wavers_is_one_alert() -> None:
    """What began at 90 % is over below 85.5 %."""
    days = [day(1, good=12, bad=76), day(0, bad=0, missing=0, good=0)]
    assert seen(days) == {}
    assert list(seen(days, None, STATION)) == [STATION]
    assert seen([day(1, good=15, bad=85)], None, STATION) == {}


def test_it_has_its_number_and_can_be_turned_off() -> None:
    """For all sources or for one; at 0 a series without a bad reading is none."""
    half, good = [day(1, good=12, bad=12)], [day(1, good=24)]
    assert not seen(half)
    assert seen(half, Rules.model_validate({"failing_sensor": 0.5}))
    loud = Rules.model_validate({"failing_sensor": {"at": 0, "severity": "critical"}})
    assert not seen(good, loud)
    assert seen(half, loud)[STATION].severity is Severity.CRITICAL
    off = SourceRules.model_validate({"failing_sensor": {"enabled": False}}).over(loud)
    assert not seen(half, off)

"""The rules about values: limits, anomalies, drift, sensors that fail. Pure functions of a Situation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from loader.alerts.machine import BACK
from loader.alerts.situation import Finding, Lately, Situation
from loader.alerts.wording import one_line
from loader.findings import QualityDay, Standing, day_of
from loader.journal import Severity
from loader.quality.drift import DRIFT
from loader.readings import DAY

WEEK = 7 * DAY
"""A sensor is judged by no days further back, from the source's newest reading."""

DAYS = 2
"""It is judged by at least so many of its newest days,"""

ENOUGH = 20
"""and by as many as it takes to see so many readings."""

GONE = 3 * DAY
"""Nothing is said of a series whose newest day is longer before the source's newest."""


def anomaly(s: Situation) -> list[Finding]:
    """Series that stand alerting with a detector of anomalies; of several the first is told."""
    return _standing(s, "anomaly", [one for one in s.standings if one.detector != DRIFT])


def drift(s: Situation) -> list[Finding]:
    """Series that stand alerting by their drift."""
    return _standing(s, "drift", [one for one in s.standings if one.detector == DRIFT])


def _standing(s: Situation, rule: str, standings: Sequence[Standing]) -> list[Finding]:
    """One alert a series: by which detectors, in the order in which they began."""
    severity: Severity = getattr(s.rules, rule).severity
    names = {one.id: one.series for one in s.series}
    found: dict[str, Finding] = {}
    for one in sorted(standings, key=lambda each: (each.since, each.detector)):
        series = names.get(one.series_id)
        if series is None or not one.alerting:
            continue
        subject = s.of_series(series)
        first = found.get(subject)
        if first is not None:
            found[subject] = replace(first, detail=one_line(f"{first.detail}; {one.detail}"))
            continue
        found[subject] = Finding(
            s.watched.name,
            rule,
            subject,
            severity,
            True,
            since=one.since,
            detail=one_line(one.detail),
        )
    return [found[subject] for subject in sorted(found)]


def lately(days: Iterable[QualityDay], newest: int) -> Iterator[Lately]:
    """What is bad of the newest days of each series, of the days by series and day; of a series that
    left, has too few readings, or none that is bad, nothing. `newest` is the time of the source's newest
    reading."""
    for number, group in groupby(days, lambda day: day.series_id):
        own = [day for day in group if day.readings]
        if not own or own[-1].day < day_of(newest) - GONE:
            continue
        first, readings = len(own), 0
        while first and (readings < ENOUGH or first > len(own) - DAYS):
            first -= 1
            readings += own[first].readings
        failed, missing = sum(d.failed for d in own[first:]), sum(d.missing for d in own[first:])
        if readings >= ENOUGH and failed + missing:
            yield Lately(number, own[first].day, readings, failed, missing)


def failing_sensor(s: Situation) -> list[Finding]:
    """Series whose newest readings nearly all failed or have no value. Suspect ones can be used with
    care, and those that no rule looked at may be good: neither counts."""
    rule, names = s.rules.failing_sensor, {one.id: one.series for one in s.series}
    found = []
    for one in s.lately:
        series = names.get(one.series_id)
        if series is None:
            continue
        subject, share = s.of_series(series), (one.failed + one.missing) / one.readings
        # A share that wavers about its limit is one alert.
        at = rule.at * (1 - BACK) if ("failing_sensor", subject) in s.alerting else rule.at
        if share >= at:
            counts = f"{one.failed:,} failed and {one.missing:,} have no value"
            found.append(
                Finding(
                    s.watched.name,
                    "failing_sensor",
                    subject,
                    rule.severity,
                    True,
                    since=one.since,
                    value=share,
                    detail=f"of its newest {one.readings:,} readings {counts}",
                )
            )
    return sorted(found, key=lambda finding: finding.subject)


def limits(s: Situation) -> list[Finding]:
    """Series that are beyond a limit now; of two levels the higher one counts."""
    names = {one.id: one.series for one in s.series}
    found: dict[str, Finding] = {}
    for event in s.events:
        series = names.get(event.series_id)
        if series is None or event.to_time is not None:
            continue
        subject = s.of_series(series)
        if subject in found and event.level is not Severity.CRITICAL:
            continue
        found[subject] = Finding(
            s.watched.name,
            "limit",
            subject,
            event.level,
            True,
            since=event.from_time,
            value=event.peak,
            detail=one_line(f"up to {event.peak:g} {series.unit}, the limit is {event.threshold:g}"),
        )
    return [found[subject] for subject in sorted(found)]

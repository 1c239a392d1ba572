"""The rules about values: limits, anomalies, drift. Pure functions of a Situation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loader.alerts.situation import Finding, Situation
from loader.alerts.wording import one_line
from loader.findings import Standing
from loader.journal import Severity
from loader.quality.drift import DRIFT


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

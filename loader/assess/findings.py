"""Anomalies and drift of one series, and where it then stands with each detector. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from loader.findings import FoundAnomaly, FoundDrift, Standing
from loader.quality.anomaly import LARGEST, Anomaly, Detector, Judged, among, anomalous
from loader.quality.anomalyrule import AlertRule, AlertState, after_run
from loader.quality.drift import DRIFT, YEAR, Against, Drift, DriftRule, DriftState, after_comparison, drift
from loader.readings import DAY, SECOND, Float64, Int64, Window
from loader.settings.analysis import AnomalySettings, DriftSettings

CATCH_UP = 7
"""Days of drift that are compared afterwards, where an assessment did not come by daily."""

Stored = frozenset[int]
"""Times of a series' anomalies by one detector that are stored already."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a detector found of a series: in `window`, `anomalies` replace what is stored."""

    window: Window
    anomalies: tuple[FoundAnomaly, ...]
    standing: Standing


def moment(time: int) -> str:
    """A time as people read it."""
    return datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """What is new of one series to a detector.

    times, values   ascending; context and readings, NaN where a detector must not use them
    window          which of them to judge; it ends with the newest one
    before, stored  where the series stood, and its anomalies that are known
    """

    series_id: int
    unit: str
    times: Int64
    values: Float64
    window: Window
    before: Standing | None
    stored: Stored


def judge(detector: Detector, rule: AlertRule, fresh: Sequence[Fresh]) -> list[Verdict]:
    """Judge what is new of each series. Most of what that costs is the same for one reading as for
    many: so the series are laid one behind the other, further apart than the detector reaches."""
    moved, after, end = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for one in fresh:
        if len(one.times):
            # By whole reaches: these are whole cells.
            by = (end - int(one.times[0])) // detector.reach * detector.reach + 2 * detector.reach
            moved.append(one.times + by)
            after.append(np.full(len(one.times), one.window.start + by))
            end = int(one.times[-1]) + by
    values = np.concatenate([np.empty(0), *(one.values for one in fresh)])
    judged = detector.judge(np.concatenate(moved), values, None, np.concatenate(after))
    known, odd = np.isfinite(judged.score), anomalous(detector, judged.score)
    verdicts, start = [], 0
    for one in fresh:
        part = slice(start, start + len(one.times))
        start = part.stop
        found: list[Anomaly] = []
        if odd[part].any():
            its = Judged(judged.score[part], judged.expected[part], judged.distance[part])
            found = among(detector, its, one.times, one.values)
        verdicts.append(
            verdict(
                detector,
                rule,
                one.series_id,
                found=found,
                judged=one.times[known[part]],
                sensors=(one.series_id,),
                units=(one.unit,),
                window=one.window,
                before=one.before,
                stored=one.stored,
            )
        )
    return verdicts


def verdict(
    detector: Detector,
    rule: AlertRule,
    series_id: int,
    *,
    found: Sequence[Anomaly],
    judged: Int64,
    sensors: Sequence[int],
    units: Sequence[str],
    window: Window,
    before: Standing | None,
    stored: Stored,
) -> Verdict:
    """What is written about a series. `sensors` and `units` are the series ids that the parts of the
    anomalies count by, and their units; `judged` the times in the window that have a score.

    An anomaly counts once for the alert: in the run that found it, and no more where the same
    reading is judged again because one before it has changed.
    """
    before = before or Standing(series_id, detector.name, False, 0, window.end, window.start)
    fresh = sum(one.time not in stored for one in found)
    news = int(np.count_nonzero(judged > before.seen)) + fresh
    state = after_run(rule, AlertState(before.alerting, before.latest), news, fresh)
    rows = tuple(_row(series_id, one, sensors, detector) for one in found)
    changed = state.alerting != before.alerting
    return Verdict(
        window,
        rows,
        Standing(
            series_id,
            detector.name,
            state.alerting,
            state.latest,
            window.end if changed else before.since,
            max(window.end, before.seen),
            _told(detector, found, units) if fresh else before.detail,
        ),
    )


def _row(series_id: int, one: Anomaly, ids: Sequence[int], detector: Detector) -> FoundAnomaly:
    parts = [
        {
            "series_id": ids[part.sensor],
            "value": _short(part.value),
            "expected": _short(part.expected),
            "distance": _short(part.distance),
        }
        for part in one.parts
    ]
    explanation = json.dumps({"distance": detector.distance, "parts": parts})
    return FoundAnomaly(series_id, one.time, one.detector, one.version, one.score, explanation)


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _told(detector: Detector, found: Sequence[Anomaly], units: Sequence[str]) -> str:
    """A sentence for the alert: how many, and the newest of them."""
    newest = found[-1]
    worst = newest.parts[0]
    unit = units[worst.sensor]
    count = "1 anomaly" if len(found) == 1 else f"{len(found)} anomalies"
    return (
        f"{detector.name}: {count}, the newest at {moment(newest.time)}: "
        f"{worst.value:.6g} {unit} where {worst.expected:.4g} was expected, "
        f"{abs(worst.distance):.3g} {detector.distance}"
    )


def comparisons(seen: int | None, newest: int) -> list[int]:
    """The midnights at which a comparison is due, ascending; after a pause the newest ones alone."""
    last = newest // DAY * DAY
    first = max(last - (CATCH_UP - 1) * DAY, last if seen is None else seen + DAY)
    return list(range(first, last + 1, DAY))


def reference(
    rule: DriftRule, settings: DriftSettings, first: int, ends: Sequence[int]
) -> tuple[Against, Window]:
    """What the weeks up to `ends` are compared with, and when that was."""
    window = Window(ends[0] - rule.window - YEAR - rule.window, ends[-1] - YEAR + rule.window)
    season = settings.against == "season" or (settings.against == "auto" and first <= window.start)
    if season:
        return Against.SEASON, window
    return Against.FIRST, Window(first - 1, first - 1 + rule.reference)


@dataclass(frozen=True, slots=True)
class Drifting:
    """What was found of a series' drift."""

    found: tuple[FoundDrift, ...]
    standing: Standing


def drifted(
    rule: DriftRule,
    against: Against,
    series_id: int,
    times: Int64,
    values: Float64,
    *,
    ends: Sequence[int],
    first: int,
    before: Standing | None,
) -> Drifting:
    """Compare the weeks up to each of `ends`; of the values only usable ones may be there."""
    before = before or Standing(series_id, DRIFT, False, 0, ends[0], ends[0])
    state, since, detail = DriftState(before.alerting, before.latest), before.since, before.detail
    rows = []
    for end, found in zip(ends, drift(rule, against, times, values, ends=ends, first=first), strict=True):
        then = after_comparison(rule, state, found)
        if then.alerting != state.alerting:
            since = end
        state = then
        if found is not None:
            row = _drift_row(series_id, end, against, found)
            rows.append(row)
            detail = _drift_told(row, rule) if row.drifting else detail
    standing = Standing(series_id, DRIFT, state.alerting, state.in_a_row, since, ends[-1], detail)
    return Drifting(tuple(rows), standing)


def _cut(value: float) -> float:
    """Further out is no further; and no infinity in a table."""
    return float(np.clip(value, -LARGEST, LARGEST))


def _drift_row(series_id: int, end: int, against: Against, found: Drift) -> FoundDrift:
    return FoundDrift(
        series_id,
        end,
        str(against),
        found.reference,
        found.current,
        found.ks,
        found.psi,
        _cut(found.shift),
        _cut(found.scale),
        found.drifting,
    )


def _drift_told(found: FoundDrift, rule: DriftRule) -> str:
    usual = "its first weeks" if found.against == Against.FIRST else "the same weeks of the year before"
    return (
        f"the {rule.window // DAY} days to {moment(found.time)} against {usual}: median moved by "
        f"{found.shift:.3g} robust standard deviations, spread times {found.scale:.3g}, "
        f"PSI {found.psi:.2g} (from {rule.psi:g} on), KS {found.ks:.2f} (from {rule.ks:g} on)"
    )


def first_judged(
    settings: AnomalySettings, newest: int, changed: int, standings: Mapping[str, Standing]
) -> dict[str, int]:
    """By detector, after which time it has to judge: where something changed, or where it stopped,
    and never further back than the configured history."""
    oldest = newest - settings.history
    found = {}
    for detector in settings.chosen:
        standing = standings.get(detector.name)
        begun = oldest if standing is None else min(standing.seen, changed)
        found[detector.name] = max(oldest, begun)
    return found

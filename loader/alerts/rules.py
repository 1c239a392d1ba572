"""The rules of a source: what is not well with it. Pure functions of a Situation; spans in
microseconds, times in microseconds UTC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from loader.alerts.freshness import silent
from loader.alerts.seriesrules import anomaly, drift, failing_sensor, limits
from loader.alerts.situation import Finding, Situation, Verdict
from loader.alerts.wording import lasting, one_line
from loader.contracts import DIED
from loader.journal import Severity
from loader.quality.score import components, rounded_down, score
from loader.readings import SECOND, PartitionState
from loader.records import Counts, Outcome, RunReport

ENOUGH_REQUESTS = 20
"""The share of failed requests is taken over at least so many."""

ENOUGH_READINGS = 20
"""A score is taken over at least so many."""

NO_WAY = ("cannot be resolved", "no connection", "the proxy does not answer")
"""How the errors read that say there is no way to a server: `loader.transport` writes them."""

NETWORK = "the network"
STANDSTILL = "the loader, which did not run"


def judge(situation: Situation) -> Verdict:
    """Apply every rule that is on."""
    findings: list[Finding] = []
    unsaid: set[str] = set()
    rules = situation.rules
    if rules.failures.enabled:
        failing = failures(situation)
        findings += failing
        if failing:
            unsaid.add("failures")
        else:
            findings += failing_stations(situation)
    if rules.freshness.enabled and situation.watched.alive:
        late = freshness(situation)
        findings += late or ()
        if late is None:
            unsaid.add("freshness")
    for rule in (
        quality_below,
        slow_request,
        error_rate,
        quarantined,
        missed,
        anomaly,
        drift,
        failing_sensor,
    ):
        if getattr(rules, rule.__name__).enabled:
            findings += rule(situation)
    findings += limits(situation)
    return Verdict(tuple(findings), frozenset(unsaid))


def counts_as_failed(run: RunReport) -> bool:
    """A run that failed, or whose process died."""
    return run.outcome is Outcome.FAILED or (run.outcome is Outcome.INTERRUPTED and run.error == DIED)


def failed_in_a_row(runs: Sequence[RunReport]) -> list[RunReport]:
    """The failures since the newest run of the source that did not fail, the newest first. What was
    skipped, missed, or interrupted by a signal neither adds nor resets; a replay does not ask the
    source and says nothing of it."""
    row = []
    for run in runs:
        if counts_as_failed(run):
            row.append(run)
        elif run.outcome in (Outcome.OK, Outcome.PARTIAL) and run.trigger != "replay":
            break
    return row


def failures(s: Situation) -> list[Finding]:
    """Runs of the whole source that failed in a row."""
    rule, row = s.rules.failures, failed_in_a_row(s.runs)
    if not row:
        return []
    error = next((run.error for run in row if run.error), "no reason was recorded")
    cause = NETWORK if any(sign in error for sign in NO_WAY) else ""
    return [
        Finding(
            s.watched.name,
            "failures",
            "",
            rule.severity,
            len(row) >= rule.at,
            len(row),
            row[-1].started,
            float(len(row)),
            f"last error: {one_line(error)}",
            cause,
        )
    ]


def failing_stations(s: Situation) -> list[Finding]:
    """Stations with a partition that failed in each of the newest runs that read it."""
    rule = s.rules.failures
    found: dict[str, PartitionState] = {}
    for state in s.partitions:
        if state.failures > 0 and (
            state.station not in found or state.failures > found[state.station].failures
        ):
            found[state.station] = state
    return [
        Finding(
            s.watched.name,
            "failures",
            s.subject(station),
            rule.severity,
            state.failures >= rule.at,
            state.failures,
            None,
            float(state.failures),
            f"last error: {one_line(state.last_error or 'no reason was recorded')}",
        )
        for station, state in sorted(found.items())
    ]


def freshness(s: Situation) -> list[Finding] | None:
    """Stations with nothing new for too long; None while the loader itself has not read the source
    to its end lately, so that their silence says nothing."""
    timetable, rule = s.watched.timetable, s.rules.freshness
    looked = max(
        (r.finished for r in s.runs if r.finished is not None and has_read(r)),
        default=None,
    )
    if looked is None or timetable.after(timetable.after(looked)) <= s.now:
        return None
    found = silent(
        s.partitions,
        s.series,
        timetable=timetable,
        lookback_min=s.watched.lookback_min,
        times=rule.at,
        now=s.now,
    )
    return [
        Finding(
            s.watched.name,
            "freshness",
            s.subject(one.station),
            rule.severity,
            True,
            since=one.overdue_at,
            value=(s.now - one.newest) / SECOND,
            detail=one_line(one.text),
        )
        for one in found
    ]


def has_read(run: RunReport) -> bool:
    """Whether the run asked the source for what is new, and came to its end."""
    return run.outcome in (Outcome.OK, Outcome.PARTIAL) and run.of_schedule


Figure = Callable[[RunReport], float | None]


def _row(runs: Sequence[RunReport], figure: Figure, bad: Callable[[float], bool]) -> list[RunReport]:
    """The newest runs in a row whose figure is bad; those that have none are passed over."""
    row = []
    for run in runs:
        value = figure(run) if run.finished is not None else None
        if value is None:
            continue
        if not bad(value):
            break
        row.append(run)
    return row


def _of_row(
    s: Situation, rule: str, row: list[RunReport], figure: Figure, detail: Callable[[RunReport], str]
) -> list[Finding]:
    if not row:
        return []
    severity: Severity = getattr(s.rules, rule).severity
    newest, oldest = row[0], row[-1]
    return [
        Finding(
            s.watched.name,
            rule,
            "",
            severity,
            True,
            len(row),
            oldest.finished,
            figure(newest),
            f"run {newest.id}: {detail(newest)}",
        )
    ]


def quality_below(s: Situation) -> list[Finding]:
    """The score of what the newest runs brought is too low, taken as if nothing had been missing: of
    silence tells `freshness`, while it lasts and once. Of as many runs as it takes to see enough
    readings: one bad reading is no bad source, and a run that brought nothing ends no alert."""
    rule = s.rules.quality_below
    runs = [run for run in s.runs if run.of_schedule and run.finished is not None and _written(run.counts)]
    row: list[tuple[RunReport, Counts, float]] = []
    for i, run in enumerate(runs):
        counts = _sample(runs[i:])
        found = counts and score(
            counts if rule.missing else replace(counts, observed=counts.due), s.watched.weights
        )
        if not counts or not found or found.total >= rule.at:
            break
        row.append((run, counts, found.total))
    if not row:
        return []
    _, counts, total = row[0]
    shares = asdict(components(counts))
    if not rule.missing:
        del shares["completeness"]
    low = sorted((share, name) for name, share in shares.items() if share is not None and share < 0.9995)
    parts = "".join(f", {name} {share:.1%}" for share, name in low)
    return [
        Finding(
            s.watched.name,
            "quality_below",
            "",
            rule.severity,
            True,
            len(row),
            row[-1][0].finished,
            total,
            f"the newest {_written(counts):,} readings score {rounded_down(total)}, "
            f"wanted {rule.at:g}{parts}",
        )
    ]


def _written(counts: Counts) -> int:
    return counts.new + counts.revised


def _sample(runs: Sequence[RunReport]) -> Counts | None:
    """What the newest of these runs counted that together wrote enough readings; None where all of them
    did not."""
    total = Counts()
    for run in runs:
        total += run.counts
        if _written(total) >= ENOUGH_READINGS:
            return total
    return None


def slow_request(s: Situation) -> list[Finding]:
    """The slowest request of the newest run that sent any took too long."""

    def figure(run: RunReport) -> float | None:
        return run.slowest_request_s

    at = s.rules.slow_request.at
    row = _row(s.runs, figure, lambda seconds: seconds * SECOND > at)
    return _of_row(
        s,
        "slow_request",
        row,
        figure,
        lambda run: f"slowest request {run.slowest_request_s:.1f} s, at most {lasting(at)} is wanted",
    )


def quarantined(s: Situation) -> list[Finding]:
    """Too many records of the newest run that fetched any were rejected."""

    def figure(run: RunReport) -> float | None:
        return run.counts.quarantined / run.counts.fetched if run.counts.fetched else None

    at = s.rules.quarantined.at
    row = _row(s.runs, figure, lambda share: share > at)
    return _of_row(
        s,
        "quarantined",
        row,
        figure,
        lambda run: f"{run.counts.quarantined:,} of {run.counts.fetched:,} records were rejected",
    )


def error_rate(s: Situation) -> list[Finding]:
    """Too many of the newest requests failed: of the runs that it takes to see enough of them. Runs
    that failed as a whole are another rule's business; this one would only tell it twice."""
    requests = errors = 0
    rule, oldest = s.rules.error_rate, None
    for run in s.runs:
        if requests >= ENOUGH_REQUESTS:
            break
        if run.finished is not None and run.counts.requests and not counts_as_failed(run):
            requests += run.counts.requests
            errors += run.counts.errors
            oldest = run
    if oldest is None or requests < ENOUGH_REQUESTS or errors / requests <= rule.at:
        return []
    return [
        Finding(
            s.watched.name,
            "error_rate",
            "",
            rule.severity,
            True,
            since=oldest.started,
            value=errors / requests,
            detail=f"{errors:,} of the newest {requests:,} requests failed",
        )
    ]


def missed(s: Situation) -> list[Finding]:
    """Runs that were due and did not take place, since the run before the newest that did."""
    rule, seen, lost = s.rules.missed, 0, []
    for run in s.runs:
        if run.took_place:
            seen += 1
            if seen == 2:
                break
        elif run.outcome is Outcome.MISSED:
            lost.append(run)
    if not lost:
        return []
    times = "1 run" if len(lost) == 1 else f"{len(lost)} runs"
    first = min(run.started for run in lost)
    return [
        Finding(
            s.watched.name,
            "missed",
            "",
            rule.severity,
            len(lost) >= rule.at,
            len(lost),
            first,
            float(len(lost)),
            f"{times} did not take place; what was due then is read by the next one",
            STANDSTILL,
        )
    ]

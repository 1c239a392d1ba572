"""The words of a message: what failed, since when, how often, the last error, what was lost, and
the command that looks closer. Pure; every text goes through the mask of secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loader.journal import Alert, Notice, NoticeKind, Severity
from loader.log import redact
from loader.readings import SECOND

LISTED = 10
"""Subjects that a message names; it says how many more there are."""

LINE = 300
"""Characters of a line that comes from outside."""

STANDSTILL = (
    "nothing is loaded meanwhile, and nothing is lost: the next runs read on from where the last ended"
)
"""What a store that is away means."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_WHAT = {
    "failures": "runs keep failing",
    "quality_below": "the quality score is low",
    "freshness": "nothing new",
    "slow_request": "requests are slow",
    "error_rate": "many requests fail",
    "quarantined": "many records are rejected",
    "missed": "runs did not take place",
    "memory": "it takes much memory",
    "disk_free": "the store's disk is nearly full",
    "store": "the store is away",
    "limit": "values beyond their limit",
    "anomaly": "readings do not fit what was usual",
    "drift": "a series has become another",
    "failing_sensor": "nearly all readings of a sensor fail",
}
"""What a rule's message says in its title."""

_LOOK = {
    "failures": "loader runs --source {source}",
    "quality_below": "loader quality --by series --since 2d --source {source}",
    "freshness": "loader status --stations --source {source}",
    "slow_request": "loader runs --source {source}",
    "error_rate": "loader runs --source {source}",
    "quarantined": "loader quarantine list --source {source}",
    "missed": "loader runs --source {source}",
    "memory": "loader status",
    "disk_free": "loader check",
    "store": "loader check",
    "limit": "loader export --source {source} --since 1d",
    "anomaly": "loader anomalies --source {source}",
    "drift": "loader drift --source {source}",
    "failing_sensor": "loader quality --by series --since 2d --source {source}",
}

_OF_VALUES = ("limit", "anomaly", "drift", "failing_sensor")
"""Rules about values: they say nothing of how the loading goes."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell: about `members`, through `channels`. `still` are those of the same rule
    that last as well and have been told before."""

    id: str
    kind: NoticeKind
    members: tuple[Alert, ...]
    still: tuple[Alert, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Background:
    """What the messages say of a source besides the alert: a line on what was lost, and how many
    readings came in after a moment (end of run, new readings), the newest first."""

    lost: str = ""
    gained: tuple[tuple[int, int], ...] = ()

    def since(self, moment: int) -> int:
        return sum(new for finished, new in self.gained if finished > moment)


def one_line(text: str) -> str:
    """Text from outside as one short printable line without secrets."""
    # Masked before it is cut: half a secret would not be recognised.
    flat = " ".join(redact(text).split())
    if not flat.isprintable():
        flat = "".join(c if c.isprintable() else "?" for c in flat)
    return flat if len(flat) <= LINE else flat[: LINE - 3] + "..."


def moment(time: int) -> str:
    """Microseconds UTC to the second, as ISO 8601 with a Z."""
    try:
        at = _EPOCH + timedelta(seconds=time // SECOND)
    except OverflowError:
        return "beyond the calendar"
    return at.replace(tzinfo=None).isoformat() + "Z"


def lasting(span: int) -> str:
    """A span in its two largest units: `3 h 20 min`."""
    seconds = max(0, span) // SECOND
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def listing(names: Iterable[str], most: int = LISTED) -> str:
    """`a, b and 3 more`, each name once."""
    there = list(dict.fromkeys(names))
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return ", ".join(there[:most]) + more


def named(alert: Alert) -> str:
    """What an alert is about."""
    return alert.subject or alert.source or "loader"


def worst(alerts: Iterable[Alert]) -> Severity:
    """The highest severity among them."""
    critical = any(a.severity is Severity.CRITICAL for a in alerts)
    return Severity.CRITICAL if critical else Severity.WARNING


def notice(message: Message, now: int, background: Mapping[str, Background]) -> Notice:
    """Put a message into words."""
    members, first = message.members, message.members[0]
    sources = tuple(dict.fromkeys(a.source for a in members if a.source))
    subjects = tuple(dict.fromkeys(a.subject for a in members if a.subject))
    since = min(a.since for a in members)
    severity = worst(members)
    lines = _lines(message, now, background, sources)
    facts = [
        ("rule", first.rule),
        ("severity", "" if message.kind is NoticeKind.RECOVERY else str(severity)),
        ("sources", listing(sources)),
        ("about", listing(subjects)),
        ("since", moment(since)),
        ("value", "" if len(members) > 1 or message.kind is NoticeKind.RECOVERY else figure(first)),
        ("in common", first.cause),
    ]
    return Notice(
        id=message.id,
        kind=message.kind,
        severity=severity,
        rule=first.rule,
        sources=sources,
        subjects=tuple(map(one_line, subjects[:100])),
        title=one_line(_title(message, sources, subjects)),
        lines=tuple(one_line(line) for line in lines if line),
        facts=tuple((name, one_line(value)) for name, value in facts if value),
        # Which station fails stands in no list of runs.
        command=one_line(command("freshness" if _of_stations(message) else first.rule, sources)),
        at=now,
        since=since,
    )


def test_notice(number: str, now: int) -> Notice:
    """What `loader alerts test` sends."""
    return Notice(
        id=number,
        kind=NoticeKind.TEST,
        severity=Severity.WARNING,
        rule="test",
        sources=(),
        subjects=(),
        title="loader: this is a test",
        lines=("Nothing is wrong: somebody asked for this message to see whether it arrives.",),
        facts=(("sent", moment(now)),),
        command="loader alerts list",
        at=now,
    )


def command(rule: str, sources: Sequence[str]) -> str:
    """The command that looks closer."""
    text = _LOOK.get(rule, "loader alerts list")
    if "{source}" in text and len(sources) == 1:
        return text.format(source=sources[0])
    return text.partition(" --source")[0] if rule != "limit" else "loader alerts list"


def figure(alert: Alert) -> str:
    """The figure that the rule looked at, for people; empty where there is none."""
    value = alert.value
    if value is None:
        return ""
    match alert.rule:
        case "freshness" | "store":
            return lasting(round(value) * SECOND)
        case "error_rate" | "quarantined" | "disk_free" | "failing_sensor":
            return f"{value:.1%}"
        case "memory":
            return f"{value / (1 << 20):,.0f} MB"
        case "slow_request":
            return f"{value:.1f} s"
        case _:
            return f"{value:.6g}"


def _of_stations(message: Message) -> bool:
    """Whether stations keep failing, of sources that otherwise go on."""
    return all(a.rule == "failures" and a.subject for a in message.members)


def _title(message: Message, sources: Sequence[str], subjects: Sequence[str]) -> str:
    rule, cause = message.members[0].rule, message.members[0].cause
    what = _WHAT.get(rule, rule)
    if _of_stations(message):
        what = "a station keeps failing" if len(subjects) == 1 else "stations keep failing"
    where = listing(sources, 3) or "loader"
    about = f" ({listing(subjects, 3)})" if subjects else ""
    common = f", all by {cause}" if cause and len(sources) > 1 else ""
    match message.kind:
        case NoticeKind.REMINDER:
            return f"{where}: still: {what}{about}{common}"
        case NoticeKind.RECOVERY:
            return f"{where}: well again, it was: {what}{about}"
        case _:
            return f"{where}: {what}{about}{common}"


def _lines(
    message: Message, now: int, background: Mapping[str, Background], sources: Sequence[str]
) -> list[str]:
    members = message.members
    lines = []
    over = message.kind is NoticeKind.RECOVERY
    for alert in members[:LISTED]:
        span = f"since {moment(alert.since)} ({lasting(now - alert.since)})"
        if over:
            ended = alert.updated if alert.count == 0 else now
            span = f"from {moment(alert.since)}, for {lasting(ended - alert.since)}"
        times = f", {alert.count} times in a row" if alert.count > 1 and not over else ""
        said = f": {alert.detail}" if alert.detail and not over else ""
        lines.append(f"{named(alert)} {span}{times}{said}")
    if len(members) > LISTED:
        lines.append(f"and {len(members) - LISTED} more")
    loading = sources[:LISTED] if members[0].rule not in _OF_VALUES else ()
    if over:
        for name in loading:
            since = min(a.since for a in members if a.source == name)
            caught = background.get(name, Background()).since(since)
            stored = "1 new reading was" if caught == 1 else f"{caught:,} new readings were"
            lines.append(f"{name}: {stored} stored since then")
    if members[0].rule == "store" and not over:
        lines.append(STANDSTILL)
    if message.still:
        lines.append(f"still not well: {listing(map(named, message.still))}")
    for name in loading:
        lost = background.get(name, Background()).lost
        lines.append(f"{name}: {lost}" if lost and len(sources) > 1 else lost)
    return lines

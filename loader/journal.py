"""What the journal keeps: requests for work, alerts and messages on their way, and who is muted.

Times are microseconds UTC. All of it is written without the lease, in short transactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad it is; routes messages."""

    WARNING = "warning"
    CRITICAL = "critical"


class RequestState(StrEnum):
    """Where a request stands. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (RequestState.DONE, RequestState.FAILED, RequestState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Request:
    """Work that a command asked the holder of a source's lease to do.

    `kind` is the command (backfill, replay, recheck, drop, prune, reset, forget), `arguments` what it was
    given, as JSON has it. `progress` is a line for people, kept up to date by whoever works it;
    `result` what came of it, `error` why it failed. `cancelling` asks the worker to end early.
    """

    id: int
    source: str
    kind: str
    arguments: Mapping[str, Any]
    asked_by: str
    queued_at: int
    state: RequestState = RequestState.QUEUED
    started: int | None = None
    finished: int | None = None
    progress: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    cancelling: bool = False


class Phase(StrEnum):
    """Where an alert stands; what is well has no row."""

    OK = "ok"
    FAILING = "failing"
    ALERTING = "alerting"


@dataclass(frozen=True, slots=True)
class Alert:
    """The state of one (source, rule, subject). `source` is empty for the loader itself;
    `subject` is a station, a series, or empty.

    count       times in a row that it was bad, by the rule's own measure
    since       when it became bad
    alerted_at  when it became an alert; None while it is only failing
    sent        messages queued about it so far, reminders included
    last_sent   when the last of them was queued
    notice      id of the message that announced it; None while muted or failing
    cause       what several sources may have in common (network, store); empty otherwise
    value       the figure that the rule looked at
    detail      one line for people
    """

    source: str
    rule: str
    subject: str
    phase: Phase
    severity: Severity
    count: int
    since: int
    updated: int
    alerted_at: int | None = None
    sent: int = 0
    last_sent: int | None = None
    notice: str | None = None
    cause: str = ""
    value: float | None = None
    detail: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.source, self.rule, self.subject)


class NoticeKind(StrEnum):
    """Why a message is sent."""

    ALERT = "alert"
    REMINDER = "reminder"
    RECOVERY = "recovery"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """A message, before a channel puts it into its own form.

    `id` stays the same however often it is sent: receivers drop repetitions by it. `title` is
    one line; `lines` say what failed, since when, how often, the last error, whether anything was
    lost; `facts` are (name, value) pairs for a table; `command` looks closer. `sources` is empty
    for the loader itself. Nothing in it holds a secret.
    """

    id: str
    kind: NoticeKind
    severity: Severity
    rule: str
    sources: tuple[str, ...]
    subjects: tuple[str, ...]
    title: str
    lines: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    at: int
    since: int | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Notice:
        """From what it looks like in JSON."""
        return cls(
            id=data["id"],
            kind=NoticeKind(data["kind"]),
            severity=Severity(data["severity"]),
            rule=data["rule"],
            sources=tuple(data["sources"]),
            subjects=tuple(data["subjects"]),
            title=data["title"],
            lines=tuple(data["lines"]),
            facts=tuple((name, value) for name, value in data["facts"]),
            command=data["command"],
            at=data["at"],
            since=data["since"],
        )


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One message on its way through one channel; a row of the outbox.

    It waits for `next_try` until `delivered_at` is set, or until neither is: given up, `error`
    says why. `tries` counts the attempts made.
    """

    notice: Notice
    channel: str
    queued_at: int
    next_try: int | None
    tries: int = 0
    delivered_at: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Mute:
    """No messages about `source` before `until`."""

    source: str
    until: int
    reason: str
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class LimitEvent:
    """A stretch in which a series was beyond a limit: from the reading that completed the
    persistence at `from_time` to the one that ended it (None while it lasts). `peak` is the value
    furthest beyond the threshold, `readings` how many were beyond it."""

    series_id: int
    level: Severity
    threshold: float
    from_time: int
    to_time: int | None
    peak: float
    readings: int


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What retention deletes: everything of a kind that is not after the given time. None keeps.

    readings, revisions by the reading's time; runs and batches by when they ended; quarantine by
    when the record was last seen.
    """

    readings: int | None = None
    revisions: int | None = None
    runs: int | None = None
    batches: int | None = None
    quarantine: int | None = None

    def __bool__(self) -> bool:
        return any(
            t is not None for t in (self.readings, self.revisions, self.runs, self.batches, self.quarantine)
        )

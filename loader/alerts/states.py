"""The state machine of alerts: ok -> failing(n) -> alerting -> ok, and what is told of it. Pure.

One state per (source, rule, subject). What changes at once in one rule of a source is one message;
so is what several sources have in common (`Alert.cause`). A source that joins while a message of
the same rule and cause is out joins silently; one that is well again before the others waits a
little for them (it stays `failing` with a count of 0), so that they are one recovery too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loader.alerts.situation import Finding
from loader.alerts.wording import Message, worst
from loader.journal import Alert, NoticeKind, Phase, Severity
from loader.settings.durations import MINUTE

TOGETHER = 15 * MINUTE
"""A source that is well again waits so long for others that failed for the same cause."""

Key = tuple[str, str, str]
Group = tuple[str, bool, str]


@dataclass(frozen=True, slots=True)
class Policy:
    """How often one is told: every `repeat` (microseconds), at most `reminders` times, and not
    about `muted` sources. `audience` says which channels hear of a severity and sources;
    `delivered` which notices have arrived; `number` makes a new notice's id."""

    repeat: int
    reminders: int
    muted: Collection[str]
    audience: Callable[[Severity, tuple[str, ...]], frozenset[str]]
    delivered: Callable[[Sequence[str]], Collection[str]]
    number: Callable[[], str]


@dataclass(slots=True)
class Step:
    """What an evaluation comes to: rows to write, messages to send, and notices that need not be
    sent any more."""

    alerts: dict[Key, Alert] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)


def group_of(alert: Alert) -> Group:
    """What is told together: a rule's alerts of one source, or of one cause."""
    return (alert.rule, bool(alert.cause), alert.cause or alert.source)


def held(alert: Alert) -> bool:
    """Well again, and waiting for others to be so too."""
    return alert.phase is Phase.FAILING and alert.notice is not None


def advance(
    standing: Iterable[Alert],
    findings: Iterable[Finding],
    judged: Callable[[Alert], bool],
    now: int,
    policy: Policy,
) -> Step:
    """The next state. `judged` says of which standing alerts the absence of a finding means that
    they are well; the others stay as they are."""
    before = {a.key: a for a in standing}
    found = {f.key: f for f in findings}
    after = dict(before)
    recovered: dict[Key, Alert] = {}
    rose: set[Key] = set()
    for key in [*found, *(key for key, a in before.items() if key not in found and judged(a))]:
        old, finding = before.get(key), found.get(key)
        after[key] = new = _moved(old, finding, now)
        if old is None:
            continue
        if not (finding and finding.broken) and (old.phase is Phase.ALERTING or (held(old) and finding)):
            recovered[key] = old
        if old.notice and old.severity is Severity.WARNING and new.severity is Severity.CRITICAL:
            if new.source in policy.muted:
                after[key] = replace(new, severity=old.severity)  # it rises when the mute is over
            else:
                rose.add(key)
    touched = {group_of(a) for key, a in after.items() if key in found or judged(a)}
    touched |= {group_of(a) for a in recovered.values()}
    step = Step()
    for group in sorted(touched):
        rows = {key: a for key, a in after.items() if group_of(a) == group or key in recovered}
        _Group(group, rows, recovered, rose, now, policy, step).tell()
        after.update(rows)
    step.alerts = {key: a for key, a in after.items() if a != before.get(key)}
    for key in [k for k, a in step.alerts.items() if a.phase is Phase.OK and k not in before]:
        del step.alerts[key]
    return step


def _moved(old: Alert | None, finding: Finding | None, now: int) -> Alert:
    """The row after an evaluation, before anything is told."""
    if finding is None:
        assert old is not None  # noqa: S101 (a key comes from a finding or from a row)
        return old if held(old) else replace(old, phase=Phase.OK, count=0, updated=now)
    if finding.broken and old is not None and old.alerted_at is not None:
        return replace(
            old,
            phase=Phase.ALERTING,
            severity=finding.severity,
            count=finding.count,
            updated=now,
            value=finding.value,
            detail=finding.detail,
        )
    going = old is not None and old.phase is Phase.FAILING and not held(old)
    since = finding.since if finding.since is not None else old.since if old and going else now
    return Alert(
        *finding.key,
        phase=Phase.ALERTING if finding.broken else Phase.FAILING,
        severity=finding.severity,
        count=finding.count,
        since=min(since, now),
        updated=now,
        alerted_at=now if finding.broken else None,
        cause=finding.cause,
        value=finding.value,
        detail=finding.detail,
    )


def _reminder_of(alert: Alert) -> str:
    """The id of the newest reminder of what a notice announced."""
    return f"{alert.notice}.{alert.last_sent}"


@dataclass(slots=True)
class _Group:
    """What is told of one group. `rows` are its alerts as they are now, and are changed."""

    group: Group
    rows: dict[Key, Alert]
    recovered: Mapping[Key, Alert]
    rose: Collection[Key]
    now: int
    policy: Policy
    step: Step

    def tell(self) -> None:
        self._recoveries()
        if not self._alerts():
            self._reminder()

    def _loud(self, alert: Alert) -> bool:
        return alert.source not in self.policy.muted

    def _members(self) -> list[Alert]:
        """Those that last and may be told of, the longest first."""
        there = [a for a in self.rows.values() if group_of(a) == self.group]
        there = [a for a in there if a.phase is Phase.ALERTING and self._loud(a)]
        return sorted(there, key=lambda a: (a.alerted_at or 0, a.key))

    def _put(self, alert: Alert) -> None:
        self.rows[alert.key] = alert

    def _send(
        self,
        kind: NoticeKind,
        members: Sequence[Alert],
        still: Sequence[Alert],
        number: str,
        spare: str = "",
    ) -> None:
        """Add a message; channels that were told of `spare`'s notice are left out."""
        sources = tuple(dict.fromkeys(a.source for a in members if a.source))
        channels = self.policy.audience(worst(members), sources)
        if spare:
            others = [a for a in still if a.notice == spare]
            channels -= self.policy.audience(worst(others), tuple(dict.fromkeys(a.source for a in others)))
        self.step.messages.append(
            Message(number, kind, tuple(members), tuple(still), tuple(sorted(channels)))
        )

    def _recoveries(self) -> None:
        """Tell what is well again, if it was told that it was not; else take the message back."""
        mine = [a for a in self.recovered.values() if group_of(a) == self.group]
        known = self.policy.delivered([a.notice for a in mine if a.notice]) if mine else ()
        told = [a for a in mine if a.notice in known and self._loud(a)]
        for alert in mine:
            if alert.notice and alert.notice not in known:
                self._take_back(alert.notice)
        lasting = [a for a in self._members() if a.notice is not None]
        waiting = [a for a in self.rows.values() if held(a) and group_of(a) == self.group]
        for alert in told:
            others = any(a.source != alert.source for a in lasting)
            now_there = self.rows[alert.key]
            if alert.cause and others and now_there.phase is Phase.OK:
                self._put(replace(alert, phase=Phase.FAILING, count=0, updated=self.now))
        kept = {a.key for a in told if held(self.rows[a.key])}
        over = [a for a in waiting if not lasting or self.now - a.updated >= TOGETHER or not self._loud(a)]
        for alert in over:
            self._put(replace(alert, phase=Phase.OK, updated=self.now))
        ended = [replace(a, count=0, updated=self.now) for a in told if a.key not in kept]
        ended += [a for a in over if self._loud(a)]
        if ended:
            ended.sort(key=lambda a: a.key)
            self._send(NoticeKind.RECOVERY, ended, lasting, self.policy.number())
        shared = {a.notice for a in lasting}
        # What still waits, for a slower channel or to remind, would come after the recovery.
        gone = {
            n for a in ended if a.notice and a.notice not in shared for n in (a.notice, _reminder_of(a))
        }
        self.step.withdrawn += sorted(gone)

    def _take_back(self, number: str) -> None:
        """Withdraw a notice that has reached nobody; what else it announced is told anew."""
        self.step.withdrawn.append(number)
        for alert in list(self.rows.values()):
            if alert.notice == number:
                self._put(replace(alert, notice=None, sent=max(0, alert.sent - 1)))

    def _alerts(self) -> bool:
        """Announce what is new or has become worse; whether there was any."""
        members = self._members()
        known = [a for a in members if a.notice is not None]
        new = [a for a in members if a.notice is None]
        worse = [a for a in known if a.key in self.rose]
        if not new and not worse:
            return False
        spare = ""
        elsewhere = [a for a in known if a.source not in {n.source for n in new}]
        if new and not worse and self.group[1] and elsewhere:
            first = elsewhere[0]
            told = [a for a in known if a.notice == first.notice]
            hear = self.policy.audience(worst(new), tuple(dict.fromkeys(a.source for a in new)))
            heard = self.policy.audience(worst(told), tuple(dict.fromkeys(a.source for a in told)))
            if hear <= heard:
                for alert in new:
                    self._put(
                        replace(alert, notice=first.notice, sent=first.sent, last_sent=first.last_sent)
                    )
                return False
            spare = first.notice or ""
        number = self.policy.number()
        unheard = self._undelivered(worse)
        worse += [a for a in known if a.notice in unheard and a not in worse]
        self.step.withdrawn += unheard
        telling = [*new, *worse]
        names = {a.key for a in telling}
        self._send(NoticeKind.ALERT, telling, [a for a in known if a.key not in names], number, spare)
        for alert in telling:
            keep = alert.notice is not None and alert.notice not in unheard
            self._sent(alert, alert.notice if keep else number)
        return True

    def _reminder(self) -> None:
        """Remind of what lasts; what has reached nobody so far is announced anew instead."""
        known = [a for a in self._members() if a.notice is not None]
        last = max((a.last_sent or 0 for a in known), default=self.now)
        if self.now - last < self.policy.repeat:
            return
        due = [a for a in known if a.sent <= self.policy.reminders]
        if not due:
            return
        unheard = self._undelivered(due)
        self.step.withdrawn += unheard
        fresh = all(a.notice in unheard for a in due)
        number = self.policy.number() if fresh else ""
        if not fresh:
            leader = next(a for a in due if a.notice not in unheard)
            self.step.withdrawn.append(_reminder_of(leader))
            number = _reminder_of(replace(leader, last_sent=self.now))
        names = {a.key for a in due}
        still = [a for a in known if a.key not in names]
        self._send(NoticeKind.ALERT if fresh else NoticeKind.REMINDER, due, still, number)
        for alert in due:
            self._sent(alert, number if alert.notice in unheard else alert.notice)

    def _undelivered(self, alerts: Sequence[Alert]) -> list[str]:
        numbers = list(dict.fromkeys(a.notice for a in alerts if a.notice))
        known = self.policy.delivered(numbers) if numbers else ()
        return [n for n in numbers if n not in known]

    def _sent(self, alert: Alert, notice: str | None) -> None:
        self._put(replace(alert, notice=notice, sent=alert.sent + 1, last_sent=self.now))

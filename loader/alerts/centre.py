"""The place where alerts come together: it evaluates the rules, keeps their states, and sends what
there is to tell. One object a process; callable from any thread."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from loader.alerts import limits as limit_events
from loader.alerts.machine import judge_machine, look_around
from loader.alerts.outbox import Channels, send_due
from loader.alerts.rules import judge
from loader.alerts.seriesrules import WEEK, lately
from loader.alerts.situation import Finding, Lately, Situation, Watched
from loader.alerts.spool import Spool
from loader.alerts.states import Key, Policy, Step, advance
from loader.alerts.wording import Background, moment, notice, one_line, test_notice
from loader.contracts import Clock, Lease
from loader.errors import LoaderError
from loader.findings import Cadence, QualityDay, Standing, day_of
from loader.journal import Alert, Dispatch, LimitEvent, Phase, Severity
from loader.journalcontracts import AlertBook
from loader.log import get_logger
from loader.quality.cadence import as_reported
from loader.readings import PartitionState
from loader.records import RunReport, StoredSeries
from loader.settings.alerting import AlertSettings, LimitSettings
from loader.settings.durations import MINUTE

__all__ = ["Centre", "Watched"]

RUNS = 200
"""Runs of a source that the rules look back over."""

NEWS = 10
"""A source has changed when its newest runs have: so many are compared."""

FRESH = 5 * MINUTE
"""How often the figure of an alert is written again, and a source read again, where nothing else has
changed: a run is assessed behind its end, and others recheck."""


class Book(AlertBook, Protocol):
    """What the rules need of a store."""

    def runs(self, source: str | None, limit: int) -> list[RunReport]: ...
    def series(self, source: str | None) -> list[StoredSeries]: ...
    def partitions(self, source: str) -> list[PartitionState]: ...
    def limit_events(self, source: str | None, since: int) -> list[LimitEvent]: ...
    def standings(self, source: str | None) -> list[Standing]: ...
    def quality(self, source: str | None, since: int, until: int) -> Iterable[QualityDay]: ...
    def cadences(self, source: str | None) -> dict[int, tuple[Cadence, ...]]: ...


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What was read of a source, when, and the runs that it was then seen by."""

    at: int
    news: tuple[RunReport, ...]
    situation: Situation
    background: Background


class Centre:
    """See the module. `watched` are the sources by name, `limits` the limits by parameter, `spool`
    a folder, `disk` where the store lies (None: not on this machine)."""

    def __init__(
        self,
        *,
        watched: Mapping[str, Watched],
        settings: AlertSettings,
        limits: Mapping[str, LimitSettings],
        channels: Channels,
        spool: Path,
        disk: Path | None,
        clock: Clock,
    ) -> None:
        self._watched = watched
        self._settings = settings
        self._limits = limits
        self._channels = channels
        self._spool = Spool(spool)
        self._disk = disk
        self._clock = clock
        self._looking = threading.Lock()
        self._sending = threading.Lock()
        self._seen: dict[str, _Snapshot] = {}

    def limits(self, store: limit_events.Limited, lease: Lease, source: str) -> None:
        """Bring the limit events of a source up to date, after a live run, under its lease.
        Raises what the store raises."""
        watched = self._watched.get(source)
        if watched is not None:
            limit_events.update(store, lease, watched, self._limits, self._clock())

    def look(self, store: Book, names: Sequence[str]) -> None:
        """Evaluate the rules of these sources and of the loader itself; write states and messages
        in one transaction. Raises what the store raises."""
        with self._looking:
            now = self._clock()
            standing = store.alerts()
            alerting = [a for a in standing if a.phase is Phase.ALERTING]
            findings: list[Finding] = []
            unsaid: set[tuple[str, str]] = set()
            background: dict[str, Background] = {}
            for name in names:
                if name in self._watched:
                    seen = self._snapshot(store, self._watched[name], now)
                    # They are written after the run that brought them, maybe by another process.
                    lasting = store.limit_events(name, now) if self._limits else ()
                    where = store.standings(name)
                    broken = {(a.rule, a.subject) for a in alerting if a.source == name}
                    situation = replace(
                        seen.situation, now=now, events=lasting, standings=where, alerting=broken
                    )
                    verdict = judge(situation)
                    findings += verdict.findings
                    unsaid |= {(name, rule) for rule in verdict.unsaid}
                    background[name] = seen.background
            mine = {a.rule for a in alerting if not a.source}
            findings += judge_machine(look_around(self._disk), self._settings.rules, mine)
            looked = {"", *(name for name in names if name in self._watched)}

            def judged(alert: Alert) -> bool:
                if alert.source not in looked:
                    return False
                return not (alert.subject and (alert.source, alert.rule) in unsaid)

            if not findings and not any(a.source in looked for a in standing):
                return
            muted = {m.source for m in store.mutes(now)}
            step = advance(standing, findings, judged, now, self._policy(muted, store.delivered))
            for alert in step.alerts.values():
                if alert.source and alert.source not in background and alert.source in self._watched:
                    other = self._snapshot(store, self._watched[alert.source], now)
                    background[alert.source] = other.background
            self._record(store, step, {a.key: a for a in standing}, now, background)

    def store_away(self, error: str) -> None:
        """The store does not answer; called again and again while that lasts."""
        rule = self._settings.rules.store
        if not rule.enabled:
            return
        with self._looking:
            now = self._clock()
            standing = self._spool.alerts()
            old = next((a for a in standing if a.rule == "store"), None)
            since = now if old is None else old.since
            finding = Finding(
                "",
                "store",
                "",
                rule.severity,
                now - since >= rule.at,
                1,
                since,
                (now - since) / 1e6,
                f"last error: {one_line(error)}",
            )
            self._at_spool(standing, [finding], now)

    def store_back(self) -> None:
        """The store answers; cheap where nothing was wrong."""
        with self._looking:
            standing = self._spool.alerts()
            if any(a.rule == "store" for a in standing):
                self._at_spool(standing, [], self._clock())

    def deliver(self, store: AlertBook | None, stop: threading.Event, patience_s: float) -> None:
        """Send what is due, from the spool and from the store's outbox, until nothing is or time is
        up. Never raises: neither for a channel's trouble nor for the store's."""
        with self._sending:
            deadline = time.monotonic() + patience_s
            send_due(self._spool, self._channels, self._clock, stop, patience_s)
            if store is not None:
                left = max(0.0, deadline - time.monotonic())
                try:
                    send_due(store, self._channels, self._clock, stop, left)
                except LoaderError as error:
                    get_logger().warning("alerts.outbox", reason=one_line(str(error)))

    def _policy(
        self, muted: Collection[str], delivered: Callable[[Sequence[str]], Collection[str]]
    ) -> Policy:
        return Policy(
            repeat=self._settings.repeat,
            reminders=self._settings.reminders,
            muted=muted,
            audience=self._audience,
            delivered=delivered,
            number=lambda: uuid.uuid4().hex,
        )

    def _audience(self, severity: Severity, sources: tuple[str, ...]) -> frozenset[str]:
        return frozenset(
            name for name, (channel, _) in self._channels.items() if channel.wants(severity, sources)
        )

    def _snapshot(self, store: Book, watched: Watched, now: int) -> _Snapshot:
        """What the rules look at; read again only where a run has begun or ended since, or at times."""
        name = watched.name
        news = tuple(store.runs(name, NEWS))
        seen = self._seen.get(name)
        if seen is None or seen.news != news or not seen.at <= now < seen.at + FRESH:
            runs, partitions = store.runs(name, RUNS), store.partitions(name)
            series = as_reported(store.series(name), store.cadences(name))
            bad: tuple[Lately, ...] = ()
            newest = max((one.last_time for one in series if one.last_time is not None), default=None)
            if newest is not None and watched.rules.failing_sensor.enabled:
                bad = tuple(lately(store.quality(name, day_of(newest) - WEEK, newest), newest))
            situation = Situation(watched, 0, runs, partitions, series, lately=bad)
            gained = tuple((r.finished, r.counts.new) for r in runs if r.finished is not None)
            seen = _Snapshot(now, news, situation, Background(_lost(partitions), gained))
            self._seen[name] = seen
        return seen

    def _at_spool(self, standing: Sequence[Alert], findings: Sequence[Finding], now: int) -> None:
        policy = self._policy((), self._spool.delivered)
        step = advance(standing, findings, lambda a: a.rule == "store", now, policy)
        self._record(self._spool, step, {a.key: a for a in standing}, now, {})

    def _record(
        self,
        book: AlertBook,
        step: Step,
        before: Mapping[Key, Alert],
        now: int,
        background: Mapping[str, Background],
    ) -> None:
        alerts = [a for key, a in step.alerts.items() if _news(before.get(key), a)]
        told = [(message, notice(message, now, background)) for message in step.messages]
        dispatches = [Dispatch(made, channel, now, now) for m, made in told for channel in m.channels]
        if alerts or dispatches or step.withdrawn:
            book.record(alerts, dispatches, step.withdrawn)
        for message, made in told:
            get_logger(rule=made.rule, notice=made.id).warning(
                "alert", kind=str(made.kind), title=made.title, channels=list(message.channels)
            )


def try_channels(channels: Channels, name: str | None, clock: Clock) -> list[tuple[str, str | None]]:
    """Send a test message through one channel, or all: (channel, what went wrong)."""
    out: list[tuple[str, str | None]] = []
    for channel, (_, notifier) in channels.items():
        if name is not None and channel != name:
            continue
        error = None
        try:
            notifier.send(test_notice(uuid.uuid4().hex, clock()))
        except LoaderError as trouble:
            error = one_line(str(trouble))
        except Exception as trouble:  # the other channels are tried all the same
            error = one_line(f"{type(trouble).__name__}: {trouble}")
        out.append((channel, error))
    return out


def _news(old: Alert | None, new: Alert) -> bool:
    """Whether a row is worth writing: its figure alone only now and then."""
    if old is None or replace(new, updated=old.updated, value=old.value, detail=old.detail) != old:
        return True
    return (new.value, new.detail) != (old.value, old.detail) and new.updated - old.updated >= FRESH


def _lost(partitions: Sequence[PartitionState]) -> str:
    """Whether anything was lost, in a line."""
    holes = [h for p in partitions for h in p.holes]
    given_up = sum(h.next_try is None for h in holes)
    marks = [p.watermark for p in partitions if p.watermark is not None]
    if holes:
        open_ = len(holes) - given_up
        parts = [f"{_windows(open_)} could not be read, and will be tried again"] if open_ else []
        parts += [f"{_windows(given_up)} given up, `loader gaps` lists what is missing"] if given_up else []
        return f"missing: {'; '.join(parts)}"
    if not marks:
        return "lost: nothing; nothing has been loaded yet"
    return f"lost: nothing so far; the next run reads on from {moment(max(marks))}"


def _windows(count: int) -> str:
    return "1 window" if count == 1 else f"{count:,} windows"

"""The state machine of alerts: what is told, when, and how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from loader.alerts.situation import Finding
from loader.alerts.states import TOGETHER, Key, Policy, Step, advance, held
from loader.alerts.wording import Message
from loader.journal import Alert, NoticeKind, Phase, Severity
from loader.readings import HOUR
from loader.settings.durations import MINUTE

START = 1_800_000_000_000_000
REPEAT = 4 * HOUR


def finding(source: str = "a", subject: str = "", **more: Any) -> Finding:
    given = {
        "rule": "failures",
        "severity": Severity.WARNING,
        "broken": True,
        "count": 3,
        "detail": "last error: no",
        **more,
    }
    return Finding(source=source, subject=subject, **given)


@dataclass
class Town:
    """Keeps rows and messages between evaluations, as a store does. `routes` names the sources that
    a channel hears of; none is all."""

    routes: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"mail": ()})
    reminders: int = 6
    now: int = START
    rows: dict[Key, Alert] = field(default_factory=dict)
    waiting: list[tuple[int, Message]] = field(default_factory=list)
    log: list[tuple[int, Message]] = field(default_factory=list)
    muted: set[str] = field(default_factory=set)
    numbers: Iterable[int] = field(default_factory=lambda: count(1))

    def audience(self, severity: Severity, sources: tuple[str, ...]) -> frozenset[str]:
        del severity
        return frozenset(
            name
            for name, only in self.routes.items()
            if not only or not sources or set(only) & set(sources)
        )

    def look(self, *findings: Finding, after: int = 0, only: Sequence[str] = ("a", "b", "c")) -> Step:
        self.now += after
        done = {m.id for _, m in self.log}
        numbers = iter(self.numbers)
        step = advance(
            self.rows.values(),
            findings,
            lambda a: a.source in only,
            self.now,
            Policy(
                REPEAT,
                self.reminders,
                self.muted,
                self.audience,
                lambda asked: done & set(asked),
                lambda: f"n{next(numbers)}",
            ),
        )
        for key, alert in step.alerts.items():
            if alert.phase is Phase.OK:
                self.rows.pop(key, None)
            else:
                self.rows[key] = alert
        self.waiting = [(t, m) for t, m in self.waiting if m.id not in step.withdrawn]
        self.waiting += [(self.now, m) for m in step.messages if m.channels]
        return step

    def deliver(self) -> None:
        self.log += self.waiting
        self.waiting = []

    def told(self) -> list[tuple[str, list[str]]]:
        """(kind, what it is about) of every delivered message."""
        return [(str(m.kind), [a.subject or a.source for a in m.members]) for _, m in self.log]


def run(town: Town, *findings: Finding, after: int = 0) -> None:
    town.look(*findings, after=after)
    town.deliver()


def test_what_only_fails_is_counted_and_not_told() -> None:
    """failing(1), failing(2), then well: rows, no message."""
    town = Town()
    for n in (1, 2):
        run(town, finding(broken=False, count=n))
        (row,) = town.rows.values()
        assert (row.phase, row.count, row.notice) == (Phase.FAILING, n, None)
    run(town)
    assert (town.rows, town.log) == ({}, [])


def test_one_start_reminders_and_one_recovery() -> None:
    """Told once, again every four hours up to the cap, and once when it is over."""
    town = Town(reminders=2)
    for _ in range(4 * 24):
        run(town, finding(), after=15 * MINUTE)
    run(town, after=15 * MINUTE)
    assert [k for k, _ in town.told()] == ["alert", "reminder", "reminder", "recovery"]
    times = [t for t, _ in town.log]
    assert [b - a for a, b in pairwise(times)][:2] == [REPEAT, REPEAT]
    assert town.rows == {}
    assert town.log[-1][1].members[0].since == times[0]


def test_simultaneous_changes_are_one_message() -> None:
    """Three stations in one evaluation are one start and one recovery, listed."""
    town = Town()
    run(town, *(finding(subject=s) for s in ("x", "y", "z")))
    run(town, after=MINUTE)
    assert town.told() == [("alert", ["x", "y", "z"]), ("recovery", ["x", "y", "z"])]


def test_a_later_station_is_its_own_message_that_names_the_others() -> None:
    """What is new is told at once; what was told before is only mentioned."""
    town = Town()
    run(town, finding(subject="x"))
    run(town, finding(subject="x"), finding(subject="y"), after=HOUR)
    assert town.told() == [("alert", ["x"]), ("alert", ["y"])]
    assert [a.subject for a in town.log[-1][1].still] == ["x"]


def test_sources_that_fail_for_one_cause_are_one_message() -> None:
    """Together in one evaluation; a later one joins silently and is named in reminder and recovery."""
    town = Town()
    net = {"cause": "the network"}
    run(town, finding("a", **net), finding("b", **net))
    run(town, *(finding(s, **net) for s in "abc"), after=HOUR)
    run(town, *(finding(s, **net) for s in "abc"), after=REPEAT)
    run(town, after=MINUTE)
    assert town.told() == [("alert", ["a", "b"]), ("reminder", list("abc")), ("recovery", list("abc"))]


def test_sources_with_different_causes_are_different_messages() -> None:
    """Without a cause in common each source has its own message."""
    town = Town()
    run(town, finding("a"), finding("b"))
    assert sorted(town.told()) == [("alert", ["a"]), ("alert", ["b"])]


def test_one_that_is_well_first_waits_for_the_others_a_little() -> None:
    """Recovering within a quarter of an hour is one message; longer is not waited."""
    net = {"cause": "the network"}
    town = Town()
    run(town, finding("a", **net), finding("b", **net))
    run(town, finding("b", **net), after=MINUTE)
    assert held(town.rows[("a", "failures", "")])
    run(town, after=MINUTE)
    assert town.told() == [("alert", ["a", "b"]), ("recovery", ["a", "b"])]
    town = Town()
    run(town, finding("a", **net), finding("b", **net))
    run(town, finding("b", **net), after=MINUTE)
    run(town, finding("b", **net), after=TOGETHER)
    assert town.told()[-1] == ("recovery", ["a"])
    assert ("a", "failures", "") not in town.rows


def test_one_that_fails_again_while_it_waits_is_not_told_twice() -> None:
    """It goes on as the same alert."""
    net = {"cause": "the network"}
    town = Town()
    both = [finding("a", **net), finding("b", **net)]
    run(town, *both)
    run(town, both[1], after=MINUTE)
    run(town, *both, after=MINUTE)
    run(town, after=MINUTE)
    assert [k for k, _ in town.told()] == ["alert", "recovery"]


def test_a_channel_that_was_not_told_is_told_of_the_one_that_joins() -> None:
    """Whoever hears of b only has not heard of a's outage."""
    town = Town(routes={"all": (), "only b": ("b",)})
    net = {"cause": "the network"}
    run(town, finding("a", **net))
    run(town, finding("a", **net), finding("b", **net), after=MINUTE)
    assert [m.channels for _, m in town.log] == [("all",), ("only b",)]


def test_a_rise_to_critical_is_told() -> None:
    """Warning to critical is a message, the way back is none."""
    town = Town()
    for severity in (Severity.WARNING, Severity.CRITICAL, Severity.WARNING):
        run(town, finding(severity=severity), after=MINUTE)
    run(town, after=MINUTE)
    assert [k for k, _ in town.told()] == ["alert", "alert", "recovery"]
    assert town.log[1][1].members[0].severity is Severity.CRITICAL


def test_a_rise_in_a_mute_is_told_after_it() -> None:
    """Somebody was told of a warning; that it has become critical is news."""
    town = Town()
    run(town, finding())
    town.muted = {"a"}
    run(town, finding(severity=Severity.CRITICAL), after=MINUTE)
    assert len(town.log) == 1
    town.muted = set()
    run(town, finding(severity=Severity.CRITICAL), after=MINUTE)
    assert [str(m.members[0].severity) for _, m in town.log] == ["warning", "critical"]


def test_a_slower_channel_does_not_alarm_after_the_recovery() -> None:
    """What one channel has delivered and another has not is taken back from that one at the end."""
    town = Town()
    run(town, finding())
    number = town.log[0][1].id
    assert number in town.look(after=MINUTE).withdrawn


def test_what_nobody_was_told_has_no_recovery() -> None:
    """An alert that still waits when it is over is taken back."""
    town = Town()
    town.look(finding())
    town.look(after=MINUTE)
    town.deliver()
    assert town.log == []


def test_what_is_taken_back_is_told_anew_for_those_that_last() -> None:
    """Of two stations in an undelivered message one recovers: the other is still told."""
    town = Town()
    town.look(finding(subject="x"), finding(subject="y"))
    town.look(finding(subject="y"), after=MINUTE)
    town.deliver()
    assert town.told() == [("alert", ["y"])]


def test_an_alert_that_never_arrived_is_announced_anew() -> None:
    """A message given up in four hours of a broken channel is replaced, not reminded of."""
    town = Town()
    town.look(finding())
    town.waiting = []
    run(town, finding(), after=REPEAT)
    assert town.told() == [("alert", ["a"])]


def test_a_mute_is_silent_and_what_lasts_is_told_after_it() -> None:
    """States go on: the alert begins in the mute, is told at its end, with its true beginning."""
    town = Town(muted={"a"})
    run(town, finding())
    run(town, finding(), after=HOUR)
    assert town.log == []
    assert town.rows[("a", "failures", "")].phase is Phase.ALERTING
    town.muted = set()
    run(town, finding(), after=HOUR)
    assert town.told() == [("alert", ["a"])]
    assert town.log[0][1].members[0].since == START


def test_what_came_and_went_in_a_mute_is_never_told() -> None:
    """Neither its beginning nor its end."""
    town = Town(muted={"a"})
    run(town, finding())
    run(town, after=HOUR)
    town.muted = set()
    run(town, after=HOUR)
    assert (town.log, town.rows) == ([], {})


def test_what_cannot_be_judged_stays_as_it_is() -> None:
    """A source that is not looked at keeps its alert."""
    town = Town()
    run(town, finding("b"))
    town.look(after=REPEAT, only=("a",))
    assert [a.phase for a in town.rows.values()] == [Phase.ALERTING]
    assert town.waiting == []


def test_a_late_reminder_does_not_come_after_the_recovery() -> None:
    """A reminder that waits when all is well again is taken back."""
    town = Town()
    run(town, finding())
    town.look(finding(), after=REPEAT)
    assert [m.kind for _, m in town.waiting] == [NoticeKind.REMINDER]
    town.look(after=MINUTE)
    town.deliver()
    assert [k for k, _ in town.told()] == ["alert", "recovery"]


class Months(RuleBasedStateMachine):
    """Stations and sources break and mend, channels come and go; a small model watches what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.town = Town(reminders=2)
        self.bad: dict[tuple[str, str], Finding] = {}
        self.queued: list[tuple[int, Message]] = []

    def _look(self, after: int) -> None:
        step = self.town.look(*self.bad.values(), after=after)
        self.queued += [(self.town.now, m) for m in step.messages]

    @rule(
        where=st.sampled_from([("a", ""), ("b", ""), ("c", ""), ("a", "x"), ("a", "y")]),
        shared=st.booleans(),
        count=st.integers(1, 4),
        after=st.integers(1, 60),
    )
    def breaks(self, where: tuple[str, str], shared: bool, count: int, after: int) -> None:
        cause = "the network" if shared and not where[1] else ""
        self.bad[where] = finding(*where, broken=count >= 3, count=count, cause=cause)
        self._look(after * MINUTE)

    @rule(keep=st.sets(st.sampled_from(["a", "b", "c"])), after=st.integers(1, 60))
    def mends(self, keep: set[str], after: int) -> None:
        self.bad = {k: f for k, f in self.bad.items() if k[0] in keep}
        self._look(after * MINUTE)

    @rule(hours=st.integers(1, 30))
    def goes_on(self, hours: int) -> None:
        for _ in range(hours):
            self._look(HOUR)

    @rule()
    def delivers(self) -> None:
        self.town.deliver()

    @rule()
    def gives_up(self) -> None:
        """The channel refuses for good; recoveries are spared, so that the end can be judged."""
        self.town.waiting = [(t, m) for t, m in self.town.waiting if m.kind is NoticeKind.RECOVERY]

    @invariant()
    def rows_say_what_is(self) -> None:
        alerting = {k[::2] for k, a in self.town.rows.items() if a.phase is Phase.ALERTING}
        assert alerting == {k for k, f in self.bad.items() if f.broken}

    @invariant()
    def starts_and_recoveries_alternate(self) -> None:
        """By what arrived: never two starts without a recovery, never a recovery unannounced."""
        told: set[Key] = set()
        for _, message in self.town.log:
            for alert in message.members:
                if message.kind is NoticeKind.RECOVERY:
                    assert alert.notice in {m.id for _, m in self.town.log}
                    told.discard(alert.key)
                elif message.kind is NoticeKind.ALERT:
                    assert alert.key not in told
                    told.add(alert.key)
        numbers = [m.id for _, m in self.queued]
        assert len(numbers) == len(set(numbers))

    @invariant()
    def reminders_are_spaced_and_capped(self) -> None:
        last: dict[Key, int] = {}
        since: dict[tuple[Key, int | None], int] = {}
        for at, message in self.queued:
            for alert in message.members:
                if message.kind is NoticeKind.REMINDER:
                    assert at - last.get(alert.key, at - REPEAT) >= REPEAT
                    incident = (alert.key, alert.alerted_at)
                    since[incident] = since.get(incident, 0) + 1
                    assert since[incident] <= self.town.reminders
                last[alert.key] = at

    def teardown(self) -> None:
        """In the end all is well, and everybody who was worried knows."""
        self.bad = {}
        self._look(MINUTE)
        self._look(TOGETHER)
        self.town.deliver()
        assert self.town.rows == {}
        worried: set[Key] = set()
        for _, message in self.town.log:
            for alert in message.members:
                if message.kind is NoticeKind.RECOVERY:
                    worried.discard(alert.key)
                else:
                    worried.add(alert.key)
        assert worried == set()


def test_whatever_happens_messages_make_sense() -> None:
    """Hypothesis breaks and mends things at random; see the invariants."""
    run_state_machine_as_test(Months, settings=settings(max_examples=60, stateful_step_count=25))


class Muting(Months):
    """The same with mutes: then starts and recoveries need not alternate, but silence is kept."""

    def _look(self, after: int) -> None:
        seen = len(self.queued)
        super()._look(after)
        for _, message in self.queued[seen:]:
            assert not {a.source for a in message.members} & self.town.muted

    @rule(sources=st.sets(st.sampled_from(["a", "b", "c"])))
    def mutes(self, sources: set[str]) -> None:
        self.town.muted = sources

    @invariant()
    def starts_and_recoveries_alternate(self) -> None:
        known = {m.id for _, m in self.town.log}
        for _, message in self.town.log:
            if message.kind is NoticeKind.RECOVERY:
                assert {a.notice for a in message.members} <= known

    def teardown(self) -> None:
        """When all mutes have ended, whatever lasts has been told."""
        self.town.muted = set()
        self._look(MINUTE)
        lasting = [a for a in self.town.rows.values() if a.phase is Phase.ALERTING]
        assert all(a.notice and a.sent for a in lasting)
        self.bad = {}
        self._look(MINUTE)
        self._look(TOGETHER)
        assert self.town.rows == {}


def test_whatever_happens_a_mute_is_kept() -> None:
    """Hypothesis mutes at random as well."""
    run_state_machine_as_test(Muting, settings=settings(max_examples=40, stateful_step_count=25))

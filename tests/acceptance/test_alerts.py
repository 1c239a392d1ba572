"""Alerts as a whole: real stores and spool, what a channel gets to hear, restarts and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from builders import Loading, at, partition, series
from stores import STORES, StoreCase, open_postgres

from loader.alerts.centre import Centre, Watched
from loader.alerts.machine import resident
from loader.errors import StoreUnavailable, Undelivered
from loader.journal import LimitEvent, Mute, Notice, NoticeKind, Phase, Severity
from loader.readings import DAY, HOUR, SECOND, Progress
from loader.records import Counts, Outcome, RunReport
from loader.schedule import Every
from loader.settings.alerting import AlertSettings, Channel, LimitSettings
from tests import postgres

MINUTE = 60 * SECOND
HERE = Path(__file__).resolve()
QUIET = {"memory": "64GB", "disk_free": 0}
"""The machine of the tests is none of their business."""


class Box:
    """A channel that keeps what it is sent, or refuses it while it is `broken`."""

    name = "box"

    def __init__(self) -> None:
        self.got: list[Notice] = []
        self.broken = False

    def send(self, notice: Notice) -> None:
        if self.broken:
            raise Undelivered("the box is shut")
        self.got.append(notice)

    @property
    def titles(self) -> list[str]:
        return [n.title for n in self.got]


class Office:
    """A centre with its channel and a clock of its own; `again` is the same after a restart."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.more = more
        self.box = Box()
        self.now = at(0)
        self.again()

    def again(self) -> None:
        rules = {**QUIET, **self.more.get("rules", {})}
        settings = AlertSettings.model_validate({"rules": rules})
        names = self.more.get("names", ("src",))
        self.centre = Centre(
            watched={n: Watched(n, settings.rules, Every(2 * HOUR), 2 * HOUR, 3 * DAY) for n in names},
            settings=settings,
            limits=self.more.get("limits", {}),
            channels={"box": (Channel(), self.box)},
            spool=self.folder / "spool",
            disk=self.folder,
            clock=lambda: self.now,
        )

    def deliver(self, store: Any = None) -> None:
        self.centre.deliver(store, threading.Event(), 10)

    def round(self, store: Any, *names: str, after: int = 0) -> None:
        self.now += after
        self.centre.look(store, names or ("src",))
        self.deliver(store)


@pytest.fixture(
    params=[pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c.slow else []) for c in STORES]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    case: StoreCase = request.param
    if reason := case.missing():
        pytest.skip(reason)
    address = case.fresh(tmp_path)
    opened = case.open(address)
    yield opened
    opened.close()
    case.drop(address)


def ran(store: Any, hour: float, outcome: Outcome = Outcome.OK, source: str = "src", **more: Any) -> None:
    """A run of a minute that began at that hour."""
    lease = store.acquire(source)
    number = store.begin_run(lease, "schedule", at(hour))
    ended = RunReport(number, source, "schedule", at(hour), at(hour) + MINUTE, outcome, **more)
    store.finish_run(lease, ended)
    lease.release()


def brought(store: Any, hour: float, counts: Counts, *, errors: int) -> None:
    """A run of 100 requests that committed twenty readings."""
    loading = Loading(store)
    loading.commit([(series(), hour + i / 100, 1.0) for i in range(20)], counts=counts)
    loading.finish(counts=Counts(requests=100, errors=errors))
    loading.lease.release()


def fails(store: Any, hour: float, source: str = "src", error: str = "src: 500 oh no") -> None:
    ran(store, hour, Outcome.FAILED, source, error=error)


def test_three_failures_are_one_message_and_one_recovery(store: Any, tmp_path: Path) -> None:
    """The message says what, since when, how often, the error, what was lost, and where to look;
    the recovery says how long, and what was caught up."""
    office = Office(tmp_path)
    for hour in (2, 4, 6):
        fails(store, hour)
        office.now = at(hour) + MINUTE
        office.round(store)
        assert len(office.box.got) == (hour == 6)
    for _ in range(20):
        office.round(store, after=15 * SECOND)
    (told,) = office.box.got
    text = "\n".join(told.lines)
    assert told.title == "src: runs keep failing"
    assert (told.kind, told.severity, told.sources) == (NoticeKind.ALERT, Severity.CRITICAL, ("src",))
    for part in (
        "since 2024-01-31T02:00:00Z",
        "3 times in a row",
        "last error: src: 500 oh no",
        "lost: nothing",
    ):
        assert part in text
    assert told.command == "loader runs --source src"
    loading = Loading(store)
    one = series()
    store.register(loading.lease, [partition(one)], at(0))
    loading.commit([(one, h, 1.0) for h in range(1, 8)], Progress("p-s1", watermark=at(7), ended=True))
    store.finish_run(loading.lease, RunReport(loading.run, "src", "t", at(8), at(8.1), Outcome.OK))
    loading.lease.release()
    office.now = at(8.1)
    office.round(store)
    over = office.box.got[-1]
    assert (over.kind, over.title) == (NoticeKind.RECOVERY, "src: well again, it was: runs keep failing")
    assert any("for 6 h 6 min" in line for line in over.lines)
    assert "src: 7 new readings were stored since then" in over.lines
    assert store.alerts() == []


def test_a_restart_neither_repeats_nor_forgets(store: Any, tmp_path: Path) -> None:
    """Every look is another process: still one start, reminders every four hours, one recovery."""
    office = Office(tmp_path)
    for hour in (1, 2, 3):
        fails(store, hour)
    office.now = at(3.1)
    for _ in range(10):
        office.again()
        office.round(store, after=HOUR)
    ran(store, 14)
    office.again()
    office.round(store, after=HOUR)
    kinds = [str(n.kind) for n in office.box.got]
    assert kinds == ["alert", "reminder", "reminder", "recovery"]


def test_sources_without_network_are_one_message(store: Any, tmp_path: Path) -> None:
    """Three sources that reach nothing are told once, and are well again once."""
    names = ("a", "b", "c")
    office = Office(tmp_path, names=names)
    for hour in (1, 2, 3):
        for name in names:
            fails(store, hour, name, f"https://{name}: the name of the host cannot be resolved")
    office.now = at(4)
    office.round(store, *names)
    for hour, name in enumerate(names, 5):
        ran(store, hour, source=name)
        office.round(store, *names, after=MINUTE)
    assert [(str(n.kind), n.sources) for n in office.box.got] == [("alert", names), ("recovery", names)]
    assert office.box.titles[0] == "a, b, c: runs keep failing, all by the network"


def test_an_alert_that_never_went_out_has_no_recovery(store: Any, tmp_path: Path) -> None:
    """While the channel is broken the alert comes and goes: nothing is ever heard of it."""
    office = Office(tmp_path)
    office.box.broken = True
    for hour in (1, 2, 3):
        fails(store, hour)
    office.now = at(3.1)
    office.round(store)
    assert [d.tries for d in store.dispatches(9)] == [1]
    ran(store, 4)
    office.round(store, after=HOUR)
    office.box.broken = False
    office.round(store, after=DAY)
    assert office.box.got == []


def test_a_mute_ends_and_what_lasts_is_told(store: Any, tmp_path: Path) -> None:
    """No message while it holds; the state goes on."""
    office = Office(tmp_path)
    store.mute(Mute("src", at(10), "moving house", "me", at(0)))
    for hour in (1, 2, 3):
        fails(store, hour)
    office.now = at(4)
    office.round(store)
    assert office.box.got == []
    assert [a.phase for a in store.alerts() if a.rule == "failures"] == [Phase.ALERTING]
    office.now = at(10)
    office.round(store)
    assert office.box.titles == ["src: runs keep failing"]


def test_quality_and_missed_runs(store: Any, tmp_path: Path) -> None:
    """Other rules go the same way, each its own message."""
    office = Office(tmp_path)
    ran(store, 1, quality=95.0)
    store.record_skipped("src", "schedule", at(3), Outcome.MISSED, "the loader did not run")
    brought(store, 5, Counts(fetched=20, due=20, observed=20, inconsistent=20, duplicate=20), errors=11)
    office.now = at(5.1)
    office.round(store)
    assert sorted(n.rule for n in office.box.got) == ["error_rate", "missed", "quality_below"]
    brought(store, 7, Counts(fetched=20, due=20, observed=20), errors=0)
    office.round(store, after=HOUR)
    assert sorted(n.rule for n in office.box.got if n.kind is NoticeKind.RECOVERY) == [
        "error_rate",
        "missed",
        "quality_below",
    ]


def test_the_loader_itself(store: Any, tmp_path: Path) -> None:
    """Memory and disk are judged without any source."""
    office = Office(tmp_path, rules={"memory": "1MB", "disk_free": 1.0})
    assert (resident() or 0) > 10 << 20
    office.centre.look(store, [])
    office.deliver(store)
    assert sorted(office.box.titles) == [
        "loader: it takes much memory",
        "loader: the store's disk is nearly full",
    ]


def test_a_store_that_is_away_is_told_after_a_minute(tmp_path: Path) -> None:
    """Past the store: one message, remembered over restarts, and one recovery."""
    office = Office(tmp_path)
    for _ in range(5):
        office.again()
        office.centre.store_away("postgresql://db/x: cannot connect: refused")
        office.deliver()
        office.now += 15 * SECOND
        assert len(office.box.got) == (office.now > at(0) + MINUTE)
    for _ in range(60 * 9):
        office.now += MINUTE
        office.again()
        office.centre.store_away("postgresql://db/x: cannot connect: refused")
        office.deliver()
    office.centre.store_back()
    office.deliver()
    office.centre.store_back()
    office.deliver()
    assert [str(n.kind) for n in office.box.got] == ["alert", "reminder", "reminder", "recovery"]
    assert office.box.got[0].severity is Severity.CRITICAL
    assert "cannot connect: refused" in office.box.got[0].lines[0]
    assert "for 9 h" in office.box.got[-1].lines[0]


def test_a_short_absence_of_the_store_is_no_alert(tmp_path: Path) -> None:
    """Back before the minute is over: nothing is told, nothing kept."""
    office = Office(tmp_path)
    office.centre.store_away("busy")
    office.now += 59 * SECOND
    office.centre.store_away("busy")
    office.centre.store_back()
    office.now += MINUTE
    office.centre.store_away("busy")
    office.deliver()
    assert office.box.got == []


def test_trouble_of_the_store_is_the_callers(tmp_path: Path) -> None:
    """`look` raises StoreUnavailable; delivering goes on with what the spool holds."""

    class Away:
        def __getattr__(self, name: str) -> Any:
            raise StoreUnavailable("the store is away")

    office = Office(tmp_path)
    with pytest.raises(StoreUnavailable):
        office.centre.look(Away(), ["src"])  # type: ignore[arg-type]
    office.centre.store_away("away")
    office.now += MINUTE
    office.centre.store_away("away")
    office.deliver(Away())
    assert office.box.titles == ["loader: the store is away"]


LIMITS = {"pm25": LimitSettings.model_validate({"warning": 35.0, "critical": 150.0})}


def loaded(store: Any, office: Office, values: dict[int, float], loading: Loading) -> None:
    """Commit readings by hour, and do what a live run does after it."""
    one = series(cadence_s=3600.0)
    loading.commit([(one, h, v) for h, v in values.items()], Progress("p-s1", watermark=at(max(values))))
    office.now = max(office.now, at(max(values)))
    office.centre.limits(store, loading.lease, "src")


def events(store: Any) -> list[tuple[Severity, float, float | None, float]]:
    hour = HOUR
    return [
        (e.level, (e.from_time - at(0)) / hour, e.to_time and (e.to_time - at(0)) / hour, e.peak)
        for e in store.limit_events("src", 0)
    ]


def test_limit_events_follow_what_is_stored(store: Any, tmp_path: Path) -> None:
    """Run by run an event begins, rises, and ends; late and revised readings correct it."""
    office = Office(tmp_path, limits=LIMITS)
    loading = Loading(store)
    store.register(loading.lease, [partition(series(cadence_s=3600.0))], at(0))
    loaded(store, office, {1: 10, 2: 40}, loading)
    assert events(store) == []
    loaded(store, office, {3: 50}, loading)
    assert events(store) == [(Severity.WARNING, 3, None, 50)]
    loaded(store, office, {4: 160, 5: 170}, loading)
    assert sorted(events(store)) == [
        (Severity.CRITICAL, 5, None, 170),
        (Severity.WARNING, 3, None, 170),
    ]
    loaded(store, office, {6: 1}, loading)
    assert sorted(events(store)) == [(Severity.CRITICAL, 5, 6, 170), (Severity.WARNING, 3, 6, 170)]
    loaded(store, office, {5: 5}, loading)
    assert events(store) == [(Severity.WARNING, 3, 5, 160)]
    loading.lease.release()


def test_an_event_that_lasts_longer_than_the_lookback_keeps_its_beginning(
    store: Any, tmp_path: Path
) -> None:
    """Its window reaches back to where it began; its end finds it."""
    office = Office(tmp_path, limits=LIMITS)
    loading = Loading(store)
    store.register(loading.lease, [partition(series(cadence_s=3600.0))], at(0))
    loaded(store, office, {1: 40, 2: 40}, loading)
    for day in range(1, 8):
        loaded(store, office, dict.fromkeys(range(day * 24, day * 24 + 24), 45.0), loading)
        assert events(store) == [(Severity.WARNING, 2, None, 45)]
    loaded(store, office, {200: 1}, loading)
    assert events(store) == [(Severity.WARNING, 2, 200, 45)]
    loading.lease.release()


def test_limits_that_come_later_or_go_correct_the_events(store: Any, tmp_path: Path) -> None:
    """Configured while values are beyond it for days it is found, taken out of the configuration gone."""
    loading = Loading(store)
    store.register(loading.lease, [partition(series(cadence_s=3600.0))], at(0))
    without = Office(tmp_path)
    loaded(store, without, dict.fromkeys(range(1, 24 * 6), 40.0), loading)
    assert events(store) == []
    office = Office(tmp_path, limits=LIMITS)
    loaded(store, office, {24 * 6: 40.0}, loading)
    ((level, start, end, _),) = events(store)
    assert (level, end) == (Severity.WARNING, None)
    assert start <= 24 * 3 + 1
    without.now = office.now
    loaded(store, without, {24 * 6 + 1: 40.0}, loading)
    assert events(store) == []
    loading.lease.release()


def test_limits_are_told_and_rise(store: Any, tmp_path: Path) -> None:
    """A warning, a message when it becomes critical, and a recovery."""
    office = Office(tmp_path, limits=LIMITS)
    loading = Loading(store)
    store.register(loading.lease, [partition(series(cadence_s=3600.0))], at(0))
    for values in ({1: 40, 2: 40}, {3: 160, 4: 160}, {5: 1}):
        loaded(store, office, values, loading)
        office.round(store)
    loading.lease.release()
    told = [n for n in office.box.got if n.rule == "limit"]
    assert [(str(n.kind), str(n.severity)) for n in told] == [
        ("alert", "warning"),
        ("alert", "critical"),
        ("recovery", "critical"),
    ]
    assert told[0].subjects == ("st1 pm25 (s1)",)
    assert "up to 160 ug/m3, the limit is 150" in told[1].lines[0]


def test_recomputing_gives_the_same_events(store: Any, tmp_path: Path) -> None:
    """Whether computed reading by reading or all at once."""
    office = Office(tmp_path, limits=LIMITS)
    values = {h: [10, 40, 41, 39, 30, 200, 180, 34, 20][(h * 7) % 9] + 0.0 for h in range(1, 120)}
    loading = Loading(store)
    one = series(cadence_s=3600.0)
    store.register(loading.lease, [partition(one)], at(0))
    for h, v in values.items():
        loaded(store, office, {h: v}, loading)
    piecewise: list[LimitEvent] = store.limit_events("src", 0)
    assert len(piecewise) > 5
    from loader.alerts.limits import Columns, events
    from loader.readings import Readings, Window

    (stored,) = store.series("src")
    whole = Readings.concat(list(store.scan([stored.id], Window(at(0), at(999)))))
    columns = Columns(whole.time, whole.value, whole.flag)
    assert sorted(piecewise, key=repr) == sorted(
        events(stored.id, columns, LIMITS["pm25"].levels, LIMITS["pm25"]), key=repr
    )
    loading.lease.release()


SENDER = """
import sys, threading, json, os, time
from pathlib import Path
from loader.alerts.centre import Centre, Watched
from loader.settings.alerting import AlertSettings, Channel
folder = Path(sys.argv[1])

class Writes:
    name = "file"
    def send(self, notice):
        with (folder / "sent").open("a") as file:
            file.write(json.dumps([notice.id, str(notice.kind)]) + "\\n")
            file.flush(); os.fsync(file.fileno())
        if sys.argv[2] == "hang":
            print("sent", flush=True)
            time.sleep(600)

clock = [int(sys.argv[3])]
centre = Centre(watched={}, settings=AlertSettings(), limits={}, channels={"file": (Channel(), Writes())},
    spool=folder / "spool", disk=None, clock=lambda: clock[0])
centre.store_away("gone"); clock[0] += 61_000_000; centre.store_away("gone")
centre.deliver(None, threading.Event(), 5)
"""


def test_a_kill_between_sending_and_noting_repeats_the_same_message(tmp_path: Path) -> None:
    """The next process sends it again once the hold is over, with the same id, and no other."""
    command = [sys.executable, "-c", SENDER, str(tmp_path)]
    hanging = subprocess.Popen([*command, "hang", str(at(0))], stdout=subprocess.PIPE, text=True)
    assert hanging.stdout is not None
    assert hanging.stdout.readline() == "sent\n"
    os.kill(hanging.pid, signal.SIGKILL)
    hanging.wait(30)
    hanging.stdout.close()
    for minutes in (1, 2, 10, 20):
        subprocess.run([*command, "quick", str(at(0) + minutes * MINUTE)], check=True, timeout=60)
    sent = [json.loads(line) for line in (tmp_path / "sent").read_text().splitlines()]
    assert len(sent) == 2
    assert sent[0] == sent[1]


@pytest.mark.slow
@pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))
def test_a_database_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """Alerts of before are neither repeated nor forgotten; what waited in its outbox arrives then."""
    with postgres.own_server(max(postgres.binaries())) as server:
        address = server.create()
        store: Any = open_postgres(address)
        office = Office(tmp_path)
        for hour in (1, 2, 3):
            fails(store, hour)
        office.now = at(3.1)
        office.box.broken = True
        office.round(store)
        office.box.broken = False
        server.stop("immediate")
        for _ in range(6):
            office.again()
            office.now += 15 * SECOND
            with pytest.raises(StoreUnavailable) as gone:
                office.centre.look(store, ["src"])
            office.centre.store_away(str(gone.value))
            office.deliver(store)
        assert office.box.titles == ["loader: the store is away"]
        assert postgres.PASSWORD not in "".join(office.box.got[0].lines)
        server.start()
        store.close()
        store = open_postgres(address)
        office.again()
        office.centre.store_back()
        office.round(store, after=MINUTE)
        assert sorted(office.box.titles[1:]) == [
            "loader: well again, it was: the store is away",
            "src: runs keep failing",
        ]
        ran(store, 4)
        office.round(store, after=MINUTE)
        assert office.box.titles[3:] == ["src: well again, it was: runs keep failing"]
        store.close()

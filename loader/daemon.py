"""`loader daemon`: a worker for each source, a scheduler, signals, health; reloads and stops cleanly."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader import __version__, heartbeat
from loader.contracts import Clock
from loader.errors import ConfigError, LoaderError, StoreError
from loader.heartbeat import Beat
from loader.herald import Audience, Herald
from loader.log import get_logger
from loader.metrics import Metrics
from loader.readings import SECOND
from loader.schedule import Timetable
from loader.serving import Serving
from loader.watchdog import Signs, Watchdog
from loader.worker import Job, Worker

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

TICK_S = 1.0
BEAT_S = 5.0
LOOK_AT_CONFIG_S = 2.0
"""How often a configuration that cannot be used is looked at again."""

FAREWELL_S = 6.0
"""Of the time to stop, what the messages still on their way get at most."""

IMPATIENCE_S = 1.0
"""A second signal that comes later than this means: at once."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the configuration asks for. Durations are in microseconds.

    `skipped` names sources that cannot run, with the reason.
    """

    jobs: Mapping[str, Job]
    skipped: Mapping[str, str]
    audience: Audience
    stop_grace: int
    scheduler_limit: int
    run_limit: int


class Daemon:
    """One process. `rebuild` reads the configuration and raises ConfigError where it is bad; with
    `await_config` the daemon then waits for a better one, else it ends with that error."""

    def __init__(
        self,
        rebuild: Callable[[], Plan],
        *,
        config: Path,
        listen: str,
        heartbeat_file: Path,
        await_config: bool,
        clock: Clock,
    ) -> None:
        self._rebuild = rebuild
        self._config = config
        self._listen = listen
        self._heartbeat = heartbeat_file
        self._await_config = await_config
        self._clock = clock
        self._stop = threading.Event()
        self._workers: dict[str, Worker] = {}
        self._metrics = Metrics(())
        self._plan: Plan | None = None
        self._herald: Herald | None = None
        self._scheduler: BackgroundScheduler | None = None
        self._dog = Watchdog({})
        self._amiss: str | None = "starting"
        self._beaten: float | None = None
        self._ticked = self._scheduled = time.monotonic()

    def run(self) -> int:
        """Work until told to stop; returns the exit code."""
        log = get_logger()
        with _signals() as asked, self._serving():
            try:
                plan = self._first_plan(asked)
                if plan is None:
                    return 0
                self._begin(plan)
                log.info(
                    "daemon", version=__version__, sources=", ".join(plan.jobs), listening=self._listen
                )
                return self._attend(asked)
            finally:
                self._dog.stop()
                if self._beaten is not None:
                    self._heartbeat.unlink(missing_ok=True)

    @contextmanager
    def _serving(self) -> Iterator[None]:
        if self._listen == "off":
            yield
            return
        serving = Serving(self._listen, self._unwell, self._unready, self._metrics.render)
        try:
            yield
        finally:
            serving.close()

    def _first_plan(self, asked: _Asked) -> Plan | None:
        """The plan to begin with; None where the process was told to stop before there was one."""
        while True:
            seen = _changed_at(self._config)
            try:
                return self._rebuild()
            except ConfigError as error:
                if not self._await_config:
                    raise
                self._amiss, self._beaten = str(error), None
                get_logger().error("configuration", reason=str(error))
            until = time.monotonic()
            while _changed_at(self._config) == seen:
                self._live()
                got = asked.wait(LOOK_AT_CONFIG_S)
                if got & _STOPPING:
                    return None
                if signal.SIGHUP in got:
                    break
            get_logger().info("reading the configuration again", after_s=round(time.monotonic() - until))

    def _begin(self, plan: Plan) -> None:
        from apscheduler.schedulers.background import BackgroundScheduler

        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        self._herald = Herald(plan.audience, self._metrics, self._led, self._clock)
        self._follow(plan)
        self._dog.start()
        self._scheduler.add_job(self._note_scheduler, "interval", seconds=2, id="sign of life")
        self._scheduler.start()
        self._herald.start()
        self._amiss = None

    def _follow(self, plan: Plan) -> None:
        """Bring workers and timetable in line with a plan."""
        assert self._herald is not None and self._scheduler is not None  # noqa: S101, PT018 - set in _begin
        self._plan = plan
        self._dog.look_at(self._watched(plan))
        for name, reason in plan.skipped.items():
            get_logger(source=name).warning("skipped", reason=reason)
        self._metrics.watch(list(plan.jobs))
        self._herald.replace(plan.audience)
        for name in [n for n in self._workers if n not in plan.jobs]:
            self._workers.pop(name).retire()
            self._scheduler.remove_job(f"source {name}")
        for name, job in plan.jobs.items():
            worker = self._workers.get(name)
            if worker is None:
                worker = self._workers[name] = Worker(job, self._stop, self._herald, self._clock)
                worker.start()
            else:
                worker.replace(job)
            trigger = _trigger(job.timetable, job.jitter)
            self._scheduler.add_job(worker.due, trigger, id=f"source {name}", replace_existing=True)

    def _attend(self, asked: _Asked) -> int:
        """The main loop."""
        self._beaten = None
        while True:
            self._live()
            got = asked.wait(TICK_S)
            if got & _STOPPING:
                return self._end(asked)
            if signal.SIGHUP in got:
                self._reload()
            refused = {w.refused for w in self._workers.values() if w.refused}
            if refused:
                self._end(asked)
                raise StoreError("; ".join(sorted(refused)))
            dead = [n for n, w in self._workers.items() if w.died] + ["herald"] * bool(self._herald_died())
            if dead:
                get_logger().error("ended by a bug", threads=", ".join(dead))
                self._end(asked)
                return 1

    def _reload(self) -> None:
        log = get_logger()
        try:
            plan = self._rebuild()
        except LoaderError as error:
            log.error("configuration refused, going on with the old one", reason=str(error))
            return
        self._follow(plan)
        log.info("configuration loaded", sources=", ".join(plan.jobs) or "none")

    def _end(self, asked: _Asked) -> int:
        """Let the workers finish their batches, within the time there is."""
        log, began = get_logger(), time.monotonic()
        assert self._plan is not None and self._herald is not None  # noqa: S101, PT018 - set by _begin
        deadline = began + self._plan.stop_grace / SECOND
        log.info("stopping")
        self._amiss = "stopping"
        self._stop.set()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)
        for worker in self._workers.values():
            worker.nudge()
        late = list(self._workers.values())
        # Leave the herald a little, and the process a moment to end.
        while late and time.monotonic() < deadline - min(FAREWELL_S, (deadline - began) / 3):
            late = [worker for worker in late if not worker.join(0.05)]
            self._tick()
            # A supervisor that signals a whole group may well do it twice.
            if asked.wait(0) & _STOPPING and time.monotonic() - began > IMPATIENCE_S:
                # Nothing is lost: what is committed stays, what is not is read again.
                log.warning("stopped at once")
                os._exit(128 + signal.SIGTERM)
        self._herald.stop(max(0.1, deadline - time.monotonic() - 0.5))
        log.info("stopped", unfinished=len(late), after_s=round(time.monotonic() - began, 1))
        if late:
            # Their transactions are rolled back with the process.
            self._heartbeat.unlink(missing_ok=True)
            os._exit(0)
        return 0

    # How it fares

    def _tick(self) -> None:
        self._ticked = time.monotonic()

    def _live(self) -> None:
        """Show that the main loop goes on: at once where there is news, else now and then."""
        self._tick()
        if self._beaten is None or time.monotonic() - self._beaten >= BEAT_S:
            self._beaten = time.monotonic()
            self._beat()

    def _note_scheduler(self) -> None:
        self._scheduled = time.monotonic()

    def _led(self) -> list[str]:
        return [name for name, worker in self._workers.items() if worker.leading]

    def _herald_died(self) -> bool:
        return self._herald is not None and self._herald.died is not None

    def _beat(self) -> None:
        state = heartbeat.READY if self._amiss is None else self._amiss
        try:
            heartbeat.beat(self._heartbeat, Beat(os.getpid(), self._clock(), __version__, state))
        except OSError as error:
            get_logger().warning("heartbeat", file=str(self._heartbeat), reason=str(error))

    def _unwell(self) -> list[str]:
        """Why the process ought to be started anew."""
        silent = time.monotonic() - self._ticked
        return [f"the main loop has been silent for {silent:.0f} s"] if silent > 60 else []

    def _unready(self) -> list[str]:
        """Why it cannot do its work now; that a source's server is down is no reason."""
        reasons = [self._amiss] if self._amiss is not None else []
        for name, worker in list(self._workers.items()):
            if worker.trouble is not None:
                reasons.append(f"{name}: {worker.trouble}")
        if not reasons and self._herald is not None and self._herald.trouble is not None:
            reasons.append(self._herald.trouble)
        return reasons

    def _watched(self, plan: Plan) -> Signs:
        """What the watchdog looks at: how long ago the last sign of each was, and how long it may be."""
        loop = plan.scheduler_limit / SECOND
        signs: dict[str, tuple[Callable[[], float | None], float]] = {
            "main loop": (lambda: time.monotonic() - self._ticked, loop),
            "scheduler": (lambda: time.monotonic() - self._scheduled, loop),
        }
        if plan.run_limit:
            signs["run"] = (self._longest_silence, plan.run_limit / SECOND)
        return signs

    def _longest_silence(self) -> float | None:
        ages = [worker.silent_s() for worker in list(self._workers.values())]
        return max((age for age in ages if age is not None), default=None)


_STOPPING = {signal.SIGTERM, signal.SIGINT}


class _Asked:
    """Signals, one after the other, without handlers that run in the middle of something."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe

    def wait(self, seconds: float) -> set[signal.Signals]:
        """The signals that have come, at the latest after so long."""
        ready, _, _ = select.select([self._pipe], [], [], seconds)
        return {signal.Signals(number) for number in self._pipe.recv(64)} if ready else set()


@contextmanager
def _signals() -> Iterator[_Asked]:
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(writing.fileno())
    try:
        yield _Asked(reading)
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()


def _changed_at(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _trigger(timetable: Timetable, jitter: int) -> Any:
    """Our timetable as the scheduler wants it."""
    from random import random

    from apscheduler.triggers.base import BaseTrigger

    class Due(BaseTrigger):  # type: ignore[misc]  # the library has no types
        def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
            since = max(now, previous) if previous is not None else now
            due = timetable.after((since - _EPOCH) // timedelta(microseconds=1))
            return _EPOCH + timedelta(microseconds=due + int(random() * jitter))  # noqa: S311

    return Due()

"""Looks at what the runs of a source have changed, series by series, and writes what it finds.

What lies within the configured `history` behind a series' newest reading is looked at in one go,
with its detectors; what lies further back (history that was loaded) only day by day, in parts of
bounded size. Each part is written together with taking it off the pending list: who is killed goes
on where the last part ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from loader.assess.findings import Verdict, judge
from loader.assess.job import TOGETHER, Job, Look, Plan, Watch
from loader.assess.known import Known
from loader.assess.near import Network, compare
from loader.assess.stations import Station
from loader.contracts import Database, Lease
from loader.errors import Interrupted, LoaderError
from loader.findings import Pending, day_of
from loader.log import get_logger
from loader.records import StoredSeries

ROWS = 5_000_000
"""Stored readings that one assessment looks at; it ends with the series that goes beyond them."""


@dataclass(frozen=True, slots=True)
class Left:
    """What came of an assessment: stretches looked at, and series that still wait."""

    done: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Assessor(Plan):
    """Looks for it after each run. Built by `wiring`, used by one thread."""

    rows: int = ROWS

    def __call__(
        self, store: Database, lease: Lease, stop: threading.Event, alive: Callable[[], None]
    ) -> Left:
        """Look at what is pending, the newest first, until done, asked to stop, or `rows` readings
        were looked at; `alive` is called again and again meanwhile. Raises what the store raises:
        what was not looked at stays pending."""
        pending = store.pending(lease.source)
        if not pending:
            return Left()
        watch = Watch(stop, alive, self.rows)
        series = store.series(lease.source)
        try:
            if self._near(store, lease, watch, series, pending):
                pending = store.pending(lease.source)
        except Interrupted:
            return Left(0, len(store.pending(lease.source)))
        pending = sorted(pending, key=_urgency)
        known = Known.of(store, lease.source, series, pending, self.anomalies.history)
        jobs = [
            Job(self, store, lease, watch, known, known.series[one.series_id], one.window)
            for one in pending
        ]
        try:
            if self.anomalies.enabled and self.anomalies.forest.enabled:
                # Before the series are taken off the pending list: whoever is killed does it again.
                self._stations(jobs)
                # A station that is never fit for a forest is read again each time.
                watch.read = 0
            looks = (look for job in jobs if not watch.over and (look := job.front()) is not None)
            self._write(store, lease, watch, looks)
            looks = (look for job in jobs if not watch.over for look in job.history())
            self._write(store, lease, watch, looks)
        except Interrupted:
            pass
        waiting = len(store.pending(lease.source))
        log = get_logger(source=lease.source)
        log.debug("assessed", stretches=watch.done, readings=watch.read)
        if waiting:
            log.info("assessment to be continued", series=waiting, readings=watch.read)
        return Left(watch.done, waiting)

    def _near(
        self,
        store: Database,
        lease: Lease,
        watch: Watch,
        series: Sequence[StoredSeries],
        pending: Sequence[Pending],
    ) -> int:
        """Compare what changed with near stations; how many flags changed, which are pending then, too."""
        network, changed = Network.of(self.check, series), 0
        for one in pending if network.near else ():
            changed += compare(store, lease, self.check, network, one, watch.looked_at)
        watch.read = 0
        return changed

    def _write(self, store: Database, lease: Lease, watch: Watch, looks: Iterable[Look]) -> None:
        """Judge and write what was found, of as many series at once as can be held."""
        held: list[Look] = []
        room = TOGETHER
        for look in looks:
            held.append(look)
            room -= look.readings + len(look.found.days)
            if room <= 0:
                self._together(store, lease, watch, held)
                held, room = [], TOGETHER
        self._together(store, lease, watch, held)

    def _together(self, store: Database, lease: Lease, watch: Watch, looks: Sequence[Look]) -> None:
        if not looks:
            return
        verdicts: dict[int, list[Verdict]] = {}
        for detector in self.anomalies.chosen:
            fresh = [look.fresh[detector.name] for look in looks if detector.name in look.fresh]
            for one, verdict in zip(fresh, judge(detector, self.anomalies.rule, fresh), strict=True):
                verdicts.setdefault(one.series_id, []).append(verdict)
        watch.alive()
        store.assess(lease, *(look.judged(verdicts.get(look.found.series_id, ())) for look in looks))
        watch.done += len(looks)

    def _stations(self, jobs: Sequence[Job]) -> None:
        """Look at the stations with several sensors of which any has something new."""
        if not jobs:
            return
        one = jobs[0]
        changed: dict[str, int] = {}
        for job in jobs:
            if job.pending.end > job.border:
                name = job.stored.series.station
                changed[name] = min(changed.get(name, job.pending.start), job.pending.start)
        members: dict[str, list[StoredSeries]] = {}
        for stored in one.known.series.values():
            members.setdefault(stored.series.station, []).append(stored)
        models = {model.station: model for model in one.store.models(one.lease.source)}
        for name, since in changed.items():
            if len(members[name]) > 1 and not one.watch.over:
                Station(
                    self.anomalies, one.store, one.lease, one.known, one.scan, name, members[name], since
                ).look(models.get(name))


def _urgency(one: Pending) -> tuple[int, int, int]:
    """The newest day first, and of it what has waited longest: nothing waits for ever."""
    return (-day_of(one.window.end), one.window.start, one.series_id)


def afterwards(
    assessor: Assessor, store: Database, lease: Lease, stop: threading.Event, alive: Callable[[], None]
) -> Left:
    """Assess after a run, which was good whatever comes of this: trouble is logged, and what was not
    assessed stays pending."""
    log = get_logger(source=lease.source)
    try:
        return assessor(store, lease, stop, alive)
    except LoaderError as error:
        log.warning("assessment failed", error=str(error))
    except Exception:
        # A bug must not take the daemon down with every run.
        log.exception("assessment failed")
    return Left()

"""Tells the outside what the workers did: metrics, the dead man's switch, alerts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from loader.alerts.centre import Centre
from loader.alerts.errands import Errands
from loader.alerts.rules import failed_in_a_row
from loader.contracts import Clock, Database, Lease, Usage
from loader.errors import LoaderError
from loader.log import get_logger
from loader.quality.drift import DRIFT
from loader.readings import DAY
from loader.records import Outcome, RunReport

if TYPE_CHECKING:
    from loader.metrics import Metrics

LOOK_S = 15.0
"""How often the rules are looked at, and the outbox."""

JOURNAL_KEEP = 90 * DAY
"""How long the journal remembers what is over. Nothing in the loader looks back as far: messages are
given up after 3 days, reminders end within days; a quarter is for people who ask what has been."""

DELIVERY_S = 60.0
"""How long one round of deliveries may take."""

FAREWELL_S = 5.0
"""What is left of the messages gets this long at the end, and so do calls to the dead man's switch;
messages that are left then wait in the outbox."""


class DeadMan(Protocol):
    """Somebody who notices when nothing is heard any more. Never raises."""

    def started(self) -> None: ...
    def succeeded(self) -> None: ...
    def failed(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is to be told, as the configuration has it."""

    centre: Centre
    ping: DeadMan | None
    open_store: Callable[[], Database]
    next_run: Callable[[str], int | None]


class Herald:
    """An `Aftermath` for the workers, and a thread that looks at the rules and delivers messages.

    `leading` names the sources whose alerts are this process's business. A process that runs once
    does without the thread: it calls `round` at its end, and `close`.
    """

    def __init__(
        self, audience: Audience, metrics: Metrics | None, leading: Callable[[], list[str]], clock: Clock
    ) -> None:
        self._audience = audience
        self._metrics = metrics
        self._leading = leading
        self._clock = clock
        self._poke = threading.Event()
        self._measured: set[str] = set()
        self._pings = Errands()
        self._stop = threading.Event()
        self._store: Database | None = None
        self.trouble: str | None = None
        """Why the store could not be asked the last time."""
        self._thread = threading.Thread(target=self._main, name="herald", daemon=True)
        self._tidied: int | None = None
        self.died: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Deliver what goes out quickly, and end."""
        self._stop.set()
        self._poke.set()
        self._thread.join(timeout)

    def replace(self, audience: Audience) -> None:
        """Go on with other settings."""
        self._audience = audience
        self._poke.set()

    # What the workers say

    def began(self, source: str) -> None:  # noqa: ARG002 - one switch for all sources
        if self._audience.ping is not None:
            self._pings.add(self._audience.ping.started)

    def ran(self, report: RunReport, usage: Usage, store: Database, lease: Lease) -> None:
        self.settled(store, lease, report.source)
        self.ended(report, usage)

    def settled(self, store: Database, lease: Lease, source: str) -> None:
        """Look at what the source's tables say now, under its lease."""
        self._audience.centre.limits(store, lease, source)
        self._measure(store, source)

    def ended(self, report: RunReport, usage: Usage) -> None:
        """Count a run that has ended, however it did."""
        seconds = None if report.finished is None else (report.finished - report.started) / 1e6
        if self._metrics is not None:
            self._metrics.ran(report, usage.codes, seconds)
        self._poke.set()
        ping = self._audience.ping
        if ping is None:
            return
        if report.outcome is Outcome.FAILED:
            self._pings.add(lambda: ping.failed(f"{report.source}: {report.error or 'failed'}"))
        elif report.outcome is not Outcome.INTERRUPTED:
            self._pings.add(ping.succeeded)

    def passed_over(self, report: RunReport) -> None:
        if self._metrics is not None:
            self._metrics.ran(report, {}, None)
        self._poke.set()

    def store_changed(self) -> None:
        self._poke.set()

    # The thread

    def _main(self) -> None:
        try:
            while not self._stop.is_set():
                self.round(DELIVERY_S)
                self._poke.wait(LOOK_S)
                self._poke.clear()
            self.round(FAREWELL_S)
        except BaseException as error:
            self.died = error
            get_logger().exception("herald.died")
        finally:
            self.close()

    def round(self, patience_s: float, led: Sequence[str] | None = None) -> None:
        """Look at every rule of the sources that are led, and send what is due."""
        centre = self._audience.centre
        store = None
        try:
            store = self._opened()
            names = self._leading() if led is None else led
            for name in names:
                if name not in self._measured:
                    self._measure(store, name)
            centre.store_back()
            centre.look(store, names)
            self.trouble = None
        except LoaderError as error:
            self._let_go()
            store = None
            self.trouble = str(error)
            centre.store_away(str(error))
        # The last round is given its time although the process is to stop.
        hurry = threading.Event() if self._stop.is_set() else self._stop
        centre.deliver(store, hurry, patience_s)
        if store is not None and not self._stop.is_set():
            self._tidy(store)

    def _tidy(self, store: Database) -> None:
        """Once a day, and at the end of a process that runs once."""
        now = self._clock()
        if self._tidied is not None and now - self._tidied < DAY:
            return
        try:
            deleted = store.tidy(now - JOURNAL_KEEP)
        except LoaderError as error:
            get_logger().debug("journal.untidy", error=str(error))
            return
        self._tidied = now
        if any(deleted.values()):
            get_logger().info("journal.tidied", **deleted)

    def close(self) -> None:
        """Make the calls that still wait, and let go of the store."""
        self._let_go()
        self._pings.wait(FAREWELL_S)

    def _let_go(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> Database:
        if self._store is None:
            self._store = self._audience.open_store()
        return self._store

    def _measure(self, store: Database, source: str) -> None:
        """The figures that are not events; they change with a run, and with who leads."""
        self._measured.add(source)
        if self._metrics is None:
            return
        runs = [r for r in store.runs(source, 100) if r.outcome is not None]
        alerting = {(s.series_id, s.detector == DRIFT) for s in store.standings(source) if s.alerting}
        self._metrics.state(
            source,
            newest=max(
                (s.last_time for s in store.series(source) if s.last_time is not None), default=None
            ),
            failures=len(failed_in_a_row(runs)),
            quality=next((r.quality for r in runs if r.quality is not None), None),
            holes=sum(len(p.holes) for p in store.partitions(source)),
            anomalous=sum(not drifts for _, drifts in alerting),
            drifting=sum(drifts for _, drifts in alerting),
            pending=len(store.pending(source)),
            next_run=self._audience.next_run(source),
            last_success=next((r.finished for r in runs if r.outcome is Outcome.OK), None),
        )

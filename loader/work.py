"""The kinds of work that commands ask for: what each takes, and how it is done under the lease.

The arguments are checked when a request is made, and again when it is taken out of the journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from loader.assess.near import recheck_all
from loader.contracts import Database, Lease, Reports
from loader.errors import LoaderError
from loader.healing import heal
from loader.journal import Cutoffs
from loader.pipeline import Observer, Order, Pipeline
from loader.readings import Window
from loader.recheck import fingerprint
from loader.records import Outcome, Quarantined, RunReport, StoredSeries
from loader.replay import replay
from loader.settings.block import Settings

LOT = 1_000
"""Quarantined records that are asked for, or deleted, at a time."""

Make = Callable[[threading.Event, Observer], Pipeline]


@dataclass(slots=True)
class Hand:
    """What work is done with. `pipeline` builds one; it is closed by whoever asked for it."""

    source: str
    store: Database
    lease: Lease
    make: Make
    stop: threading.Event
    observer: Observer

    def pipeline(self) -> Pipeline:
        return self.make(self.stop, self.observer)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of work: figures by name, and the run that it was, if it was one.

    `open` means that it was not brought to its end and is to be gone on with.
    """

    result: Mapping[str, Any]
    report: RunReport | None = None
    open: bool = False


class Work(Settings):
    """One kind of work with its arguments."""

    kind: ClassVar[str]

    def perform(self, hand: Hand) -> Done:
        """Do it under the lease. Raises what went wrong."""
        raise NotImplementedError


class Backfill(Work):
    """Load (since, until], in microseconds UTC, as far as it is not covered yet."""

    kind = "backfill"
    since: int
    until: int
    stations: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    retry_holes: bool = False

    def perform(self, hand: Hand) -> Done:
        order = Order(
            trigger=self.kind,
            stations=self.stations,
            sensors=self.sensors,
            window=Window(self.since, self.until),
            backfill=True,
            retry_holes=self.retry_holes,
        )
        pipeline = hand.pipeline()
        try:
            return _of_run(pipeline.run(order, hand.lease))
        finally:
            pipeline.source.close()


class Heal(Work):
    """Read gaps in (since, until] once more, as far as that may fill them; microseconds UTC, from
    the beginning where `since` is None. See `loader.healing`."""

    kind = "heal"
    since: int | None = None
    until: int
    stations: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()

    def series(self, reports: Reports, source: str) -> list[StoredSeries]:
        """Those whose gaps are looked at."""
        return [
            one for one in reports.series(source) if one.fits(self.stations, self.parameters, self.sensors)
        ]

    def perform(self, hand: Hand) -> Done:
        pipeline = hand.pipeline()
        try:
            series = self.series(hand.store, hand.source)
            healed = heal(pipeline, series, hand.lease, since=self.since, until=self.until)
        finally:
            pipeline.source.close()
        done = Done({}) if healed.report is None else _of_run(healed.report)
        # Of work that is gone on with, what is left is that of the last go.
        result = {**done.result, "healed": healed.missing - healed.left, "left": f"{healed.left}"}
        return Done(result, done.report, open=done.open)


class Replay(Work):
    """Decode quarantined records again: those of `digests`, else all that are pending and, where
    `rules` are named, broke one of them."""

    kind = "replay"
    digests: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    def fits(self, record: Quarantined) -> bool:
        return (
            record.replayed_by is None
            and (not self.digests or record.digest in self.digests)
            and (not self.rules or record.rule in self.rules)
        )

    def perform(self, hand: Hand) -> Done:
        found = records(hand.store, hand.source, self.fits)
        if not found:
            return Done({"records": 0})
        pipeline = hand.pipeline()
        try:
            done = _of_run(replay(pipeline, found, hand.lease))
        finally:
            pipeline.source.close()
        return Done({**done.result, "records": len(found)}, done.report)


class Drop(Work):
    """Delete quarantined records: those of `digests`, else those last seen up to `until` that fit.
    What came later, nobody has confirmed."""

    kind = "drop"
    digests: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    replayed: bool = False
    until: int

    def fits(self, record: Quarantined) -> bool:
        chosen = record.digest in self.digests if self.digests else record.last_seen <= self.until
        return (
            chosen
            and (not self.rules or record.rule in self.rules)
            and (not self.replayed or record.replayed_by is not None)
        )

    def perform(self, hand: Hand) -> Done:
        wanted = sorted({q.digest for q in records(hand.store, hand.source, self.fits)})
        dropped = 0
        for at in range(0, len(wanted), LOT):
            if hand.stop.is_set():
                return Done({"quarantine": dropped}, open=True)
            dropped += hand.store.drop_quarantined(hand.lease, wanted[at : at + LOT])
        return Done({"quarantine": dropped})


class Prune(Work):
    """Delete what retention does not keep; times as in `Cutoffs`."""

    kind = "prune"
    readings: int | None = None
    revisions: int | None = None
    runs: int | None = None
    batches: int | None = None
    quarantine: int | None = None

    @classmethod
    def of(cls, cutoffs: Cutoffs) -> Prune:
        return cls(**asdict(cutoffs))

    @property
    def cutoffs(self) -> Cutoffs:
        return Cutoffs(**self.model_dump())

    def perform(self, hand: Hand) -> Done:
        return Done(hand.store.prune(hand.lease, self.cutoffs))


class Recheck(Work):
    """Flag stored readings anew by the thresholds of today; (since, until], open where None.

    `rules` is the fingerprint of the thresholds that whoever asks has in mind: a daemon that does the
    work may not have read the changed configuration yet, and must not pretend to have applied it.
    """

    kind = "recheck"
    rules: str | None = None
    stations: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None

    @property
    def window(self) -> Window:
        return Window(
            -(2**62) if self.since is None else self.since, 2**62 if self.until is None else self.until
        )

    def series(self, reports: Reports, source: str) -> list[StoredSeries]:
        """Those that are to be gone through."""
        return [one for one in reports.series(source) if one.fits(self.stations, self.parameters)]

    def perform(self, hand: Hand) -> Done:
        pipeline = hand.pipeline()
        store, series = hand.store, self.series(hand.store, hand.source)
        try:
            if self.rules not in (None, fingerprint(pipeline.check, series)):
                raise LoaderError(
                    "the thresholds here are others than those of the command, or series have been added: "
                    "let the daemon read its configuration again (SIGHUP), then give the command again"
                )
            changes, ended = recheck_all(
                store, store, hand.lease, pipeline.check, series, self.window, hand.stop.is_set
            )
        finally:
            pipeline.source.close()
        return Done(changes.as_dict(), open=not ended)


class Reset(Work):
    """Set the watermark of a partition, or of all, forgetting coverage and holes after it."""

    kind = "reset"
    partition: str | None = None
    watermark: int | None = None

    def perform(self, hand: Hand) -> Done:
        return Done({"partition": hand.store.reset(hand.lease, self.partition, self.watermark)})


class Forget(Work):
    """Delete everything of the source."""

    kind = "forget"

    def perform(self, hand: Hand) -> Done:
        return Done(hand.store.forget(hand.lease))


KINDS: dict[str, type[Work]] = {
    one.kind: one for one in (Backfill, Heal, Replay, Drop, Prune, Recheck, Reset, Forget)
}


def records(
    reports: Reports, source: str, fits: Callable[[Quarantined], bool], limit: int | None = None
) -> list[Quarantined]:
    """Quarantined records of a source that fit, the newest first, all where no limit is given."""
    lot = LOT
    while True:
        seen = reports.quarantined(source, lot)
        found = [q for q in seen if fits(q)]
        if len(seen) < lot or (limit is not None and len(found) >= limit):
            return found if limit is None else found[:limit]
        lot *= 4


def _of_run(report: RunReport) -> Done:
    counts = {name: count for name, count in asdict(report.counts).items() if count}
    result = {"runs": [report.id], "outcome": str(report.outcome or Outcome.INTERRUPTED), **counts}
    # A run whose end could not be recorded did not fail by its own fault.
    unfinished = report.outcome is Outcome.INTERRUPTED or report.finished is None
    return Done(result, report, open=unfinished)

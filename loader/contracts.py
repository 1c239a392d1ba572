"""What an adapter promises. Each docstring says when a method is called, by whom and how often,
what may be retried, and what every error means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loader.findings import (
    Assessment,
    Cadence,
    FoundAnomaly,
    FoundDrift,
    Model,
    Pending,
    QualityDay,
    Standing,
)
from loader.journal import Cutoffs, LimitEvent, Notice
from loader.journalcontracts import AlertBook, Journal
from loader.readings import (
    Bool,
    Int64,
    Page,
    Partition,
    PartitionState,
    Reach,
    Readings,
    Series,
    Task,
    UInt8,
    UInt32,
    Window,
)
from loader.records import Batch, Counts, Outcome, Quarantined, RunReport, StoredSeries

Clock = Callable[[], int]
"""Now, in microseconds UTC. Injected, so that a test decides what time it is."""


class Checker(Protocol):
    """Flags readings. Pure. One is made for each source, by `wiring`."""

    def reach(self, series: Series) -> Reach:
        """What the flags of this series can depend on; the same for the same series, always."""

    def __call__(self, series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        """(flag, tests) of the readings' length.

        The readings are sorted by series (an index into `series`) and time, each once, and hold
        what is in reach of those whose flags count; the others' are not looked at. Of `tests`
        only the bits in `KEPT` matter; flags that come along are ignored. `written` marks the
        readings that are about to be stored, the rest is stored already. Called inside the
        transaction, again on every retry of the batch.

        Raises Refused where one of those about to be stored fails a rule whose policy is not just
        to flag; then nothing of the batch is written, and it is tried again without them.
        """

    def alone(self, series: Sequence[Series], readings: Readings) -> tuple[UInt8, UInt32]:
        """The same by the checks that look at one reading at a time, in any order: for counts
        before the store is asked. Never raises Refused."""


DIED = "the process ended before the run did"
"""The `error` of a run that the next holder of the lease closed as `interrupted`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a source has used since it was built: requests sent, those of them that were answered
    with an error or not at all, body bytes, slowest request.

    `codes` counts the requests by how they were answered: the HTTP status as text, or `none`.
    """

    requests: int = 0
    bytes: int = 0
    slowest_s: float = 0.0
    errors: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a source has, and what of it is new.

    `partitions` lists the ones known to exist now, those found in this call included.
    `listed` names those whose description was read afresh (the store then updates it).
    `latest` gives the newest reading's time of a partition, as far as the source said; a
    partition that is not in it has to be read to know.
    `failed` names stations that could not be asked, with the reason: their partitions are read
    as if nothing had been said.
    """

    partitions: tuple[Partition, ...]
    listed: frozenset[str]
    latest: Mapping[str, int]
    failed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `loader check`: what was looked at, whether it is well, and what was seen."""

    subject: str
    ok: bool
    detail: str


class Source(Protocol):
    """Where readings come from. Built once a run by `wiring`; `close` is called once at the end.

    `survey` is called once a run, before anything is read. `read` is then called from up to
    `concurrency` threads at once, each with a task of another partition.
    """

    name: str
    concurrency: int

    def survey(self, known: Sequence[PartitionState], now: int) -> Survey:
        """Say which partitions there are and which have news; cheap when nothing is new.

        `known` is what the store holds. Raises AccessDenied and NotFound at once for what the
        user has to put right, SourceUnavailable when nothing could be asked.
        """

    def read(self, task: Task) -> Iterator[Page]:
        """Read the task's window in ascending time, a page at a time.

        Retries are the source's own business, except for a `probe`, which tries once. Each page
        says how far the window has been read; the last one's `covered_to` is the window's end.
        Raises PageFailed when a page cannot be had (what was yielded before stands),
        SourceUnavailable when nothing can, AccessDenied when the key stopped being good.
        Closing the iterator early is allowed and frees whatever it holds.
        """

    def decode(self, partition: PartitionState, payload: bytes) -> Page:
        """Decode one quarantined record again, for replay; it comes back as a reading or a reject."""

    def requests(self, task: Task) -> int:
        """Estimate how many requests reading the task takes; for plans and progress bars."""

    def usage(self) -> Usage:
        """What has been used so far; callable from any thread."""

    def check(self) -> list[Finding]:
        """Try the connection and the key; never raises for what it finds."""

    def close(self) -> None:
        """Release connections and unused request budget."""


class Lease(Protocol):
    """The right to write one source's readings, until released or the process dies."""

    source: str

    def release(self) -> None:
        """Give it back. Called once; harmless when it was lost before."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did: its counts in full. `replayed` is true when the batch was there already."""

    counts: Counts
    replayed: bool = False


class Store(Protocol):
    """Where readings, ledger, runs and quarantine are kept. One object per process.

    Writing methods take the lease, raise LeaseLost when it is gone, StoreUnavailable when the
    same call may succeed later, StoreError when it cannot. Each is one transaction: it happened
    entirely or not at all. The writing methods are called from one thread only.
    """

    url: str
    """For people: never with a password."""

    def migrate(self) -> None:
        """Bring the schema up to date; called once after opening. Safe when two do it at once."""

    def acquire(self, source: str) -> Lease:
        """Become the one writer of `source`, or raise LeaseHeld at once.

        Runs of this source that never ended (their process died) are closed as `interrupted`,
        with the sum of their batches and the error DIED.
        """

    def begin_run(self, lease: Lease, trigger: str, started: int) -> int:
        """Record that a run began; returns its id."""

    def finish_run(self, lease: Lease, report: RunReport) -> None:
        """Record how a run ended. The counts written are the sum of its batches, plus the
        `requests`, `errors` and `bytes` of `report.counts` (those that no batch carried)."""

    def record_skipped(self, source: str, trigger: str, at: int, outcome: Outcome, why: str) -> None:
        """Record a run that did not take place; needs no lease."""

    def partitions(self, source: str) -> list[PartitionState]:
        """Everything known of the source's partitions, by name. One consistent snapshot."""

    def register(self, lease: Lease, partitions: Sequence[Partition], now: int) -> None:
        """Insert partitions (`discovered_at` = `listed_at` = now) and their series, or, where
        they are known, update `listed_at` and what describes the series."""

    def commit(self, lease: Lease, batch: Batch, check: Checker) -> Committed:
        """Write a batch in ONE transaction: readings, flags, revisions, quarantine, series,
        places, coverage, holes, watermark, counts. Acknowledged only when it is durable.

        Same value: refetched, nothing written (NULL equals NULL). Other value: revised, the old
        one kept in `revision`. Flags: `loader.context.flagged`, which also says whose flags change
        among the stored neighbours; a changed flag is no revision. What changed is added to the
        series' pending stretch; what came late, and what of `batch.repeated` is new, to the days
        in `quality`; what moved to another place is counted `inconsistent`.

        `batch.counts` comes with fetched, duplicate, quarantined, due, observed, inconsistent,
        requests, errors and bytes filled in; the rest is counted here. A reading not after its
        partition's `expired_to` is counted `expired` and not written. A second call with the same
        (run_id, seq) changes nothing and answers `replayed`.
        """

    def reset(self, lease: Lease, partition: str | None, watermark: int | None) -> int:
        """Set the watermark of one partition, or of all, forgetting the coverage and holes after
        it (all of them where None). Readings stay. Returns how many partitions changed."""

    def forget(self, lease: Lease) -> dict[str, int]:
        """Delete everything of the source, in bounded transactions, runs, alerts, its mute and its
        requests in a final state included; returns rows deleted by table. A request that is open
        stays: it may be the one that asked for this. Messages stay as history. Killed midway it
        is finished by the next call."""

    def prune(self, lease: Lease, cutoffs: Cutoffs) -> dict[str, int]:
        """Delete what retention does not keep, of the lease's source, in bounded transactions;
        returns rows deleted by table, counting those of this source only.

        The first transaction that deletes readings raises every partition's `expired_to` to
        `cutoffs.readings` and cuts coverage and holes there, so that nothing of it is fetched
        again; killed midway it is finished by the next call. A month (or chunk) is dropped whole
        where every reading in it has expired, whichever source it is of. A series whose readings
        are all gone stays, without `first_time` but with its `last_time`. Anomalies go with their
        readings (key `anomaly`); quality days, drift and standings stay as history.
        """

    def put_limit_events(
        self, lease: Lease, series_id: int, window: Window, events: Sequence[LimitEvent]
    ) -> None:
        """Replace the series' limit events that begin in `window`."""

    def put_flags(self, lease: Lease, series_id: int, time: Int64, flag: UInt8, tests: UInt32) -> int:
        """Give stored readings other flags; returns how many differed. What differed is pending."""

    def pending(self, source: str) -> list[Pending]:
        """Stretches that were not assessed yet, by series. One a series at most: a stretch that is
        added to another one makes it longer."""

    def assess(self, lease: Lease, *found: Assessment) -> None:
        """Keep what was found about series, all in one transaction; of parts of one series that say
        something of the same the last one counts."""

    def put_model(self, lease: Lease, model: Model) -> None:
        """Keep a fitted model; an older one of the same station and detector goes."""

    def drop_quarantined(self, lease: Lease, digests: Sequence[str]) -> int:
        """Delete quarantined records of the lease's source; returns how many."""

    def close(self) -> None: ...


class Reports(Protocol):
    """What may be asked of a store; read-only, without a lease, never blocking a writer."""

    def sources(self) -> list[str]:
        """Every source that has a partition or a run, sorted."""

    def runs(self, source: str | None, limit: int) -> list[RunReport]:
        """The newest runs first."""

    def series(self, source: str | None) -> list[StoredSeries]:
        """Every series with its newest place, by id."""

    def partitions(self, source: str) -> list[PartitionState]: ...

    def scan(self, series_ids: Sequence[int], window: Window) -> Iterator[Readings]:
        """Stored readings in chunks of bounded size, ordered by (series, time).

        `Readings.series` holds series ids here. `value` is what is stored: NaN for NULL.
        """

    def thinned(self, series_id: int, window: Window, cell: int) -> Readings:
        """Of each cell of time (from one multiple of `cell` microseconds to the next, the end
        included) the last reading in the window with a finite value and flag 1 or 2, ascending.

        What lies between them is not read, however dense the series.
        """

    def places(self, series_ids: Sequence[int]) -> dict[int, list[tuple[int, float, float]]]:
        """(from time, latitude, longitude) of each series, ascending."""

    def quarantined(self, source: str | None, limit: int) -> list[Quarantined]:
        """Rejected records, the newest first; those already replayed included."""

    def prunable(self, source: str, cutoffs: Cutoffs) -> dict[str, int]:
        """How many rows `Store.prune` would delete, by table."""

    def limit_events(self, source: str | None, since: int) -> list[LimitEvent]:
        """Events that last, or ended after `since`, by series and time."""

    def quality(
        self, source: str | None, since: int, until: int, series_ids: Sequence[int] | None = None
    ) -> Iterator[QualityDay]:
        """Days that begin in [since, until), by series and day; of these series only, where given."""

    def cadences(self, source: str | None) -> dict[int, tuple[Cadence, ...]]:
        """What was learned, by series id, ascending in time."""

    def anomalies(self, source: str | None, since: int, until: int) -> Iterator[FoundAnomaly]:
        """Those with times in (since, until], by time."""

    def drifts(self, source: str | None, since: int) -> list[FoundDrift]:
        """Comparisons that ended after `since`, by series and time."""

    def standings(self, source: str | None) -> list[Standing]:
        """By series and detector."""

    def models(self, source: str) -> list[Model]:
        """The fitted models of the source's stations."""

    def facts(self) -> dict[str, str]:
        """What `loader check` shows: product and version, schema version, size, ..."""


class Database(Store, Reports, Journal, AlertBook, Protocol):
    """What a SQL store is: store, reports, journal and alert book in one."""


class Notifier(Protocol):
    """A way out for messages. One object a process; callable from one thread at a time."""

    name: str

    def send(self, notice: Notice) -> None:
        """Deliver it, once, within the channel's own time limit.

        Raises Undelivered when it may work later, Permanent when it never will (the address is
        gone, the receiver refuses the message). May be called again with the same notice: the
        receiver tells repetitions by its id.
        """


class Budget(Protocol):
    """The right to send requests, as the HTTP session sees it; shared by threads."""

    def acquire(self, background: bool = False) -> None:
        """Return when one request may be sent. `background` work leaves a reserve for others.
        Raises Interrupted when the process is asked to stop meanwhile."""

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from a response's rate-limit headers; called after every response."""

    def close(self) -> None:
        """Give back what was granted and not used."""

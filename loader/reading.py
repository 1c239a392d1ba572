"""Reading tasks from a source, in threads: page after page, around what cannot be had."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar, cast

from loader.contracts import Source
from loader.errors import Interrupted, LoaderError, PageFailed, Retryable, SourceUnavailable
from loader.planner import Ledger, cadence
from loader.readings import SECOND, Page, PartitionState, Progress, Task, Window

T = TypeVar("T")

QUEUE = 32
"""Pages that may wait for the writer: enough to overlap with it, few enough to bound memory."""

LINGER_S = 3.0
"""Seconds that readers get to end after a stop; one that waits for the network longer is left
behind, it has nothing to lose."""

MAX_FAILED_PROBES = 64
"""A page that needs more failing probes than this is not worth bisecting further."""

DOWN_PARTITIONS, DOWN_FAILURES = 3, 36
"""So many partitions, and so many requests in a row, must fail before the source counts as down.
One poisoned page costs about ten failing probes until the first succeeds, so fewer failures in
a row may still be a few bad stretches read at the same time."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a reader hands to the writer: a page or None, and what it means for the ledger.

    `window` is the stretch the page answers for, `first` marks the task's first page. `failed`
    says that the task is over and why.
    """

    task: Task
    progress: Progress
    page: Page | None = None
    window: Window | None = None
    first: bool = False
    failed: str | None = None


class Outage:
    """Decides when failures of single partitions mean that the whole source is down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: set[str] = set()
        self._in_a_row = 0
        self._lost = 0

    def succeeded(self) -> None:
        with self._lock:
            self._failing.clear()
            self._in_a_row = self._lost = 0

    def failed(self, partition: str, error: PageFailed) -> None:
        """Count a failure; raises SourceUnavailable when it was one too many.

        A page that cannot be bisected has been retried in full: three partitions in a row are
        enough then.
        """
        with self._lock:
            self._failing.add(partition)
            self._in_a_row += 1
            self._lost += not error.bisect
            several = len(self._failing) >= DOWN_PARTITIONS
            if several and (self._in_a_row >= DOWN_FAILURES or self._lost >= DOWN_PARTITIONS):
                raise SourceUnavailable(
                    f"{len(self._failing)} partitions in a row failed alike, the last with: {error}"
                )


class Reader:
    """Reads the tasks of one run with `source.concurrency` threads; iterate over it for pieces.

    Tasks of one partition are read one after the other. When the source is down the tasks left
    are dropped and `down` says why; when `stop` is set the readers end after their page.
    """

    def __init__(
        self,
        source: Source,
        tasks: Sequence[Task],
        states: Sequence[PartitionState],
        ledgers: Mapping[str, Ledger],
    ) -> None:
        self._source = source
        self._ledgers = ledgers
        self._step = {s.name: cadence(s) for s in states}
        self._outage = Outage()
        self._queue: queue.Queue[Piece | BaseException | None] = queue.Queue(QUEUE)
        self._halt = threading.Event()
        by_partition: dict[str, list[Task]] = {}
        for task in tasks:
            by_partition.setdefault(task.partition, []).append(task)
        self._work = deque(by_partition.values())
        self._threads = [
            threading.Thread(target=self._worker, name=f"read-{source.name}-{i}", daemon=True)
            for i in range(min(source.concurrency, len(self._work)))
        ]
        self._running = len(self._threads)
        self._deadline: float | None = None
        self._abandoned: set[str] = set()
        self.down: str | None = None

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """End the readers. What they still hand over is dropped: it was never acknowledged, so
        the next run reads it again."""
        self._halt.set()
        with contextlib.suppress(LoaderError):
            for _piece in self._until(self._deadline or time.monotonic() + LINGER_S):
                pass

    def pieces(self, stop: threading.Event) -> Iterator[Piece | None]:
        """Every piece as it comes; None now and then while there is none, so that the caller
        can look at the clock. Ends when all is read, or soon after `stop` was set. Raises what
        a reader died of."""
        for piece in self._until(None):
            yield piece
            if stop.is_set() and self._deadline is None:
                self._halt.set()
                self._deadline = time.monotonic() + LINGER_S
            if self._deadline is not None and time.monotonic() > self._deadline:
                return

    def abandon(self, partition: str) -> None:
        """Read no more of this partition, and drop what was read of it and not yet handed out."""
        self._abandoned.add(partition)

    def _until(self, deadline: float | None) -> Iterator[Piece | None]:
        while self._running or not self._queue.empty():
            if deadline is not None and time.monotonic() > deadline:
                return
            try:
                got = self._queue.get(timeout=0.1)
            except queue.Empty:
                yield None
                continue
            if isinstance(got, Piece):
                yield None if got.task.partition in self._abandoned else got
                continue
            self._running -= 1
            if got is not None:
                self._halt.set()
                raise got

    def _worker(self) -> None:
        ending: BaseException | None = None
        try:
            while not self._halt.is_set():
                try:
                    tasks = self._work.popleft()
                except IndexError:
                    break
                for task in tasks:
                    if self._over(task):
                        break
                    self._read(task)
        except Interrupted:
            pass
        except SourceUnavailable as error:
            self.down = str(error)
            self._halt.set()
        except BaseException as error:
            ending = error
        self._queue.put(ending)

    def _over(self, task: Task) -> bool:
        return self._halt.is_set() or task.partition in self._abandoned

    def _read(self, task: Task) -> None:
        ledger = self._ledgers[task.partition]
        found: list[str] = []
        try:
            for piece in self._pieces(task, ledger, found):
                self._queue.put(piece)
                if self._over(task):
                    return
        except _Gone as gone:
            hole = ledger.failed(task, gone.window, gone.cause, isolated=False)
            end = ledger.ended(task, gone.cause, complete=False)
            self._queue.put(Piece(task, hole))
            self._queue.put(Piece(task, end, failed=gone.cause))
            if isinstance(gone.error, SourceUnavailable):
                raise gone.error from gone
            return
        error = found[-1] if found else None
        self._queue.put(Piece(task, ledger.ended(task, error, complete=True), failed=error))

    def _pieces(self, task: Task, ledger: Ledger, found: list[str]) -> Iterator[Piece]:
        """Read a task to its end; stretches that cannot be had become holes on the way."""
        todo: deque[Task] = deque([task])
        failed_probes = 0
        # A stretch counts as bad by itself only once something beyond it could be read.
        suspects: list[tuple[Window, str]] = []

        def convict() -> Iterator[Piece]:
            for window, why in suspects:
                found.append(why)
                yield Piece(task, ledger.failed(task, window, f"fetch failed: {why}", isolated=True))
            suspects.clear()

        while todo:
            part = todo.popleft()
            after = part.window.start
            try:
                for page in self._source.read(part):
                    self._outage.succeeded()
                    yield from convict()
                    newest = int(page.readings.time.max()) if len(page.readings) else None
                    window = Window(after, page.covered_to)
                    progress = ledger.page(task, after, page.covered_to, newest)
                    yield Piece(task, progress, page, window, first=after == task.window.start)
                    after = page.covered_to
            except Retryable as error:
                rest = Window(suspects[0][0].start if suspects else after, task.window.end)
                failed_probes += part.probe
                if not isinstance(error, PageFailed):
                    raise _Gone(rest, error) from error
                try:
                    self._outage.failed(task.partition, error)
                except SourceUnavailable as down:
                    raise _Gone(rest, down) from error
                if not error.bisect or failed_probes > MAX_FAILED_PROBES:
                    raise _Gone(rest, error) from error
                bad = Window(after, min(max(error.until, after + SECOND), part.window.end))
                if bad.end - bad.start <= self._step[task.partition]:
                    suspects.append((bad, str(error)))
                    halves = []
                else:
                    middle = bad.start + max((bad.end - bad.start) // 2 // SECOND, 1) * SECOND
                    halves = [Window(bad.start, middle), Window(middle, bad.end)]
                probes = [replace(task, window=w, probe=True) for w in halves if w]
                beyond = replace(part, window=Window(bad.end, part.window.end))
                todo.extendleft(reversed([*probes, *([beyond] if beyond.window else [])]))
        yield from convict()


def attended(call: Callable[[], T], stop: threading.Event) -> T:
    """What `call` returns or raises. It may wait for the network longer than anybody wants to:
    when `stop` is set it gets a moment, then it is left behind and Interrupted is raised."""
    ended: queue.SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = queue.SimpleQueue()

    def work() -> None:
        try:
            ended.put((call(), None))
        except BaseException as error:
            ended.put((None, error))

    threading.Thread(target=work, name="attended", daemon=True).start()
    deadline = None
    while True:
        try:
            got, error = ended.get(timeout=0.1)
        except queue.Empty:
            if stop.is_set():
                deadline = deadline or time.monotonic() + LINGER_S
                if time.monotonic() > deadline:
                    raise Interrupted("asked to stop while an answer was waited for") from None
            continue
        if error is not None:
            raise error
        return cast(T, got)


class _Gone(Exception):
    """The rest of a task, `window`, cannot be read now."""

    def __init__(self, window: Window, error: Retryable) -> None:
        super().__init__(str(error))
        self.window, self.cause, self.error = window, f"fetch failed: {error}", error

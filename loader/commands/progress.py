"""Progress of a run on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loader.contracts import Usage
from loader.log import get_logger
from loader.readings import Task, Window
from loader.records import Counts

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from loader.pipeline import Observer


def duration(seconds: float) -> str:
    """A time span as people read it: 0.4 s, 45 s, 12 min, 3 h 20 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def observer(paces: Mapping[str, float]) -> Iterator[Observer]:
    """The observer that fits where stderr goes. `paces` are the requests a second that each
    source's limits allow; a source without limits is not in it."""
    if not sys.stderr.isatty():
        yield Lines(paces)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        # Last, for a narrow terminal cuts it off.
        TextColumn("{task.fields[said]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bars(paces, progress)


class Estimate:
    """How long the rest of a source's run takes: by its request limit or by the speed so far,
    whichever is slower."""

    def __init__(self, requests: int, pace: float | None) -> None:
        self.requests = requests
        self._pace = pace
        self._began = time.monotonic()

    def at_first(self) -> float | None:
        """Seconds, before anything was read; None where no limit decides it."""
        return self.requests / self._pace if self._pace and self.requests else None

    def left(self, share_done: float) -> float | None:
        """Seconds from now."""
        if share_done <= 0:
            return self.at_first()
        by_speed = (time.monotonic() - self._began) * (1 - share_done) / share_done
        by_limit = self.requests * (1 - share_done) / self._pace if self._pace else 0.0
        return max(by_speed, by_limit)


class _Watching:
    """How much of the planned time has been read."""

    def __init__(self, paces: Mapping[str, float]) -> None:
        self._paces = paces
        self._total = self._done = 0
        self._estimate = Estimate(0, None)

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:
        self._total = sum(t.window.end - t.window.start for t in tasks)
        self._done = 0
        self._estimate = Estimate(requests, self._paces.get(source))

    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None:  # noqa: ARG002
        if window is not None:
            self._done += window.end - window.start

    @property
    def share(self) -> float:
        return min(self._done / self._total, 1.0) if self._total else 1.0


class Lines(_Watching):
    """A log line for the plan and one every ten seconds; warnings as they come."""

    EVERY_S = 10.0

    def __init__(self, paces: Mapping[str, float]) -> None:
        super().__init__(paces)
        self._log = get_logger()
        self._last = time.monotonic()

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:
        super().planned(source, tasks, requests)
        seconds = self._estimate.at_first()
        self._log.info(
            "planned",
            source=source,
            tasks=len(tasks),
            requests=requests,
            **({"about": duration(seconds)} if seconds else {}),
        )

    def committed(self, source: str, counts: Counts, used: Usage) -> None:
        now = time.monotonic()
        if now - self._last < self.EVERY_S:
            return
        self._last = now
        left = self._estimate.left(self.share)
        self._log.info(
            "loading",
            source=source,
            done=f"{self.share:.0%}",
            new=counts.new,
            requests=used.requests,
            **({"left": duration(left)} if left else {}),
        )

    def warned(self, source: str, message: str) -> None:
        self._log.warning("trouble", source=source, what=message)


class Bars(_Watching):
    """A bar per source, with the readings so far and the time left."""

    def __init__(self, paces: Mapping[str, float], progress: Progress) -> None:
        super().__init__(paces)
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._said = ""

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:
        super().planned(source, tasks, requests)
        left = self._estimate.at_first()
        self._bars[source] = self._progress.add_task(
            source, total=1.0, said=f"{requests} requests, about {duration(left)}" if left else ""
        )

    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None:
        super().advanced(source, task, window, ended)
        self._progress.update(self._bars[source], completed=self.share)

    def committed(self, source: str, counts: Counts, used: Usage) -> None:
        left = self._estimate.left(self.share)
        said = f"{counts.new:,} new, {used.requests} requests"
        if left and left > 1:
            said += f", {duration(left)} left"
        self._progress.update(self._bars[source], said=said)

    def warned(self, source: str, message: str) -> None:
        self._progress.console.print(f"{source}: {message}", style="yellow", highlight=False, markup=False)

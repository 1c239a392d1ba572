"""An observer that remembers."""

from __future__ import annotations

from collections.abc import Sequence

from loader.contracts import Usage
from loader.readings import Task, Window
from loader.records import Counts


class Watching:
    """Remembers what the last run planned, and what every run complained of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.tasks: list[Task] = []

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:  # noqa: ARG002
        self.tasks = list(tasks)

    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None: ...

    def committed(self, source: str, counts: Counts, used: Usage) -> None: ...

    def warned(self, source: str, message: str) -> None:  # noqa: ARG002
        self.warnings.append(message)

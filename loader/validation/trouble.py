"""What is wrong in a file: of the whole of it, or of one line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from loader.errors import Permanent

KEPT = 10
"""So many failing lines of a kind are kept, the first ones; all are counted."""

EXCERPT = 60

NO_RECORD = frozenset({"encoding", "fields", "syntax"})
"""Kinds of lines that are no records at all."""


class Unreadable(Permanent):
    """A file that cannot be read, or read on, or understood; the text names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A line that fails: `file:line: field: why`. `rule` is its kind, in one word."""

    file: str
    line: int
    field: str
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.reason}"


class Troubles:
    """Failing lines: each kind counted, the first of each kind kept. `cut` is true where the file
    goes on after the last line that was to be read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.cut = False
        self._kept: list[Trouble] = []

    def add(self, trouble: Trouble) -> None:
        self.counts[trouble.rule] += 1
        if self.counts[trouble.rule] <= KEPT:
            self._kept.append(trouble)

    def wants(self, rule: str) -> bool:
        """Whether one more of this kind would be kept."""
        return self.counts[rule] < KEPT

    def count(self, rule: str, more: int) -> None:
        """Count some that are not kept."""
        self.counts[rule] += more

    @property
    def first(self) -> list[Trouble]:
        """Those kept, by line."""
        return sorted(self._kept, key=lambda t: t.line)


def shown(value: object) -> str:
    """A value in a message, short: text in quotes, anything else as in JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    short = text if len(text) <= EXCERPT else text[: EXCERPT - 3] + "..."
    return repr(short) if isinstance(value, str) else short

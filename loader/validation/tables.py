"""Records of a file as columns, whatever its format was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ROWS = 20_000
"""Records that are looked at together."""


@dataclass(frozen=True, slots=True)
class Table:
    """Neighbouring records as columns of one length.

    numbers  line of each record (where it begins), or its row number in Parquet, from 1
    columns  by name; None where a record has no such field
    block    the block of a sample that they are of
    where    what to call a record beside its line, such as `results[17].`; "" throughout if None
    """

    numbers: list[int]
    columns: dict[str, list[Any]]
    block: int = 0
    where: list[str] | None = None

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose format is known.

    names   its columns, in their order; those of the first records where every record has its own
    header  false where the first line is data already and the names are just numbers from 1
    text    values are text as it stands in the file; else they have types
    comma   numbers may have a decimal comma
    """

    format: str
    names: list[str]
    tables: Iterator[Table]
    text: bool
    header: bool = True
    comma: bool = False
    sampled: bool = False
    facts: dict[str, str] = field(default_factory=dict)


def flat(record: dict[str, Any], prefix: str = "", depth: int = 4) -> dict[str, Any]:
    """Nested objects as one, keys joined by dots; lists stay as they are."""
    out: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict) and depth > 1:
            out.update(flat(value, f"{prefix}{key}.", depth - 1))
        else:
            out[prefix + key] = value
    return out


def columned(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Flat records as columns, in the order in which their keys first came."""
    names: dict[str, None] = {}
    for record in records:
        if record.keys() - names.keys():
            names.update(dict.fromkeys(record))
    return {name: [record.get(name) for record in records] for name in names}

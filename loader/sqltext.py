"""SQL kept in .sql files beside the store that runs it: named queries and numbered migrations.

A query file is cut at lines of the form `-- name: newest_place`; what stands under such a line,
up to the next one, is that query. A migration is one file, `0001_initial.sql`, `0002_....sql`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)
_MIGRATION = re.compile(r"(\d{4})_(\w+)\.sql")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema, from version `number` - 1 to `number`."""

    number: int
    name: str
    sql: str


def queries(file: Path) -> Mapping[str, str]:
    """The named queries of a file, without trailing semicolons.

    Raises ValueError for a name given twice, an empty query, or SQL above the first name.
    """
    text = file.read_text(encoding="utf-8")
    head, *rest = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"{file.name}: SQL above the first '-- name:' line")
    found: dict[str, str] = {}
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        sql = body.strip().removesuffix(";")
        if name in found or not sql:
            raise ValueError(f"{file.name}: query {name} is {'empty' if not sql else 'there twice'}")
        found[name] = sql
    return found


def migrations(folder: Path) -> tuple[Migration, ...]:
    """The migrations of a folder in order. Raises ValueError unless they count 1, 2, 3, ..."""
    found = []
    for file in sorted(folder.glob("*.sql")):
        match = _MIGRATION.fullmatch(file.name)
        if match is None:
            raise ValueError(f"{file.name}: a migration is called like 0002_what_it_does.sql")
        found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{folder}: migrations must count 1, 2, 3, ... without a gap")
    return tuple(found)


def storable(text: str) -> str:
    """Text that any database takes: NUL bytes and lone surrogates become U+FFFD.

    For messages and reasons, which may quote whatever a server sent; never for identities.
    """
    return _UNSTORABLE.sub("\ufffd", text)

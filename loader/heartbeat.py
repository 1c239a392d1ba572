"""The file by which a daemon shows that it is alive. Imports nothing heavy: a health check reads it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

READY = "ready"

LARGEST = 64_000
"""Bytes read of a heartbeat."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Process `pid` of that version was alive `at` (microseconds UTC); `state` is READY or says
    what keeps it from its work."""

    pid: int
    at: int
    version: str
    state: str


def beat(path: Path, one: Beat) -> None:
    """Write it, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(asdict(one)) + "\n", encoding="utf-8")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read(path: Path) -> Beat:
    """The last beat. Raises OSError where there is no file, ValueError where it is no heartbeat."""
    with path.open("rb") as file:
        text = file.read(LARGEST)
    try:
        data = json.loads(text)
        return Beat(int(data["pid"]), int(data["at"]), str(data["version"]), str(data["state"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ValueError("is no heartbeat") from None

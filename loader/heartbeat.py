"""The file by which a daemon shows that it is alive. Imports nothing heavy: a health check reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from loader import atomic

PLACE = Path("state/heartbeat.json")
"""Where a daemon writes it, and a health check looks, unless told otherwise."""

READY = "ready"

LARGEST = 64_000
"""Bytes read of a heartbeat."""

LONGEST = 2_000
"""Characters of a state that are kept: a configuration may be wrong in many places."""


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
    kept = replace(one, state=one.state[:LONGEST])
    atomic.replace(path, (json.dumps(asdict(kept)) + "\n").encode())


def read(path: Path) -> Beat:
    """The last beat. Raises OSError where there is no file, ValueError where it is no heartbeat."""
    with path.open("rb") as file:
        text = file.read(LARGEST)
    try:
        data = json.loads(text)
        return Beat(int(data["pid"]), int(data["at"]), str(data["version"]), str(data["state"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise ValueError("is no heartbeat") from None

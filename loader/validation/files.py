"""What is asked of files, what was seen of each, and what was read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from loader.readings import Series
from loader.validation.columns import Layout
from loader.validation.shelf import Shelf
from loader.validation.trouble import Trouble
from loader.validation.values import Values

LINES = 20_000_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says of the files; see `loader validate --help`.

    columns     column by role or parameter
    units       unit by parameter
    parameters  only these; all where empty
    known       names of the parameters that there are rules for
    earliest, latest   microseconds UTC: readings stamped outside would not be loaded
    """

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    zone: tzinfo = UTC
    encoding: str = "utf-8"
    sample: int | None = None
    lines: int = LINES
    earliest: int = 0
    latest: int = 2**62


@dataclass(slots=True)
class File:
    """What was seen of one file. `error` says why it could not be read (on)."""

    path: str
    format: str = ""
    error: str | None = None
    header: bool = True
    sampled: bool = False
    cut: bool = False
    facts: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    layout: Layout | None = None
    records: int = 0
    readings: int = 0
    naive: int = 0
    values: Values = field(default_factory=Values)
    failing: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """Everything that was read: the series, the readings by series, what each `part` of them is, (file,
    block of a sample), and what each `place`, (latitude, longitude) in degrees."""

    files: list[File]
    series: list[Series]
    readings: Shelf
    parts: list[tuple[int, int]]
    places: list[tuple[float, float]]
    troubles: list[Trouble]

"""How readings are to be written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """The language of the text."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


class Layout(StrEnum):
    """A row for each reading, or one for each station and time."""

    LONG = "long"
    WIDE = "wide"


class Extra(StrEnum):
    """What may be told of each reading beside its value and flag."""

    ZSCORE = "zscore"
    """How far out it is: see `loader.quality.anomaly.RobustZScore`."""
    ALERT = "alert"
    """Whether that makes it an anomaly."""
    TESTS = "tests"
    """The names of the checks that object to it."""


@dataclass(frozen=True, slots=True)
class Style:
    """How readings are to be written.

    `local` gives times in the station's zone with their offset instead of UTC with a Z (a
    station without a known zone stays in UTC); `flags` adds a flag column to each value column
    of the wide layout (the long one always has it). Each of `extras` adds a column: in the long
    layout one of its name, in the wide one beside each value column.
    """

    form: Form = Form.CSV
    layout: Layout = Layout.LONG
    local: bool = False
    flags: bool = False
    extras: tuple[Extra, ...] = ()

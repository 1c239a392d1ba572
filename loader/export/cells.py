"""Texts and numbers in the cells of CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isnan

import numpy as np

from loader.readings import Flag, Readings

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(text: str) -> str:
    """A text cell of a CSV file: quoted where it must be, and where a spreadsheet would take it
    for a formula, with an apostrophe before it."""
    if text.startswith(_FORMULA):
        text = "'" + text
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def numbers(values: Sequence[float], empty: str) -> list[str]:
    """Each number's shortest text that reads back as the same; `empty` for NaN. An infinity,
    which JSON has no word for, is a number too large for a float: every reader takes it for one."""
    return [
        repr(v) if -_HUGE <= v <= _HUGE else empty if isnan(v) else "1e999" if v > 0 else "-1e999"
        for v in values
    ]


_HUGE = 1.7976931348623157e308


def values(block: Readings, empty: str) -> list[str]:
    return numbers(np.where(block.flag == Flag.MISSING, np.nan, block.value).tolist(), empty)


def quoted(text: str) -> str:
    """A text of JSON."""
    return json.dumps(text, ensure_ascii=False)

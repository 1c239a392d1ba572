"""Values as files have them, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from loader.readings import Bool, Float64
from loader.validation.columns import MISSING, plain_number


@dataclass(slots=True)
class Values:
    """How many were absent (empty, null, NA), NaN, infinite, or no number at all."""

    absent: int = 0
    nan: int = 0
    infinite: int = 0
    wrong: int = 0


def numbers(
    raw: Sequence[Any], text: bool, comma: bool, wanted: Bool, counts: Values
) -> tuple[Float64, Bool]:
    """The values as float64, NaN where there is none; and which of those `wanted` are no numbers.

    `text`: they are as a text file has them, `comma` perhaps with a decimal comma. Where values
    have types, a number that stands in quotes is none.
    """
    n = len(raw)
    wrong = np.zeros(n, bool)
    value = _all_at_once(raw, text)
    if value is None:
        read = _text if text else _typed
        found = [read(one, comma) for one in raw]
        value = np.array([nan if one is None or one is _ABSENT else one for one in found], np.float64)
        wrong = np.array([one is None for one in found], bool) & wanted
        absent = np.array([one is _ABSENT for one in found], bool) & wanted
        counts.absent += int(np.count_nonzero(absent))
        counts.nan += int(np.count_nonzero(np.isnan(value) & ~wrong & ~absent & wanted))
    else:
        counts.nan += int(np.count_nonzero(np.isnan(value) & wanted))
    counts.infinite += int(np.count_nonzero(np.isinf(value) & wanted))
    counts.wrong += int(np.count_nonzero(wrong))
    return value, wrong


_ABSENT: Any = object()


def _all_at_once(raw: Sequence[Any], text: bool) -> Float64 | None:
    """The usual case: every value a number."""
    if not text and not {type(v) for v in raw} <= {int, float}:
        return None
    try:
        value = np.array([float(v) for v in raw], np.float64)
    except (ValueError, OverflowError):
        return None
    # Python reads 1_000 as a thousand; nobody who writes a file means that.
    return None if text and any("_" in v for v in raw) else value


def _text(one: str, comma: bool) -> Any:
    one = one.strip()
    if one.lower() in MISSING:
        return nan if one.lower() == "nan" else _ABSENT
    return plain_number(one, comma)


def _typed(one: Any, _comma: bool) -> Any:
    if one is None or (isinstance(one, str) and one.strip().lower() in MISSING):
        return _ABSENT
    if isinstance(one, bool) or not isinstance(one, int | float):
        return None
    try:
        return float(one)
    except OverflowError:
        return None

"""Checkers for tests of what calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from loader.readings import Bool, Flag, Reach, Readings, Series, UInt8, UInt32

Judge = Callable[[Sequence[Series], Readings, Bool], tuple[UInt8, UInt32]]


@dataclass(frozen=True)
class Checks:
    """A `Checker` made of one function; what its flags depend on lies within `around`."""

    judge: Judge
    around: Reach = field(default_factory=Reach)

    def reach(self, series: Series) -> Reach:
        del series
        return self.around

    def __call__(self, series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        return self.judge(series, readings, written)

    def alone(self, series: Sequence[Series], readings: Readings) -> tuple[UInt8, UInt32]:
        return self.judge(series, readings, np.ones(len(readings), bool))


def present(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
    """Every number is good, NaN is missing."""
    del series, written
    flag = np.where(np.isnan(readings.value), Flag.MISSING, Flag.GOOD).astype(np.uint8)
    return flag, readings.tests


good = Checks(present)

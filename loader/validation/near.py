"""Readings at odds with near stations, as loading finds them after a run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from loader.quality.checks import Checks
from loader.quality.neighbours import NeighbourRule, near, objects, usable
from loader.readings import Float64, Int64, Readings, Series, plain_unit

AT_ONCE = 100_000
"""So many readings of a series are compared together."""


@dataclass(slots=True)
class Network:
    """Series with a rule for neighbours and all of the same parameter and unit; what was measured
    there is added series by series, and compared when all is there."""

    series: Sequence[Series]
    rules: dict[int, NeighbourRule] = field(default_factory=dict)
    kinds: list[list[int]] = field(default_factory=list)
    _values: dict[int, tuple[Int64, Float64]] = field(default_factory=dict)
    _places: dict[int, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, check: Checks, series: Sequence[Series]) -> Network:
        """Without kinds where no series has such a rule."""
        kinds: dict[tuple[str, str], list[int]] = {}
        made = cls(series)
        for index, one in enumerate(series):
            kinds.setdefault((one.parameter, plain_unit(one.unit)), []).append(index)
            if (rule := check.rule(one).neighbours) is not None:
                made.rules[index] = rule
        made.kinds = [members for members in kinds.values() if made.rules.keys() & set(members)]
        return made

    def add(self, index: int, readings: Readings, place: tuple[float, float] | None) -> None:
        """All readings of a series, with the flags that they have by themselves, and where it stands
        now; without a place it is nobody's neighbour."""
        if place is not None and any(index in members for members in self.kinds):
            some = readings.take(usable(readings))
            order = np.argsort(some.time, kind="stable")
            self._values[index] = some.time[order], some.value[order]
            self._places[index] = place

    def at_odds(self) -> Mapping[int, Int64]:
        """By series the times of the readings that lie outside what near stations measured."""
        found = {}
        for members in self.kinds:
            places = {index: self._places[index] for index in members if index in self._places}
            stations = {index: self.series[index].station for index in members}
            ruled = [index for index in places if index in self.rules]
            for within in {self.rules[index].within_km for index in ruled}:
                of_all = near(places, stations, within)
                for index in ruled:
                    if self.rules[index].within_km == within and of_all[index]:
                        found[index] = self._odd(index, of_all[index])
        return found

    def _odd(self, index: int, others: Sequence[int]) -> Int64:
        time, value = self._values[index]
        theirs = [self._values[other] for other in others]
        odd = [
            objects(self.rules[index], time[low : low + AT_ONCE], value[low : low + AT_ONCE], theirs)
            for low in range(0, len(time), AT_ONCE)
        ]
        found: Int64 = time[np.concatenate([np.empty(0, bool), *odd])]
        return found

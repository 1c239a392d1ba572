"""The same parameter at near stations: a reading far outside of what all of them measured. Pure.

A buddy check, as weather services make it on networks of stations (Båserud et al. 2020, TITAN
automatic spatial quality control of meteorological in-situ observations, Adv. Sci. Res. 17). It
takes the range of the neighbours instead of a mean and its deviation: where they disagree among
themselves, as on two sides of a front or of a road, nothing is said, and one of them that is wrong
can hide an error but never make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loader.readings import HOUR, KEPT, Bool, Flag, Float64, Int64, Readings

EARTH_KM = 6371.0088
"""The mean radius (IUGG)."""


@dataclass(frozen=True, slots=True)
class NeighbourRule:
    """What may differ. Stations up to `within_km` away are near; with fewer than `least` of them
    at hand nothing is said. A reading is suspect more than `suspect` (in the unit of the value)
    above the highest or below the lowest of theirs. Of each station the reading nearest in time
    counts, up to `apart` microseconds away, of two as near the older one."""

    within_km: float
    suspect: float
    least: int = 3
    apart: int = HOUR


def distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Between two (latitude, longitude) in degrees, on a sphere (haversine formula)."""
    a, b = np.radians(here), np.radians(there)
    half = (b - a) / 2
    chord = np.sin(half[0]) ** 2 + np.cos(a[0]) * np.cos(b[0]) * np.sin(half[1]) ** 2
    return float(2 * EARTH_KM * np.arcsin(np.sqrt(min(1.0, chord))))


def near(
    places: Mapping[int, tuple[float, float]], stations: Mapping[int, str], within_km: float
) -> dict[int, tuple[int, ...]]:
    """By series, the others that are not more than so far away and not at the same station;
    ascending by id. A series without a place has none and is nobody's."""
    known = sorted(places)
    found: dict[int, list[int]] = {one: [] for one in known}
    for i, a in enumerate(known):
        for b in known[i + 1 :]:
            # A degree of latitude is 111 km: most pairs need no more than this.
            if abs(places[a][0] - places[b][0]) * 110 > within_km or stations[a] == stations[b]:
                continue
            if distance_km(places[a], places[b]) <= within_km:
                found[a].append(b)
                found[b].append(a)
    return {one: tuple(sorted(others)) for one, others in found.items()}


def usable(readings: Readings) -> Bool:
    """Readings with a value that no check of their own series objects to. What this check itself
    said before does not matter, so the order in which stations are looked at does not either."""
    own = readings.tests & ~np.uint32(KEPT)
    return np.asarray(np.isfinite(readings.value) & (own == 0) & (readings.flag != Flag.MISSING), np.bool_)


def bounds(
    rule: NeighbourRule, time: Int64, others: Sequence[tuple[Int64, Float64]]
) -> tuple[Float64, Float64, Int64]:
    """(lowest, highest, how many) of the near stations' values at each time; the first two are NaN
    where they are too few.

    `others` are (ascending times, usable values), one pair a series.
    """
    values = np.full((len(others), len(time)), np.nan)
    for row, (at, value) in zip(values, others, strict=True):
        if not len(at):
            continue
        after = np.minimum(np.searchsorted(at, time), len(at) - 1)
        before = np.maximum(after - 1, 0)
        closer = np.abs(at[before] - time) <= np.abs(at[after] - time)
        nearest = np.where(closer, before, after)
        kept = np.abs(at[nearest] - time) <= rule.apart
        row[kept] = value[nearest[kept]]
    low = np.min(values, axis=0, where=~np.isnan(values), initial=np.inf)
    high = np.max(values, axis=0, where=~np.isnan(values), initial=-np.inf)
    count = (~np.isnan(values)).sum(axis=0)
    few = count < max(1, rule.least)
    low[few] = high[few] = np.nan
    return low, high, count.astype(np.int64)


def objects(
    rule: NeighbourRule, time: Int64, value: Float64, others: Sequence[tuple[Int64, Float64]]
) -> Bool:
    """Which readings lie outside their neighbours' range by more than `suspect`."""
    low, high, _ = bounds(rule, time, others)
    with np.errstate(invalid="ignore"):
        return np.asarray((value > high + rule.suspect) | (value < low - rule.suspect), np.bool_)


def sentence(value: float, low: float, high: float, count: int, unit: str) -> str:
    """Why, with the figures."""
    unit = f" {unit}" if unit else ""
    return f"{value:.10g}{unit}, while {count} near stations measured {low:.6g} to {high:.6g}{unit}"

"""How good what was loaded is: five components and one number out of them. Pure.

Each component is a share between 0 and 1, or None where there is nothing to take a share of.
The score is their weighted mean times 100, over the components that exist.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from loader.findings import QualityDay
from loader.readings import Window
from loader.records import Counts


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each component counts; only their proportions matter. None may be negative."""

    completeness: float = 0.35
    validity: float = 0.30
    timeliness: float = 0.15
    uniqueness: float = 0.10
    consistency: float = 0.10


@dataclass(frozen=True, slots=True)
class Components:
    """The shares that a score is made of; None where there was nothing to judge by.

    completeness  observed / due
    validity      1 - (suspect + failed) / (new + revised - missing): of the readings written
                  that have a value, how many no check objects to
    timeliness    1 - late / new
    uniqueness    1 - duplicate / fetched; reading again what is stored already lowers nothing
    consistency   1 - inconsistent / fetched
    """

    completeness: float | None
    validity: float | None
    timeliness: float | None
    uniqueness: float | None
    consistency: float | None


COMPONENT_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Components))


@dataclass(frozen=True, slots=True)
class Score:
    """`total` is 0 (nothing is as it should be) to 100."""

    total: float
    components: Components


def components(counts: Counts) -> Components:
    """The five components of a batch or a run, from its counts."""
    flagged = counts.suspect + counts.failed
    return Components(
        completeness=_share(counts.observed, counts.due),
        validity=_rest(flagged, counts.new + counts.revised - counts.missing),
        timeliness=_rest(counts.late, counts.new),
        uniqueness=_rest(counts.duplicate, counts.fetched),
        consistency=_rest(counts.inconsistent, counts.fetched),
    )


def score(counts: Counts, weights: Weights | None = None) -> Score | None:
    """The score of what `counts` counts: 100 * sum(weight * component) / sum(weight), over the
    components that exist.

    None where nothing was due or nothing was fetched: a run that had nothing to do is neither
    good nor bad, and a source that was silent is told by its freshness. None too where every
    component that exists has the weight 0.
    """
    if counts.due <= 0 or counts.fetched <= 0:
        return None
    return _mean(components(counts), weights or Weights())


def of_day(day: QualityDay) -> Components:
    """The components of a series' day, from what is stored of it, like the view `quality_daily`.

    completeness  observed / due
    validity      1 - (suspect + failed) / (readings - missing)
    timeliness    1 - late / readings
    uniqueness    1 - duplicate / (readings + duplicate)
    consistency   1 - inconsistent / readings
    """
    return Components(
        completeness=_share(day.observed, day.due),
        validity=_rest(day.suspect + day.failed, day.readings - day.missing),
        timeliness=_rest(day.late, day.readings),
        uniqueness=_rest(day.duplicate, day.readings + day.duplicate),
        consistency=_rest(day.inconsistent, day.readings),
    )


def day_score(day: QualityDay, weights: Weights | None = None) -> float | None:
    """The score of a day. A day of silence, on which readings were due, has 0: only completeness
    exists on it. None where nothing was due."""
    if day.due <= 0:
        return None
    found = _mean(of_day(day), weights or Weights())
    return None if found is None else found.total


def rounded_down(percent: float) -> float:
    """A score or a percentage to a tenth, as it is shown: 89.96 is not 90, and only all of it is 100."""
    return int(percent * 10 + 1e-9) / 10


def _mean(parts: Components, weights: Weights) -> Score | None:
    total = weight_sum = 0.0
    for name in COMPONENT_NAMES:
        share = getattr(parts, name)
        if share is not None:
            weight = getattr(weights, name)
            total += weight * share
            weight_sum += weight
    if weight_sum <= 0:
        return None
    return Score(min(100.0, 100.0 * total / weight_sum), parts)


def due(window: Window, cadence: int | None, phase: int = 0) -> int:
    """How many stamps a series has in (start, end] if it reports every `cadence` microseconds.

    Stamps lie at `phase` (microseconds UTC: any one of them) plus whole multiples of the
    cadence. A series of unknown cadence (None) owes nothing.
    """
    if not cadence or not window:
        return 0
    return (window.end - phase) // cadence - (window.start - phase) // cadence


def _share(part: int, whole: int) -> float | None:
    if whole <= 0:
        return None
    return min(1.0, max(0.0, part / whole))


def _rest(part: int, whole: int) -> float | None:
    share = _share(part, whole)
    return None if share is None else 1.0 - share

"""How often a series really reports, learned from its stamps. Pure.

A step is the distance of two stamps that follow each other. `STEPS` steps in a row prove a cadence
where

- more than half of them are the cadence itself, up to `WANDER` of it: an odd burst proves nothing,
- nine in ten are whole multiples of it: stamps in between speak against a slower cadence, so a
  station with many gaps is not taken for a slow one,
- together they leave room for not more than three times as many stamps as there are,
- the first one is the cadence itself: there the episode begins.

Where another cadence holds so far, the new one differs from it by more than a tenth, and has lasted
for `PERIODS` of the old one: the stretch that long is as dense, and its last steps prove the same.

The numbers are conventions. With them, readings lost by chance, however many, look like twice the
cadence in about one of ten million such stretches, and a 15-minute station that goes hourly is found
after a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from loader.findings import Cadence
from loader.readings import SECOND, Bool, Float64, Int64, Series, Window
from loader.records import StoredSeries

STEPS = 24
"""Steps that prove a cadence."""

PERIODS = 6
"""Periods of the cadence before that a new one must have lasted."""

WANDER = 0.2
"""Share of the cadence by which a step may differ: each of its two stamps wanders by a tenth."""

DIFFERENT = 0.1
"""Cadences that differ by less, as a share of the older one, are the same."""

OUTAGE = 16
"""A step of more periods than this counts as so many: it is an outage."""

_BLOCK = 1 << 13

NICE = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
"""So many seconds, minutes, hours or days are usual cadences."""

Episode = tuple[int, float]
"""(from_time, cadence_s): after this stamp (microseconds UTC) a reading is due every so many seconds."""


def learn(times: Int64, declared_s: float | None, known: Sequence[Episode]) -> tuple[Episode, ...]:
    """The episodes of a series, ascending: `known` ones before `times[0]`, those after it anew.

    `times` are stored stamps (microseconds UTC, ascending) from any one on to the newest, without
    omission. The result is the same as from the whole history if they begin with the first stamp
    of all, or `STEPS` stamps before the first one that was added or deleted since `known` was
    learned, and `PERIODS` of the slowest cadence (known or declared) before the one before it. No
    times leave `known` as it is. Until something is proven the cadence that the source declares
    (None: none) holds.
    """
    if len(times) == 0:
        return tuple(known)
    times = times[np.append(True, times[1:] != times[:-1])]
    episodes = [one for one in known if one[0] < times[0]]
    start, period = _proofs(times)
    at = 0
    while at < len(start):
        fits = np.ones(len(start) - at, bool)
        so_far = episodes[-1][1] if episodes else declared_s
        if so_far is not None:
            fits = _lasts(times, start, period, at, round(PERIODS * so_far * SECOND))
            if episodes:
                fits &= np.abs(period[at:] / SECOND - so_far) > DIFFERENT * so_far
        found = int(np.argmax(fits))
        if not fits[found]:
            break
        at += found
        episodes.append((int(times[start[at]]), rounded(float(period[at]) / SECOND, declared_s)))
        at += 1
    return tuple(episodes)


def stretches(
    window: Window, episodes: Sequence[Episode], declared_s: float | None
) -> Iterator[tuple[Window, float | None]]:
    """The window in pieces of one cadence (seconds), ascending. What lies before the first episode
    has the declared cadence, or where there is none the first episode's."""
    cadence = declared_s
    if cadence is None and episodes:
        cadence = episodes[0][1]
    start = window.start
    for from_time, its in episodes:
        if from_time >= window.end:
            break
        if from_time > start and its != cadence:
            yield Window(start, from_time), cadence
            start = from_time
        cadence = its
    if window.end > start:
        yield Window(start, window.end), cadence


def _none(series: Series) -> None:
    del series


@dataclass(frozen=True, slots=True)
class Cadences:
    """What cadence holds when: the one that was set, else what was learned, else the declared one.

    `set_s` says what the configuration sets for a series, in seconds; `learned` has the episodes
    by the series' key (sensor, parameter, unit).
    """

    set_s: Callable[[Series], float | None] = _none
    learned: Mapping[tuple[str, str, str], Sequence[Episode]] = field(default_factory=dict)

    def of(self, series: Series, window: Window) -> Iterator[tuple[Window, float | None]]:
        """The window in pieces of one cadence (seconds, None where it is unknown), ascending."""
        given = self.set_s(series)
        if given is None:
            return stretches(window, self.learned.get(series.key, ()), series.cadence_s)
        return stretches(window, (), given)


def as_reported(
    series: Iterable[StoredSeries], learned: Mapping[int, Sequence[Cadence]]
) -> list[StoredSeries]:
    """The series with the cadence that they were last seen to have, where that was learned."""
    return [
        replace(one, series=replace(one.series, cadence_s=known[-1].cadence_s))
        if (known := learned.get(one.id))
        else one
        for one in series
    ]


def off_grid(times: Int64, cadence_s: float) -> Bool:
    """Which stamps (in any order) do not fit their neighbours: the steps from the one before and to
    the one after both differ from a whole number of cadences by more than `WANDER` of it.

    So a gap or a shifted grid makes none, nor does a cadence that is a little more or less than it is
    said to be. Of the first and the last stamp the one step counts, where their neighbour is not
    itself among them. It takes three stamps.
    """
    off = np.zeros(len(times), bool)
    cadence = round(cadence_s * SECOND)
    if cadence <= 0 or len(times) < 3:
        return off
    phase = times % cadence
    if int(phase.max() - phase.min()) <= WANDER * cadence:
        return off
    order = np.argsort(times, kind="stable")
    beside = np.diff(times[order]) % cadence
    odd = np.minimum(beside, cadence - beside) > WANDER * cadence
    off[order[1:-1]] = odd[:-1] & odd[1:]
    off[order[0]], off[order[-1]] = odd[0] & ~odd[1], odd[-1] & ~odd[-2]
    return off


def rounded(seconds: float, declared_s: float | None) -> float:
    """The cadence as people would set it: the declared one or a usual one where that is near,
    else three digits of it."""
    if declared_s and abs(seconds - declared_s) <= 0.05 * declared_s:
        return declared_s
    for unit in (86_400.0, 3600.0, 60.0, 1.0):
        usual = min((n * unit for n in NICE), key=lambda u: abs(u - seconds))
        if abs(usual - seconds) <= 0.02 * usual:
            return usual
    return float(f"{seconds:.3g}")


def _proofs(times: Int64) -> tuple[Int64, Float64]:
    """(the index of the stamp that it begins with, the cadence in microseconds) of every stretch of
    `STEPS` steps that proves one."""
    starts, periods = [np.empty(0, np.int64)], [np.empty(0, np.float64)]
    step = np.diff(times)
    if len(step) >= STEPS:
        every = np.lib.stride_tricks.sliding_window_view(step, STEPS)
        for low in range(0, len(every), _BLOCK):
            good, period = _proven(every[low : low + _BLOCK].astype(np.float64))
            at = np.flatnonzero(good)
            starts.append(at + low)
            periods.append(period[at])
    return np.concatenate(starts), np.concatenate(periods)


def _proven(rows: Float64) -> tuple[Bool, Float64]:
    """(whether the steps of each row prove a cadence, which in microseconds)."""
    order = np.sort(rows, axis=1)
    # More than half lie close together only if they lie around the median.
    middle = order[:, (STEPS - 1) // 2, None]
    first = (order < (1 - WANDER) * middle).sum(axis=1)
    last = (order <= (1 + WANDER) * middle).sum(axis=1) - 1
    period = np.take_along_axis(order, ((first + last) // 2)[:, None], axis=1)
    near = np.abs(rows - period) <= WANDER * period
    multiple = np.rint(rows / period)
    whole = (multiple >= 1) & (np.abs(rows - multiple * period) <= WANDER * period)
    good: Bool = (
        near[:, 0]
        & (2 * near.sum(axis=1) > STEPS)
        & (10 * whole.sum(axis=1) >= 9 * STEPS)
        & (np.minimum(multiple, OUTAGE).sum(axis=1) <= 3 * STEPS)
    )
    # From end to end the wandering of single stamps hardly counts; unless two cadences meet here.
    length, periods = np.where(whole, rows, 0).sum(axis=1), np.where(whole, multiple, 0).sum(axis=1)
    mean = length / np.maximum(periods, 1)
    median = period[:, 0]
    return good, np.where(np.abs(mean - median) <= 0.05 * median, mean, median)


def _lasts(times: Int64, start: Int64, period: Float64, at: int, least: int) -> Bool:
    """Which of the proofs from the number `at` on go on for `least` microseconds."""
    begin, cadence = start[at:], period[at:]
    end = np.searchsorted(times, times[begin] + least, side="left")
    there = end < len(times)
    end = np.minimum(end, len(times) - 1)
    dense = 3 * (end - begin) * cadence >= times[end] - times[begin]
    final = np.maximum(end - STEPS, begin)
    proof = np.minimum(np.searchsorted(start, final), len(start) - 1)
    alike = np.abs(period[proof] - cadence) <= DIFFERENT * cadence
    lasts: Bool = there & dense & alike & (start[proof] == final)
    # A stretch of `STEPS` steps that is long enough has lasted, whatever comes after it.
    return lasts | (times[begin + STEPS] - times[begin] >= least)

"""Readings that do not fit what was usual before: detectors, and what they found.

Every detector answers the same questions (`Detector`), so that they can be exchanged, compared on
labelled series (`benchmarks/anomaly.py`) and stored side by side. No detector sees the future: a
score is made of the reading itself and of earlier ones no further back than `reach`, so the same
reading gets the same score whenever it is asked about and however the data is cut.

Times are microseconds UTC, values NaN where missing; of the flags only 1 and 2 are used. A score
of NaN means: not judged, because the reading is missing or there is too little to judge it by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from loader.quality.reference import Cells, Season, cells, column, quantile, samples
from loader.readings import Bool, Float64, Int64, UInt8

NORMAL_MAD = 0.6744897501960817
"""The MAD of a normal distribution of scale 1 (the 75 % point; Rousseeuw and Croux 1993)."""
NORMAL_TAIL = 1.959963984540054
"""Its 97.5 % point: what 2.5 % lie beyond."""

LARGEST = 1e6
"""What scores are cut at: further out is no further."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one sensor has to do with an anomaly.

    sensor    which: a position in what was given to the detector
    value     what it said; NaN where it said nothing
    expected  what was usual; NaN where that is unknown
    distance  how far out, signed, in the unit of the detector's sensors (`Detector.distance`)
    """

    sensor: int
    value: float
    expected: float
    distance: float


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One anomalous reading, or one moment of a station. `parts` has the worst sensor first."""

    time: int
    detector: str
    version: str
    score: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a detector says of n readings, or moments, of k sensors.

    score     (n)    NaN where it was not judged
    expected  (n, k) what was usual of each sensor; NaN where that is unknown
    distance  (n, k) how far out each was, signed
    """

    score: Float64
    expected: Float64
    distance: Float64


class Detector(Protocol):
    """Judges readings by earlier ones. It keeps nothing between calls.

    name, version  what the records say; any change that can change a score changes the version
    reach          microseconds: a score at t depends on readings in (t - reach, t] only
    threshold      |score| from which on a reading is an anomaly
    distance       the unit of a part's distance, in words
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def reach(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def distance(self) -> str: ...

    def judge(
        self, times: Int64, values: Float64, flags: UInt8 | None = None, after: int | Int64 | None = None
    ) -> Judged:
        """Judge each reading; `values` and `flags` have a column a sensor where a detector looks at
        several. Readings of one series may come in any order. With `after` only those later than
        it (one time, or one for each) are judged, and the others are context: that costs as much as
        there is to judge."""
        ...

    def score(self, times: Int64, values: Float64, flags: UInt8 | None = None) -> Float64:
        """`judge`'s scores alone."""
        ...


@dataclass(frozen=True, slots=True)
class _Alone:
    """A detector that judges each reading of one series by the cells before its own."""

    season: Season = field(default_factory=Season)

    @property
    def reach(self) -> int:
        return self.season.reach

    def score(self, times: Int64, values: Float64, flags: UInt8 | None = None) -> Float64:
        return self.judge(times, values, flags).score

    def judge(
        self, times: Int64, values: Float64, flags: UInt8 | None = None, after: int | Int64 | None = None
    ) -> Judged:
        grid = cells(self.season, times, values, flags, after)
        score, expected = np.full(len(values), np.nan), np.full(len(values), np.nan)
        with np.errstate(all="ignore"):  # values near the ends of float64 lead nowhere, not to an error
            found, usual = self._judge(grid, values[grid.where])
        score[grid.where], expected[grid.where] = np.clip(found, -LARGEST, LARGEST), usual
        return Judged(score, column(expected), column(score))

    def _judge(self, grid: Cells, values: Float64) -> tuple[Float64, Float64]:
        """Score and what was usual, of the values at `grid.where`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Usual:
    """What is usual for each cell, in the curved scale of `_curve`; NaN where too little is known."""

    bend: Float64
    middle: Float64
    below: Float64
    above: Float64

    def value(self) -> Float64:
        """The middle in the series' own unit."""
        return np.asarray(2 * self.bend * np.sinh(self.middle), np.float64)

    def distance(self, values: Float64, member: Int64) -> Float64:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            off = _curve(values, self.bend[member]) - self.middle[member]
            return np.asarray(off / np.where(off < 0, self.below[member], self.above[member]), np.float64)


@dataclass(frozen=True, slots=True)
class RobustZScore(_Alone):
    """How many robust standard deviations a reading lies from the median of its reference.

    Values are measured on a scale that is linear up to about the upper quartile of the sizes in
    the reference and logarithmic beyond, asinh(x / 2q): pollutants are skewed, and what is far
    out for a temperature is an ordinary evening for fine dust. The scale turns with the unit:
    the same series in other units has the same scores.

    A deviation downwards is divided by the spread below the median, upwards by that above it: the
    largest of the MAD, the distance of that side's quartile, the distance of its 2.5 % tail among
    what lies within `trim` spreads (earlier anomalies do not widen it), each made comparable to a
    standard deviation, and a floor. Up to a quarter of the reference may be wrong.

    The floor is `least` of the level. Where half of the reference or more is one value (MAD 0:
    a flat series, or one that rests at 0), it is also the median distance of the others, or their
    largest where they are fewer than `minimum`. A reference that is 0 throughout has no scale,
    and nothing is judged by it.
    """

    threshold: float = 4.0
    trim: float = 8.0
    least: float = 0.02
    name: str = field(default="robust_zscore", init=False)
    version: str = field(default="1", init=False)
    distance: str = field(default="robust standard deviations", init=False)

    def _judge(self, grid: Cells, values: Float64) -> tuple[Float64, Float64]:
        usual = (self._usual(grid, self.season.same), self._usual(grid, self.season.latest))
        sides = [u.distance(values, grid.member) for u in usual]
        return _nearer(sides, [u.value()[grid.member] for u in usual])

    def _usual(self, grid: Cells, offsets: Int64) -> _Usual:
        out = _Usual(*(np.full(len(grid.wanted), np.nan) for _ in range(4)))
        for part, rows in samples(grid, offsets):
            # Rows without a reading are all NaN, and stay NaN to the end.
            n = np.isfinite(rows).sum(axis=1)
            q25, q50, q75 = (quantile(rows, n, share) for share in (0.25, 0.5, 0.75))
            off = np.sort(np.abs(rows - column(q50)), axis=1)
            mad = quantile(off, n, 0.5) / NORMAL_MAD
            moved = (off > 1e-9 * column(np.abs(q50))).sum(axis=1)
            typical = quantile(off, moved, np.where(moved < self.season.minimum, 1.0, 0.5), n - moved)
            typical = np.where(moved > 0, typical, 0.0)
            least = np.maximum(self.least * np.abs(q50), np.where(2 * moved > n, 0.0, typical))
            bend = np.maximum(np.maximum(np.abs(q25), np.abs(q75)), typical)
            bend = np.where((n >= self.season.minimum) & (bend > 0), bend, np.nan)
            middle = _curve(q50, bend)
            near = [
                np.maximum(
                    np.abs(_curve(q50 + side * np.maximum(mad, least), bend) - middle),
                    np.abs(_curve(quartile, bend) - middle) / NORMAL_MAD,
                )
                for side, quartile in ((-1, q25), (1, q75))
            ]
            with np.errstate(over="ignore"):
                low, high = (
                    2 * bend * np.sinh(middle + side * self.trim * s)
                    for side, s in zip((-1, 1), near, strict=True)
                )
            first = (rows < column(low)).sum(axis=1)
            kept = (rows <= column(high)).sum(axis=1) - first
            tails = [
                np.abs(_curve(quantile(rows, kept, share, first), bend) - middle) / NORMAL_TAIL
                for share in (0.025, 0.975)
            ]
            out.bend[part], out.middle[part] = bend, middle
            # Rounding may leave nothing within the bounds: then the tails have no say.
            out.below[part], out.above[part] = (np.fmax(s, t) for s, t in zip(near, tails, strict=True))
        return out


@dataclass(frozen=True, slots=True)
class ZScore(_Alone):
    """How many standard deviations a reading lies from the mean of its reference. Plain and well
    known, but earlier errors widen it and skewed series offend it: `RobustZScore` is better."""

    threshold: float = 8.0
    least: float = 0.02
    name: str = field(default="zscore", init=False)
    version: str = field(default="1", init=False)
    distance: str = field(default="standard deviations", init=False)

    def _judge(self, grid: Cells, values: Float64) -> tuple[Float64, Float64]:
        sides, usual = [], []
        for offsets in (self.season.same, self.season.latest):
            mean, spread = np.full(len(grid.wanted), np.nan), np.full(len(grid.wanted), np.nan)
            for part, rows in samples(grid, offsets):
                n = np.isfinite(rows).sum(axis=1)
                known = np.maximum(n, 1)
                middle = np.nansum(rows, axis=1) / known
                deviation = np.sqrt(np.nansum((rows - column(middle)) ** 2, axis=1) / np.maximum(n - 1, 1))
                deviation = np.maximum(deviation, self.least * np.abs(middle))
                judged = (n >= self.season.minimum) & (deviation > 0)
                mean[part] = np.where(judged, middle, np.nan)
                spread[part] = np.where(judged, deviation, np.nan)
            sides.append((values - mean[grid.member]) / spread[grid.member])
            usual.append(mean[grid.member])
        return _nearer(sides, usual)


@dataclass(frozen=True, slots=True)
class UnitScale(_Alone):
    """Readings that fit only when multiplied or divided by `factor`: mg for µg, ppm for ppb.

    The score is log10(value / median of the reference) where a positive reading lies beyond all
    of the reference by `apart` times or more and lies within it after the conversion; else 0. The
    reference is the season's and the recent cells' positive readings within the square root of
    `factor` from their median (what lies further may be such errors itself). A reference whose
    quartiles are more than `wide` times apart, or with negative readings, is no ground to tell by.
    """

    factor: float = 1000.0
    apart: float = 8.0
    wide: float = 10.0
    threshold: float = 1.0
    name: str = field(default="unit_scale", init=False)
    version: str = field(default="1", init=False)
    distance: str = field(default="powers of ten", init=False)

    def _judge(self, grid: Cells, values: Float64) -> tuple[Float64, Float64]:
        low, middle, high = (np.full(len(grid.wanted), np.nan) for _ in range(3))
        for part, rows in samples(grid, np.union1d(self.season.same, self.season.latest)):
            zero = (rows <= 0).sum(axis=1)
            n = np.isfinite(rows).sum(axis=1) - zero
            q25, q50, q75 = (quantile(rows, n, share, zero) for share in (0.25, 0.5, 0.75))
            near = np.sqrt(self.factor)
            first = (rows < column(q50 / near)).sum(axis=1)
            kept = (rows <= column(q50 * near)).sum(axis=1) - first
            judged = (n >= self.season.minimum) & (zero <= 0.01 * n) & (q75 <= self.wide * q25)
            low[part] = np.where(judged, quantile(rows, kept, 0.0, first), np.nan)
            middle[part] = np.where(judged, q50, np.nan)
            high[part] = np.where(judged, quantile(rows, kept, 1.0, first), np.nan)
        x, at = values, grid.member
        fits_larger = (x * self.factor >= low[at]) & (x * self.factor <= high[at])
        fits_smaller = (x / self.factor >= low[at]) & (x / self.factor <= high[at])
        odd = (x > 0) & (x * self.apart <= low[at]) & fits_larger
        odd |= (x >= high[at] * self.apart) & fits_smaller
        ratio = np.log10(np.where(odd, x / middle[at], 1.0))
        return np.where(np.isnan(middle[at]), np.nan, ratio), middle[at]


CORE: tuple[Detector, ...] = (RobustZScore(), UnitScale())
"""The detectors that run unless configured otherwise. They need numpy only."""

DETECTORS: dict[str, Detector] = {one.name: one for one in (*CORE, ZScore())}
"""Those of single series, by name."""


def anomalous(detector: Detector, scores: Float64) -> Bool:
    """Which scores are those of anomalies; a reading that was not judged is none."""
    return np.asarray(np.abs(scores) >= detector.threshold, np.bool_)


def find(
    detector: Detector, times: Int64, values: Float64, flags: UInt8 | None = None, after: int | None = None
) -> list[Anomaly]:
    """The anomalies among the readings, in order of time; with `after` only those later than it,
    so that the readings up to there are context."""
    return among(detector, detector.judge(times, values, flags, after), times, values)


def among(detector: Detector, judged: Judged, times: Int64, values: Float64) -> list[Anomaly]:
    """The anomalies among readings that were judged, in order of time; of each the sensors that are
    farthest out, three at most."""
    where = np.flatnonzero(anomalous(detector, judged.score))
    where = where[np.argsort(times[where], kind="stable")]
    table = column(values) if values.ndim == 1 else values
    found = []
    for i in where:
        far = judged.distance[i]
        worst = np.argsort(-np.abs(np.nan_to_num(far)), kind="stable")[:3]
        parts = tuple(
            Part(int(k), float(table[i, k]), float(judged.expected[i, k]), float(far[k]))
            for k in worst
            if np.isfinite(far[k])
        )
        found.append(Anomaly(int(times[i]), detector.name, detector.version, float(judged.score[i]), parts))
    return found


def zscores(
    times: Int64, values: Float64, flags: UInt8 | None = None, detector: Detector | None = None
) -> tuple[Float64, Bool]:
    """For an export: each reading's z-score (NaN where it is not judged) and whether it is an
    anomaly. It needs the readings of the detector's `reach` (28 days and 2 hours unless
    configured) before the first one wanted; given them, it does not matter how the data is cut.
    """
    detector = RobustZScore() if detector is None else detector
    scores = detector.score(times, values, flags)
    return scores, anomalous(detector, scores)


def _curve(values: Float64, bend: Float64) -> Float64:
    """asinh(x / 2b): nearly x / 2b below b in size, nearly log(x / b) above."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(np.arcsinh(values / (2 * bend)), np.float64)


def _nearer(sides: Sequence[Float64], usual: Sequence[Float64]) -> tuple[Float64, Float64]:
    """Of two distances the smaller, and what was usual there; one that is NaN has no say."""
    a, b = sides
    second = np.isnan(a) | (np.abs(b) < np.abs(a))
    return np.where(second, b, a), np.where(second, usual[1], usual[0])

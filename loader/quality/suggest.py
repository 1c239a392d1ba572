"""Thresholds learned from history. Pure; `docs/thresholds.md` has the formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from loader.quality.fences import LEAST, TAIL, Limits, Span, limits_above, limits_below, spans
from loader.quality.stretches import extremes
from loader.readings import DAY, HOUR, Bool, Check, Flag, Float64, Int64, Readings

STILL_SUSPECT, STILL_FAIL = 2, 4
"""How many times the longest stretch that a sensor stood still, it may stand still."""

CELL_LEAST = 60
"""Usable readings in a month and hour of the day (or in a month) that a span is made of."""

CELL_TAIL = 0.01
"""What may lie beyond an edge in a month and hour: few readings have no finer quantiles."""

PERIOD, PERIOD_LEAST = DAY, 12
"""How long a stretch has to be, and how many values it needs, to say how much a value moves."""

KEPT = 1 << 20
"""Figures of a kind that are kept; of more than that every second, every fourth, ..."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What the usable readings of a group of series say. A rule they say nothing about is None.

    series, readings    how many they are made of;  first, last  the times these are of
    fail, suspect       (low, high) of the gross range
    spike               of how far a peak or dip is off the nearer of its neighbours (0 elsewhere)
    rate                of |difference to the reading before|, in units of the value an hour
    still               microseconds that the value may not move
    movement            below which highest - lowest of `PERIOD` is too little
    climatology         {(month 1 to 12, hour or None): (fail low, suspect low, suspect high, fail high)}
    beyond              by rule, how many of the readings would be suspect or worse (of a sample
                        where there were more than `KEPT`, scaled up)
    """

    series: int
    readings: int
    first: int
    last: int
    fail: Span | None = None
    suspect: Span | None = None
    spike: Limits | None = None
    rate: Limits | None = None
    still: tuple[int, int] | None = None
    movement: Limits | None = None
    climatology: Mapping[tuple[int, int | None], tuple[float, float, float, float]] = field(
        default_factory=dict
    )
    beyond: Mapping[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of the readings that the rules object to, at most."""
        return sum(self.beyond.values()) / self.readings if self.readings else 0.0


@dataclass(slots=True)
class _Sample:
    """Figures in the order they came; thinned evenly to bounded memory."""

    parts: list[npt.NDArray[Any]] = field(default_factory=list)
    size: int = 0
    stride: int = 1
    skip: int = 0

    def add(self, figures: npt.NDArray[Any]) -> None:
        taken = figures[self.skip :: self.stride]
        self.skip = (self.skip - len(figures)) % self.stride
        self.parts.append(taken.copy())
        self.size += len(taken)
        while self.size > KEPT:
            self.parts = [np.concatenate(self.parts)[::2]]
            # The next figure to be taken is the one that follows at the doubled distance.
            if self.size % 2:
                self.skip += self.stride
            self.stride *= 2
            self.size = len(self.parts[0])

    def figures(self) -> npt.NDArray[Any]:
        return np.concatenate(self.parts) if self.parts else np.empty(0)


@dataclass(slots=True)
class _Tail:
    """The end of what was seen of one series: the rows that the next ones have as neighbours."""

    time: Int64
    value: Float64
    usable: Bool
    run: int = 0
    level: float = np.nan
    still: int = 0
    begun: int = 0
    seen: int = 0
    day: tuple[Int64, Float64] = (np.empty(0, np.int64), np.empty(0))


class Learner:
    """Learns from series after series, in chunks. Of one series the readings have to come in the
    order of their times."""

    def __init__(self, *, climatology: bool = False, attenuated: bool = False) -> None:
        self._value, self._spike, self._rate = _Sample(), _Sample(), _Sample()
        self._month, self._hour, self._movement = _Sample(), _Sample(), _Sample()
        self._climatology = climatology
        self._attenuated = attenuated
        self._tails: dict[int, _Tail] = {}
        self._readings = 0
        self._first, self._last = 2**62, -(2**62)
        self._still = 0
        self._known: set[int] = set()

    def add(self, series: int, cadence: int, readings: Readings) -> None:
        """More readings of one series, whose usual distance is `cadence` microseconds (0: unknown,
        then nothing is learned of how long it stands still)."""
        if not len(readings):
            return
        usable = (readings.flag == Flag.GOOD) | (readings.flag == Flag.NOT_EVALUATED)
        usable &= np.isfinite(readings.value)
        used = int(np.count_nonzero(usable))
        if used:
            self._known.add(series)
            times = readings.time[usable]
            self._first = min(self._first, int(times[0]))
            self._last = max(self._last, int(times[-1]))
            self._readings += used
            self._value.add(readings.value[usable])
            if self._climatology:
                month, hour = _cell(times)
                self._month.add(month)
                self._hour.add(hour)
        self._neighbours(series, readings, usable)
        if cadence > 0:
            self._stand(series, cadence, readings, usable)
        if self._attenuated:
            self._move(series, readings, usable)

    def _neighbours(self, series: int, readings: Readings, usable: Bool) -> None:
        """Spikes and rates, over the seam to the chunk before."""
        tail = self._tails.get(series)
        time, value, fit = readings.time, readings.value, usable
        if tail is None:
            tail = self._tails[series] = _Tail(time[:0], value[:0], usable[:0])
        held = len(tail.time)
        time = np.concatenate([tail.time, time])
        value = np.concatenate([tail.value, value])
        fit = np.concatenate([tail.usable, fit])
        with np.errstate(invalid="ignore", over="ignore"):
            if len(time) >= 3:
                rise = np.diff(value)
                # The nearer of the neighbours of a peak, or of a dip, which is one upside down.
                off = np.maximum(np.minimum(rise[:-1], -rise[1:]), np.minimum(-rise[:-1], rise[1:]))
                self._spike.add(np.maximum(off, 0)[fit[:-2] & fit[1:-1] & fit[2:]])
            # Steps within what was held are counted already.
            begin = max(held - 1, 0)
            step = np.diff(value[begin:]) / (np.diff(time[begin:]) / HOUR)
            self._rate.add(np.abs(step)[fit[begin + 1 :] & fit[begin:-1]])
        tail.time, tail.value, tail.usable = time[-2:].copy(), value[-2:].copy(), fit[-2:].copy()

    def _stand(self, series: int, cadence: int, readings: Readings, usable: Bool) -> None:
        """The longest run of equal values, by its steps, or by the clock where these come faster.
        Missing values do not break it and count; what is suspect or fails ends it. One that went on
        until a flat line was seen is none: as long as the threshold lets it, every stuck sensor stands
        still."""
        tail = self._tails[series]
        missing = (readings.flag == Flag.MISSING) | np.isnan(readings.value)
        level = np.where(usable, readings.value, np.nan)
        at = np.arange(len(level))
        held = np.where(missing, -1, at)
        held = np.maximum.accumulate(held)
        # What a missing row stands for is the value before it, be that in the chunk before.
        filled = np.where(held < 0, tail.level, level[np.maximum(held, 0)])
        before = np.concatenate([[tail.level], filled[:-1]])
        moved = ~(filled == before)
        start = np.flatnonzero(moved)
        # The run of the chunk before, which may go on here, and those that begin here.
        edges = np.concatenate([[0], start, [len(level)]])
        runs = np.diff(edges) - 1
        runs[0] += 1 + tail.run
        runs[1:][np.isnan(filled[start])] = 0
        # The one of the chunk before may have ended with it.
        until = np.where(edges[1:] > 0, readings.time[edges[1:] - 1], tail.seen)
        begun = np.concatenate([[tail.begun], readings.time[start]])
        still = np.minimum(runs * cadence, until - begun)
        stuck = ~usable & ~missing & (readings.tests & np.uint32(Check.FLAT) != 0)
        self._still = max(self._still, int(still[:-1][~stuck[start]].max(initial=0)))
        tail.run, tail.level, tail.still = int(runs[-1]), float(filled[-1]), int(still[-1])
        tail.begun, tail.seen = int(begun[-1]), int(readings.time[-1])

    def _move(self, series: int, readings: Readings, usable: Bool) -> None:
        """Highest - lowest usable value of the period that each usable reading ends."""
        tail = self._tails[series]
        held = len(tail.day[0])
        time = np.concatenate([tail.day[0], readings.time[usable]])
        value = np.concatenate([tail.day[1], readings.value[usable]])
        if len(time) == held:
            return
        last = np.arange(held, len(time))
        first = np.searchsorted(time, time[held:] - PERIOD, side="right")
        full = last - first + 1 >= PERIOD_LEAST
        low, high = extremes(value, first, last)
        with np.errstate(over="ignore"):
            self._movement.add((high - low)[full])
        kept = int(np.searchsorted(time, time[-1] - PERIOD, side="right"))
        tail.day = time[kept:].copy(), value[kept:].copy()

    def learned(self, bounds: Span = (-np.inf, np.inf)) -> Learned | None:
        """What was learned; None from fewer than `LEAST` usable readings.

        No range reaches beyond `bounds`, the widest that is sensible, unless the readings do.
        """
        if self._readings < LEAST:
            return None
        value = self._value.figures()
        fail, suspect = spans(value, TAIL, bounds)
        spike, rate = limits_above(self._spike.figures()), limits_above(self._rate.figures())
        beyond = {}
        if suspect is not None:
            beyond["range"] = _scaled((value < suspect[0]) | (value > suspect[1]), self._value)
        for name, limits, sample in (("spike", spike, self._spike), ("rate", rate, self._rate)):
            if limits is not None:
                beyond[name] = _scaled(sample.figures() > limits.suspect, sample)
        movement = limits_below(self._movement.figures())
        if movement is not None:
            beyond["attenuated"] = _scaled(self._movement.figures() < movement.suspect, self._movement)
        # Where values hardly ever move, nothing tells a stuck sensor from a quiet one.
        longest = max([self._still, *(tail.still for tail in self._tails.values())])
        moves = fail is not None and longest > 0
        still = (longest * STILL_SUSPECT, longest * STILL_FAIL) if moves else None
        cells = self._cells(value, bounds) if self._climatology else {}
        if cells:
            beyond["climatology"] = self._outside(cells, value)
        return Learned(
            series=len(self._known),
            readings=self._readings,
            first=self._first,
            last=self._last,
            fail=fail,
            suspect=suspect,
            spike=spike,
            rate=rate,
            still=still,
            movement=movement,
            climatology=cells,
            beyond=beyond,
        )

    def _cells(
        self, value: Float64, bounds: Span
    ) -> dict[tuple[int, int | None], tuple[float, float, float, float]]:
        """A span by month and hour where they have readings enough, else by month."""
        month, hour = self._month.figures(), self._hour.figures()
        cells: dict[tuple[int, int | None], tuple[float, float, float, float]] = {}
        for m in range(1, 13):
            of_month = month == m
            hours = {h: value[of_month & (hour == h)] for h in range(24)}
            by_hour = all(len(part) >= CELL_LEAST for part in hours.values())
            parts: dict[int | None, Float64] = dict(hours.items()) if by_hour else {None: value[of_month]}
            for h, part in parts.items():
                if len(part) < CELL_LEAST:
                    continue
                fail, suspect = spans(part, CELL_TAIL, bounds)
                if fail is not None and suspect is not None:
                    cells[m, h] = (fail[0], suspect[0], suspect[1], fail[1])
        return cells

    def _outside(
        self, cells: Mapping[tuple[int, int | None], tuple[float, float, float, float]], value: Float64
    ) -> int:
        month, hour = self._month.figures(), self._hour.figures()
        out = np.zeros(len(value), bool)
        for (m, h), (_, low, high, _) in cells.items():
            here = (month == m) & ((hour == h) if h is not None else True)
            out |= here & ((value < low) | (value > high))
        return _scaled(out, self._value)


def _cell(time: Int64) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Month (1 to 12) and hour of the day, UTC."""
    days = time // DAY
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    return months.astype(np.int8), ((time - days * DAY) // HOUR).astype(np.int8)


def _scaled(found: Bool, sample: _Sample) -> int:
    return int(np.count_nonzero(found)) * sample.stride


def as_settings(learned: Learned) -> dict[str, Any]:
    """The same as the configuration says it (`loader.settings.quality.UnitRule`): rates are an hour,
    stretches of time are microseconds. All is said that a wider rule might say otherwise."""
    found: dict[str, Any] = {}
    if learned.fail is not None and learned.suspect is not None:
        found |= {"range": list(learned.fail), "suspect": list(learned.suspect)}
    for name, limits in (("spike", learned.spike), ("rate", learned.rate)):
        if limits is not None:
            found[name] = {"suspect": limits.suspect, "fail": limits.fail}
    if "spike" in found:
        found["spike"]["method"] = "differential"
    if learned.still is not None:
        suspect, fail = learned.still
        found["flat_line"] = {"suspect": suspect, "fail": fail, "tolerance": 0}
    if learned.movement is not None:
        limits = learned.movement
        found["attenuated"] = {"suspect": limits.suspect, "fail": limits.fail}
        found["attenuated"] |= {"period": PERIOD, "least": PERIOD_LEAST, "method": "range"}
    if learned.climatology:
        usual = []
        for (month, hour), (low, suspect_low, suspect_high, high) in learned.climatology.items():
            when = {"months": [month]} | ({} if hour is None else {"hours": [hour]})
            usual.append(when | {"range": [low, high], "suspect": [suspect_low, suspect_high]})
        found["climatology"] = {"utc_offset": 0, "usual": usual}
    return found

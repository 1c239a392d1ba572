"""What is expected of one series, and the tests of many series made of it. Pure.

The configuration speaks of parameters, units, sources and stations; whoever reads it makes one
`Rule` for each series (`loader.settings.quality`). All figures are in the series' own unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from loader.quality.kernels import Climatology, GrossRange, RateOfChange, Span4, Spike, TimeGap, climatology
from loader.quality.neighbours import NeighbourRule
from loader.quality.rows import Kernel, reach
from loader.quality.windows import AttenuatedSignal, FlatLine, PrecisionChange
from loader.readings import SECOND, Check, Float64, Int64, Reach, Series

Span = tuple[float, float]
OPEN: Span = (nan, nan)
"""NaN leaves a side open."""

MOST_STEPS = 1_500
"""A flat line of more readings than this is not looked for: so many, and half as many again, would
have to be read around every new reading."""

FLAG, QUARANTINE, STOP = "flag", "quarantine", "stop"


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a quantity is suspect, and from where on it fails; NaN is not given."""

    suspect: float = nan
    fail: float = nan


@dataclass(frozen=True, slots=True)
class SpikeRule:
    """Units of the value; see `loader.quality.kernels.Spike`."""

    limits: Limits
    differential: bool = False


@dataclass(frozen=True, slots=True)
class FlatRule:
    """Microseconds that the value may stand still, 0 is not given, and within what it does."""

    suspect: int = 0
    fail: int = 0
    tolerance: float = 0.0

    @property
    def longest(self) -> int:
        return max(self.suspect, self.fail)

    @property
    def gap(self) -> int:
        """Rows further apart than this end a run. Half of the longest threshold: up to a third of
        the readings may be missing, and a threshold shorter than two cadences never flags."""
        return self.longest // 2

    def within(self, cadence: int) -> FlatRule:
        """The thresholds that can be tried where readings come this often, none if that is not known."""
        most = MOST_STEPS * cadence
        suspect, fail = (t if t <= most else 0 for t in (self.suspect, self.fail))
        return FlatRule(suspect, fail, self.tolerance)

    def beyond(self, cadence: int) -> tuple[int, ...]:
        """The thresholds that cannot, the shorter one first."""
        tried = self.within(cadence)
        return tuple(sorted({self.suspect, self.fail} - {0, tried.suspect, tried.fail}))


@dataclass(frozen=True, slots=True)
class AttenuatedRule:
    """Units of the value, and the period in microseconds that needs so many values."""

    limits: Limits
    period: int
    least: int
    deviation: bool = False


@dataclass(frozen=True, slots=True)
class PrecisionRule:
    """The period in microseconds, and how many values each of the two needs."""

    period: int
    least: int


@dataclass(frozen=True, slots=True)
class ClimatologyRule:
    """What is usual by (month 1 to 12, hour 0 to 23), None is any; and microseconds to add to UTC
    before these are taken."""

    spans: tuple[tuple[tuple[int | None, int | None], Span4], ...]
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What is expected of one series. Without anything given, nothing is evaluated.

    expected   true where something is said about the unit and it is the right one, or about the
               range: a value that is there and passes is good
    foreign    the unit is not the configured one: `units` names those that are; then nothing is
               said in units of the value
    sentinels  codes for "no value"
    fail, suspect  (lowest, highest) outside of which a value fails, or is suspect
    gap        microseconds that may pass between two readings; 0 is not given
    cadence    microseconds between two readings; 0 takes what is known of the series
    policy     what happens to a reading that a check objects to, where it is not just flagged
    """

    expected: bool = False
    foreign: bool = False
    units: tuple[str, ...] = ()
    sentinels: tuple[float, ...] = ()
    fail: Span = OPEN
    suspect: Span = OPEN
    spike: SpikeRule | None = None
    rate: Limits | None = None
    """Units of the value per second."""
    flat: FlatRule | None = None
    gap: int = 0
    attenuated: AttenuatedRule | None = None
    climatology: ClimatologyRule | None = None
    precision: PrecisionRule | None = None
    neighbours: NeighbourRule | None = None
    cadence: int = 0
    policy: Mapping[Check, str] = field(default_factory=dict, hash=False)


RuleOf = Callable[[Series], Rule]
"""The rule of a series; the same for the same series, always."""


def range_test(rules: Sequence[Rule]) -> GrossRange:
    """The gross range test of series with these rules."""
    return GrossRange(
        _floats(r.fail[0] for r in rules),
        _floats(r.fail[1] for r in rules),
        _floats(r.suspect[0] for r in rules),
        _floats(r.suspect[1] for r in rules),
    )


def climatology_test(rules: Sequence[Rule]) -> Climatology | None:
    """Their climatology test; None where no series has one."""
    tables: dict[tuple[tuple[tuple[int | None, int | None], Span4], ...], int] = {}
    for rule in rules:
        if rule.climatology is not None:
            tables.setdefault(rule.climatology.spans, len(tables))
    if not tables:
        return None
    given = [rule.climatology for rule in rules]
    return Climatology(
        np.stack([climatology(dict(spans)) for spans in tables]),
        _ints(-1 if c is None else tables[c.spans] for c in given),
        _ints(0 if c is None else c.shift for c in given),
    )


def context_tests(rules: Sequence[Rule], series: Sequence[Series]) -> list[Kernel]:
    """The tests that look at a reading's neighbours, of these series with these rules; one that no
    series has is left out."""
    cadence = _ints(cadence_of(r, s) for r, s in zip(rules, series, strict=True))
    return [*_steps(rules), *_stretches(rules, cadence)]


def cadence_of(rule: Rule, series: Series) -> int:
    """The microseconds between two readings that flags are made with; 0 where they are not known."""
    return rule.cadence or round((series.cadence_s or 0) * SECOND)


def reach_of(rule: Rule, series: Series) -> Reach:
    """What the flags of a series with this rule can depend on."""
    return reach(context_tests([rule], [series]), 0)


def _steps(rules: Sequence[Rule]) -> list[Kernel]:
    found: list[Kernel] = []
    for differential in (False, True):
        spikes = [
            r.spike.limits if r.spike and r.spike.differential == differential else None for r in rules
        ]
        if any(spikes):
            found.append(Spike(*_limits(spikes), differential=differential))
    rates = [r.rate for r in rules]
    if any(rates):
        found.append(RateOfChange(*_limits(rates)))
    if any(r.gap for r in rules):
        found.append(TimeGap(_ints(r.gap for r in rules)))
    return found


def _stretches(rules: Sequence[Rule], cadence: Int64) -> list[Kernel]:
    found: list[Kernel] = []
    flats = [(r.flat or FlatRule()).within(int(c)) for r, c in zip(rules, cadence, strict=True)]
    if any(f.longest for f in flats):
        found.append(
            FlatLine(
                _ints(f.suspect for f in flats),
                _ints(f.fail for f in flats),
                _floats(f.tolerance for f in flats),
                cadence,
                _ints(f.gap for f in flats),
            )
        )
    for deviation in (False, True):
        attenuated = [
            r.attenuated if r.attenuated and r.attenuated.deviation == deviation else None for r in rules
        ]
        if any(attenuated):
            found.append(
                AttenuatedSignal(
                    *_limits([a.limits if a else None for a in attenuated]),
                    _ints(a.period if a else 0 for a in attenuated),
                    _ints(a.least if a else 0 for a in attenuated),
                    deviation=deviation,
                )
            )
    if any(r.precision for r in rules):
        precision = [r.precision or PrecisionRule(0, 0) for r in rules]
        found.append(PrecisionChange(_ints(p.period for p in precision), _ints(p.least for p in precision)))
    return found


def _limits(limits: Sequence[Limits | None]) -> tuple[Float64, Float64]:
    return (
        _floats(nan if one is None else one.suspect for one in limits),
        _floats(nan if one is None else one.fail for one in limits),
    )


def _floats(values: Iterable[float]) -> Float64:
    return np.fromiter(values, np.float64)


def _ints(values: Iterable[int]) -> Int64:
    return np.fromiter(values, np.int64)

"""From the configuration to the rule of each series."""

from __future__ import annotations

from itertools import product
from math import nan

from loader.quality.checks import CHECK_NAMES
from loader.quality.kernels import Span4
from loader.quality.neighbours import NeighbourRule
from loader.quality.rules import (
    AttenuatedRule,
    ClimatologyRule,
    FlatRule,
    Limits,
    PrecisionRule,
    Rule,
    RuleOf,
    Span,
    SpikeRule,
)
from loader.readings import HOUR, SECOND, Series, plain_unit
from loader.settings.quality import (
    AttenuatedSettings,
    CheckName,
    ClimatologySettings,
    FlatLineSettings,
    NeighboursSettings,
    ParameterRule,
    Policies,
    Policy,
    PrecisionSettings,
    QualitySettings,
    RateSettings,
    SourceQuality,
    SpikeSettings,
    UnitRule,
    laid,
    laid_over,
)

CHECKS = {name: check for check, name in CHECK_NAMES.items()}


def rule_of(quality: QualitySettings, source: SourceQuality) -> RuleOf:
    """What is expected of each series of a source: the rules of its station over those of the source
    over the general ones."""
    general, sentinels = quality.rules(source), quality.sentinels
    if source.sentinels is not None:
        # What a source says of all its parameters is narrower than what is said of one everywhere.
        sentinels = source.sentinels
        general = {name: rule.model_copy(update={"sentinels": None}) for name, rule in general.items()}
    wide = laid(source.parameters, general)
    policy: Policies = {**quality.policy, **source.policy}
    by_station = {station: laid(rules, wide) for station, rules in source.stations.items()}

    def of(series: Series) -> Rule:
        rule = by_station.get(series.station, wide).get(series.parameter)
        return made(rule or ParameterRule(), series.unit, sentinels, policy)

    return of


def made(
    rule: ParameterRule, unit: str, sentinels: tuple[float, ...], policy: Policies | None = None
) -> Rule:
    """What a parameter's rule says of a series in this unit."""
    listed, given = _in_unit(rule, plain_unit(unit))
    if rule.unit is not None:
        foreign = not listed and plain_unit(rule.unit) != plain_unit(unit)
    else:
        foreign = not listed and rule.range is None and bool({*rule.ranges, *rule.units})
    if foreign:
        # Nothing that is said in units of the value means anything here.
        given = UnitRule(
            flat_line=given.flat_line and given.flat_line.model_copy(update={"tolerance": 0.0})
        )
    spoken = listed or foreign or rule.unit is not None or given.range is not None
    names = ((rule.unit,) if rule.unit else ()) + tuple(dict.fromkeys([*rule.ranges, *rule.units]))
    decided: dict[CheckName, Policy] = {**(policy or {}), **rule.policy}
    return Rule(
        expected=spoken or given.suspect is not None,
        foreign=foreign,
        units=names,
        sentinels=sentinels if rule.sentinels is None else rule.sentinels,
        fail=_span(given.range),
        suspect=_span(given.suspect),
        spike=_spike(given.spike),
        rate=_rate(given.rate),
        flat=_flat(given.flat_line),
        gap=rule.gap or 0,
        attenuated=_attenuated(given.attenuated),
        climatology=_climatology(given.climatology),
        precision=_precision(rule.precision),
        neighbours=_neighbours(given.neighbours),
        cadence=rule.cadence or 0,
        policy={CHECKS[name]: what for name, what in decided.items()},
    )


def _in_unit(rule: ParameterRule, unit: str) -> tuple[bool, UnitRule]:
    """Whether a unit (in its plain spelling) is listed, and what is expected in it."""
    spans = [span for name, span in rule.ranges.items() if plain_unit(name) == unit]
    units = [one for name, one in rule.units.items() if plain_unit(name) == unit]
    given: UnitRule = rule
    if spans:
        given = given.model_copy(update={"range": spans[0]})
    if units:
        given = laid_over(units[0], given)
    return bool(spans or units), given


def _span(span: tuple[float | None, float | None] | None) -> Span:
    low, high = span or (None, None)
    return (nan if low is None else low, nan if high is None else high)


def _limits(
    given: SpikeSettings | RateSettings | AttenuatedSettings | None, per: float = 1.0
) -> Limits | None:
    """The two thresholds divided by `per`; None where neither is given."""
    if given is None or (given.suspect is None and given.fail is None):
        return None
    # The one NaN, as elsewhere: two rules that say the same are equal.
    suspect, fail = (nan if one is None else one / per for one in (given.suspect, given.fail))
    return Limits(suspect, fail)


def _spike(given: SpikeSettings | None) -> SpikeRule | None:
    limits = _limits(given)
    return SpikeRule(limits, given.method == "differential") if given and limits else None


def _rate(given: RateSettings | None) -> Limits | None:
    return _limits(given, HOUR / SECOND)


def _flat(given: FlatLineSettings | None) -> FlatRule | None:
    if given is None or not (given.suspect or given.fail):
        return None
    return FlatRule(given.suspect or 0, given.fail or 0, given.tolerance)


def _attenuated(given: AttenuatedSettings | None) -> AttenuatedRule | None:
    limits = _limits(given)
    if given is None or limits is None:
        return None
    return AttenuatedRule(limits, given.period, given.least, given.method == "deviation")


def _climatology(given: ClimatologySettings | None) -> ClimatologyRule | None:
    if given is None or not given.usual:
        return None
    spans: dict[tuple[int | None, int | None], Span4] = {}
    for usual in given.usual:
        low, high = _span(usual.range)
        suspect_low, suspect_high = _span(usual.suspect)
        for cell in product(usual.months or (None,), usual.hours or (None,)):
            spans[cell] = (low, suspect_low, suspect_high, high)
    return ClimatologyRule(tuple(spans.items()), round(given.utc_offset * HOUR))


def _precision(given: PrecisionSettings | None) -> PrecisionRule | None:
    return None if given is None else PrecisionRule(given.period, given.least)


def _neighbours(given: NeighboursSettings | None) -> NeighbourRule | None:
    if given is None or given.suspect is None:
        return None
    return NeighbourRule(given.within_km, given.suspect, given.least, given.apart)

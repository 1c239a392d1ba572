"""What is expected of readings, as the configuration says it: the same rules for every source, laid
over each other from wide to narrow, and made into one `Rule` for each series.

A narrower block (source, station) changes what it names and leaves the rest; `null` turns a test off.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from loader.readings import DAY, HOUR, plain_unit
from loader.settings.block import Settings
from loader.settings.durations import MINUTE, Duration, micros
from loader.settings.shipped import SETS

if TYPE_CHECKING:
    from loader.quality.score import Weights

CheckName = Literal[
    "upstream",
    "sentinel",
    "gross_range",
    "unit",
    "spike",
    "rate",
    "flat_line",
    "gap",
    "attenuated",
    "climatology",
    "precision",
    "neighbours",
]
Policy = Literal["flag", "quarantine", "stop"]
SetName = Literal["air", "cmapss"]


def _ascending(span: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    low, high = span
    if low is not None and high is not None and low > high:
        raise ValueError(f"has its lowest above its highest; write [{high:g}, {low:g}]")
    return span


def _decidable(policies: dict[CheckName, Policy]) -> dict[CheckName, Policy]:
    if policies.get("neighbours", "flag") != "flag":
        raise ValueError("must leave neighbours at flag: they are compared when all is stored")
    return policies


Span = Annotated[tuple[float | None, float | None], AfterValidator(_ascending)]
Policies = Annotated[dict[CheckName, Policy], AfterValidator(_decidable)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Stretch = Annotated[Duration, Field(gt=0)]


def _in_order(suspect: float | None, fail: float | None) -> None:
    if suspect is not None and fail is not None and suspect > fail:
        raise ValueError("has its suspect above its fail; make suspect the smaller one")


class SpikeSettings(Settings):
    """A value that stands out from both of its neighbours, in units of the value."""

    suspect: NotNegative | None = Field(None, description="suspect when it stands out by more")
    fail: NotNegative | None = Field(None, description="fails when it stands out by more")
    method: Literal["average", "differential"] = Field(
        "average",
        description="off the mean of both neighbours; or off the nearer one, if it is a peak or dip",
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        _in_order(self.suspect, self.fail)
        return self


class RateSettings(Settings):
    """How fast a value may change, in units of the value per hour."""

    suspect: NotNegative | None = Field(None, description="suspect when it changes faster, per hour")
    fail: NotNegative | None = Field(None, description="fails when it changes faster, per hour")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        _in_order(self.suspect, self.fail)
        return self


class FlatLineSettings(Settings):
    """How long a value may stand still."""

    suspect: Stretch | None = Field(None, description="suspect when it has not moved for so long")
    fail: Stretch | None = Field(None, description="fails when it has not moved for so long")
    tolerance: float = Field(
        0, ge=0, description="it stands still while it spans less; 0 = while it is equal"
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        _in_order(self.suspect, self.fail)
        return self


class AttenuatedSettings(Settings):
    """How much a value has to move within a period, in units of the value."""

    suspect: Positive | None = Field(None, description="suspect when it moves less")
    fail: Positive | None = Field(None, description="fails when it moves less")
    period: Stretch = Field(DAY, description="over so long")
    least: int = Field(12, ge=2, description="with fewer values in the period nothing is said")
    method: Literal["range", "deviation"] = Field(
        "range", description="highest less lowest; or the standard deviation"
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.suspect is not None and self.fail is not None and self.suspect < self.fail:
            raise ValueError("has its suspect below its fail; make suspect the larger one")
        return self


class UsualSettings(Settings):
    """What is usual in some months at some hours of the day."""

    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field(
        (), description="in these months, 1 to 12; none = in all"
    )
    hours: tuple[Annotated[int, Field(ge=0, le=23)], ...] = Field(
        (), description="at these hours of the day, 0 to 23; none = at all"
    )
    range: Span | None = Field(None, description="[lowest, highest]; a value outside fails")
    suspect: Span | None = Field(None, description="[lowest, highest]; a value outside is suspect")


class ClimatologySettings(Settings):
    """What is usual by month and hour of the day."""

    utc_offset: float = Field(
        0, ge=-14, le=14, description="hours to add to UTC; summer time is not kept by the weather"
    )
    usual: tuple[UsualSettings, ...] = Field(
        (),
        max_length=300,
        description="the spans; one that names month and hour counts first",
    )


class PrecisionSettings(Settings):
    """Values that come with another number of decimals than in the period before."""

    period: Stretch = Field(DAY, description="the values of so long are compared with those before")
    least: int = Field(12, ge=2, description="with fewer values in either period nothing is said")


class NeighboursSettings(Settings):
    """The same parameter at near stations, compared after a run."""

    within_km: Positive = Field(10, description="stations up to so far away are near")
    suspect: Positive | None = Field(
        None, description="suspect when it is further above or below all of theirs"
    )
    least: int = Field(3, ge=1, description="with fewer near stations nothing is said")
    apart: Stretch = Field(HOUR, description="their readings may be so far away in time")


class UnitRule(Settings):
    """What is expected of one parameter in one unit."""

    range: Span | None = Field(
        None, description="[lowest, highest] in any unit; a value outside fails, the bounds pass"
    )
    suspect: Span | None = Field(None, description="[lowest, highest]; a value outside is suspect")
    spike: SpikeSettings | None = Field(
        None, description="how far a value may stand out from both neighbours"
    )
    rate: RateSettings | None = Field(None, description="how fast a value may change")
    flat_line: FlatLineSettings | None = Field(None, description="how long a value may stand still")
    attenuated: AttenuatedSettings | None = Field(None, description="how much a value has to move")
    climatology: ClimatologySettings | None = Field(None, description="what is usual by month and hour")
    neighbours: NeighboursSettings | None = Field(
        None, description="how far a value may be from those of near stations"
    )


class ParameterRule(UnitRule):
    """What is expected of one parameter. What is given for a reading's own unit counts before what is
    given for any."""

    ranges: dict[str, Span] = Field(
        default_factory=dict, description="[lowest, highest] by unit, for a parameter that comes in several"
    )
    units: dict[str, UnitRule] = Field(
        default_factory=dict, description="by unit, what differs there: any of the keys up to here"
    )
    unit: str | None = Field(None, description="the unit to come in; readings in another are suspect")
    sentinels: tuple[float, ...] | None = Field(
        None, description="this parameter's codes for no value, instead of quality.sentinels"
    )
    gap: Stretch | None = Field(None, description="fails when the reading before is longer ago")
    precision: PrecisionSettings | None = Field(None, description="changes of the number of decimals")
    cadence: Stretch | None = Field(None, description="the usual time between readings; none = learned")
    policy: Policies = Field(
        default_factory=dict,
        description="by check, what happens to a reading that fails it: flag, quarantine or stop",
    )

    @field_validator("ranges", "units")
    @classmethod
    def _each_unit_once(cls, given: dict[str, Any]) -> dict[str, Any]:
        names: dict[str, str] = {}
        for name in given:
            if (first := names.setdefault(plain_unit(name), name)) != name:
                raise ValueError(f"names one unit twice, as {first} and as {name}; keep one of them")
        return given

    def over(self, wider: ParameterRule) -> ParameterRule:
        """These rules laid over wider ones. A new range replaces all of the wider ones, since it was
        written by somebody who knows the unit; everything else counts key by key, and what is given
        here for any unit counts before what the wider rule gives for one."""
        if self.model_fields_set & {"range", "ranges"}:
            units = {unit: _without_range(rule) for unit, rule in wider.units.items()}
            wider = wider.model_copy(update={"range": None, "ranges": {}, "units": units})
        if self.unit is not None:
            # The wider rule knows other units; whoever names one wants no other.
            wider = wider.model_copy(
                update={name: _only(self.unit, getattr(wider, name)) for name in ("ranges", "units")}
            )
        general = UnitRule.model_construct(
            **{name: getattr(self, name) for name in self.model_fields_set if name in UnitRule.model_fields}
        )
        if general.model_fields_set:
            units = {unit: laid_over(general, rule, only_given=True) for unit, rule in wider.units.items()}
            wider = wider.model_copy(update={"units": units})
        names = {plain_unit(name): name for name in self.units}
        units = {names.get(plain_unit(name), name): rule for name, rule in wider.units.items()}
        return laid_over(self, wider.model_copy(update={"units": units}))


class ScoreWeights(Settings):
    """How much each component counts in the score; only their proportions matter."""

    completeness: float = Field(0.35, ge=0, description="readings that came, of those that were due")
    validity: float = Field(0.30, ge=0, description="readings that no check objects to")
    timeliness: float = Field(0.15, ge=0, description="readings that were not late")
    uniqueness: float = Field(0.10, ge=0, description="records that came once within one read")
    consistency: float = Field(0.10, ge=0, description="records in the unit that was expected")

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("are all 0; give at least one component a weight")
        return self

    def as_weights(self) -> Weights:
        """The same, as the score takes them."""
        from loader.quality.score import Weights

        return Weights(**self.model_dump())


SHIPPED: dict[str, dict[str, ParameterRule]] = {
    name: {parameter: ParameterRule.model_validate(rule) for parameter, rule in rules.items()}
    for name, rules in SETS.items()
}
"""The sets of rules that may hold without being written down. Wide on purpose: they catch instruments
that are broken, not air that is bad. Where each bound comes from stands in docs/quality.md."""

PARAMETERS = SHIPPED["air"]
"""Those that hold unless configured otherwise."""


class QualitySettings(Settings):
    """Which readings are believed."""

    defaults: tuple[SetName, ...] = Field(
        ("air",), description="the sets of shipped rules that hold: air, cmapss"
    )
    parameters: dict[str, ParameterRule] = Field(
        default_factory=dict,
        description="what is expected of a parameter; what is not named keeps its default",
    )
    policy: Policies = Field(
        default_factory=dict, description="as parameters.NAME.policy, for all parameters"
    )
    sentinels: tuple[float, ...] = Field(
        (-99, -999, -9999), description="values that stand for no value, in every parameter"
    )
    future: Duration = Field(
        5 * MINUTE, description="a reading stamped further ahead of the clock is quarantined"
    )
    earliest: date = Field(date(1990, 1, 1), description="a reading stamped before this day is quarantined")
    weights: ScoreWeights = Field(
        default_factory=ScoreWeights, description="what the components of the score count"
    )

    def rules(self, source: SourceQuality) -> dict[str, ParameterRule]:
        """The general rules of a source: those of `parameters` over the shipped ones."""
        sets = self.defaults if source.defaults is None else source.defaults
        return laid(self.parameters, {name: rule for one in sets for name, rule in SHIPPED[one].items()})

    @property
    def earliest_us(self) -> int:
        """`earliest`, 00:00 UTC, in microseconds."""
        return micros(self.earliest)


class SourceQuality(Settings):
    """What is expected of one source's readings, where it differs."""

    defaults: tuple[SetName, ...] | None = Field(None, description="as quality.defaults")
    parameters: dict[str, ParameterRule] = Field(
        default_factory=dict, description="as quality.parameters, for this source"
    )
    stations: dict[str, dict[str, ParameterRule]] = Field(
        default_factory=dict, description="the same for one station of it, by station and parameter"
    )
    policy: Policies = Field(default_factory=dict, description="as quality.policy")
    sentinels: tuple[float, ...] | None = Field(
        None, description="values that stand for no value, instead of quality.sentinels"
    )


def _only(unit: str, of_units: dict[str, Any]) -> dict[str, Any]:
    """What is said of that unit, however it is spelled."""
    return {name: said for name, said in of_units.items() if plain_unit(name) == plain_unit(unit)}


def laid(narrow: dict[str, ParameterRule], wide: dict[str, ParameterRule]) -> dict[str, ParameterRule]:
    """Rules by parameter laid over wider ones."""
    over = {name: rule.over(wide[name]) if name in wide else rule for name, rule in narrow.items()}
    return wide | over


Block = TypeVar("Block", bound=Settings)


def laid_over(narrow: Any, wide: Block, *, only_given: bool = False) -> Block:
    """What is set in `narrow` over `wide`, key by key; `only_given`: only keys that are set there."""
    changed = {}
    for name in narrow.model_fields_set:
        new, old = getattr(narrow, name), getattr(wide, name)
        if only_given and name not in wide.model_fields_set:
            continue
        if isinstance(new, Settings) and isinstance(old, Settings):
            new = laid_over(new, old)
        elif isinstance(new, dict) and isinstance(old, dict):
            both = {key: laid_over(new[key], old[key]) for key in new if isinstance(old.get(key), Settings)}
            new = old | new | both
        changed[name] = new
    return wide.model_copy(update=changed)


def _without_range(rule: UnitRule) -> UnitRule:
    return UnitRule.model_construct(
        **{name: getattr(rule, name) for name in rule.model_fields_set if name != "range"}
    )

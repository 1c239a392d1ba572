"""The models of `anomalies:` and `drift:`: what is looked for in stored readings after each run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from loader.readings import DAY
from loader.settings.block import Settings
from loader.settings.durations import Duration

if TYPE_CHECKING:
    from loader.quality.anomaly import Detector
    from loader.quality.anomalyrule import AlertRule
    from loader.quality.drift import DriftRule

Days = Annotated[Duration, Field(ge=DAY, le=366 * DAY)]


class ForestSettings(Settings):
    """The isolation forest over all sensors of a station."""

    enabled: bool = Field(False, description="true needs the extra `analysis`")
    healthy: Days = Field(28 * DAY, description="the stretch it is fitted on, at its end the newest moment")
    refit: Days = Field(28 * DAY, description="it is fitted again this often")


class AnomalySettings(Settings):
    """Single readings that do not fit, and when they are worth an alert."""

    enabled: bool = Field(True, description="false looks for none")
    detectors: tuple[Literal["robust_zscore", "unit_scale", "zscore"], ...] = Field(
        ("robust_zscore", "unit_scale"), description="what judges the readings of each series"
    )
    history: Days = Field(
        7 * DAY, description="readings further behind the newest one are not judged when they arrive"
    )
    rate: int = Field(10, ge=0, le=1_000_000, description="more anomalies than this in one run alert")
    persistence: int = Field(4, ge=1, le=62, description="so does at least one in so many runs")
    memory: int = Field(24, ge=1, le=62, description="of so many latest runs; none in all of them ends it")
    forest: ForestSettings = Field(
        default_factory=ForestSettings, description="the isolation forest over a station"
    )

    @field_validator("detectors")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("names a detector twice; name each once")
        return names

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.persistence > self.memory:
            raise ValueError("has more persistence than memory; make memory as long at least")
        return self

    @property
    def rule(self) -> AlertRule:
        """When there is an alert."""
        from loader.quality.anomalyrule import AlertRule

        return AlertRule(rate=self.rate, persistence=self.persistence, memory=self.memory)

    @property
    def chosen(self) -> tuple[Detector, ...]:
        """The detectors of single series."""
        from loader.quality.anomaly import DETECTORS

        return tuple(DETECTORS[name] for name in self.detectors) if self.enabled else ()


class DriftSettings(Settings):
    """Series that slowly become another."""

    enabled: bool = Field(True, description="false compares nothing")
    against: Literal["auto", "first", "season"] = Field(
        "auto", description="what with: first weeks, same season a year ago, or that where there is a year"
    )
    ks: float = Field(0.4, gt=0, le=1, description="Kolmogorov-Smirnov distance")
    psi: float = Field(0.5, gt=0, description="population stability index")
    shift: float = Field(1.5, gt=0, description="the medians' difference, in robust standard deviations")
    scale: float = Field(4.0, gt=1, description="the spread grown or shrunk by this factor")
    persistence: int = Field(3, ge=1, le=365, description="comparisons in a row that it takes, one a day")

    @property
    def rule(self) -> DriftRule:
        """When a difference is drift."""
        from loader.quality.drift import DriftRule

        return DriftRule(
            ks=self.ks, psi=self.psi, shift=self.shift, scale=self.scale, persistence=self.persistence
        )

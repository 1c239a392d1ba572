"""The configuration of a simulated source, and the measures of its flaws."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from loader.config import Duration, Settings, SourceSettings
from loader.readings import DAY, HOUR, SECOND

SENTINEL = -999.0
OUTAGE = 6
"""A gap is this many readings long."""
FLAT = 8
"""A flat line is this many readings long."""
LATEST_LATE = 8
"""A late reading shows up at most this many cadences after its stamp ..."""
LATEST_REVISED = 24
"""... and a revision at most this many after the reading."""

Share = Annotated[float, Field(ge=0, le=1)]


def _reasonable(cadence: int) -> int:
    if not SECOND <= cadence <= DAY:
        raise ValueError("must be between 1s and 1d")
    return cadence


class Flaws(Settings):
    """What is wrong with the readings: the share of them that each flaw strikes, 0 to 1."""

    gaps: Share = Field(0, description="never come, six in a row")
    late: Share = Field(0, description="show up one to eight cadences after their time")
    revised: Share = Field(0, description="change their value up to 24 cadences later")
    duplicates: Share = Field(0, description="come twice in a page")
    spikes: Share = Field(0, description="stand far above their neighbours")
    flat: Share = Field(0, description="repeat the value before them, eight in a row")
    sentinels: Share = Field(0, description="say -999 for want of a value")
    clock_errors: Share = Field(0, description="bear a stamp decades in the future")


class SimulatorSettings(SourceSettings):
    """The configuration of one simulated source."""

    type: Literal["simulator"] = "simulator"
    kind: Literal["air", "rig"] = Field("air", description="air: stations in cities; rig: test rigs")
    stations: int = Field(3, ge=1, le=10_000, description="how many stations")
    seed: int = Field(42, ge=0, lt=2**63, description="another seed, other readings")
    cadence: Annotated[Duration, AfterValidator(_reasonable)] | None = Field(
        None, description="time between readings; air 1h, rig 6m unless given"
    )
    flaws: Flaws = Field(default_factory=Flaws, description="what is wrong with the readings")
    latency: Duration = Field(0, description="how long every page takes to come")

    @property
    def step(self) -> int:
        """Microseconds between readings."""
        return self.cadence or (HOUR if self.kind == "air" else HOUR // 10)

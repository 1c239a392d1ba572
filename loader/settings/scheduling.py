"""The models of when a source is loaded, how long rows are kept, and how the daemon behaves."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from loader.journal import Cutoffs
from loader.readings import DAY, HOUR, SECOND
from loader.schedule import Cron, Every, Timetable, zone
from loader.settings.block import Settings
from loader.settings.durations import MINUTE, Duration


class Schedule(Settings):
    """When a source is loaded. `every` counts from the epoch, so that replicas and restarts agree."""

    every: Annotated[Duration, Field(ge=SECOND)] = Field(
        2 * HOUR, description="at whole multiples of this, UTC; not with cron"
    )
    cron: str | None = Field(None, description="minute hour day month weekday, or @hourly, @daily, ...")
    timezone: str = Field("UTC", description="the IANA zone that cron is meant in")
    jitter: Duration = Field(0, description="begin up to this much later, at random")
    run_at_start: bool = Field(True, description="load when the daemon starts, too")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        zone(name)
        return name

    @field_validator("cron")
    @classmethod
    def _legible(cls, text: str | None) -> str | None:
        if text is not None:
            Cron.parse(text)
        return text

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.cron is not None and "every" in self.model_fields_set:
            raise ValueError("has both every and cron; keep one of them")
        if self.cron is not None:
            Cron.parse(self.cron, self.timezone)
        return self

    @property
    def timetable(self) -> Timetable:
        """When it is due."""
        if self.cron is not None:
            return Cron.parse(self.cron, self.timezone)
        return Every(self.every)


class Retention(Settings):
    """How long rows are kept; without it for ever. Deleted readings are never fetched again."""

    readings: Annotated[Duration, Field(ge=DAY)] | None = Field(None, description="by their own time")
    revisions: Annotated[Duration, Field(ge=DAY)] | None = Field(None, description="by the reading's time")
    runs: Annotated[Duration, Field(ge=DAY)] | None = Field(None, description="records of runs")
    batches: Annotated[Duration, Field(ge=DAY)] | None = Field(None, description="records of their commits")
    quarantine: Annotated[Duration, Field(ge=DAY)] | None = Field(
        None, description="rejected records, from when they were last seen"
    )

    def cutoffs(self, now: int) -> Cutoffs:
        """What is too old now. Whole days, so that pruning has something to do once a day only."""
        today = now - now % DAY

        def before(kept: int | None) -> int | None:
            return None if kept is None else today - kept

        return Cutoffs(
            readings=before(self.readings),
            revisions=before(self.revisions),
            runs=before(self.runs),
            batches=before(self.batches),
            quarantine=before(self.quarantine),
        )


class Watchdog(Settings):
    """When the daemon takes itself for stuck, and ends with an error so as to be started anew."""

    scheduler: Annotated[Duration, Field(ge=5 * SECOND)] = Field(
        MINUTE, description="its loop has not come round for so long"
    )
    run: Annotated[Duration, Field(ge=SECOND)] = Field(
        2 * HOUR, description="a run has made no request and no commit for so long"
    )


class DaemonSettings(Settings):
    """How `loader daemon` behaves."""

    stop_grace: Annotated[Duration, Field(ge=SECOND)] = Field(
        30 * SECOND, description="how long it may take to stop"
    )
    watchdog: Watchdog = Field(default_factory=Watchdog, description="when it counts as stuck")

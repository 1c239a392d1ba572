"""The models of the configuration, with their defaults. Each adapter adds its own beside itself,
as a subclass of `SourceSettings`.

Every field has a description: the editor's schema and the manual show it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import Field, model_validator
from pydantic_core import core_schema

from loader.readings import DAY, HOUR
from loader.settings.alerting import AlertSettings, LimitSettings, SourceRules
from loader.settings.analysis import AnomalySettings, DriftSettings
from loader.settings.block import Settings
from loader.settings.durations import MINUTE, Duration, Initial
from loader.settings.quality import QualitySettings, SourceQuality
from loader.settings.scheduling import DaemonSettings, Retention, Schedule

STORE_SCHEMES = ("sqlite", "postgresql", "postgres")
DEFAULT_STORE = "sqlite:///state/loader.db"


class StoreURL:
    """The address of the store. `raw` is for connecting; everything else hides the password."""

    __slots__ = ("_raw",)

    def __init__(self, raw: str) -> None:
        scheme, separator, rest = raw.partition("://")
        known = separator and scheme in STORE_SCHEMES and rest.strip("/")
        if not known or (scheme == "sqlite" and not rest.startswith("/")):
            raise ValueError(
                "must be sqlite:///path/to/file.db or postgresql://user:password@host:5432/database"
            )
        if rest == "/:memory:":
            raise ValueError("must be a file: what is only in memory would be gone at the end of the run")
        if scheme == "sqlite" and "?" in rest:
            raise ValueError("must end with the name of the file; options after a ? are not understood")
        if scheme != "sqlite" and re.search(r"%(?![0-9A-Fa-f]{2})", rest):
            raise ValueError("has a % that begins no percent-encoding; write %25 for the character itself")
        self._raw = raw

    @property
    def raw(self) -> str:
        """The whole URL, password included. Never log it."""
        return self._raw

    @property
    def scheme(self) -> str:
        return self._raw.partition("://")[0]

    @property
    def shown(self) -> str:
        """For people: `***` stands for every password."""
        scheme, _, rest = self._raw.partition("://")
        # An unescaped @ or / in a password must not show a part of it, so the last @ counts.
        user, at, host = rest.rpartition("@")
        if at and ":" in user:
            user = user.partition(":")[0] + ":***"
        return f"{scheme}://{user}{at}" + re.sub(r"(?i)((?:ssl)?password=)[^&]*", r"\1***", host)

    def secrets(self) -> list[str]:
        """The passwords in it, as written and decoded."""
        rest = self._raw.partition("://")[2]
        user, at, _ = rest.rpartition("@")
        found = [user.partition(":")[2]] if at else []
        found += re.findall(r"(?i)(?:ssl)?password=([^&]*)", rest)
        return [text for one in found for text in {one, unquote(one)} if text]

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"StoreURL({self.shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreURL) and other._raw == self._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    @classmethod
    def parse(cls, value: Any) -> StoreURL:
        if isinstance(value, StoreURL):
            return value
        if not isinstance(value, str):
            raise ValueError("must be text, such as sqlite:///state/loader.db")
        return cls(value.strip())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^({'|'.join(STORE_SCHEMES)})://."}


class Lookback(Settings):
    """How far behind its newest reading a partition is read again, because data comes late."""

    min: Duration = Field(2 * HOUR, description="read back at least this far, every run")
    max: Duration = Field(
        3 * DAY, description="and at most this far; it is used until 200 late readings were seen"
    )
    sweep: Duration = Field(6 * HOUR, description="read back to `max` this often; 0s = every run")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is longer than max; make min shorter or max longer")
        return self


class Holes(Settings):
    """How often a window that could not be read is tried again."""

    pause: Annotated[Duration, Field(gt=0)] = Field(
        15 * MINUTE, description="wait before the second try; the pause doubles with each"
    )
    max_pause: Annotated[Duration, Field(gt=0)] = Field(DAY, description="the longest pause")
    tries: int = Field(12, ge=1, le=1000, description="then the hole is given up, and still listed")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.pause > self.max_pause:
            raise ValueError("pause is longer than max_pause; make pause shorter or max_pause longer")
        return self


class SourceSettings(Settings):
    """What every source has; an adapter's settings subclass it and narrow `type`."""

    type: str = Field(description="which kind of source this is")
    enabled: bool = Field(True, description="false leaves the source out of runs; its rows stay")
    initial: Initial = Field(
        Initial(ago=7 * DAY), description="how far back the first run goes; a date serves too"
    )
    lookback: Lookback = Field(default_factory=Lookback, description="how far back later runs read again")
    holes: Holes = Field(default_factory=Holes, description="how failed windows are tried again")
    concurrency: int = Field(4, ge=1, le=64, description="partitions read at the same time")
    schedule: Schedule = Field(default_factory=Schedule, description="when the daemon loads it")
    retention: Retention = Field(default_factory=Retention, description="how long rows are kept")
    alerts: SourceRules = Field(default_factory=SourceRules, description="rules that differ for it")
    quality: SourceQuality = Field(
        default_factory=SourceQuality, description="what is expected of its readings, where it differs"
    )

    def unusable(self) -> str | None:
        """Why the source cannot run yet, in one line that says what to do; None when it can.
        Such a source is skipped with that line; it is no error."""
        return None

    @property
    def alive(self) -> bool:
        """Whether new readings are to be expected; false for files that do not change."""
        return True

    def request_limits(self) -> Mapping[int, int]:
        """Requests allowed (value) in so many seconds (key); empty where there is no limit."""
        return {}


class LogFile(Settings):
    """A log file that is rotated by size."""

    path: Path = Field(description="where it is written, relative to the current folder")
    max_bytes: int = Field(10_000_000, ge=10_000, description="begin a new file at this size")
    backups: int = Field(5, ge=1, le=1000, description="old files kept")


class LogSettings(Settings):
    """What is logged, on stderr and in a file."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least that is logged"
    )
    format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, JSON elsewhere and in the file"
    )
    file: LogFile | None = Field(None, description="log into a file as well")


class Config(Settings):
    """The whole configuration."""

    store: StoreURL = Field(
        StoreURL(DEFAULT_STORE), description="where readings go; left out, DATABASE_URL sets it"
    )
    sources: dict[str, SourceSettings] = Field(description="where readings come from, by a name you choose")
    quality: QualitySettings = Field(
        default_factory=QualitySettings, description="which readings are believed"
    )
    limits: dict[str, LimitSettings] = Field(
        default_factory=dict, description="values that are true but alarming, by parameter"
    )
    anomalies: AnomalySettings = Field(
        default_factory=AnomalySettings, description="readings that do not fit what was usual"
    )
    drift: DriftSettings = Field(default_factory=DriftSettings, description="series that become others")
    alerts: AlertSettings = Field(default_factory=AlertSettings, description="who is told of trouble")
    daemon: DaemonSettings = Field(default_factory=DaemonSettings, description="how the daemon behaves")
    log: LogSettings = Field(default_factory=LogSettings, description="what is logged")

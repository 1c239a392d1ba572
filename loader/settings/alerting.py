"""The models of `alerts:` and `limits:`: which rules hold, who hears of them, which values alarm."""

from __future__ import annotations

import re
from email.utils import parseaddr
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.json_schema import WithJsonSchema

from loader.journal import Severity
from loader.readings import HOUR, SECOND
from loader.settings.block import Settings
from loader.settings.durations import MINUTE, Duration

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(k|M|G)?i?B?")
_SCALE = {None: 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(value: Any) -> Any:
    """Bytes of `400MB`, `1.5GB` (multiples of 1024); ValueError says what to write instead."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError("is no size; write 400MB or 2GB")
        return int(float(match[1]) * _SCALE[match[2]])
    return value


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back."""
    for unit in ("G", "M", "k"):
        if size and size % _SCALE[unit] == 0:
            return f"{size // _SCALE[unit]}{unit}B"
    return f"{size}B"


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*([kMG]i?)?B?$"}),
]
"""Bytes, read from `400MB`."""


class _Rule(Settings):
    """Whether a rule holds, and how bad it is when it is broken."""

    enabled: bool = Field(True, description="false turns the rule off")
    severity: Severity = Field(Severity.WARNING, description="warning or critical")

    def over(self, usual: Self) -> Self:
        """This rule, with `usual`'s in place of what it does not name."""
        return usual.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class StandingRule(_Rule):
    """A rule whose figures stand elsewhere: under `anomalies` and `drift`."""


class _NumberRule(_Rule):
    """When a rule is broken. In the file its number alone will do."""

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, value: Any) -> Any:
        return value if value is None or isinstance(value, dict | list | cls) else {"at": value}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        own: dict[str, Any] = handler(schema)
        block = handler.resolve_ref_schema(own)
        number = {k: v for k, v in block["properties"]["at"].items() if k not in ("default", "description")}
        whole = dict(block)
        block.clear()
        block["anyOf"] = [whole, number]
        return own


# The defaults of `at` never count: `Rules` and `SourceRules` take only what was given.


class CountRule(_NumberRule):
    at: int = Field(1, ge=1, le=1000, description="the number that breaks the rule")


class ScoreRule(_NumberRule):
    at: float = Field(0, ge=0, le=100, description="the score below which the rule is broken")
    missing: bool = Field(False, description="count what did not come, too; freshness tells of silence")


class ShareRule(_NumberRule):
    at: float = Field(1, ge=0, le=1, description="the share, 0 to 1, that breaks the rule")


class TimeRule(_NumberRule):
    at: Annotated[Duration, Field(gt=0)] = Field(MINUTE, description="the time that breaks the rule")


class SizeRule(_NumberRule):
    at: Annotated[Size, Field(gt=0)] = Field(1 << 30, description="the size that breaks the rule")


class FreshnessRule(_NumberRule):
    at: float = Field(
        3, gt=0, le=1000, description="schedules, or cadences beyond the usual delay, without news"
    )


class Rules(Settings):
    """The rules, each with its number and severity."""

    failures: CountRule = Field(
        CountRule(at=3, severity=Severity.CRITICAL), description="runs that failed in a row"
    )
    quality_below: ScoreRule = Field(ScoreRule(at=90), description="score of what the newest runs brought")
    freshness: FreshnessRule = Field(FreshnessRule(), description="a station that sends nothing new")
    slow_request: TimeRule = Field(
        TimeRule(at=60 * SECOND), description="the newest run's slowest request took longer"
    )
    error_rate: ShareRule = Field(
        ShareRule(at=0.10), description="more than this share of the newest requests failed"
    )
    quarantined: ShareRule = Field(
        ShareRule(at=0.05), description="more than this share of the newest run's records was rejected"
    )
    missed: CountRule = Field(CountRule(at=1), description="runs in a row that did not take place")
    anomaly: StandingRule = Field(
        StandingRule(), description="a series with more anomalies than `anomalies` allows"
    )
    drift: StandingRule = Field(StandingRule(), description="a series that has become another")
    failing_sensor: ShareRule = Field(
        ShareRule(at=0.9), description="so large a share of a series' newest readings failed or is missing"
    )
    memory: SizeRule = Field(SizeRule(at=400 << 20), description="the loader itself takes more")
    disk_free: ShareRule = Field(ShareRule(at=0.10), description="less of the store's disk is free")
    store: TimeRule = Field(
        TimeRule(at=MINUTE, severity=Severity.CRITICAL), description="the store has been away so long"
    )

    @field_validator("*")
    @classmethod
    def _over_defaults(cls, rule: _Rule, info: ValidationInfo) -> _Rule:
        usual: _Rule = cls.model_fields[str(info.field_name)].default
        return rule.over(usual)


class SourceRules(Settings):
    """What one source has otherwise than `alerts.rules`; what is not named stays."""

    failures: CountRule | None = Field(None, description="as alerts.rules.failures")
    quality_below: ScoreRule | None = Field(None, description="as alerts.rules.quality_below")
    freshness: FreshnessRule | None = Field(None, description="as alerts.rules.freshness")
    slow_request: TimeRule | None = Field(None, description="as alerts.rules.slow_request")
    error_rate: ShareRule | None = Field(None, description="as alerts.rules.error_rate")
    quarantined: ShareRule | None = Field(None, description="as alerts.rules.quarantined")
    missed: CountRule | None = Field(None, description="as alerts.rules.missed")
    anomaly: StandingRule | None = Field(None, description="as alerts.rules.anomaly")
    drift: StandingRule | None = Field(None, description="as alerts.rules.drift")
    failing_sensor: ShareRule | None = Field(None, description="as alerts.rules.failing_sensor")

    def over(self, rules: Rules) -> Rules:
        """The rules that hold for the source."""
        changed = {}
        for name in type(self).model_fields:
            own = getattr(self, name)
            if own is not None:
                changed[name] = own.over(getattr(rules, name))
        return rules.model_copy(update=changed)


def _check_address(value: SecretStr | None) -> SecretStr | None:
    """An http(s) address, None where it is empty. What is wrong is said without repeating it: whoever
    has such an address can write to the channel."""
    text = value.get_secret_value().strip() if value is not None else ""
    if not text:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good or not text.isprintable() or " " in text:
        raise ValueError("is no address; it must begin with https:// and name a server")
    return SecretStr(text)


Address = Annotated[SecretStr | None, AfterValidator(_check_address)]


class Channel(Settings):
    """What every channel has: whom it tells of what."""

    severities: tuple[Severity, ...] = Field(
        (Severity.WARNING, Severity.CRITICAL), description="tell only of these"
    )
    sources: tuple[str, ...] = Field((), description="tell only of these sources; none = all")

    def wants(self, severity: Severity, sources: tuple[str, ...]) -> bool:
        """Whether the channel is told of that; what concerns no source concerns all."""
        return severity in self.severities and (
            not self.sources or not sources or bool(set(sources) & set(self.sources))
        )


class SlackSettings(Channel):
    webhook_url: Address = Field(None, description="an incoming webhook's address")


if TYPE_CHECKING:
    _From = Channel
else:
    # `from` is a word of Python's own.
    _From = create_model(
        "_From",
        __base__=Channel,
        **{"from": (str, Field("", description="sender; `user` where it is empty"))},
    )


class EmailSettings(_From):
    host: str | None = Field(None, description="the mail server")
    port: int = Field(587, ge=1, le=65535, description="587 with starttls, 465 with tls, else 25")
    user: str | None = Field(None, description="for logging in; none = without")
    password: SecretStr | None = Field(None, description="for logging in")
    to: tuple[str, ...] = Field((), description="who gets it")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="how it is encrypted")

    @property
    def sender(self) -> str:
        return str(getattr(self, "from")) or self.user or ""

    @field_validator("host")
    @classmethod
    def _host_alone(cls, host: str | None) -> str | None:
        if host and not re.fullmatch(r"[A-Za-z0-9_.-]+|\[?[0-9A-Fa-f:]+\]?", host.strip()):
            raise ValueError("must be the server's name alone; the port stands in `port`")
        return host and host.strip()

    @field_validator("to", "from", check_fields=False)
    @classmethod
    def _deliverable(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for one in value if isinstance(value, tuple) else filter(None, [value]):
            if "@" not in parseaddr(one)[1] or not one.isprintable():
                raise ValueError(f"{one!r} is no mail address; write one such as ada@example.org")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.host and not self.to:
            raise ValueError("has a host but nobody in `to`; name at least one address")
        if self.host and "@" not in self.sender:
            raise ValueError("has a host but no sender; name an address in `from`")
        return self


_ONE_OR_SEVERAL = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


class WebhookSettings(Channel):
    url: Address = Field(None, description="where it is posted")
    secret: Annotated[tuple[SecretStr, ...], WithJsonSchema(_ONE_OR_SEVERAL)] = Field(
        (), description="signs what is posted; two while one replaces the other, the new one first"
    )

    @field_validator("secret", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        return () if value is None else (value,) if isinstance(value, str | SecretStr) else value

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(text for one in self.secret if (text := one.get_secret_value()))


class PingSettings(Settings):
    url: Address = Field(
        None, description="asked at the start and the end of every run: URL/start, URL, URL/fail"
    )


class AppriseSettings(Channel):
    urls: tuple[SecretStr, ...] = Field((), description="any service that apprise knows; needs the extra")

    @field_validator("urls")
    @classmethod
    def _legible(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, url in enumerate(urls, 1):
            if "://" not in url.get_secret_value():
                raise ValueError(
                    f"has no address as number {number}; write one such as mailto://... or tgram://..."
                )
        return urls


class AlertSettings(Settings):
    """Who hears what, and how often."""

    repeat: Annotated[Duration, Field(gt=0)] = Field(
        4 * HOUR, description="remind of what lasts this often"
    )
    reminders: int = Field(6, ge=0, le=1000, description="but not more often than this in all")
    rules: Rules = Field(default_factory=Rules, description="what is told")
    slack: SlackSettings = Field(default_factory=SlackSettings, description="a Slack channel")
    email: EmailSettings = Field(default_factory=EmailSettings, description="mail")
    webhook: WebhookSettings = Field(default_factory=WebhookSettings, description="your own receiver")
    ping: PingSettings = Field(default_factory=PingSettings, description="a dead man's switch")
    apprise: AppriseSettings = Field(default_factory=AppriseSettings, description="other services")


class LimitLevels(Settings):
    """Values that are true but alarming."""

    warning: float | None = Field(None, description="worth a look from here on")
    critical: float | None = Field(None, description="serious from here on")

    @property
    def levels(self) -> dict[Severity, float]:
        given = {Severity.WARNING: self.warning, Severity.CRITICAL: self.critical}
        return {level: at for level, at in given.items() if at is not None}


class LimitSettings(LimitLevels):
    """The limits of one parameter."""

    below: bool = Field(False, description="true: values under the limit alarm, not those over it")
    unit: str | None = Field(None, description="only readings in this unit; none = any")
    persistence: tuple[Annotated[int, Field(ge=1, le=1000)], Annotated[int, Field(ge=1, le=1000)]] = Field(
        (2, 3), description="[n, m]: so many of the last m readings must be beyond it"
    )
    hysteresis: float = Field(
        0.05, ge=0, le=1, description="it ends when a reading is back by this share of the limit"
    )
    sources: dict[str, LimitLevels] = Field(
        default_factory=dict, description="other limits for a source, by its name"
    )
    stations: dict[str, LimitLevels] = Field(
        default_factory=dict, description="other limits for a station, by its name; they win"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.persistence[0] > self.persistence[1]:
            raise ValueError("persistence asks for more readings than it looks at; write [n, m], n <= m")
        both: list[LimitLevels] = [self, *self.sources.values(), *self.stations.values()]
        if not any(one.levels for one in both):
            raise ValueError("names no limit; give it a warning or a critical one")
        for one in both:
            if one.warning is None or one.critical is None or one.warning == one.critical:
                continue
            if (one.warning < one.critical) == self.below:
                raise ValueError("has its warning beyond its critical limit; exchange them")
        return self

    def levels_for(self, source: str, station: str) -> dict[Severity, float]:
        """The limits that hold for a station of a source."""
        named = self.stations.get(station) or self.sources.get(source)
        return self.levels if named is None else named.levels

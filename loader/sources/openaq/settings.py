"""The configuration of an OpenAQ source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from loader.addresses import check_url
from loader.config import Duration, Settings, SourceSettings
from loader.errors import ConfigError, UsageError
from loader.readings import SECOND

MAX_RADIUS = 25_000
"""Metres; the API refuses more."""

KEY_REMEDY = (
    "register at https://explore.openaq.org (it is free), copy the key from your account page and put "
    "OPENAQ_API_KEY=... into .env"
)


def parse_radius(value: Any) -> int:
    """Metres of `10km`, `500m` or a number of metres. ValueError says what to write instead."""
    remedy = "write it such as 10km or 500m, more than 0 and at most 25km"
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(km|m|)\s*", value)
        if match is None:
            raise ValueError(f"is no radius; {remedy}")
        value = float(match[1]) * (1000 if match[2] == "km" else 1)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is no radius; {remedy}")
    if not 1 <= value <= MAX_RADIUS:
        raise ValueError(f"is out of range; {remedy}")
    return round(value)


def parse_numbers(value: Any) -> Any:
    """The parts of `1.5,2` where it is text; anything else as it is."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Position = tuple[Latitude, Longitude]
Corners = tuple[Longitude, Latitude, Longitude, Latitude]
_Numbers = Annotated[str, Field(pattern=r"^[-+.0-9]+(\s*,\s*[-+.0-9]+)+$")]
_Distance = (
    Annotated[float, Field(ge=1, le=MAX_RADIUS)]
    | Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?\s*(km|m)?$")]
)
Near = Annotated[Position, BeforeValidator(parse_numbers, json_schema_input_type=Position | _Numbers)]
Box = Annotated[Corners, BeforeValidator(parse_numbers, json_schema_input_type=Corners | _Numbers)]
Radius = Annotated[int, BeforeValidator(parse_radius, json_schema_input_type=_Distance)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]
Wait = Annotated[Duration, Field(ge=SECOND // 10)]


class RequestLimits(Settings):
    """How many requests the key allows."""

    per_minute: int = Field(60, ge=1, description="requests a minute")
    per_hour: int = Field(2000, ge=1, description="requests an hour")


class Timeouts(Settings):
    """How long a request may take."""

    connect: Wait = Field(10 * SECOND, description="to connect")
    read: Wait = Field(30 * SECOND, description="between two pieces of a response")
    total: Wait = Field(120 * SECOND, description="for a whole response")


class Choice(Settings):
    """A way to find locations, as the API offers it; at least one of its fields is set."""

    bbox: Box | None = Field(None, description="[west, south, east, north] in degrees")
    country: Country | None = Field(None, description="ISO 3166 code of two capital letters, such as IN")
    near: Near | None = Field(None, description="[latitude, longitude]; needs radius")
    radius: Radius | None = Field(None, description="around near: 10km, 500m; at most 25km")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.near is None) != (self.radius is None):
            raise ValueError("near and radius go together; add the one that is missing")
        if self.bbox is not None and not (self.bbox[0] < self.bbox[2] and self.bbox[1] < self.bbox[3]):
            raise ValueError("bbox must be [west, south, east, north], west < east and south < north")
        return self

    def queries(self) -> list[list[tuple[str, str | int | float]]]:
        """The query parameters of `/v3/locations`, one list for each way that is set."""
        out: list[list[tuple[str, str | int | float]]] = []
        if self.bbox is not None:
            out.append([("bbox", ",".join(f"{x:.4f}" for x in self.bbox))])
        if self.country is not None:
            out.append([("iso", self.country)])
        if self.near is not None and self.radius is not None:
            place = ",".join(f"{x:.4f}" for x in self.near)
            out.append([("coordinates", place), ("radius", self.radius)])
        return out


_WAYS = {
    "near": "latitude and longitude in degrees, such as 43.65,-79.38",
    "bbox": "west, south, east and north in degrees, such as -79.7,43.5,-79.1,43.9",
    "country": "a country's two letters, such as CA",
}


def choice(**ways: Any) -> Choice:
    """A Choice from the command line's words. Raises UsageError naming what is wrong."""
    from pydantic import ValidationError

    try:
        return Choice(**ways)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "value_error":
            said = str(first["ctx"]["error"])
            raise UsageError(f"--{name} {ways[name]} {said}" if name else said) from None
        raise UsageError(f"--{name} {ways[name]!r} is not {_WAYS[name]}") from None


class OpenAQSettings(SourceSettings, Choice):
    """The configuration of one OpenAQ source. Locations chosen in several ways are all loaded."""

    type: Literal["openaq"] = "openaq"
    base_url: str = Field("https://api.openaq.org", description="where the API is")
    api_key: SecretStr | None = Field(None, description="the key, such as ${OPENAQ_API_KEY}")
    locations: tuple[Annotated[int, Field(ge=1, lt=2**31)], ...] = Field(
        (), description="ids of locations; `loader locations` finds them"
    )
    parameters: tuple[str, ...] = Field((), description="names such as pm25, no2; none = all")
    limits: RequestLimits = Field(default_factory=RequestLimits, description="what the key allows")
    timeouts: Timeouts = Field(default_factory=Timeouts, description="how long a request may take")
    tries: int = Field(5, ge=1, le=20, description="requests in all before a page counts as failed")
    backoff: Wait = Field(SECOND // 2, description="pause before the second try; it doubles from there")
    insecure: bool = Field(False, description="true allows plain http beyond this machine")

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return check_url(value.strip(), insecure=True)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @field_validator("api_key")
    @classmethod
    def _printable(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value().strip() if value is not None else ""
        if not (key.isascii() and key.isprintable()):
            raise ValueError("has characters that no key has; copy it again")
        return SecretStr(key) if key else None

    @field_validator("locations")
    @classmethod
    def _once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("parameters")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[a-z0-9_-]{1,40}", name):
                plain = re.sub(r"[^a-z0-9]", "", name.lower())
                raise ValueError(f"{name!r} is no parameter of OpenAQ; did you mean {plain or 'pm25'}?")
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        if not (self.locations or self.queries()):
            raise ValueError(
                "names no stations; add locations: [...] (`loader locations` finds their ids), bbox, "
                "country, or near and radius"
            )
        try:
            check_url(self.base_url, insecure=self.insecure)
        except ConfigError as error:
            raise ValueError(f"base_url: {error}") from None
        return self

    @property
    def key(self) -> str | None:
        """The key in the clear: for the request's header, never for people."""
        return self.api_key.get_secret_value() if self.api_key is not None else None

    def unusable(self) -> str | None:
        """Says how to get a key where there is none."""
        return None if self.key else f"no API key: {KEY_REMEDY}"

    def request_limits(self) -> Mapping[int, int]:
        """Requests by window: 60 s and 3600 s."""
        return {60: self.limits.per_minute, 3600: self.limits.per_hour}

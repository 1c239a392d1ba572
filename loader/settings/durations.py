"""Stretches of time as people write them: `2h`, `1d12h`, `500ms`, `P1DT2H`, or a date.

In memory a duration is an int, microseconds, as everywhere in the loader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import core_schema

from loader.readings import DAY, HOUR, SECOND

MINUTE = 60 * SECOND
MILLISECOND = SECOND // 1000
LONGEST = 36_500 * DAY

_UNITS = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND, "ms": MILLISECOND}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_PART = re.compile(rf"({_NUMBER})(ms|[wdhms])")
_PLAIN = re.compile(rf"(?:{_NUMBER}(?:ms|[wdhms]))+")
_ISO = re.compile(
    rf"P(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=[0-9])(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?"
)
_ISO_UNITS = (7 * DAY, DAY, HOUR, MINUTE, SECOND)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

PATTERN = (
    r"^([0-9]+(\.[0-9]+)?(ms|[wdhms]))+$"
    r"|^P(?=.)([0-9.]+W)?([0-9.]+D)?(T(?=[0-9])([0-9.]+H)?([0-9.]+M)?([0-9.]+S)?)?$|^0$"
)
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].+)?$"

_REMEDY = (
    "write a number with a unit (w, d, h, m, s, ms), such as 2h, 7d or 1d12h, or ISO 8601, such as P1DT2H"
)


def parse_duration(text: str) -> int:
    """Microseconds of `2h`, `1d12h`, `0s` or `P1DT2H`; ValueError says what to write instead."""
    text = text.strip()
    if text == "0":
        return 0
    total = Decimal(0)
    if match := _ISO.fullmatch(text):
        given = [(Decimal(n), unit) for n, unit in zip(match.groups(), _ISO_UNITS, strict=True) if n]
        if not given:
            raise ValueError(f"is not a duration; {_REMEDY}")
        total = sum((n * unit for n, unit in given), total)
    elif re.match(r"P[^T]*[0-9][YM]", text):
        raise ValueError("has years or months, which differ in length; write days, such as 30d or P30D")
    elif _PLAIN.fullmatch(text):
        smallest = LONGEST
        for number, unit in _PART.findall(text):
            if _UNITS[unit] >= smallest:
                raise ValueError("must name each unit once, the largest first, such as 1d12h")
            smallest = _UNITS[unit]
            total += Decimal(number) * smallest
    else:
        raise ValueError(f"is not a duration; {_REMEDY}")
    if total > LONGEST:
        raise ValueError("is longer than 100 years")
    if total != int(total):
        raise ValueError("is finer than a microsecond")
    return int(total)


def format_duration(micros: int) -> str:
    """The shortest text that `parse_duration` reads back: 90 minutes are `1h30m`."""
    out = []
    rest = micros
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            out.append(f"{count}{unit}")
    if rest % SECOND and rest < SECOND and not rest % MILLISECOND:
        out.append(f"{rest // MILLISECOND}ms")
    elif rest or not out:
        out.append(f"{Decimal(rest) / SECOND:f}s")
    return "".join(out)


def _duration(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    # Code speaks microseconds; a person who writes 7200 into a file means anything but those.
    if info.context and info.context.get("file") and value != 0:
        raise ValueError(f"has no unit; {_REMEDY}")
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"is not a duration; {_REMEDY}")
    return value


Duration = Annotated[
    int,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
"""Microseconds. Read from `2h`, `7d`, `30m`, `45s`, `500ms`, `1d12h`, `P1DT2H`, `0s`; an int is
taken as microseconds, but refused (other than 0) where it comes from a file."""


def micros(at: date | datetime) -> int:
    """Microseconds since the epoch; a date is its midnight, and without a zone it is UTC."""
    if not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // _MICROSECOND


def parse_time(text: str) -> int:
    """Microseconds of an ISO 8601 date or time, UTC where it names no zone; ValueError says what
    to write instead."""
    try:
        return micros(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        raise ValueError("is no date; write 2024-03-01 or 2024-03-01T06:00:00Z") from None


@dataclass(frozen=True, slots=True)
class Initial:
    """How far back a first run goes: `ago` microseconds before discovery, or from `at`
    (microseconds UTC) on. Exactly one of the two is set."""

    ago: int | None = None
    at: int | None = None

    def __post_init__(self) -> None:
        if (self.ago is None) == (self.at is None):
            raise ValueError("give either `ago` or `at`")

    @classmethod
    def parse(cls, value: Any) -> Initial:
        """From a duration's or a date's text, a date, a datetime or a timedelta.

        Without a zone a date or time is UTC. ValueError says what to write instead.
        """
        match value:
            case Initial():
                return value
            case timedelta():
                return cls(ago=value // _MICROSECOND)
            case date():
                return cls(at=micros(value))
            case str() if re.match(DATE_PATTERN, value.strip()):
                return cls(at=parse_time(value))
            case str():
                try:
                    return cls(ago=parse_duration(value))
                except ValueError as e:
                    raise ValueError(f"{e}; a date serves too, such as 2024-03-01") from None
        raise ValueError("must be a duration, such as 7d, or a date, such as 2024-03-01")

    def start(self, discovered_at: int) -> int:
        """Where reading begins, in microseconds UTC, for what was discovered then."""
        if self.at is not None:
            return self.at
        assert self.ago is not None  # noqa: S101 (one of the two is set, see __post_init__)
        return discovered_at - self.ago

    def __str__(self) -> str:
        if self.ago is not None:
            return format_duration(self.ago)
        at = _EPOCH + timedelta(microseconds=self.at or 0)
        if at.time() == datetime.min.time():
            return at.date().isoformat()
        return at.replace(tzinfo=None).isoformat() + "Z"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": f"{PATTERN}|{DATE_PATTERN}"}

"""What is asked: routes, and the checking of parameters with the answers that refusals get."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl

from tests.openaq_server import render
from tests.openaq_server.render import EPOCH, Json, dumps
from tests.openaq_server.world import Location, Sensor

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
DOCS = "https://errors.pydantic.dev/2.11/v/"


@dataclass(slots=True)
class Answer:
    """What will be sent. `cacheable` answers carry cache-control, `metered` ones x-ratelimit."""

    status: int
    body: bytes
    content_type: str = JSON
    cacheable: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def metered(self) -> bool:
        return self.status in (200, 429)


class Refused(Exception):
    """The request ends here, with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def detail(status: int, text: str) -> Answer:
    return Answer(status, dumps({"detail": text}))


def internal_error() -> Answer:
    return Answer(500, b"Internal Server Error", TEXT, cacheable=False)


def invalid(kind: str, loc: list[str], msg: str, given: object, ctx: Json) -> Refused:
    """A 422 in the first of its two shapes: a list of details."""
    item = {"type": kind, "loc": loc, "msg": msg, "input": given, "ctx": ctx, "url": DOCS + kind}
    return Refused(Answer(422, dumps({"detail": [item]})))


def invalid_text(*items: Json) -> Refused:
    """A 422 in the second of its shapes: a bare JSON string of a Python list."""
    return Refused(Answer(422, dumps(str(list(items)))))


def whole(text: str, loc: tuple[str, str]) -> int:
    try:
        return int(text)
    except ValueError:
        msg = "Input should be a valid integer, unable to parse string as an integer"
        raise invalid_text({"type": "int_parsing", "loc": loc, "msg": msg, "input": text}) from None


def identifier(text: str, name: str) -> int:
    """A number in a path: from 1, and what does not fit 32 bits breaks the server."""
    n = whole(text, ("path", name))
    if n < 1:
        msg = "Input should be greater than or equal to 1"
        raise invalid("greater_than_equal", ["query", name], msg, n, {"ge": 1})
    if n > 2**31 - 1:
        raise Refused(internal_error())
    return n


@dataclass(slots=True)
class Query:
    """The query string, checked where it is read; what nobody reads is ignored."""

    values: dict[str, str]

    def positive(self, name: str, default: int, most: int | None = None) -> int:
        if name not in self.values:
            return default
        n = whole(self.values[name], ("query", name))
        if n <= 0:
            raise invalid("greater_than", ["query", name], "Input should be greater than 0", n, {"gt": 0})
        if most is not None and n > most:
            msg = f"Input should be less than or equal to {most}"
            raise invalid("less_than_equal", ["query", name], msg, n, {"le": most})
        return n

    def page(self) -> tuple[int, int]:
        return self.positive("page", 1), self.positive("limit", 100, 1000)

    def numbers(self, name: str) -> set[int] | None:
        text = self.values.get(name)
        return None if text is None else {whole(part, ("query", name)) for part in text.split(",")}

    def moment(self, name: str) -> tuple[datetime, bool] | None:
        """(time, aware): naive times and bare dates are meant in the station's own zone."""
        text = self.values.get(name)
        if text is None:
            return None
        if re.fullmatch(r"\d{6,12}(\.\d+)?", text):
            return EPOCH + timedelta(seconds=float(text)), True
        try:
            if len(text) == len("2026-11-10"):
                return datetime.combine(date.fromisoformat(text), datetime.min.time()), False
            if not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", text):
                raise ValueError(text)
            moment = datetime.fromisoformat(text)
        except ValueError:
            msg = "Input should be a valid datetime or date"
            raise invalid_text(
                {
                    "type": "datetime_from_date_parsing",
                    "loc": ("query", name, "datetime"),
                    "msg": msg,
                    "input": text,
                    "ctx": {"error": "unexpected extra characters at the end of the input"},
                }
            ) from None
        return moment, moment.tzinfo is not None

    def window(self, timezone: str) -> tuple[int | None, int | None]:
        """(datetime_from, datetime_to) in microseconds: exclusive and inclusive bounds."""
        start, end = self.moment("datetime_from"), self.moment("datetime_to")
        if start and end:
            if start[1] != end[1]:
                raise Refused(internal_error())
            if start[0] >= end[0]:
                said = "Date/time from must be older than the date/time to. User passed "
                raise Refused(Answer(422, dumps(f"{said}{start[0]} - {end[0]}")))
        return absolute(start, timezone), absolute(end, timezone)


def absolute(moment: tuple[datetime, bool] | None, timezone: str) -> int | None:
    if moment is None:
        return None
    at = moment[0] if moment[1] else moment[0].replace(tzinfo=render.zone(timezone))
    return (at.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


@dataclass(slots=True)
class Request:
    """A GET request taken apart. `kind` names its route for counters and faults."""

    kind: str
    number: int
    query: Query
    url: str

    @property
    def sensor(self) -> int | None:
        return self.number if self.kind in ("sensor", "measurements") else None


ROUTES = (
    (re.compile(r"/v3/locations"), "locations", ""),
    (re.compile(r"/v3/locations/([^/]+)"), "location", "locations_id"),
    (re.compile(r"/v3/locations/([^/]+)/sensors"), "sensors", "locations_id"),
    (re.compile(r"/v3/locations/([^/]+)/latest"), "latest", "locations_id"),
    (re.compile(r"/v3/sensors/([^/]+)"), "sensor", "sensors_id"),
    (re.compile(r"/v3/sensors/([^/]+)/measurements"), "measurements", "sensors_id"),
    (re.compile(r"/v3/parameters"), "parameters", ""),
    (re.compile(r"/v3/parameters/([^/]+)"), "parameter", "parameters_id"),
    (re.compile(r"/v3/parameters/([^/]+)/latest"), "parameter-latest", "parameters_id"),
    (re.compile(r"/v3/countries"), "countries", ""),
)


def understand(url: str) -> Request:
    """Find the route of a path with its query; raises Refused where there is none."""
    path, _, text = url.partition("?")
    query = Query(dict(parse_qsl(text, keep_blank_values=True)))
    for pattern, kind, name in ROUTES:
        if found := pattern.fullmatch(path):
            return Request(kind, identifier(found[1], name) if name else 0, query, url)
    raise Refused(detail(404, "Not Found"))


BBOX = r"-?\d{1,3}\.?\d*,-?\d{1,2}\.?\d*,-?\d{1,3}\.?\d*,-?\d{1,2}\.?\d*"


Filter = Callable[[Location, list[Sensor]], tuple[bool, float | None]]


def location_filter(query: Query) -> Filter:
    """A function (location, its sensors) -> (wanted, distance in metres where one was asked for)."""
    values = query.values
    box: list[float] = []
    if (text := values.get("bbox")) is not None:
        if not re.fullmatch(BBOX, text):
            msg = f"String should match pattern '{BBOX}'"
            raise invalid("string_pattern_mismatch", ["query", "bbox"], msg, text, {"pattern": BBOX})
        box = [float(part) for part in text.split(",")]
    radius = query.positive("radius", 0)
    if radius > 25000:
        msg, ctx = "Input should be less than or equal to 25000", {"le": 25000}
        item = {"type": "less_than_equal", "loc": ("query", "radius"), "msg": msg, "input": str(radius)}
        raise invalid_text(item | {"ctx": ctx})
    if radius and "coordinates" not in values:
        raise Refused(internal_error())
    centre = [float(part) for part in values["coordinates"].split(",")] if radius else []
    wanted, countries, providers = (
        query.numbers(n) for n in ("parameters_id", "countries_id", "providers_id")
    )
    monitor = {"true": True, "false": False}.get(values.get("monitor", ""))

    def keep(location: Location, sensors: list[Sensor]) -> tuple[bool, float | None]:
        inside = not box or (
            box[0] <= location.longitude <= box[2] and box[1] <= location.latitude <= box[3]
        )
        fits = (
            inside
            and ("iso" not in values or location.country[1] == values["iso"].upper())
            and (countries is None or location.country[0] in countries)
            and (providers is None or location.provider[0] in providers)
            and (wanted is None or any(s.parameter.id in wanted for s in sensors))
            and (monitor is None or location.is_monitor == monitor)
            and values.get("mobile", "false") != "true"
        )
        if not fits or not centre:
            return fits, None
        away = metres(centre[0], centre[1], location.latitude, location.longitude)
        return away <= radius, away

    return keep


def metres(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """The distance of two points on a round Earth."""
    a, b = math.radians(lat1), math.radians(lat2)
    h = (
        math.sin((b - a) / 2) ** 2
        + math.cos(a) * math.cos(b) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    )
    return 2 * 6_371_000 * math.asin(math.sqrt(h))

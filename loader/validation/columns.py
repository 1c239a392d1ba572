"""Which column of a file means what: by usual names, or as the user says. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from loader.errors import UsageError

NAMES: dict[str, tuple[str, ...]] = {
    "time": (
        "datetimeutc", "perioddatetimetoutc", "datetimetoutc", "dateutc", "utc", "timeutc", "timestamputc",
        "timestamp", "datetime", "time", "ts", "datetimelocal", "datelocal", "local", "date",
    ),
    "value": ("value", "valueavg", "average", "valuemean", "measurement", "concentration", "reading"),
    "parameter": ("parametername", "parameter", "pollutant", "measurand", "variable", "metric"),
    "unit": ("parameterunits", "parameterunit", "unit", "units", "uom"),
    "station": ("locationid", "locationsid", "stationid", "siteid", "location", "station", "site",
                "locationname", "stationname", "sitename"),
    "sensor": ("sensorid", "sensorsid", "sensor", "deviceid", "device"),
    "latitude": ("latitude", "lat", "coordinateslatitude"),
    "longitude": ("longitude", "lon", "lng", "long", "coordinateslongitude"),
    "flagged": ("flaginfohasflags", "hasflags"),
}  # fmt: skip
"""Names by what they mean, in small letters without anything else; the first that is there counts."""

NUMBERING = ("no", "index", "id", "row", "unnamed0", "rownumber")
DATE_PARTS = ("year", "month", "day", "hour", "minute")
PLACE_WORDS = ("city", "country")
"""What makes the name of a place the name of a station: there is a Centro in many cities."""

ROLES = (*NAMES, "date", "clock", "cycle")

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "--", "nil", "#n/a"})
"""Texts for no value, in small letters."""

_UNITS = frozenset(
    (
        "ppm", "ppb", "ppt", "ug/m3", "mg/m3", "ng/m3", "µg/m³", "μg/m³", "mg/m³", "ng/m³", "%", "c", "°c",
        "f", "°f", "k", "hpa", "mb", "mbar", "bar", "pa", "kpa", "m/s", "km/h", "mm", "v", "a", "hz", "rpm",
    )
)  # fmt: skip
JUDGED_BY = 1000
"""What a column holds is judged by so many of the first records' values, or a few more."""

_UNIT_IN_NAME = re.compile(r"(.+?)[ _]*[(\[]\s*([^()\[\]]+?)\s*[)\]]")
CMAPSS = ("unit", "cycle", *(f"setting{i}" for i in (1, 2, 3)), *(f"s{i}" for i in range(1, 22)))
"""The 26 columns of NASA's turbofan files, which have no header."""


def plain(name: str) -> str:
    """A name in small letters without anything else: `period.datetimeTo.utc` and `datetime_utc`."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def known(name: str) -> bool:
    """Whether a cell of a first line is a name that says what the column is."""
    key = plain(name)
    return any(key in names for names in NAMES.values()) or key in DATE_PARTS


def plain_number(text: str, comma: bool = False) -> float | None:
    """The number that a text is, `inf` and `nan` included; None where it is none."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        pass
    if comma and re.fullmatch(r"\s*[+-]?\d*,\d+\s*", text):
        return float(text.replace(",", "."))
    return None


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns mean.

    time        the column of times, or several: date and time of day; year, month, day, hour ...
    cycle       the times are numbers of cycles
    value       the column of values; None in the wide form, where `parameters` has columns
    parameters  parameter by column
    units       unit by column, in the wide form
    station     columns that together name the station
    others      columns that are not used
    """

    time: tuple[str, ...]
    cycle: bool = False
    value: str | None = None
    parameter: str | None = None
    unit: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    station: tuple[str, ...] = ()
    sensor: str | None = None
    latitude: str | None = None
    longitude: str | None = None
    flagged: str | None = None
    others: tuple[str, ...] = ()

    @property
    def wide(self) -> bool:
        return self.value is None

    def roles(self) -> dict[str, str]:
        """By column what it was taken for."""
        out = dict.fromkeys(self.time, "cycle" if self.cycle else "time")
        for role in ("value", "parameter", "unit", "sensor", "latitude", "longitude", "flagged"):
            if (column := getattr(self, role)) is not None:
                out[column] = role
        for column in self.station:
            out[column] = "station"
        for column, parameter in self.parameters.items():
            out[column] = f"parameter {parameter}"
        return out


class NotUnderstood(Exception):
    """The columns do not tell where times or values are; the text says what is missing."""


def layout(
    names: Sequence[str],
    first: Mapping[str, Sequence[Any]],
    chosen: Mapping[str, str],
    rules: Sequence[str],
    *,
    header: bool,
) -> Layout:
    """What the columns mean.

    `names` are all of them, `first` the values of the first records; `chosen` what the user says
    (role, or parameter in the wide form, to column); `rules` the parameters there are rules for.
    Raises NotUnderstood, and UsageError where `chosen` names no column.
    """
    given = {role: _column(names, column, role) for role, column in chosen.items()}
    if not header and not given and _is_cmapss(names, first):
        return _cmapss(names)
    used = set(given.values())
    found = {role: given.get(role) or _known(names, role, used) for role in NAMES}
    time, cycle = _time(names, given, found["time"], header)
    used |= {c for c in found.values() if c} | set(time)
    own = {role: column for role, column in given.items() if role not in ROLES}
    if own and "value" in given:
        raise UsageError(
            f"--column value=... says that each row is one reading, --column {next(iter(own))}=... that a"
            " row has a column for each parameter; give one of them"
        )
    for (role, column), (other, same) in pairwise(sorted(own.items(), key=lambda one: one[1])):
        if column == same:
            raise UsageError(f"--column {other}={same}: that column was given to {role}")
    station: tuple[str, ...] = (found["station"],) if found["station"] else ()
    if station and "station" not in given and plain(station[0]) == "location":
        words = [n for word in PLACE_WORDS for n in names if plain(n) == word]
        station = (*station, *words)
    base = Layout(
        time=time,
        cycle=cycle,
        station=station,
        sensor=found["sensor"],
        latitude=found["latitude"],
        longitude=found["longitude"],
        flagged=found["flagged"],
    )
    if found["value"] and not own:
        made = replace(base, value=found["value"], parameter=found["parameter"], unit=found["unit"])
    else:
        wide = own or _measured(names, first, used, header)
        if not wide:
            raise NotUnderstood("no column has values")
        spelled = {column: parameter for parameter, column in own.items()} or {
            name: _spelled(name, rules) for name in wide
        }
        units = {column: _bare(column)[1] for column in spelled if _bare(column)[1]}
        parameters = {column: _bare(parameter)[0] for column, parameter in spelled.items()}
        seen = Counter((parameter, units.get(column)) for column, parameter in parameters.items())
        for column, parameter in parameters.items():
            if seen[parameter, units.get(column)] > 1:
                # Two columns of one parameter would contradict each other.
                parameters[column] = column
        made = replace(base, parameters=parameters, units=units)
    taken = made.roles()
    return replace(made, others=tuple(name for name in names if name not in taken))


def _column(names: Sequence[str], column: str, role: str) -> str:
    """The column of that name, else of that number from 1."""
    if column in names:
        return column
    if column.isdigit() and 1 <= int(column) <= len(names):
        return names[int(column) - 1]
    few = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise UsageError(f"--column {role}={column}: there is no such column; there are: {few}")


def _known(names: Sequence[str], role: str, used: set[str]) -> str | None:
    by_plain = {plain(name): name for name in reversed(names) if name not in used}
    return next((by_plain[key] for key in NAMES[role] if key in by_plain), None)


def _time(
    names: Sequence[str], given: Mapping[str, str], found: str | None, header: bool
) -> tuple[tuple[str, ...], bool]:
    """The columns of times, and whether they count cycles."""
    if "cycle" in given:
        return (given["cycle"],), True
    by_plain = {plain(name): name for name in reversed(names)}
    if "date" in given:
        clock = given.get("clock") or by_plain.get("time")
        return ((given["date"], clock) if clock else (given["date"],)), False
    if "time" in given:
        return (given["time"],), False
    if found is not None and plain(found) in ("time", "date") and {"date", "time"} <= by_plain.keys():
        return (by_plain["date"], by_plain["time"]), False
    if {"year", "month", "day"} <= by_plain.keys() and (found is None or plain(found) == "date"):
        return tuple(by_plain[part] for part in DATE_PARTS if part in by_plain), False
    if found is None:
        raise NotUnderstood("no column has times" if header else "the first line is no header")
    return (found,), False


def _is_cmapss(names: Sequence[str], first: Mapping[str, Sequence[Any]]) -> bool:
    if len(names) != len(CMAPSS):
        return False
    return all(plain_number(str(v)) is not None for name in names for v in first.get(name, ())[:100])


def _cmapss(names: Sequence[str]) -> Layout:
    parameters = dict(zip(names[2:], CMAPSS[2:], strict=True))
    return Layout(time=(names[1],), cycle=True, station=(names[0],), parameters=parameters)


def _measured(
    names: Sequence[str], first: Mapping[str, Sequence[Any]], used: set[str], header: bool
) -> list[str]:
    """Columns of numbers that are not known to be something else."""
    if not header:
        return []
    return [
        name
        for name in names
        if name not in used
        and plain(name) not in (*NUMBERING, *DATE_PARTS)
        and not any(plain(name) in keys for keys in NAMES.values())
        and _mostly_numbers(first.get(name, ()))
    ]


def _mostly_numbers(values: Sequence[Any]) -> bool:
    """Whether at least half of what is there are numbers: the others are told of line by line."""
    there = [v for v in some(values) if v is not None and str(v).strip().lower() not in MISSING]
    numbers = sum(not isinstance(v, bool) and plain_number(str(v), comma=True) is not None for v in there)
    return bool(there) and 2 * numbers >= len(there)


def _spelled(name: str, rules: Sequence[str]) -> str:
    """The name of the rule that is meant: PM2.5 is pm25; else the name itself."""
    bare, unit = _bare(name)
    for rule in rules:
        if plain(rule) == plain(bare):
            return rule
    return bare if unit else name


def _bare(name: str) -> tuple[str, str]:
    """`PM2.5 (µg/m³)` as the name and the unit; "" where what stands in brackets is no unit."""
    match = _UNIT_IN_NAME.fullmatch(name)
    return (match[1], match[2]) if match and match[2].lower() in _UNITS else (name, "")


def some(values: Sequence[Any]) -> Sequence[Any]:
    """About so many as are looked at, evenly spread."""
    return values[:: max(1, len(values) // JUDGED_BY)]


def kind(values: Sequence[Any]) -> str:
    """What a column holds: nothing, whole number, number, time, true or false, text, list, mixed."""
    from loader.validation.stamps import is_time

    kinds = set()
    for value in some(values):
        if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
            continue
        if isinstance(value, bool):
            kinds.add("true or false")
        elif isinstance(value, int | float):
            kinds.add("whole number" if isinstance(value, int) else "number")
        elif isinstance(value, str):
            number = plain_number(value, comma=True)
            if number is not None:
                kinds.add("whole number" if re.fullmatch(r"\s*[+-]?\d+\s*", value) else "number")
            else:
                kinds.add("time" if is_time(value) else "text")
        else:
            kinds.add("list" if isinstance(value, list) else "time")
    if kinds == {"number", "whole number"}:
        return "number"
    return "nothing" if not kinds else kinds.pop() if len(kinds) == 1 else "mixed"

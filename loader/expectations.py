"""The configured rules as a Great Expectations suite (GX 1.x), as data: that package is not needed.

A suite is for a table as `loader export` writes it, long or wide, read as its `meta` says. What a
range expectation finds unexpected is what our gross range fails (flag 4), infinities included; both
bounds pass. What is missing is an empty cell, which GX leaves out of ranges just as we do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from sys import float_info
from typing import Any

from loader import __version__
from loader.quality.rules import Rule, Span
from loader.readings import Flag, Series, plain_unit

TEXT = ("source", "station", "sensor", "parameter", "unit")
"""Columns that are text even where they look like numbers."""

LONG = (*TEXT, "time", "value", "flag", "latitude", "longitude")
"""The columns of the long layout."""

STR, FLOAT, INT = "str", "float64", "int64"
"""What pandas calls the types of columns read so."""

STAMP = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"

ENGINE = ("unit", "cycle")
"""What names a row in tables of engines, as C-MAPSS has them."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ruled:
    """A series of a source, and what is expected of it."""

    source: str
    series: Series
    rule: Rule


_LEVELS: tuple[tuple[str, Callable[[Ruled], str]], ...] = (
    ("source", lambda one: one.source),
    ("station", lambda one: one.series.station),
    ("sensor", lambda one: one.series.sensor),
)
"""How rules for the same parameter are told apart, as roughly as will do."""


def long_suite(name: str, ruled: Sequence[Ruled], mostly: float = 1.0) -> Json:
    """The suite for the long layout: one row a reading."""
    found = [
        *_table(LONG, exact=True),
        *(_of_type(column, STR) for column in TEXT),
        _of_type("value", FLOAT),
        _of_type("flag", INT),
        *(_not_null(column) for column in ("source", "sensor", "parameter", "time", "flag")),
        _not_null("value", condition=_where("flag", "!=", int(Flag.MISSING)), mostly=mostly),
        _expect("column_values_to_match_regex", column="time", regex=STAMP),
        _expect("column_values_to_be_in_set", column="flag", value_set=[int(flag) for flag in Flag]),
        _unique(("source", "sensor", "parameter", "unit", "time")),
        _expect("column_values_to_be_between", column="latitude", min_value=-90, max_value=90),
        _expect("column_values_to_be_between", column="longitude", min_value=-180, max_value=180),
    ]
    for parameter, members in _grouped(ruled, lambda one: one.series.parameter).items():
        found += _units(parameter, members)
        for unit, of_unit in _grouped(members, lambda one: one.series.unit).items():
            these = [_where("parameter", "==", parameter), _where("unit", "==", unit)]
            found += _ranges("value", of_unit, these, _LEVELS, mostly)
    numbers = ("value", "latitude", "longitude")
    return _suite(name, found, ruled, text=TEXT, numbers=numbers)


def wide_suite(
    name: str,
    columns: Mapping[str, Sequence[Ruled]],
    keys: Sequence[str] = ("source", "station", "time"),
    mostly: float = 1.0,
) -> Json:
    """The suite for a wide table: the columns that name a row, and one for each parameter, whose
    name leads to the series that stand in it. Where rules differ within a column, rows are told
    apart by `source` and `station` as far as these are among the keys.

    With the keys `unit` and `cycle` (engines): units ascend, cycles are numbered from 1.
    """
    found = [*_table((*keys, *columns), exact=False), *(_not_null(key) for key in keys), _unique(keys)]
    if tuple(keys) == ENGINE:
        found += [
            *(_of_type(key, INT) for key in keys),
            _expect("column_values_to_be_increasing", column="unit", strictly=False),
            _expect("column_values_to_be_between", column="cycle", min_value=1),
        ]
    elif "time" in keys:
        found.append(_expect("column_values_to_match_regex", column="time", regex=STAMP))
    levels = [level for level in _LEVELS if level[0] in keys]
    for column, ruled in columns.items():
        found.append(_expect("column_values_to_be_in_type_list", column=column, type_list=[FLOAT, INT]))
        found += _ranges(column, ruled, [], levels, mostly)
    text = tuple(key for key in keys if key in TEXT and tuple(keys) != ENGINE)
    every = [one for ruled in columns.values() for one in ruled]
    return _suite(name, found, every, text=text, numbers=tuple(columns))


def _table(columns: Sequence[str], *, exact: bool) -> Iterable[Json]:
    """There are rows, and the columns are these, or these among others."""
    yield _expect("table_row_count_to_be_between", min_value=1)
    yield _expect("table_columns_to_match_set", column_set=list(columns), exact_match=exact)


def _ranges(
    column: str,
    ruled: Sequence[Ruled],
    conditions: Sequence[Json],
    levels: Sequence[tuple[str, Callable[[Ruled], str]]],
    mostly: float,
) -> Iterable[Json]:
    """One range where all of these agree, else one for each source, station or sensor."""
    spans = {_span(one.rule) for one in ruled}
    if len(spans) > 1 and levels:
        (name, of), *finer = levels
        groups = _grouped(ruled, of)
        for value, members in groups.items():
            apart = [_where(name, "==", value)] if len(groups) > 1 else []
            yield from _ranges(column, members, [*conditions, *apart], finer, mostly)
        return
    # Where nothing tells them apart, a value has to suit at least one of them.
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    kwargs: Json = {"column": column, "min_value": low, "max_value": high}
    if mostly < 1:
        kwargs["mostly"] = mostly
    if conditions:
        kwargs["row_condition"] = _all(conditions)
    yield _expect("column_values_to_be_between", **kwargs)


def _span(rule: Rule) -> Span:
    """What does not fail. No instrument measures infinity, so an open side ends at the largest number."""
    low, high = rule.fail
    low = -float_info.max if isnan(low) else low
    high = float_info.max if isnan(high) else high
    return (low, high) if low <= high else (high, low)


def _units(parameter: str, ruled: Sequence[Ruled]) -> Iterable[Json]:
    """The units that a parameter may come in, where that is configured."""
    groups = _grouped(ruled, lambda one: one.rule.units)
    for units, members in groups.items():
        if not units:
            continue
        plain = {plain_unit(unit) for unit in units}
        spelled = {one.series.unit for one in members if plain_unit(one.series.unit) in plain}
        conditions = [_where("parameter", "==", parameter)]
        if others := [one for key, group in groups.items() if key != units for one in group]:
            conditions.append(_apart(members, others))
        yield _expect(
            "column_values_to_be_in_set",
            column="unit",
            value_set=sorted({*units, *spelled}),
            row_condition=_all(conditions),
        )


def _apart(members: Sequence[Ruled], others: Sequence[Ruled]) -> Json:
    """What tells these series from the others: source, station or sensor."""
    for name, of in _LEVELS:
        mine = {of(one) for one in members}
        # Sensors are the last resort: a sensor has one rule for a parameter.
        if name == "sensor" or not mine & {of(one) for one in others}:
            return _where(name, "IN", sorted(mine))
    raise AssertionError("sensors tell them apart")


def _grouped(ruled: Iterable[Ruled], key: Callable[[Ruled], Any]) -> dict[Any, list[Ruled]]:
    groups: dict[Any, list[Ruled]] = {}
    for one in ruled:
        groups.setdefault(key(one), []).append(one)
    return groups


def _of_type(column: str, name: str) -> Json:
    return _expect("column_values_to_be_of_type", column=column, type_=name)


def _not_null(column: str, *, condition: Json | None = None, mostly: float = 1.0) -> Json:
    kwargs: Json = {"column": column}
    if mostly < 1:
        kwargs["mostly"] = mostly
    if condition is not None:
        kwargs["row_condition"] = condition
    return _expect("column_values_to_not_be_null", **kwargs)


def _unique(columns: Sequence[str]) -> Json:
    if len(columns) == 1:
        return _expect("column_values_to_be_unique", column=columns[0])
    return _expect("compound_columns_to_be_unique", column_list=list(columns))


def _expect(what: str, **kwargs: Any) -> Json:
    return {"type": f"expect_{what}", "kwargs": kwargs, "meta": {}}


def _where(column: str, operator: str, parameter: str | int | Sequence[str]) -> Json:
    return {"type": "comparison", "column": {"name": column}, "operator": operator, "parameter": parameter}


def _all(conditions: Sequence[Json]) -> Json:
    return conditions[0] if len(conditions) == 1 else {"type": "and", "conditions": list(conditions)}


def _suite(
    name: str, found: Sequence[Json], ruled: Sequence[Ruled], *, text: Sequence[str], numbers: Sequence[str]
) -> Json:
    read_csv = {
        "dtype": dict.fromkeys(text, "object"),
        "keep_default_na": False,
        "na_values": {column: [""] for column in numbers},
    }
    return {
        "name": name,
        "expectations": list(found),
        "meta": {"loader_version": __version__, "series": len(ruled), "read_csv": read_csv},
        "notes": "For tables read by pandas.read_csv(path, **suite['meta']['read_csv']).",
    }

"""The rules as an expectation suite: what is in it. `test_expectations_gx` asks the package itself."""

from __future__ import annotations

import json
from sys import float_info
from typing import Any

from loader.expectations import LONG, Ruled, long_suite, wide_suite
from loader.quality.rules import OPEN, Rule, Span
from loader.readings import Series

HUGE = float_info.max


def ruled(
    parameter: str = "pm25",
    unit: str = "u",
    fail: Span = OPEN,
    *,
    source: str = "src",
    station: str = "st",
    sensor: str = "s",
    units: tuple[str, ...] = (),
) -> Ruled:
    series = Series(sensor, parameter, unit, station=station, partition="p")
    return Ruled(source, series, Rule(fail=fail, units=units))


def of_type(suite: dict[str, Any], what: str, column: str | None = None) -> list[dict[str, Any]]:
    return [
        one["kwargs"]
        for one in suite["expectations"]
        if one["type"] == f"expect_{what}" and (column is None or one["kwargs"].get("column") == column)
    ]


def ranges(suite: dict[str, Any], column: str = "value") -> dict[str, Span]:
    """Each range by the condition of its rows, in words."""
    return {
        said(one.get("row_condition")): (one["min_value"], one["max_value"])
        for one in of_type(suite, "column_values_to_be_between", column)
    }


def said(condition: dict[str, Any] | None) -> str:
    if condition is None:
        return ""
    if condition["type"] == "and":
        return " ".join(map(said, condition["conditions"]))
    operator = condition["operator"].replace("==", "=")
    return f"{condition['column']['name']}{operator}{condition['parameter']}"


def test_one_rule_is_one_range() -> None:
    """Series with the same range share an expectation; an open side ends at the largest number."""
    suite = long_suite(
        "x",
        [
            ruled(fail=(0, 10), station="a"),
            ruled(fail=(0, 10), station="b"),
            ruled("o3", "ppm", (float("nan"), 0.6)),
            ruled("o3", "ppb", OPEN),
        ],
    )
    assert ranges(suite) == {
        "parameter=pm25 unit=u": (0, 10),
        "parameter=o3 unit=ppm": (-HUGE, 0.6),
        "parameter=o3 unit=ppb": (-HUGE, HUGE),
    }


def test_rules_that_differ_are_told_apart_as_roughly_as_will_do() -> None:
    """By source, then by station, then by sensor; within a source that agrees by source only."""
    suite = long_suite(
        "x",
        [
            ruled(fail=(0, 1), source="one", station="a"),
            ruled(fail=(0, 1), source="one", station="b"),
            ruled(fail=(0, 2), source="two", station="a", sensor="i"),
            ruled(fail=(0, 3), source="two", station="b", sensor="j"),
            ruled(fail=(0, 4), source="two", station="b", sensor="k"),
        ],
    )
    assert ranges(suite) == {
        "parameter=pm25 unit=u source=one": (0, 1),
        "parameter=pm25 unit=u source=two station=a": (0, 2),
        "parameter=pm25 unit=u source=two station=b sensor=j": (0, 3),
        "parameter=pm25 unit=u source=two station=b sensor=k": (0, 4),
    }


def test_units_are_those_configured_in_any_spelling_that_came() -> None:
    """A foreign unit is not among them; where only some series are restricted, only their rows are."""
    suite = long_suite(
        "x",
        [
            ruled(unit="ug/m3", units=("µg/m³",), station="a"),
            ruled(unit="ppm", units=("µg/m³",), station="a"),
            ruled(unit="any", station="b"),
        ],
    )
    (found,) = of_type(suite, "column_values_to_be_in_set", "unit")
    assert found["value_set"] == ["ug/m3", "µg/m³"]
    assert said(found["row_condition"]) == "parameter=pm25 stationIN['a']"


def test_a_long_table_is_described() -> None:
    """Rows, columns, types, what may not be empty, what names a row; as JSON that says how to read it."""
    suite = json.loads(json.dumps(long_suite("rules", [ruled()], mostly=0.99), allow_nan=False))
    assert suite["name"] == "rules"
    assert of_type(suite, "table_row_count_to_be_between") == [{"min_value": 1}]
    assert of_type(suite, "table_columns_to_match_set") == [{"column_set": list(LONG), "exact_match": True}]
    types = {one["column"]: one["type_"] for one in of_type(suite, "column_values_to_be_of_type")}
    text = dict.fromkeys(("source", "station", "sensor", "parameter", "unit"), "str")
    assert types == {**text, "value": "float64", "flag": "int64"}
    (value,) = of_type(suite, "column_values_to_not_be_null", "value")
    assert said(value["row_condition"]) == "flag!=9"
    assert value["mostly"] == of_type(suite, "column_values_to_be_between", "value")[0]["mostly"] == 0.99
    (key,) = of_type(suite, "compound_columns_to_be_unique")
    assert key["column_list"] == ["source", "sensor", "parameter", "unit", "time"]
    reading = suite["meta"]["read_csv"]
    assert reading["dtype"] == dict.fromkeys(text, "object")
    assert reading["keep_default_na"] is False
    assert set(reading["na_values"]) == {"value", "latitude", "longitude"}


def test_a_wide_table_has_a_range_for_each_column() -> None:
    """Rules that differ are told apart by what is among the keys; else the widest counts."""
    columns = {
        "pm25": [ruled(fail=(0, 1), station="a"), ruled(fail=(0, 2), station="b")],
        "o3": [ruled("o3", fail=(0, 3))],
    }
    suite = wide_suite("x", columns)
    assert ranges(suite, "pm25") == {"station=a": (0, 1), "station=b": (0, 2)}
    assert ranges(suite, "o3") == {"": (0, 3)}
    (columns_,) = of_type(suite, "table_columns_to_match_set")
    assert columns_ == {"column_set": ["source", "station", "time", "pm25", "o3"], "exact_match": False}
    assert ranges(wide_suite("x", columns, ["time"]), "pm25") == {"": (0, 2)}


def test_engines_are_named_by_unit_and_cycle() -> None:
    """Units ascend, cycles begin at 1, and both together name a row."""
    suite = wide_suite("x", {"s7": [ruled("s7", "", (540, 560))]}, ["unit", "cycle"])
    assert of_type(suite, "column_values_to_be_increasing") == [{"column": "unit", "strictly": False}]
    assert of_type(suite, "column_values_to_be_between", "cycle") == [{"column": "cycle", "min_value": 1}]
    assert of_type(suite, "compound_columns_to_be_unique") == [{"column_list": ["unit", "cycle"]}]
    assert not of_type(suite, "column_values_to_match_regex")
    assert ranges(suite, "s7") == {"": (540, 560)}

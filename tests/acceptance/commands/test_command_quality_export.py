"""`loader quality export`: which series its suites speak of, and where they go."""

from __future__ import annotations

import csv
import json
import stat
from typing import Any

import pytest
from builders import Loading, at, partition, series
from shell import NO2, PM25, Shell

from loader.expectations import LONG
from loader.stores.sqlite import SQLiteStore


def ranges(suite: dict[str, Any]) -> list[tuple[str, list[str], float, float]]:
    """(column, what its rows are chosen by, lowest, highest) of each range of values."""
    found = []
    for one in suite["expectations"]:
        kwargs = one["kwargs"]
        if one["type"] != "expect_column_values_to_be_between" or "max_value" not in kwargs:
            continue
        condition = kwargs.get("row_condition", {"type": "and", "conditions": []})
        parts = condition["conditions"] if condition["type"] == "and" else [condition]
        if kwargs["column"] not in {"latitude", "longitude"}:
            texts = [part["parameter"] for part in parts]
            found.append((kwargs["column"], texts, kwargs["min_value"], kwargs["max_value"]))
    return found


def suite(shell: Shell, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shell("quality", "export", *arguments))
    return found


@pytest.mark.usefixtures("filled")
def test_a_suite_is_about_what_is_stored(shell: Shell) -> None:
    """Each stored parameter and unit has its range; options choose among them; columns are the export's."""
    found = suite(shell)
    assert ranges(found) == [("value", ["pm25", "ug/m3"], 0, 1000), ("value", ["no2", "ppb"], -5, 2000)]
    assert ranges(suite(shell, "--source", "src", "--parameter", "no2")) == ranges(found)[1:]
    assert next(csv.reader(shell("export").splitlines())) == list(LONG)
    (columns,) = [e["kwargs"] for e in found["expectations"] if e["type"].endswith("columns_to_match_set")]
    assert columns["column_set"] == list(LONG)
    assert found["name"] == "loader"
    assert suite(shell, "--name", "mine")["name"] == "mine"
    with_mostly = suite(shell, "--mostly", "0.9")
    assert sum(e["kwargs"].get("mostly") == 0.9 for e in with_mostly["expectations"]) == 3


def test_before_anything_is_loaded_the_configuration_counts(shell: Shell) -> None:
    """Each parameter and unit that it names, for every source; wide columns have to be named."""
    found = ranges(suite(shell, "--parameter", "o3"))
    assert [row[1] for row in found] == [["o3", unit] for unit in ("ppm", "ppb", "µg/m³", "mg/m³")]
    assert found[0][2:] == (-0.005, 0.6)
    wide = suite(shell, "--layout", "wide", "--columns", "s7, s9", "--keys", "unit,cycle")
    assert [row[0] for row in ranges(wide)] == ["s7", "s9"]
    shell("quality", "export", "--layout", "wide", code=2)
    assert "--columns" in shell.err


def test_wide_columns_are_those_of_an_export(shell: Shell, store: SQLiteStore) -> None:
    """One for each parameter, unit and sensor that an export keeps apart, with the rule of its unit."""
    loading = Loading(store)
    o3 = [
        series(n, partition="p", station="st", parameter="o3", unit=u)
        for n, u in (("x", "ppm"), ("y", "ppb"))
    ]
    pm = [series(n, partition="p") for n in ("a", "b")]
    for one in (*o3, *pm):
        store.register(loading.lease, [partition(one)], at(0))
        loading.commit([(one, hour, 1.0) for hour in (1, 2, 3)])
    loading.lease.release()
    found = suite(shell, "--layout", "wide")
    head = next(csv.reader(shell("export", "--layout", "wide").splitlines()))
    assert head[3:] == ["o3 [ppb]", "o3 [ppm]", "pm25", "pm25 #2"]
    assert ranges(found) == [
        ("o3 [ppb]", [], -5, 600),
        ("o3 [ppm]", [], -0.005, 0.6),
        ("pm25", [], 0, 1000),
        ("pm25 #2", [], 0, 1000),
    ]
    assert [row[0] for row in ranges(suite(shell, "--layout", "wide", "--columns", "pm25"))] == ["pm25"]


@pytest.mark.usefixtures("filled")
def test_a_suite_can_go_into_a_file(shell: Shell) -> None:
    """Whole or not at all, the same as on standard output."""
    printed = shell("quality", "export")
    assert shell("quality", "export", "-o", "suite.json") == ""
    path = shell.folder / "suite.json"
    assert path.read_text("utf-8") == printed
    assert stat.S_ISREG(path.stat().st_mode)
    shell("quality", "export", "-o", "nowhere/suite.json", code=1)
    assert "nowhere/suite.json" in shell.err


@pytest.mark.usefixtures("filled")
def test_what_cannot_be_is_refused(shell: Shell) -> None:
    """Names that are not there, lists that are none, options of the other layout."""
    for arguments, words in (
        (("--source", "nowhere"), "there is no source nowhere"),
        (("--parameter", "nothing"), f"there are: {NO2.parameter}, {PM25.parameter}"),
        (("--columns", "a"), "are for --layout wide"),
        (("--layout", "wide", "--columns", "a,,b"), "with commas between"),
        (("--layout", "wide", "--keys", "a,a"), "--keys is a list"),
        (("--mostly", "0"), "--mostly"),
    ):
        shell("quality", "export", *arguments, code=2)
        assert words in shell.err, arguments

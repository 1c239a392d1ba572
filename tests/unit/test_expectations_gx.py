"""Great Expectations, the real package, thinks of our tables what we think of them."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from builders import Loading, at, partition, series

from loader.__main__ import cli
from loader.quality.checks import Checks
from loader.readings import SECOND, Flag, Readings, Series, Window
from loader.stores.sqlite import SQLiteStore
from loader.wiring import build_check, load_config

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SCRIPT = Path(__file__).parents[1] / "gx_verdicts.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("great_expectations") is None, reason="great_expectations is not installed"
    ),
]

Answer = dict[str, Any]


def ask(suite: Path, *tables: Path) -> list[list[Answer]]:
    """What the package answers about each table, expectation by expectation."""
    question = {"suite": json.loads(suite.read_text("utf-8")), "tables": list(map(str, tables))}
    done = subprocess.run(
        [sys.executable, SCRIPT],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[list[Answer]] = json.loads(done.stdout)
    assert not [one for table in answers for one in table if one["exception"]], answers
    return answers


def unexpected(answers: Sequence[Answer], column: str = "value") -> set[int]:
    """The rows whose value is outside of its range."""
    rows: set[int] = set()
    for one in answers:
        if one["type"] == "expect_column_values_to_be_between" and one["column"] == column:
            assert one["success"] == (not one["unexpected"])
            rows |= set(one["unexpected"])
    return rows


def unmet(answers: Sequence[Answer]) -> set[tuple[str, str | None]]:
    """What is not as expected, ranges aside."""
    return {
        (one["type"].removeprefix("expect_"), one["column"])
        for one in answers
        if not one["success"] and one["type"] != "expect_column_values_to_be_between"
    }


class Place:
    """A folder with a configuration and a store, and the commands in it."""

    def __init__(self, folder: Path, quality: str) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"store: sqlite:///{folder}/loader.db\n"
            f"sources:\n  src: {{type: simulator}}\n"
            f"quality: {quality}\n",
            "utf-8",
        )

    @property
    def check(self) -> Checks:
        return build_check(load_config(self.config), "src")

    def fill(self, rows: dict[Series, Sequence[tuple[float, float | None]]]) -> None:
        """Store readings, (hour, value) by series."""
        store = SQLiteStore(self.folder / "loader.db")
        store.migrate()
        loading = Loading(store)
        for one, readings in rows.items():
            store.register(loading.lease, [partition(one)], at(0))
            loading.commit([(one, hour, value) for hour, value in readings], check=self.check)
        loading.finish()
        loading.lease.release()
        store.close()

    def failed(self) -> set[tuple[str, str, str, str]]:
        """(sensor, parameter, unit, time) of stored readings outside of their range."""
        store, check = SQLiteStore(self.folder / "loader.db"), self.check
        found = set()
        for one in store.series(None):
            for part in store.scan([one.id], Window(-(2**62), 2**62)):
                lone = Readings.of(np.zeros(len(part)), part.time, part.value)
                flag, _ = check.alone([one.series], lone)
                for time in part.time[flag == Flag.FAIL].tolist():
                    stamp = datetime.fromtimestamp(time // SECOND).astimezone()
                    found.add((*one.series.key, str(stamp.timestamp())))
        store.close()
        return found

    def run(self, *arguments: str) -> None:
        done = CliRunner().invoke(cli, ["-c", str(self.config), *arguments])
        assert done.exit_code == 0, done.output

    def long(self) -> tuple[Path, Path]:
        """The suite and the table, by the commands."""
        suite, table = self.folder / "suite.json", self.folder / "table.csv"
        self.run("quality", "export", "-o", str(suite))
        self.run("export", "-o", str(table))
        return suite, table


def keys(table: Path, rows: set[int]) -> set[tuple[str, str, str, str]]:
    """What stands in these rows of a long table."""
    with table.open(encoding="utf-8", newline="") as lines:
        every = list(csv.DictReader(lines))
    return {
        (
            every[row]["sensor"],
            every[row]["parameter"],
            every[row]["unit"].removeprefix("'"),
            str(datetime.fromisoformat(every[row]["time"]).timestamp()),
        )
        for row in rows
    }


ODD = "a \"quoted\" name, and 'so' \\ on"

RULES = json.dumps(
    {
        "parameters": {
            "pm25": {"range": [0, 100], "unit": "ug/m3"},
            "o3": {"ranges": {"ppm": [0, 0.5], "µg/m³": [0, 1000]}},
            "level": {"range": [None, 7]},
            ODD: {"range": [-1, 1]},
        }
    },
    ensure_ascii=False,
)


def test_every_verdict_is_the_same(tmp_path: Path) -> None:
    """Bounds, both sides, units, infinities, missing values, codes for them, and odd names."""
    place = Place(tmp_path, RULES)
    same = [(1, 0.0), (2, 100.0), (3, 100.0001), (4, -1e-9), (5, None), (6, -999.0), (7, 50.5)]
    place.fill(
        {
            series("1", station="007"): same,
            series("2", station="=1+1", unit="µg/m³"): same,
            series("3", station=ODD): [*same, (8, math.inf), (9, -math.inf)],
            series("4", parameter="o3", unit="ppm"): [(1, 0.5), (2, 0.6), (3, 600.0)],
            series("5", parameter="o3", unit="µg/m³"): [(1, 0.5), (2, 600.0), (3, 1000.5)],
            series("6", parameter="o3", unit="-"): [(1, 1e9), (2, math.inf)],
            series("7", parameter="level", unit=""): [(1, -1e300), (2, 7.0), (3, 7.5)],
            series("8", parameter=ODD, unit="°C"): [(1, 1.0), (2, 1.5)],
            series("9", parameter="unruled", unit="x"): [(1, 1e300), (2, math.inf), (3, -math.inf)],
        }
    )
    suite, table = place.long()
    (answers,) = ask(suite, table)
    failed = place.failed()
    assert len(failed) == 3 * 2 + 2 + 2 + 1 + 1 + 1 + 1 + 2
    assert keys(table, unexpected(answers)) == failed
    assert unmet(answers) == {("column_values_to_be_in_set", "unit")}, "o3 came without a known unit"


def test_a_spoilt_table_is_noticed(tmp_path: Path) -> None:
    """What a table has to be besides its ranges: each kind of damage fails its own expectation."""
    place = Place(tmp_path, RULES)
    place.fill({series("1", station="007"): [(1, 1.0), (2, 2.0), (3, 3.0)]})
    suite, table = place.long()
    head, first, *more = table.read_text("utf-8").splitlines()
    spoilt = {
        ("compound_columns_to_be_unique", None): [head, first, first, *more],
        ("table_row_count_to_be_between", None): [head],
        ("table_columns_to_match_set", None): [f"{head},more", *(f"{row},1" for row in (first, *more))],
        ("column_values_to_be_in_set", "unit"): [head, first.replace("ug/m3", "ppm"), *more],
        ("column_values_to_match_regex", "time"): [head, first.replace("T", " "), *more],
        ("column_values_to_be_in_set", "flag"): [head, first.replace(",1.0,1,", ",1.0,7,"), *more],
        ("column_values_to_not_be_null", "value"): [head, first.replace(",1.0,1,", ",,1,"), *more],
    }
    paths = []
    for number, rows in enumerate(spoilt.values()):
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_text("\n".join(rows) + "\n", "utf-8")
    whole, *answers = ask(suite, table, *paths)
    assert unmet(whole) == set()
    for what, found in zip(spoilt, answers, strict=True):
        assert what in unmet(found), what
        assert len(unmet(found)) == 1 or what[0].startswith("table_row_count"), what


def test_a_wide_table_too(tmp_path: Path) -> None:
    """Columns by parameter and unit; a rule of one station counts in its rows only."""
    place = Place(tmp_path, RULES)
    place.fill(
        {
            series("1", station="007"): [(1, 50.0), (2, 150.0)],
            series("2", station="b"): [(1, 150.0), (2, 250.0)],
            series("3", station="b", parameter="o3", unit="ppm"): [(1, 0.4), (2, 600.0)],
            series("4", station="b", parameter="o3", unit="µg/m³"): [(1, 600.0), (2, 1001.0)],
        }
    )
    more = "  src: {type: simulator, quality: {stations: {b: {pm25: {range: [0, 200]}}}}}"
    place.config.write_text(
        place.config.read_text("utf-8").replace("  src: {type: simulator}", more), "utf-8"
    )
    suite, table = tmp_path / "suite.json", tmp_path / "table.csv"
    place.run("quality", "export", "--layout", "wide", "-o", str(suite))
    place.run("export", "--layout", "wide", "-o", str(table))
    rows = table.read_text("utf-8").splitlines()
    assert [row.split(",")[1:3] for row in rows[1:]] == [
        ["007", "2024-01-31T01:00:00Z"],
        ["007", "2024-01-31T02:00:00Z"],
        ["b", "2024-01-31T01:00:00Z"],
        ["b", "2024-01-31T02:00:00Z"],
    ]
    (answers,) = ask(suite, table)
    assert unmet(answers) == set()
    assert unexpected(answers, "pm25") == {1, 3}
    assert unexpected(answers, "o3 [ppm]") == {3}
    assert unexpected(answers, "o3 [µg/m³]") == {3}


def test_toronto(tmp_path: Path) -> None:
    """With ranges so tight that they cut into the data, just what we fail is unexpected."""
    paths = sorted(DATA.glob("openaq/explorer_toronto_2025/*.csv.gz"))
    if not paths:
        pytest.skip(f"no openaq/explorer_toronto_2025 at {DATA.resolve()}")
    found: dict[tuple[str, str, str], list[tuple[float, float | None]]] = {}
    for path in paths:
        for row in csv.DictReader(gzip.decompress(path.read_bytes()).decode("utf-8-sig").splitlines()):
            hour = (datetime.fromisoformat(row["datetimeUtc"]).timestamp() * SECOND - at(0)) / (
                3600 * SECOND
            )
            key = (row["location_id"], row["parameter"], row["unit"])
            found.setdefault(key, []).append((hour, float(row["value"])))
    place = Place(
        tmp_path,
        """{parameters: {pm25: {range: [0.5, 30]}, o3: {ranges: {ppm: [0.001, 0.05]}},
        no2: {ranges: {ppm: [0, 0.02]}}, temperature: {ranges: {c: [8, 28]}}}}""",
    )
    place.fill(
        {
            series(f"{station}-{parameter}", station=station, parameter=parameter, unit=unit): rows
            for (station, parameter, unit), rows in found.items()
        }
    )
    suite, table = place.long()
    (answers,) = ask(suite, table)
    failed = place.failed()
    assert keys(table, unexpected(answers)) == failed
    assert {parameter for _, parameter, _, _ in failed} == {"pm25", "o3", "no2", "temperature"}
    assert unmet(answers) == set()


def test_engines(tmp_path: Path) -> None:
    """FD001 as a table of engines: the shipped ranges leave all of it alone, tight ones cut into it
    just where ours do; cycles and engines that are not numbered as they should be are noticed."""
    path = DATA / "cmapss" / "train_FD001.txt"
    if not path.exists():
        pytest.skip(f"no train_FD001.txt at {path.parent.resolve()}")
    rows = [line.split() for line in path.read_text().splitlines()]
    names = ["setting_1", "setting_2", "setting_3", *(f"s{i}" for i in range(1, 22))]
    head = ",".join(["unit", "cycle", *names])
    table, twice, back = (tmp_path / f"{name}.csv" for name in ("table", "twice", "back"))
    texts = [",".join(row) for row in rows]
    table.write_text("\n".join([head, *texts]) + "\n")
    twice.write_text("\n".join([head, *texts[:5], texts[4]]) + "\n")
    back.write_text("\n".join([head, *texts[200:205], texts[0].replace("1,1,", "1,0,", 1)]) + "\n")
    order = ("quality", "export", "--layout", "wide", "--keys", "unit,cycle", "--columns", ",".join(names))

    place = Place(tmp_path, '{"defaults": ["cmapss"]}')
    suite = tmp_path / "suite.json"
    place.run(*order, "-o", str(suite))
    whole, doubled, wrong = ask(suite, table, twice, back)
    assert unmet(whole) == set()
    assert all(one["success"] for one in whole)
    assert unmet(doubled) == {("compound_columns_to_be_unique", None)}
    assert unmet(wrong) == {("column_values_to_be_increasing", "unit")}
    assert unexpected(wrong, "cycle") == {5}

    rules = {"s2": [642, 643.5], "s7": [552, 554.5], "s9": [None, 9100], "s17": [390, 396]}
    ranges = {name: {"range": r} for name, r in rules.items()}
    place = Place(tmp_path, json.dumps({"defaults": ["cmapss"], "parameters": ranges}))
    place.run(*order, "-o", str(suite))
    (answers,) = ask(suite, table)
    for column, name in enumerate(names, start=2):
        one = Series("", name, "", station="", partition="")
        value = [float(row[column]) for row in rows]
        flag, _ = place.check.alone([one], Readings.of(np.zeros(len(value)), np.arange(len(value)), value))
        failed = np.flatnonzero(flag == Flag.FAIL).tolist()
        assert sorted(unexpected(answers, name)) == failed
        assert bool(failed) == (name in rules)

"""`loader validate` as a user calls it: output, report, exit codes, one line for every mistake."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from builders import Loading, Row, at, series, span
from shell import Shell

from loader.assess.near import recheck_all
from loader.commands.output import iso
from loader.quality.checks import check_names
from loader.readings import Flag
from loader.stores.sqlite import SQLiteStore
from loader.wiring import build_check, load_config

ROOT = Path(__file__).resolve().parents[3]


def hours(count: int, value: str = "0.02") -> str:
    """So many hourly readings of ozone."""
    stamps = (f"2024-01-{1 + h // 24:02}T{h % 24:02}:00:00Z" for h in range(count))
    return "time,station,parameter,unit,value\n" + "".join(
        f"{stamp},here,o3,ppm,{value}{i % 7}\n" for i, stamp in enumerate(stamps)
    )


@pytest.fixture
def bare(shell: Shell) -> Shell:
    """A folder without configuration and store."""
    (shell.folder / "config.yaml").unlink()
    return shell


def test_a_good_file(bare: Shell) -> None:
    """Columns, series and score on stdout, exit 0; no store is made, no configuration needed."""
    (bare.folder / "a.csv").write_text(hours(48))
    out = bare("validate", "a.csv")
    assert re.search(r"^a\.csv +csv +long +48 +48 +0", out, re.MULTILINE)
    assert re.search(r"^unit +text +unit$", out, re.MULTILINE)
    assert re.search(r"^here +o3 +ppm +48 +1h +0 +0 +0 +0 +100\.0 % +100\.0", out, re.MULTILINE)
    assert "no check objects to any reading\n" in out
    assert "score 100.00: completeness 100.00 %" in out
    assert bare.err == ""
    assert sorted(p.name for p in bare.folder.iterdir()) == ["a.csv"]


def test_readings_that_no_rule_speaks_of(bare: Shell) -> None:
    """That nothing objects to them is not said without that."""
    (bare.folder / "a.csv").write_text(hours(48).replace(",o3,ppm,", ",wind,m/s,"))
    out = bare("validate", "a.csv")
    assert "no check objects to any reading; of 48 no rule speaks\n" in out


def test_the_findings_as_json(bare: Shell) -> None:
    """One document with every part, the first failing lines among them."""
    lines = hours(48).splitlines()
    lines[3] = lines[3].rsplit(",", 1)[0] + ",-999"
    lines[5] = lines[5].rsplit(",", 1)[0] + ",oops"
    lines[7] = lines[7].rsplit(",", 1)[0] + ",7"
    del lines[20:26]
    (bare.folder / "a.csv").write_text("\n".join([*lines, lines[-1]]))
    found = bare.json("validate", "a.csv", "--cadence", "1h")
    parts = "score components sampled counts repeats gaps checks files series failing"
    assert " ".join(found) == parts
    assert found["counts"]["records"] == 42
    assert (found["counts"]["readings"], found["counts"]["missing"]) == (41, 1)
    assert found["checks"]["sentinel"]["count"] == 1
    assert found["checks"]["sentinel"]["line"] == 4
    assert found["checks"]["gross_range"]["count"] == 2
    assert found["gaps"]["missing"] == 7
    assert found["gaps"]["longest"][0] == {
        "from": "2024-01-01T18:00:00Z", "to": "2024-01-02T00:00:00Z", "missing": 6,
    }  # fmt: skip
    assert found["repeats"] == {"same": 1, "other": 0, "again": 0, "revised": 0}
    assert found["components"]["timeliness"] is None
    assert 0 < found["score"] < 100
    (file,) = found["files"]
    assert file["failing"] == {"value": 1}
    assert {"name": "value", "holds": "number", "taken_for": "value"} not in file["columns"]
    assert {"name": "value", "holds": "mixed", "taken_for": "value"} in file["columns"]
    assert [(t["line"], t["field"]) for t in found["failing"]] == [(6, "value"), (8, "o3")]
    (series,) = found["series"]
    assert series["cadences"] == [{"from": "2023-12-31T23:59:59.999999Z", "cadence_s": 3600.0}]
    text = bare("validate", "a.csv")
    assert "  a.csv:6: value: 'oops' is no number" in text


def test_exit_codes(bare: Shell) -> None:
    """Bad readings are 0 unless a score is asked for; broken files and lines are 1; mistakes are 2."""
    (bare.folder / "bad.csv").write_text(hours(48, value="9"))
    (bare.folder / "good.csv").write_text(hours(48))
    bare("validate", "bad.csv")
    bare("validate", "good.csv", "--fail-under", "100")
    bare("validate", "bad.csv", "--fail-under", "90", code=1)
    assert re.search(r"^loader: the score is \d+\.\d\d; --fail-under asks for 90$", bare.err, re.MULTILINE)
    (bare.folder / "one.csv").write_text(hours(1))
    bare("validate", "one.csv")
    bare("validate", "one.csv", "--fail-under", "0", code=1)
    assert "there is no score" in bare.err
    (bare.folder / "short.csv").write_text(hours(48) + "x,y\n")
    bare("validate", "short.csv", code=1)
    out = bare("validate", "good.csv", "absent.csv", code=1)
    assert "good.csv" in out
    assert bare.err == "loader: absent.csv: No such file or directory\n"
    bare("validate", "good.csv", "--parameter", "pm25", code=1)
    assert bare.err == "loader: no reading of pm25 in any of the files\n"
    bare("validate", "good.csv", "bad.csv", "--parameter", "O3", "--unit", "pm10=x")
    assert bare.err == "loader: no reading of pm10 in any of the files\n"
    for wrong, said in (
        ((), "Missing argument"),
        (("--column", "time"), "write it as --column time=date_utc"),
        (("--column", "time=when"), "there is no such column; there are: time, station"),
        (("--column", "time=1", "--column", "time=2"), "given twice"),
        (("--unit", "=ppm"), "write it as --unit o3=ppm"),
        (("--timezone", "Mars/Base"), "is no zone"),
        (("--encoding", "utf-16"), "write one such as latin-1"),
        (("--encoding", "klingon"), "write one such as latin-1"),
        (("--cadence", "often"), "is not a duration"),
        (("--cadence", "0"), "readings have some time between them"),
        (("--sample", "0"), "0 is not in the range"),
        (("--fail-under", "101"), "101.0 is not in the range"),
        (("--report", "good.csv"), "is one of the files to check"),
        (("--source", "nobody"), "there is no source nobody; there are:"),
    ):
        bare("validate", *(("good.csv", *wrong) if wrong else ()), code=2)
        assert said in bare.err, bare.err


def test_rules_are_those_of_the_configuration(shell: Shell) -> None:
    """General ones, or with --source those of one source; a broken configuration is 78."""
    config = shell.folder / "config.yaml"
    config.write_text(
        "sources:\n"
        "  src:\n    type: simulator\n"
        "    quality: {parameters: {o3: {ranges: {ppm: [0, 0.01]}}}}\n"
        "quality:\n  sentinels: [0.020]\n"
    )
    (shell.folder / "a.csv").write_text(hours(49))
    general = shell.json("validate", "a.csv")
    assert general["checks"]["sentinel"]["count"] == 7
    assert "gross_range" not in general["checks"]
    assert shell.json("validate", "a.csv", "--source", "src")["checks"]["gross_range"]["count"] == 49
    config.write_text("sources: {src: {type: nonsense}}\n")
    shell("validate", "a.csv", code=78)
    assert shell.err.startswith("config.yaml:1:")


@pytest.mark.usefixtures("store")
def test_the_store_is_left_alone(shell: Shell, store: SQLiteStore) -> None:
    """Even one that cannot be used is in nobody's way."""
    store.close()
    (shell.folder / "loader.db").write_bytes(b"no database" * 100)
    (shell.folder / "a.csv").write_text(hours(3))
    shell("validate", "a.csv")


def test_flags_are_those_of_loading(shell: Shell, store: SQLiteStore) -> None:
    """The same readings, committed in pieces and out of order and then compared with near stations, have
    the same flags in the store."""
    rules = (
        "{range: [0, 60], suspect: [1, 50], spike: {suspect: 8, fail: 20}, rate: {fail: 25},"
        " flat_line: {suspect: 4h, fail: 7h}, gap: 3h, precision: {period: 8h, least: 4},"
        " neighbours: {within_km: 3, suspect: 5, least: 1}}"
    )
    with (shell.folder / "config.yaml").open("a") as file:
        file.write(f"quality: {{parameters: {{x: {rules}}}}}\n")
    seed = 11
    random = np.random.default_rng(seed)
    its = [series(name, station=name, parameter="x", unit="v", cadence_s=3600.0) for name in "abcd"]
    latitude = {"a": 50.0, "b": 50.01, "c": 50.02, "d": 52.0}
    rows: list[Row] = []
    for one in its:
        values = np.repeat(random.choice([-999, 0.5, 5, 12.25, 30, 55, 70], 80), random.integers(1, 9, 80))
        hours = np.flatnonzero(random.random(len(values)) < 0.9)
        rows += [(one, float(h), float(values[h])) for h in hours]
    lines = [f"{iso(at(h))},{one.station},x,v,{v},{latitude[one.station]},8\n" for one, h, v in rows]
    (shell.folder / "a.csv").write_text("time,station,parameter,unit,value,lat,lon\n" + "".join(lines))
    check = build_check(load_config(shell.folder / "config.yaml"), "src")
    loading = Loading(store)
    for part in np.array_split(random.permutation(len(rows)), 5):
        loading.commit([rows[i] for i in part.tolist()], check=check)
    loading.commit(places=[(one, 0, latitude[one.station], 8) for one in its], check=check)
    recheck_all(store, store, loading.lease, check, store.series("src"), span(-1, 1000))
    loading.lease.release()
    found = shell.json("validate", "a.csv", "--source", "src", "--cadence", "1h")
    stored = list(loading.readings().values())
    names = [check_names(tests) for *_, tests in stored]
    assert {name: seen["count"] for name, seen in found["checks"].items()} == Counter(chain(*names)), seed
    assert {"neighbours", "sentinel", "flat_line", "spike", "gap"} <= found["checks"].keys()
    flags = Counter(Flag(flag) for _, flag, _ in stored)
    counts = [found["counts"][name] for name in ("suspect", "failed", "missing")]
    assert counts == [flags[Flag.SUSPECT], flags[Flag.FAIL], flags[Flag.MISSING]], seed


def test_the_report_is_whole_or_not_there(bare: Shell) -> None:
    """It takes the place of the old one at once; where it cannot be written, one line says so."""
    (bare.folder / "a.csv").write_text(hours(48, value="9"))
    report = bare.folder / "report.html"
    report.write_text("old")
    bare("validate", "a.csv", "--report", "report.html")
    html = report.read_text()
    assert html.startswith("<!doctype html>")
    assert html.endswith("</html>\n")
    assert "gross_range" in html
    assert html.count("<figure") == 1
    bare("validate", "a.csv", "--report", "nowhere/report.html", code=1)
    assert "cannot write" in bare.err
    assert not list(bare.folder.glob(".*.part"))


def test_times_units_and_columns_as_the_user_says(bare: Shell) -> None:
    """A headerless file in Latin-1 with local times."""
    text = "".join(f"Zürich;2024-07-01 {h:02}:00;{h},5\n" for h in range(24))
    (bare.folder / "a.txt").write_bytes(text.encode("latin-1"))
    bare("validate", "a.txt", code=1)
    assert (
        "a.txt:1: line: is not UTF-8 (byte 2: 0xfc); if the file is Latin-1, say --encoding latin-1"
        in bare.err
    )
    options = ("--encoding", "latin-1", "--timezone", "Europe/Zurich", "--unit", "temperature=c")
    bare("validate", "a.txt", *options, code=1)
    assert "--column time=2 --column value=3" in bare.err
    columns = ("--column", "time=2", "--column", "temperature=3", "--column", "station=1")
    found = bare.json("validate", "a.txt", *options, *columns)
    (series,) = found["series"]
    assert (series["station"], series["parameter"], series["unit"]) == ("Zürich", "temperature", "c")
    assert series["first"] == "2024-06-30T22:00:00Z"
    assert (series["lowest"], series["highest"]) == (0.5, 23.5)


def test_cycles_instead_of_times(bare: Shell) -> None:
    """--cycle counts them; what is missing between two is told in cycles."""
    lines = [f"{c},{c % 5}.5\n" for c in range(1, 60) if c not in (30, 31)]
    (bare.folder / "rig.csv").write_text("run,force\n" + "".join(lines) + "1.5,3\n")
    found = bare.json("validate", "rig.csv", "--cycle", "run")
    (series,) = found["series"]
    assert (series["parameter"], series["first"], series["last"]) == ("force", "cycle 1", "cycle 59")
    assert series["gaps"] == {
        "count": 1, "missing": 2, "longest": [{"from": "cycle 29", "to": "cycle 31", "missing": 2}],
    }  # fmt: skip
    assert found["failing"][0]["reason"] == "'1.5' is no number of a cycle"


def test_names_from_files_cannot_move_the_cursor(bare: Shell) -> None:
    """Control characters in cells and messages are shown as escapes."""
    evil = "\x1b[2J\x07"
    (bare.folder / "a.csv").write_text(hours(3).replace("here", evil) + f"{evil},x,o3,ppm,1\n")
    out = bare("validate", "a.csv")
    assert "\x1b" not in out
    assert r"\x1b[2J\x07" in out


@pytest.mark.slow
def test_a_large_file_takes_bounded_memory(bare: Shell) -> None:
    """A file of 250 MB that packs into one is read in portions, and ends where --max-lines says."""
    line = b"2024-01-01T00:00:00Z,here,o3,ppm,0.02,%s\n" % (b"x" * 1000)
    path = bare.folder / "a.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"time,station,parameter,unit,value,remark\n")
        for _ in range(250):
            file.write(line * 1000)
    script = (
        "import resource, sys\n"
        "sys.argv = ['loader', 'validate', 'a.csv.gz', '--max-lines', '100000', '--json']\n"
        "from loader.__main__ import main\n"
        "try:\n    main()\n"
        "finally:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, cwd=bare.folder, env=env, check=True
    )
    found = json.loads(done.stdout)
    assert found["files"][0]["cut"]
    assert found["counts"]["records"] == 100_000
    assert int(done.stderr.split()[-1]) < 400


def test_help_names_the_exit_codes(bare: Shell) -> None:
    """And every option."""
    out = bare("validate", "--help")
    assert "Exit codes: 0 the files were read" in out
    assert "--fail-under SCORE" in out

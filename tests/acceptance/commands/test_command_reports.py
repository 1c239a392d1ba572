"""What the reporting commands say of a store that was filled."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import Loading, at, partition, series, span
from shell import NO2, PM25, Shell

from loader.commands.output import clean, iso
from loader.readings import HOUR, Progress
from loader.stores.sqlite import SQLiteStore
from loader.wiring import now

ROOT = Path(__file__).resolve().parents[3]


def test_nothing_loaded_is_said_kindly(shell: Shell) -> None:
    """No report fails on an empty store: a remark on stderr, an empty list in JSON."""
    for command in (["status"], ["runs"], ["gaps"], ["state", "show"]):
        assert shell(*command) == ""
        assert "nothing has been loaded yet" in shell.err
    assert shell("quarantine", "list") == ""
    for command in (["runs"], ["gaps"], ["state", "show"], ["quarantine", "list"]):
        assert shell.json(*command) == []
    assert [row["last_run"] for row in shell.json("status")] == [None, None]
    assert shell("export").count("\n") == 1
    assert "nothing has been loaded yet" in shell.err
    assert json.loads(shell("export", "--format", "json")) == []


def test_status_tells_how_sources_fare(shell: Shell, filled: SQLiteStore) -> None:
    """Newest reading, age, silence, holes, last run, score; what is not configured is marked."""
    assert "97.5" in shell("status")
    src, idle = shell.json("status")
    assert (src["source"], src["state"]) == ("src", "enabled")
    assert (src["watermark"], src["newest"]) == ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z")
    assert src["age_s"] == pytest.approx((now() - at(10)) / 1e6, abs=60)
    assert src["silent_stations"] == ["Here", "There"]
    assert src["holes"] == {"open": 0, "given_up": 1}
    assert (src["stations"], src["partitions"], src["failing_partitions"]) == (2, 2, 1)
    assert src["score"] == 97.5
    due = src["next_runs"]
    assert len(due) == 5
    assert due == sorted(due)
    assert all(re.fullmatch(r"[-0-9]{10}T[012][02468]:00:00Z", one) for one in due)
    assert ", ".join(due) in shell("status")
    assert src["last_run"]["outcome"] == "ok"
    assert src["last_run"]["new"] == 11
    assert (idle["state"], idle["newest"]) == ("disabled", None)
    assert idle["next_runs"] == []

    here, there = shell.json("status", "--stations", "--source", "src")[0]["stations"]
    assert (here["station"], here["newest"], here["silent"]) == ("Here", "2024-01-31T10:00:00Z", True)
    assert here["expected_within_s"] == 5 * 3600
    assert (there["failing_partitions"], there["last_error"]) == (1, "HTTP 500")
    assert "HTTP 500" in shell("status", "--stations")

    Loading(filled, "gone").finish()
    assert {row["source"]: row["state"] for row in shell.json("status")}["gone"] == "not configured"


def test_a_station_is_silent_only_after_three_cadences_and_the_lookback(
    shell: Shell, store: SQLiteStore
) -> None:
    """Five hours here: a reading of 4.9 hours ago is news enough, one of 5.1 hours ago is not."""
    loading = Loading(store)
    hour_now = (now() - at(0)) / HOUR
    loading.commit([(PM25, hour_now - 4.9, 1), (NO2, hour_now - 5.1, 1)])
    assert shell.json("status")[0]["silent_stations"] == ["There"]


def test_a_station_shows_the_worst_of_its_troubles(shell: Shell, store: SQLiteStore) -> None:
    """Of several sensors, the error of the one that has failed most often in a row."""
    loading = Loading(store)
    members = [series(name, partition=name) for name in ("a", "b", "c")]
    store.register(loading.lease, [partition(s) for s in members], at(0))
    for name, times in (("b", 2), ("c", 1)):
        for _ in range(times):
            loading.commit([], Progress(name, ended=True, error=f"{name} failed"))
    station = shell.json("status", "--stations")[0]["stations"][0]
    assert (station["failing_partitions"], station["last_error"]) == (2, "b failed")


def test_runs_come_newest_first(shell: Shell, filled: SQLiteStore) -> None:
    """With all counts in JSON; a run without an end shows as running."""
    loading = Loading(filled)
    runs = shell.json("runs")
    assert [run["outcome"] for run in runs] == [None, "ok"]
    assert runs[1]["counts"]["new"] == 11
    assert runs[1]["counts"]["quarantined"] == 2
    assert (runs[1]["started"], runs[1]["finished"]) == ("2024-01-31T00:00:00Z", "2024-01-31T01:00:00Z")
    assert len(shell.json("runs", "--limit", "1")) == 1
    assert shell.json("runs", "--source", "idle") == []
    assert "running" in shell("runs")
    loading.lease.release()


@pytest.mark.usefixtures("filled")
def test_gaps_name_stretch_number_and_cause(shell: Shell) -> None:
    """Every cause as the ledger gives it, up to the time asked for."""
    gaps = shell.json("gaps", "--until", iso(at(12)))
    assert [(g["station"], g["from"][11:13], g["to"][11:13], g["missing"], g["cause"]) for g in gaps] == [
        ("Here", "03", "04", 1, "source had nothing"),
        ("Here", "06", "07", 1, "fetch failed: status 500"),
        ("Here", "10", "12", 2, "not yet due"),
        ("There", "03", "12", 9, "not yet due"),
    ]
    assert set(gaps[0]) == {
        "source",
        "station",
        "sensor",
        "parameter",
        "unit",
        "from",
        "to",
        "missing",
        "cause",
        "cadence_s",
    }
    text = shell("gaps", "--until", iso(at(12)))
    assert "13 readings missing in 4 gaps: 11 not yet due" in text
    assert shell.json("gaps", "--station", "There", "--until", iso(at(3))) == []
    between = shell.json("gaps", "--parameter", "pm25", "--since", iso(at(3)), "--until", iso(at(5)))
    assert [g["cause"] for g in between] == ["source had nothing"]


def test_gaps_are_the_same_however_the_store_cuts_its_scan(
    shell: Shell, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of a few readings give what one of all gives: no gap is cut, lost or doubled."""
    loading = Loading(store)
    store.register(loading.lease, [partition(PM25)], at(0))
    hours = [h + (h % 5) / 50 for h in range(1, 400) if h % 7 and h % 11 and not 100 < h < 130]
    loading.commit(
        [(PM25, h, 1.0) for h in hours], Progress("p-a", cover=(span(0, 390),), watermark=at(390))
    )
    whole = shell.json("gaps", "--until", iso(at(410)))
    assert len(whole) > 60
    for size in (1, 2, 3, 10):
        monkeypatch.setattr("loader.stores.sqlite.reports.CHUNK", size)
        assert shell.json("gaps", "--until", iso(at(410))) == whole


def test_a_sensor_is_expected_until_the_next_one_continues_it(shell: Shell, store: SQLiteStore) -> None:
    """The old one has no gap after the new one's first reading, the new one none before."""
    loading = Loading(store)
    new = series("n", partition="p-n", station="Here", cadence_s=3600.0, replaces="a")
    store.register(loading.lease, [partition(PM25), partition(new)], at(0))
    loading.commit(
        [(PM25, 1, 1), (PM25, 2, 1), (new, 5, 1), (new, 6, 1)],
        Progress("p-a", cover=(span(0, 6),)),
        Progress("p-n", cover=(span(0, 6),)),
    )
    gaps = shell.json("gaps", "--until", iso(at(6)))
    assert [(g["sensor"], g["from"], g["missing"]) for g in gaps] == [("a", iso(at(2)), 2)]


@pytest.mark.usefixtures("filled")
def test_state_shows_ledger_and_holes(shell: Shell) -> None:
    """Watermark, coverage and holes of each partition; one partition with all its windows."""
    a, b = shell.json("state", "show", "src")
    assert (a["partition"], a["watermark"], a["failures"]) == ("p-a", iso(at(10)), 0)
    assert a["coverage"] == [
        {"from": iso(at(0)), "to": iso(at(6))},
        {"from": iso(at(7)), "to": iso(at(10))},
    ]
    assert a["holes"] == [
        {
            "from": iso(at(6)),
            "to": iso(at(7)),
            "cause": "status 500",
            "tries": 1,
            "next_try": None,
            "isolated": False,
        }
    ]
    assert (b["failures"], b["last_error"]) == (1, "HTTP 500")
    text = shell("state", "show", "--partition", "p-a")
    assert "given up" in text
    assert "p-b" not in text


@pytest.mark.usefixtures("filled")
def test_quarantined_records_are_listed_and_shown(shell: Shell) -> None:
    """Whole, by any beginning of the digest; what would steer a terminal is made visible."""
    listed = {q["rule"]: q for q in shell.json("quarantine", "list")}
    assert set(listed) == {"timestamp", "schema"}
    good, bad = listed["timestamp"]["digest"], listed["schema"]["digest"]
    assert "\x1b" not in shell("quarantine", "list") + shell("quarantine", "show", bad)
    assert '{"value": 1}' in shell("quarantine", "show", good[:8])
    assert shell.json("quarantine", "show", good)[0]["payload"] == '{"value": 1}'
    assert shell.json("quarantine", "show", bad)[0]["encoding"] == "base64"
    assert shell("quarantine", "show", good, "--raw") == '{"value": 1}'
    assert [q["digest"] for q in shell.json("quarantine", "list", "--rule", "schema")] == [bad]
    assert len(shell.json("quarantine", "list", "--limit", "1")) == 1
    shell("quarantine", "show", "zz", code=2)
    assert "zz" in shell.err


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("arguments", "there"),
    [
        (["status", "--source", "scr"], "idle, src"),
        (["runs", "--source", "scr"], "idle, src"),
        (["gaps", "--station", "Her"], "Here, There"),
        (["export", "--parameter", "pm2.5"], "no2, pm25"),
        (["export", "--sensor", "z"], "a, b"),
        (["state", "show", "src", "--partition", "p"], "p-a, p-b"),
        (["state", "reset", "scr", "--yes"], "src"),
        (["state", "set", "src", "p", "1d", "--yes"], "p-a, p-b"),
        (["quarantine", "drop", "--all", "--source", "scr", "--yes"], "idle, src"),
        (["forget", "scr", "--yes"], "src"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(shell: Shell, arguments: list[str], there: str) -> None:
    """Exit code 2, and the names to choose from."""
    assert shell(*arguments, code=2) == ""
    assert f"there are: {there}\n" in shell.err


@pytest.mark.parametrize("command", ["gaps", "export"])
def test_an_empty_period_is_refused(shell: Shell, command: str) -> None:
    """--since has to lie before --until, and both have to be times."""
    shell(command, "--since", "2024-02-01", "--until", "2024-01-31", code=2)
    assert "--since 2024-02-01 is not before" in shell.err
    shell(command, "--since", "1 fortnight", code=2)
    assert "7d" in shell.err


def test_control_characters_are_made_visible() -> None:
    """Text from outside cannot steer the terminal; letters of every language stay."""
    assert clean("\x1b[31mµg/m³\r\n\u202eé") == "\\x1b[31mµg/m³\\r\\n\\u202eé"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("section", "arguments"),
    [
        ("status", ["status", "--stations"]),
        ("runs", ["runs"]),
        ("gaps", ["gaps"]),
        ("state show", ["state", "show"]),
        ("quarantine list", ["quarantine", "list"]),
    ],
)
def test_every_key_is_documented(shell: Shell, section: str, arguments: list[str]) -> None:
    """The JSON of a report has the keys that its section names, and no other."""
    text = (
        (ROOT / "docs" / "commands.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    )
    assert keys(shell.json(*arguments)) <= set(re.findall(r"`(\w+)`", text))


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


@pytest.mark.usefixtures("filled")
def test_colour_is_for_terminals(shell: Shell) -> None:
    """On a terminal the outcome is green; with NO_COLOR, or into a pipe, no escape is written."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "loader", "runs"]
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        ours, its = pty.openpty()
        done = subprocess.run(
            command, stdout=its, env={**environment, **more}, cwd=shell.folder, timeout=60, check=True
        )
        os.close(its)
        shown = os.read(ours, 65536)
        os.close(ours)
        assert done.returncode == 0
        assert b"97.5" in shown
        assert (b"\x1b[32m" in shown) is coloured
    assert "\x1b" not in shell("runs")


def test_commands_start_light() -> None:
    """Nothing heavy is imported before a command knows that it is needed."""
    names = "status runs gaps state quarantine export forget".split()  # noqa: SIM905
    program = (
        f"import sys, {', '.join('loader.commands.' + name for name in names)}\n"
        "print({'numpy', 'rich', 'pydantic', 'structlog', 'psycopg2'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"


def test_check_tells_the_next_runs(shell: Shell) -> None:
    """A line for each enabled source: how its schedule is written, and the next five moments in UTC."""
    (shell.folder / "config.yaml").write_text(
        "store: sqlite:///state/loader.db\n"
        "sources:\n"
        "  often: {type: simulator, schedule: {every: 90m}}\n"
        "  nightly: {type: simulator, schedule: {cron: 30 2 * * *, timezone: Asia/Kolkata}}\n"
        "  never: {type: simulator, enabled: false}\n"
    )
    found = {f["subject"]: f for f in shell.json("check")}
    said = {
        name: found[f"{name}: schedule"]["detail"].partition(": next ") for name in ("often", "nightly")
    }
    assert said["often"][0] == "every 1h30m"
    assert said["nightly"][0] == "cron 30 2 * * * (Asia/Kolkata)"
    assert [len(due.split(", ")) for _, _, due in said.values()] == [5, 5]
    assert all(one.endswith("T21:00:00Z") for one in said["nightly"][2].split(", "))
    assert "never: schedule" not in found

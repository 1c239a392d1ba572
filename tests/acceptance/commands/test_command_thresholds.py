"""`loader thresholds suggest`, `loader recheck` and `loader explain`, as a user calls them."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
import yaml
from builders import Loading, at, partition, series
from shell import Shell
from test_command_requests import another, do_it

from loader import requested
from loader.commands.output import iso
from loader.commands.progress import Lines
from loader.contracts import Lease
from loader.readings import Reject
from loader.stores.sqlite import SQLiteStore
from loader.wiring import build_check, build_pipeline, load_config, now

HERE = series("a/1", partition="p-a", station="Here", unit="µg/m³", cadence_s=3600.0)
THERE = series("b", partition="p-b", station="Île: #2", unit="ug/m3", cadence_s=3600.0)
NO2 = series("b", partition="p-b", station="Île: #2", parameter="no2", unit="ppb", cadence_s=3600.0)
ODD = series("c", partition="p-c", station="null", parameter="off", unit="", cadence_s=3600.0)
HOURS = 900
PEAK = 400


@pytest.fixture
def loaded(shell: Shell, store: SQLiteStore) -> SQLiteStore:
    """900 hours of four series; at hour 400 of one a peak that the shipped rules let pass."""
    draw = np.random.default_rng(1)
    loading = Loading(store)
    check = build_check(load_config(shell.folder / "config.yaml"), "src")
    for one, middle, spread in ((HERE, 20, 2), (THERE, 30, 3), (NO2, 25, 4), (ODD, 1e-6, 1e-7)):
        values = draw.normal(middle, spread, HOURS)
        if one is HERE:
            values[PEAK] = 150
        store.register(loading.lease, [partition(one)], at(0))
        loading.commit([(one, hour, float(v)) for hour, v in enumerate(values)], check=check)
    loading.finish()
    loading.lease.release()
    return store


def add(shell: Shell, text: str) -> None:
    """Put more blocks into the configuration; `sources` there replaces the one that was there."""
    path = shell.folder / "config.yaml"
    given, more = yaml.safe_load(path.read_text()), yaml.safe_load(text)
    for name, source in more.pop("sources", {}).items():
        given["sources"][name] |= source
    path.write_text(yaml.safe_dump(given | more))


@pytest.mark.usefixtures("loaded")
def test_what_is_suggested_is_a_configuration(shell: Shell) -> None:
    """Pasted as it is printed it loads, and `recheck` finds that it flags less than it says."""
    printed = shell("thresholds", "suggest")
    assert printed.startswith("quality:\n  parameters:\n")
    assert "# 1,800 readings of 2 series, 2024-01-31T00:00:00Z to 2024-03-08T11:00:00Z; " in printed
    given = yaml.safe_load(printed)["quality"]["parameters"]
    assert list(given) == ["no2", "off", "pm25"], "in words that YAML does not take for others"
    assert list(given["pm25"]["units"]) == ["µg/m³"], "one rule for both spellings"
    assert set(given["pm25"]["units"]["µg/m³"]) == {"range", "suspect", "spike", "rate"}
    assert list(given["no2"]["units"]) == ["ppb"]
    low, high = given["off"]["range"]
    assert -1e-6 < low < 1e-6 < high < 3e-6, "small numbers are numbers"

    add(shell, printed)
    rule = build_check(load_config(shell.folder / "config.yaml"), "src").rule(THERE)
    assert list(rule.fail) == given["pm25"]["units"]["µg/m³"]["range"]
    (found,) = shell.json("recheck", "--dry-run")
    assert found["checked"] == 4 * HOURS
    assert found["not evaluated -> good"] == HOURS
    assert 0 < found["changed"] - HOURS <= 0.005 * 4 * HOURS


@pytest.mark.usefixtures("loaded")
def test_stations_have_rules_of_their_own(shell: Shell) -> None:
    """By station they go under the source's stations, and name nothing else."""
    more = ("--climatology", "--attenuated")
    printed = shell("thresholds", "suggest", "--by", "station", *more, "--parameter", "pm25")
    stations = yaml.safe_load(printed)["sources"]["src"]["quality"]["stations"]
    assert list(stations) == ["Here", "Île: #2"]
    assert "climatology" in stations["Here"]["pm25"]["units"]["µg/m³"]
    add(shell, printed)
    check = build_check(load_config(shell.folder / "config.yaml"), "src")
    assert check.rule(THERE).fail[1] < 70 < check.rule(HERE).fail[1] < 110, "Here has a peak"
    assert check.rule(HERE).climatology is not None
    assert check.rule(HERE).attenuated is not None
    assert check.rule(NO2).climatology is None

    of_source = shell("thresholds", "suggest", "--source", "src", "--parameter", "no2")
    assert list(yaml.safe_load(of_source)["sources"]["src"]["quality"]["parameters"]) == ["no2"]


@pytest.mark.usefixtures("loaded")
def test_it_is_said_what_rules_are_made_of(shell: Shell) -> None:
    """In JSON each group has its counts; from too little nothing comes, and it is said."""
    found = shell.json("thresholds", "suggest", "--station", "Here")
    assert [(one["parameter"], one["readings"], one["series"]) for one in found] == [("pm25", HOURS, 1)]
    assert found[0]["first"] == iso(at(0))
    assert found[0]["rule"]["spike"]["method"] == "differential"
    assert found[0]["beyond"]["spike"] == 1
    printed = shell("thresholds", "suggest", "--since", iso(at(HOURS - 100)))
    assert yaml.safe_load(printed) is None
    assert "# pm25 µg/m³: too few usable readings" in printed
    assert "nothing can be learned" in shell.err


@pytest.mark.usefixtures("loaded")
def test_changed_thresholds_are_applied_to_what_is_stored(shell: Shell) -> None:
    """A dry run counts and changes nothing; then the flags are those of the configuration."""
    reading = f"src/a/1/pm25@{iso(at(PEAK))}"
    assert shell.json("explain", reading)["flag"] == 1
    add(shell, "quality: {parameters: {pm25: {spike: {suspect: 40, fail: 100}}}}")

    said = shell("recheck", "src", "--dry-run", "--parameter", "pm25")
    assert said.splitlines()[0] == "src: 1,800 readings checked, 1 changed"
    assert "good -> fail" in said
    assert "spike: now objects" in said
    assert "dry run" in shell.err
    found = shell.json("explain", reading)
    assert (found["flag"], found["today"]["flag"], found["today"]["differs"]) == (1, 4, True)
    assert [(r["check"], r["stored"], r["today"]) for r in found["reasons"]] == [("spike", False, True)]
    assert "fail, new" in shell("explain", reading)
    assert "loader recheck src" in shell.err

    assert shell.json("recheck", "--since", iso(at(PEAK)))[0]["changed"] == 0, "the window begins after it"
    done = shell.json("recheck")
    assert done == [
        {"source": "src", "checked": 4 * HOURS, "changed": 1, "good -> fail": 1, "spike: now objects": 1}
    ]
    assert shell.json("recheck")[0]["changed"] == 0
    assert shell.json("explain", "--last")["time"] == iso(at(PEAK))

    add(shell, "quality: {parameters: {pm25: {spike: {suspect: 900, fail: 900}}}}")
    said = shell("explain", "--last")
    assert "no more" in said
    assert "the thresholds of today do not" in said


@pytest.mark.usefixtures("loaded")
def test_a_busy_source_is_rechecked_by_its_holder(shell: Shell) -> None:
    """The request carries what was asked for, and its result is what the command prints."""
    add(shell, "quality: {parameters: {pm25: {range: [0, 100]}}}")
    with another(shell, do_it):
        done = shell.json("recheck", "--parameter", "pm25", "--station", "Here")
    assert done == [
        {"source": "src", "checked": HOURS, "changed": 1, "good -> fail": 1, "gross_range: now objects": 1}
    ]
    assert shell.json("requests", "list")[0]["kind"] == "recheck"
    assert shell.json("explain", "--last")["flag"] == 4


@pytest.mark.usefixtures("loaded")
def test_a_daemon_with_other_thresholds_does_not_recheck(shell: Shell) -> None:
    """One that has not read the changed configuration says so, and leaves the flags."""
    before = load_config(shell.folder / "config.yaml")
    add(shell, "quality: {parameters: {pm25: {range: [0, 100]}}}")

    def work(store: SQLiteStore, lease: Lease, number: int) -> None:  # noqa: ARG001
        make = partial(build_pipeline, before, "src", store)
        requested.work_next("src", store, make, lease, threading.Event(), Lines({}), now)

    with another(shell, work):
        shell("recheck", "--parameter", "pm25", code=1)
    assert "the thresholds here are others" in shell.err
    assert "SIGHUP" in shell.err
    assert shell.json("recheck", "--dry-run", "--parameter", "pm25")[0]["changed"] == 1
    with another(shell, do_it):
        assert shell.json("recheck", "--parameter", "pm25")[0]["changed"] == 1


@pytest.mark.usefixtures("loaded")
def test_recheck_refuses_what_is_not_there(shell: Shell) -> None:
    """Names that do not exist are told with those that do; what fits nothing does nothing."""
    shell("recheck", "nowhere", code=2)
    assert "there is no source nowhere" in shell.err
    shell("recheck", "--station", "nowhere", code=2)
    assert "Here" in shell.err
    assert shell("recheck", "--station", "Here", "--parameter", "no2") == ""
    assert "no readings fit" in shell.err


@pytest.mark.usefixtures("loaded")
def test_a_flag_is_told_in_words_with_its_figures(shell: Shell) -> None:
    """Value, unit, time and flag, and for each check the values and thresholds that led to it."""
    add(shell, "quality: {parameters: {pm25: {range: [0, 100], spike: {suspect: 40, fail: 100}}}}")
    shell("recheck", "src")
    said = shell(
        "explain", "--source", "src", "--sensor", "a/1", "--unit", "ug/m3", iso(at(PEAK))
    ).splitlines()
    assert said[0] == f"src/a/1/pm25@{iso(at(PEAK))} of station Here"
    assert said[1:3] == ["value  150 µg/m³", "flag   4 fail"]
    assert [line.split("  ")[0] for line in said[3:]] == ["check", "gross_range", "spike"]
    assert "150 µg/m³ is outside 0 µg/m³ to 100 µg/m³" in said[4] or "is outside 0 to 100 µg/m³" in said[4]
    assert "off the nearer of its neighbours" in said[5]
    assert "100 µg/m³ is allowed" in said[5]
    assert shell("explain", f"src/a/1/pm25@{iso(at(3))}").splitlines()[-1] == "no check objects"


@pytest.mark.usefixtures("loaded")
def test_which_reading_is_meant_has_to_be_clear(shell: Shell) -> None:
    """Too little, too much, several, none and what is no reading each have their own words."""
    for arguments, words in (
        ((), "say which reading"),
        (("--last", iso(at(1))), "say which reading"),
        (("src/a/1@" + iso(at(1)),), "there is no parameter 1"),
        (("a@b",), "names no reading"),
        (("src/b/no2@soon",), "'soon' is no time"),
        (("--source", "src", "src/b/no2@" + iso(at(1))), "either in READING or by"),
        (("--sensor", "b", iso(at(1))), f"src/b/pm25@{iso(at(1))} --unit ug/m3, src/b/no2@{iso(at(1))}"),
        (("--unit", "ppm", iso(at(1))), "there are: (none), ppb, ug/m3, µg/m³"),
        (("--parameter", "no2", iso(at(1.5))), f"the nearest: {iso(at(1))} and {iso(at(2))}"),
        (("--last",), "no reading that fits is suspect or fails"),
    ):
        shell("explain", *arguments, code=2)
        assert words in shell.err, arguments


def test_a_reading_in_quarantine_is_found_there(shell: Shell, loaded: SQLiteStore) -> None:
    """What was put aside is not stored: the rule and where to see it are named."""
    loading = Loading(loaded)
    reject = Reject("p-b", "gross_range", "900 is outside 0 to 100", b'{"value": 900}', at(HOURS + 1))
    loading.commit([], rejects=[reject])
    loading.finish()
    loading.lease.release()
    shell("explain", f"src/b/no2@{iso(at(HOURS + 1))}", code=2)
    assert "in quarantine by the rule gross_range: 900 is outside 0 to 100" in shell.err
    digest = shell.err.split("quarantine show ")[1].split(")")[0]
    assert shell("quarantine", "show", digest)


def test_missing_and_unevaluated_readings_are_explained(shell: Shell, store: SQLiteStore) -> None:
    """No value, a code for none, and a parameter that nothing is said about."""
    loading = Loading(store)
    check = build_check(load_config(shell.folder / "config.yaml"), "src")
    store.register(loading.lease, [partition(HERE), partition(ODD)], at(0))
    loading.commit([(HERE, 1, None), (HERE, 2, -999.0), (ODD, 1, 1.0)], check=check)
    loading.lease.release()
    assert "no value was sent" in shell("explain", f"src/a/1/pm25@{iso(at(1))}")
    assert "-999 stands for no value" in shell("explain", f"src/a/1/pm25@{iso(at(2))}")
    assert shell.json("explain", f"src/a/1/pm25@{iso(at(1))}")["value"] is None
    assert "no check says anything" in shell("explain", f"src/c/off@{iso(at(1))}")


def test_check_names_the_flat_lines_that_are_not_tried(shell: Shell, store: SQLiteStore) -> None:
    """Where a threshold means too many readings, or nobody knows how many: the series, and what helps."""
    fast, slow, unknown = (
        series(name, partition=f"p-{name}", station=name, parameter=parameter, unit=unit, cadence_s=cadence)
        for name, parameter, unit, cadence in (
            ("fast", "pm25", "µg/m³", 60.0),
            ("slow", "pm25", "µg/m³", 300.0),
            ("unknown", "co", "ppm", None),
        )
    )
    loading = Loading(store)
    store.register(loading.lease, [partition(one) for one in (fast, slow, unknown)], at(0))
    loading.lease.release()
    said = [f["detail"] for f in shell.json("check") if f["subject"] == "src: flat_line"]
    too_many, help_ = "is more than 1500 readings", "set quality.parameters"
    assert said == [
        "not tried on 1 series of co at no known cadence: 3d and 10d cannot be counted; "
        f"{help_}.co.cadence",
        f"not tried on 1 series of pm25 every 1m: 4d and 10d {too_many}; {help_}.pm25.flat_line to less",
        f"not tried on 1 series of pm25 every 5m: 10d {too_many}; {help_}.pm25.flat_line to less",
    ]
    add(shell, "quality: {parameters: {co: {cadence: 1h}, pm25: {flat_line: {suspect: 12h, fail: 1d}}}}")
    assert not [f for f in shell.json("check") if f["subject"] == "src: flat_line"]

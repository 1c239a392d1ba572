"""`loader quality`, `anomalies` and `drift` as a user calls them."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from builders import Loading, at
from shell import NO2, PM25, Shell
from stores import AnyStore

from loader.commands.output import bar, iso, tenth
from loader.contracts import Lease
from loader.findings import Assessment, QualityDay
from loader.quality.score import Weights
from loader.readings import DAY, HOUR, Check, Readings, UInt8, UInt32
from loader.stores.sqlite import SQLiteStore
from tests.checks import Checks

TODAY = at(0)
NAMES = ["completeness", "validity", "timeliness", "uniqueness", "consistency"]


@contextmanager
def leased(store: AnyStore) -> Iterator[Lease]:
    lease = store.acquire("src")
    yield lease
    lease.release()


def ids(store: AnyStore) -> tuple[int, int]:
    """The series of Here and of There."""
    found = {s.series.sensor: s.id for s in store.series("src")}
    return found["a"], found["b"]


def assess(store: AnyStore) -> None:
    """Two days of Here, good and middling, and one of There on which nothing was due."""
    here, there = ids(store)
    good = {"due": 24, "observed": 24, "good": 24}
    middling = {
        "due": 24,
        "observed": 6,
        "good": 4,
        "suspect": 1,
        "failed": 1,
        "missing": 2,
        "inconsistent": 2,
    }
    with leased(store) as lease:
        waiting = {p.series_id: p.window for p in store.pending("src")}
        store.assess(
            lease,
            Assessment(
                here,
                waiting[here],
                (
                    QualityDay(here, TODAY, **good, score=100.0),
                    QualityDay(here, TODAY + DAY, **middling, score=9),
                ),
            ),
        )
        store.assess(lease, Assessment(there, None, (QualityDay(there, TODAY, unevaluated=3),)))


def score(*components: float) -> float:
    """By hand, with the weights that come with the loader."""
    weights = Weights()
    return 100 * sum(getattr(weights, name) * share for name, share in zip(NAMES, components, strict=True))


def test_scores_are_made_of_counts(shell: Shell, filled: SQLiteStore) -> None:
    """A day with few readings weighs little: shares are taken of sums, scores are not averaged."""
    assess(filled)
    (row,) = shell.json("quality")
    assert row["counts"] == {
        "readings": 35,
        "due": 48,
        "observed": 30,
        "good": 28,
        "unevaluated": 3,
        "suspect": 1,
        "failed": 1,
        "missing": 2,
        "late": 0,
        "duplicate": 0,
        "inconsistent": 2,
    }
    shares = [30 / 48, 1 - 2 / 33, 1, 1, 1 - 2 / 35]
    assert row["components"] == pytest.approx(dict(zip(NAMES, shares, strict=True)))
    assert row["score"] == pytest.approx(score(*shares))
    assert (row["source"], row["pending"], row["upstream"]) == ("src", 1, None)

    first, second = shell.json("quality", "--by", "day", "--station", "Here")
    assert (first["day"], first["score"]) == ("2024-01-31", 100.0)
    assert second["score"] == pytest.approx(score(6 / 24, 1 - 2 / 6, 1, 1, 1 - 2 / 8))
    (row,) = shell.json("quality", "--by", "series", "--parameter", "no2")
    assert (row["station"], row["sensor"], row["unit"]) == ("There", "b", "ppb")
    assert row["score"] is None
    assert row["components"]["completeness"] is None
    assert row["counts"]["readings"] == 3
    assert [r["parameter"] for r in shell.json("quality", "--by", "parameter")] == ["no2", "pm25"]
    assert [r["station"] for r in shell.json("quality", "--by", "station")] == ["Here", "There"]


def test_the_table_has_bars(shell: Shell, filled: SQLiteStore) -> None:
    """Per cent with a bar each, a dash where nothing was due; what waits is said beside it."""
    assess(filled)
    head, here, there = shell("quality", "--by", "station").splitlines()
    assert head.split() == [
        *"source station readings score".split(),  # noqa: SIM905
        *NAMES,
        *"good not evaluated suspect failed missing".split(),  # noqa: SIM905
    ]
    assert re.search(r"62\.5 ██▌ +93\.3 ███▋ +100\.0 ████ +100\.0 ████ +93\.7 ███▊", here)
    assert here.index("██▌") == head.index("completeness") + len("completeness") - 4
    assert re.search(r"There +3 +- +- +100", re.sub(r"[█▉▊▋▌▍▎▏]", "", there))
    assert "1 series with readings that the next run will assess" in shell.err


def test_only_all_of_it_is_shown_as_all_of_it() -> None:
    """Scores and shares are rounded down."""
    shown = {100.0: "100.0", 99.99: "99.9", 98.3: "98.3", 100 * 0.29: "29.0", 0.0: "0.0", None: "-"}
    assert {figure: tenth(figure) for figure in shown} == shown


def test_a_time_means_its_whole_day(shell: Shell, filled: SQLiteStore) -> None:
    """The days in which the ends lie are counted, and no other."""
    assess(filled)

    def days(since: float, until: float) -> list[str]:
        rows = shell.json("quality", "--by", "day", "--since", iso(at(since)), "--until", iso(at(until)))
        return [row["day"] for row in rows]

    assert days(0, 24) == ["2024-01-31"]
    assert days(23, 25) == ["2024-01-31", "2024-02-01"]
    assert days(24, 48) == ["2024-02-01"]
    assert days(48, 72) == []
    shell("quality", "--since", iso(at(48)), "--station", "Here")
    assert "nothing was assessed in this time" in shell.err


def test_runs_have_their_own_rows(shell: Shell, filled: SQLiteStore) -> None:
    """With the score that was stored, the newest first; of series they know nothing."""
    loading = Loading(filled)
    loading.commit([(PM25, 11, 1.0)])
    loading.finish(quality=50.0)
    loading.lease.release()
    newest, first = shell.json("quality", "--by", "run")
    assert (newest["run"], newest["score"], first["run"], first["score"]) == (2, 50.0, 1, 97.5)
    assert first["components"]["validity"] == 1.0
    assert first["counts"]["good"] is None
    assert shell.json("quality", "--by", "run", "--until", iso(at(-1))) == []
    assert "50.0 ████" in shell("quality", "--by", "run")
    shell("quality", "--by", "run", "--station", "Here", code=2)
    assert "whole runs" in shell.err


def test_flags_of_the_source_are_counted(shell: Shell, filled: SQLiteStore) -> None:
    """On request, where they are: by series and by day."""

    def third(_: object, readings: Readings, __: object) -> tuple[UInt8, UInt32]:
        odd = readings.time // HOUR % 3 == 0
        return readings.flag, (odd * Check.UPSTREAM).astype("u4")

    loading = Loading(filled)
    loading.commit([(NO2, hour, 1.0) for hour in range(22, 28)], check=Checks(third))
    loading.finish()
    loading.lease.release()
    assess(filled)
    by_day = shell.json("quality", "--by", "day", "--upstream")
    assert [(row["day"], row["upstream"]) for row in by_day] == [("2024-01-31", 1), ("2024-02-01", 1)]
    by_series = shell.json("quality", "--by", "series", "--upstream")
    assert [(row["sensor"], row["upstream"]) for row in by_series] == [("a", 0), ("b", 2)]
    assert shell("quality", "--upstream").splitlines()[0].endswith("missing  upstream")


def test_all_ways_of_counting_agree_after_a_run(shell: Shell) -> None:
    """Every reading of a run is in one series, one day and one station, with the flag that it has."""
    flaws = "{gaps: 0.05, duplicates: 0.05, sentinels: 0.03, spikes: 0.05}"
    (shell.folder / "config.yaml").write_text(
        "store: sqlite:///loader.db\n"
        f"sources: {{demo: {{type: simulator, stations: 2, initial: 4d, flaws: {flaws}}}}}\n"
    )
    shell("run")
    flags = Counter(row["flag"] for row in csv.DictReader(shell("export").splitlines()))
    (whole,) = shell.json("quality")
    names = {"1": "good", "2": "unevaluated", "3": "suspect", "4": "failed", "9": "missing"}
    assert {flag: whole["counts"][name] for flag, name in names.items() if flags[flag]} == flags
    assert flags["1"]
    assert flags["9"]
    assert whole["counts"]["duplicate"] > 0
    assert whole["pending"] == 0
    for by in ("station", "parameter", "series", "day"):
        rows = shell.json("quality", "--by", by)
        assert len(rows) > 1
        sums: Counter[str] = Counter()
        for row in rows:
            sums.update(row["counts"])
        assert sums == Counter(whole["counts"]), by
        for name, share in whole["components"].items():
            parts = [row["components"][name] for row in rows if row["components"][name] is not None]
            assert min(parts) - 1e-9 <= share <= max(parts) + 1e-9, (by, name)
    (run,) = shell.json("quality", "--by", "run")
    assert run["counts"]["missing"] == flags["9"]


def test_nothing_to_show_is_said(shell: Shell) -> None:
    """Before the first run each of the commands says what to do, and its JSON is an empty list."""
    for name in ("quality", "anomalies", "drift"):
        assert shell(name) == ""
        assert "nothing has been loaded yet" in shell.err
        assert shell.json(name) == []
    assert shell.json("quality", "--by", "run") == []


def test_options_stand_with_their_command(shell: Shell) -> None:
    """One before the subcommand would have no effect: it is refused."""
    shell("quality", "--by", "day", "export", code=2)
    assert "--by stands before export" in shell.err
    assert json.loads(shell("quality", "export"))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "    "),
        (1e-9, "▏   "),
        (0.5, "██  "),
        (0.54, "██▏ "),
        (0.9999, "███▉"),
        (1, "████"),
        (7, "████"),
    ],
)
def test_a_bar_is_full_only_at_the_end(share: float, text: str) -> None:
    """And shows anything that is more than nothing."""
    assert bar(share, 4) == text


def test_bars_without_blocks(shell: Shell, filled: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the encoding lacks them."""
    assess(filled)
    monkeypatch.setattr("sys.stdout", open(1, "w", encoding="latin-1", closefd=False))  # noqa: SIM115
    out = shell("quality")
    assert re.search(r"62\.5 ## ", out)
    assert out.isascii()

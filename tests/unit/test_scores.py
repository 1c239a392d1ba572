"""Readings judged portion by portion get the scores that they get all at once."""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from builders import Loading, at, series

from loader.export import Extra, Form, Layout, Style, export
from loader.quality.anomaly import DETECTORS, Detector, RobustZScore, find, zscores
from loader.quality.reference import Season
from loader.readings import DAY, HOUR, Bool, Check, Float64, Int64, Readings, Series, UInt8, UInt32, Window
from loader.scores import Track, anomalies
from loader.stores.sqlite import SQLiteStore
from tests.checks import Checks

ALWAYS = Window(-(2**62), 2**62)
SHORT = Season(periods=3, recent=12 * HOUR, minimum=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(tmp_path / "loader.db")
    made.migrate()
    yield made
    made.close()


def wavy(seed: int, days: int, step: int = HOUR) -> tuple[Int64, Float64, UInt8]:
    """A day's rhythm with noise, values far out, gaps, missing values and flags."""
    rng = np.random.default_rng(seed)
    times = np.arange(step, days * DAY, step)
    times = times[rng.random(len(times)) > 0.1]
    values = 20 + 10 * np.sin(2 * np.pi * times / DAY) + rng.normal(0, 1, len(times))
    values[rng.random(len(times)) < 0.005] *= 10
    values[rng.random(len(times)) < 0.01] *= 1000
    values[rng.random(len(times)) < 0.02] = np.nan
    flags = rng.choice([1, 1, 1, 1, 2, 3, 4], len(times)).astype(np.uint8)
    flags[np.isnan(values)] = 9
    return times, values, flags


@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 6 * 48), max_size=6),
    skipped=st.integers(0, 2 * 48),
    step=st.sampled_from([HOUR // 2, HOUR, 5 * HOUR]),
    season=st.sampled_from([SHORT, Season(cell=2 * HOUR, periods=2, recent=DAY, minimum=3)]),
)
def test_a_score_does_not_depend_on_the_cuts(
    seed: int, cuts: list[int], skipped: int, step: int, season: Season
) -> None:
    """Wherever the portions end, and whichever beginning is context only."""
    detector = RobustZScore(season)
    times, values, flags = wavy(seed, 6, step)
    whole = detector.judge(times, values, flags)
    track = Track(detector)
    skipped = min(skipped, len(times))
    track.keep(times[:skipped], values[:skipped], flags[:skipped])
    edges = sorted({skipped, len(times), *(skipped + cut for cut in cuts if skipped + cut < len(times))})
    for begin, end in pairwise(edges):
        part = slice(begin, end)
        found = track.judge(times[part], values[part], flags[part])
        np.testing.assert_array_equal(found.score, whole.score[part])
        np.testing.assert_array_equal(found.expected, whole.expected[part])


def judged(store: SQLiteStore, detector: Detector, id_: int) -> tuple[Int64, Float64]:
    """Times and scores of a whole stored series, by the detector itself."""
    every = Readings.concat(list(store.scan([id_], ALWAYS)))
    return every.time, zscores(every.time, every.value, every.flag, detector)[0]


def loaded(store: SQLiteStore, days: int, step: int) -> tuple[Series, Series]:
    """Two sensors of a station, a third of their readings flagged."""
    listed = (series("a"), series("b", parameter="o3", unit="ppb", partition="p-b"))
    loading = Loading(store)
    rows = []
    for seed, one in enumerate(listed):
        times, values, _ = wavy(seed, days, step)
        rows += [(one, t / HOUR, None if np.isnan(v) else v) for t, v in zip(times, values, strict=True)]

    def some(_: Sequence[Series], readings: Readings, __: Bool) -> tuple[UInt8, UInt32]:
        third = readings.time // step % 3 == 0
        flag = np.where(np.isnan(readings.value), 9, np.where(third, 3, 1)).astype(np.uint8)
        return flag, np.where(flag == 3, Check.SPIKE | Check.RATE, 0).astype(np.uint32)

    loading.commit(rows, check=Checks(some))
    return listed


def rows_of(store: SQLiteStore, window: Window, **style: object) -> list[dict[str, str]]:
    text = b"".join(export(store, store.series(None), window, Style(**style)))  # type: ignore[arg-type]
    return list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))


@pytest.mark.parametrize("step", [HOUR, 4 * 60 * 1_000_000])
def test_an_export_scores_as_the_detector_does(store: SQLiteStore, step: int) -> None:
    """In one block or several, from the start or from the middle: the same row, the same score."""
    loaded(store, 32, step)
    expected: dict[tuple[str, float], tuple[str, str]] = {}
    for one in store.series(None):
        for time, score in zip(*judged(store, DETECTORS["robust_zscore"], one.id), strict=True):
            alert = "" if np.isnan(score) else str(int(abs(score) >= 4))
            expected[one.series.sensor, time] = ("" if np.isnan(score) else repr(float(score)), alert)
    assert {"0", "1", ""} == {alert for _, alert in expected.values()}
    extras = (Extra.ZSCORE, Extra.ALERT)
    whole = rows_of(store, ALWAYS, extras=extras)
    assert [*whole[0]][-2:] == ["zscore", "alert"]
    stamp = np.array([r["time"].removesuffix("Z") for r in whole], "M8[us]").astype(np.int64).tolist()
    got = {(r["sensor"], t): (r["zscore"], r["alert"]) for r, t in zip(whole, stamp, strict=True)}
    assert got == expected
    by_key = {(r["sensor"], r["time"]): r for r in whole}
    start = random.Random(step).uniform(0, 31)
    window = Window(at(24 * start), at(24 * (start + 1)))
    part = rows_of(store, window, extras=extras)
    assert part
    assert all(by_key[r["sensor"], r["time"]] == r for r in part), f"day {start}"


def test_extra_columns_stand_beside_their_parameter(store: SQLiteStore) -> None:
    """In the order asked for; in JSON they are numbers, booleans and lists."""
    loaded(store, 3, HOUR)
    every = (Extra.TESTS, Extra.ALERT, Extra.ZSCORE)
    wide = rows_of(store, ALWAYS, layout=Layout.WIDE, flags=True, extras=every)
    kinds = ["", " flag", "_tests", "_alert", "_zscore"]
    assert [*wide[0]] == ["source", "station", "time", *(n + k for n in ("o3", "pm25") for k in kinds)]
    long = rows_of(store, ALWAYS, extras=every)
    cells = {
        (r["time"], r["parameter"]): (r["value"], r["flag"], r["tests"], r["alert"], r["zscore"])
        for r in long
    }
    for row in wide:
        for name in ("o3", "pm25"):
            assert cells.get((row["time"], name), ("",) * 5) == tuple(row[name + k] for k in kinds)
    assert {(r["flag"], r["tests"]) for r in long} == {("1", ""), ("3", "spike,rate"), ("9", "")}

    text = b"".join(export(store, store.series(None), ALWAYS, Style(Form.JSON, extras=every)))
    objects = json.loads(text)
    assert [*objects[0]][-3:] == [*every]
    assert len(objects) == len(long)
    for row, one in zip(long, objects, strict=True):
        assert one["tests"] == [name for name in row["tests"].split(",") if name]
        assert one["alert"] == {"": None, "0": False, "1": True}[row["alert"]]
        assert one["zscore"] == (float(row["zscore"]) if row["zscore"] else None)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_search_finds_what_one_look_at_everything_finds(store: SQLiteStore, name: str) -> None:
    """Over stored readings, in a window with what was before it as context."""
    loaded(store, 32, HOUR)
    detector = DETECTORS[name]
    window = Window(at(24 * 20.3), at(24 * 31))
    for one in store.series(None):
        every = Readings.concat(list(store.scan([one.id], ALWAYS)))
        whole = find(detector, every.time, every.value, every.flag)
        wanted = [a for a in whole if window.start < a.time <= window.end]
        assert list(anomalies(store, one, window, [detector])) == wanted
        if name != "zscore":
            assert wanted
    assert not list(anomalies(store, one, Window(at(-10), at(-5)), [detector]))

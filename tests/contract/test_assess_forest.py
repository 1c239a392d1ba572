"""The isolation forest of a station: when it is fitted, what it judges, how it is kept."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import Loading, Row, at, series
from stores import AnyStore

from loader.assess import Assessor, Left
from loader.findings import FoundAnomaly, Model
from loader.quality import forest
from loader.quality.checks import Checks
from loader.quality.rules import Rule
from loader.readings import DAY
from loader.settings.analysis import AnomalySettings, DriftSettings, ForestSettings

pytest.importorskip("sklearn", reason="the extra `analysis` is not installed")

pytestmark = pytest.mark.slow

SENSORS = [series(f"s{i}", parameter=f"p{i}", cadence_s=3600.0) for i in range(4)]
FOREST = "isolation_forest"
ON = AnomalySettings(forest=ForestSettings(enabled=True, healthy=14 * DAY, refit=7 * DAY))


def assess(loading: Loading, settings: AnomalySettings = ON, **more: Any) -> Left:
    made = Assessor(settings, DriftSettings(enabled=False), Checks(lambda _: Rule()), **more)
    return made(loading.store, loading.lease, threading.Event(), lambda: None)


def station(first: int, last: int) -> list[Row]:
    """Hourly readings of four sensors that follow one another, from hour `first` to `last`."""
    rows: list[Row] = []
    for hour in range(first, last + 1):
        chance = np.random.default_rng(hour)
        common = 20 + 8 * np.sin(hour * np.pi / 12) + chance.normal(0, 2)
        rows += [
            (one, hour, float((i + 1) * common + chance.normal(0, 0.5))) for i, one in enumerate(SENSORS)
        ]
    return rows


def model(store: AnyStore) -> Model:
    (found,) = store.models("src")
    return found


def anomalies(store: AnyStore) -> list[FoundAnomaly]:
    return [one for one in store.anomalies("src", -(2**60), 2**60) if one.detector == FOREST]


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    made = Loading(store)
    made.commit(station(1, 15 * 24))
    assess(made)
    return made


def test_a_forest_is_fitted_on_the_latest_weeks_and_kept(loading: Loading) -> None:
    """It holds all sensors of the station, ends with the newest whole hour, and judges nothing yet."""
    kept = model(loading.store)
    assert (kept.station, kept.detector, kept.sensors) == ("st1", FOREST, (1, 2, 3, 4))
    assert (kept.fitted_from, kept.fitted_to) == (at(25) - 1, at(15 * 24))
    assert forest.load(kept.data).version == kept.version
    assert anomalies(loading.store) == []


def test_a_sensor_at_odds_with_the_others_is_named(loading: Loading) -> None:
    """What none of them shows alone is an anomaly of the sensor that the others do not explain, told
    with what they let expect; twelve in a run alert, of that series alone."""
    rows = station(15 * 24 + 1, 16 * 24)
    wrong = {15 * 24 + h for h in range(1, 25, 2)}
    spoilt = [(one, h, 70.0 - v if one is SENSORS[1] and h in wrong and v else v) for one, h, v in rows]
    loading.commit(spoilt)
    assess(loading)
    found = anomalies(loading.store)
    assert {one.series_id for one in found} == {2}
    assert {one.time for one in found} <= {at(h) for h in wrong}
    assert len(found) > 6
    part = json.loads(found[0].explanation)["parts"][0]
    truth = {at(h): v for one, h, v in rows if one is SENSORS[1]}
    assert part["series_id"] == 2
    assert abs(part["expected"] - truth[found[0].time]) < abs(part["value"] - truth[found[0].time])
    there = {one.series_id: one for one in loading.store.standings("src") if one.detector == FOREST}
    assert set(there) == {1, 2, 3, 4}
    assert {number for number, one in there.items() if one.alerting} <= {2}
    assert all(one.seen == at(16 * 24) for one in there.values())


def test_hour_by_hour_finds_what_one_day_does(loading: Loading) -> None:
    """An hour is judged once it is over, whenever that is."""
    rows = station(15 * 24 + 1, 16 * 24)
    spoilt = [(one, h, 3 * v if one is SENSORS[2] and h % 5 == 0 and v else v) for one, h, v in rows]
    for hour in range(15 * 24 + 1, 16 * 24 + 1):
        loading.commit([row for row in spoilt if row[1] == hour])
        assess(loading)
    steps = anomalies(loading.store)
    assert steps
    detector = forest.load(model(loading.store).data)
    times = np.array([at(h) for h in range(15 * 24 + 1, 16 * 24 + 1)], np.int64)
    table = np.array([v for _, _, v in spoilt], np.float64).reshape(-1, 4)
    scores = detector.score(times, table)
    assert [one.time for one in steps] == times[scores >= detector.threshold].tolist()


def test_it_is_fitted_again_when_it_is_due(loading: Loading) -> None:
    """Not the day after, but when `refit` has passed since the stretch it was fitted on."""
    first = model(loading.store)
    loading.commit(station(15 * 24 + 1, 16 * 24))
    assess(loading)
    assert model(loading.store) == first
    loading.commit(station(16 * 24 + 1, 22 * 24))
    assess(loading)
    assert model(loading.store).fitted_to == at(22 * 24)


def test_a_stretch_that_is_not_healthy_is_not_fitted_on(store: AnyStore) -> None:
    """With a fifth of the readings missing there is no forest, nor on a week of them, nor where it is
    not asked for."""
    loading = Loading(store)
    rows = station(1, 15 * 24)
    holes: list[Row] = [(one, h, None if h % 5 == 0 else v) for one, h, v in rows]
    loading.commit(holes)
    assess(loading)
    assert store.models("src") == []
    loading.commit(rows)
    assess(loading, AnomalySettings())
    assert store.models("src") == []
    loading.commit(station(15 * 24 + 1, 15 * 24 + 1))
    assess(loading, replace_healthy(20 * DAY))
    assert store.models("src") == []
    loading.commit(station(15 * 24 + 2, 15 * 24 + 2))
    assess(loading)
    assert model(store).sensors == (1, 2, 3, 4)


def replace_healthy(length: int) -> AnomalySettings:
    return AnomalySettings(forest=ForestSettings(enabled=True, healthy=length))


def test_a_stored_forest_that_is_damaged_is_fitted_anew(loading: Loading) -> None:
    """Bytes that are no forest are said in the log and replaced."""
    kept = model(loading.store)
    loading.store.put_model(loading.lease, replace(kept, data=b"rubbish", version="old"))
    loading.commit(station(15 * 24 + 1, 15 * 24 + 2))
    assess(loading)
    assert forest.load(model(loading.store).data).fitted_to == at(15 * 24 + 2)


def test_without_the_extra_it_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Where scikit-learn is not installed, the configuration is told to be wrong before any run."""
    import importlib.util

    from loader import wiring
    from loader.commands.check import look
    from loader.commands.context import Context
    from loader.errors import ConfigError

    path = tmp_path / "config.yaml"
    path.write_text(
        "store: sqlite:///x.db\nsources: {demo: {type: simulator}}\nanomalies: {forest: {enabled: true}}\n"
    )
    config = wiring.load_config(path)
    wiring.build_assessor(config, "demo")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"anomalies\.forest.*sensor-loader\[analysis\]"):
        wiring.build_assessor(config, "demo")
    *_, found = look(Context(path), ())
    assert (found.subject, found.ok, "sensor-loader[analysis]" in found.detail) == ("config", False, True)


def test_a_station_unfit_for_a_forest_keeps_no_series_from_being_assessed(store: AnyStore) -> None:
    """Though its weeks alone are more than one assessment looks at, a series is done each time."""
    made = Loading(store)
    made.commit([(one, hour, None if hour % 2 else v) for one, hour, v in station(1, 15 * 24)])
    for done in range(1, len(SENSORS) + 1):
        assess(made, rows=100)
        assert len({one.series_id for one in store.standings("src")}) == done
    assert store.models("src") == []

"""The anomalies and the drift that are found after runs, on every store."""

from __future__ import annotations

import pytest
from assessing import S1, air, assess, found, spoilt, standings, steps_of
from builders import Loading, at
from stores import AnyStore

from loader.settings.analysis import AnomalySettings


@pytest.fixture
def loading(store: AnyStore) -> Loading:
    return Loading(store)


def test_many_anomalies_in_one_run_alert_and_say_what_was_seen(loading: Loading) -> None:
    """Twelve wrong hours alert at once; good ones in as many runs as are remembered end it."""
    rows = air(which=[S1], days=30)
    last = 30 * 24
    clean = [row for row in rows if row[1] <= last - 48]
    loading.commit(clean)
    assess(loading)
    assert not any(one.alerting for one in standings(loading.store).values())
    wrong = range(last - 47, last - 24, 2)
    loading.commit([row for row in spoilt(rows, wrong, 1000) if last - 48 < row[1] <= last - 24])
    assess(loading)
    there = standings(loading.store)
    assert there["robust_zscore"].alerting
    assert there["unit_scale"].alerting
    assert "anomalies, the newest at" in there["robust_zscore"].detail
    assert "expected" in there["unit_scale"].detail
    assert there["robust_zscore"].since == at(last - 24)
    for row in [row for row in rows if row[1] > last - 24][:10]:
        loading.commit([row])
        assess(loading, anomalies=AnomalySettings(memory=6))
    assert not any(one.alerting for one in standings(loading.store).values())


def test_an_anomaly_counts_once(loading: Loading) -> None:
    """A wrong hour is judged again whenever a reading before it changes, but it is one of one run."""
    rows = air(which=[S1], days=30)
    loading.commit(spoilt(rows, [29 * 24 + 12]))
    assess(loading)
    before = standings(loading.store)["robust_zscore"]
    assert (before.latest, before.alerting) == (1, False)
    for value in (19.0, 20.0, 21.0, 22.0):
        loading.commit([(S1, 29 * 24 + 3, value)])
        assess(loading)
    assert standings(loading.store)["robust_zscore"] == before
    assert len(found(loading.store)["anomalies"]) == 1


def test_history_that_is_loaded_afterwards_is_not_judged(loading: Loading) -> None:
    """Older weeks full of errors get their days, and no anomaly."""
    rows = air(which=[S1], days=60)
    late = [row for row in rows if row[1] > 30 * 24]
    loading.commit(late)
    assess(loading)
    before = found(loading.store)
    loading.commit(spoilt([row for row in rows if row[1] <= 30 * 24], range(1, 720, 2), 1000))
    assess(loading)
    after = found(loading.store)
    assert len(after["quality"]) == 60
    assert (after["anomalies"], after["standings"]) == (before["anomalies"], before["standings"])


def test_a_series_that_moves_for_good_drifts(loading: Loading) -> None:
    """A shift of many deviations alerts after three daily comparisons in a row, with its figures."""
    rows = [
        (one, hour, value if value is None or hour <= 20 * 24 else value + 40)
        for one, hour, value in air(which=[S1], days=40)
    ]
    began = []
    for day, part in enumerate(steps_of(rows, 28), 27):
        loading.commit(part)
        assess(loading)
        if standings(loading.store)["drift"].alerting:
            began.append(day)
    drifting = [d.time for d in found(loading.store)["drifts"] if d.drifting]
    assert standings(loading.store)["drift"].since == drifting[2] == at((began[0] + 1) * 24)
    assert "median moved by" in standings(loading.store)["drift"].detail


def test_after_a_pause_only_the_newest_days_are_compared(loading: Loading) -> None:
    """Two weeks that come at once bring comparisons of a week at most."""
    rows = air(which=[S1], days=50)
    loading.commit([row for row in rows if row[1] <= 36 * 24])
    assess(loading)
    loading.commit([row for row in rows if row[1] > 36 * 24])
    assess(loading)
    assert [d.time for d in found(loading.store)["drifts"]] == [at(24 * 36)] + [
        at(24 * day) for day in range(44, 51)
    ]

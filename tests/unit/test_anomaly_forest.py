"""The isolation forest of a station: fitted by scikit-learn, kept and scored without it."""

from __future__ import annotations

import builtins
import io
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.errors import ConfigError
from loader.quality import forest
from loader.quality.anomaly import anomalous, find
from loader.quality.forest import Forest, dump, fit, load, moments, path_length, stale
from loader.readings import DAY, HOUR, Float64, Int64

sklearn = pytest.importorskip("sklearn.ensemble", reason="the extra `analysis` is not installed")


def station(n: int, seed: int = 1) -> tuple[Int64, Float64]:
    """Hours of four sensors: three follow one air mass, two of them dust, the third falls as it rises."""
    chance = np.random.default_rng(seed)
    air = np.convolve(chance.normal(0, 1, n + 23), np.ones(24) / 5, "valid")
    noise = chance.normal(0, 0.1, (4, n))
    sensors = (np.exp(2 + air / 2 + noise[0]), np.exp(3 + air / 2 + noise[1]), 60 - 9 * air + noise[2])
    table = np.column_stack([*sensors, 20 + 3 * chance.normal(0, 1, n)])
    return np.arange(1, n + 1, dtype=np.int64) * HOUR, table


HEALTHY = station(24 * 21)
FITTED = fit(*HEALTHY)


def test_scores_are_those_of_scikit_learn() -> None:
    """Our scores of the fitted trees equal its own, to rounding."""
    times, table = station(500, 2)
    offs = np.arcsinh((HEALTHY[1] - FITTED.middle) / FITTED.spread)
    model = sklearn.IsolationForest(n_estimators=100, max_samples=256, random_state=0)
    model.fit(forest._features(offs, FITTED.relation, FITTED.usual))
    new = np.arcsinh((table - FITTED.middle) / FITTED.spread)
    expected = -model.score_samples(forest._features(new, FITTED.relation, FITTED.usual))
    np.testing.assert_allclose(FITTED.score(times, table), expected, rtol=1e-6)


def test_later_weeks_are_ordinary_and_a_broken_relation_is_not() -> None:
    """Healthy weeks have few anomalies; most moments of one at odds with the others are found."""
    times, table = station(24 * 21, 3)
    found = anomalous(FITTED, FITTED.score(times, table))
    assert found.mean() < 0.02
    wrong = np.arange(100, 500, 10)
    table[wrong, 0] *= 30
    named = {a.time: a for a in find(FITTED, times, table)}
    hits = [named[t] for t in times[wrong].tolist() if t in named]
    assert len(hits) > 20
    for anomaly in hits:
        assert (anomaly.detector, anomaly.version) == ("isolation_forest", FITTED.version)
        assert anomaly.score >= FITTED.threshold
        assert len(anomaly.parts) == 3
    worst = [a.parts[0] for a in hits if a.parts[0].sensor == 0]
    assert len(worst) > len(hits) / 2
    for part in worst:
        assert part.value in table[wrong, 0]
        assert part.distance > 6
        assert part.expected < part.value / 2


@settings(max_examples=30)
@given(at=st.integers(0, 49), seed=st.integers(0, 9))
def test_later_moments_never_change_earlier_scores(at: int, seed: int) -> None:
    """Other moments behind one, or none, leave the scores up to it as they are."""
    times, table = station(50, seed)
    scores = FITTED.score(times, table)[: at + 1]
    np.testing.assert_array_equal(scores, FITTED.score(times[: at + 1], table[: at + 1]))
    table[at + 1 :] = -table[at + 1 :]
    np.testing.assert_array_equal(scores, FITTED.score(times, table)[: at + 1])


def test_silence_alone_is_no_anomaly() -> None:
    """A silent sensor is taken at its median; with most of them silent a moment is not judged."""
    times, table = station(200, 4)
    flags = np.ones(table.shape, np.uint8)
    flags[:, 3] = 9
    table[:100, 2] = np.nan
    scores = FITTED.score(times, table, flags)
    assert np.isfinite(scores).all()
    assert not anomalous(FITTED, scores[100:]).any()
    flags[:, 0] = 4
    assert np.isnan(FITTED.score(times, table, flags)[:100]).all()
    distance = FITTED.judge(times, table, flags).distance
    assert np.flatnonzero(np.isfinite(distance[0])).tolist() == [1]
    assert np.flatnonzero(np.isfinite(distance[150])).tolist() == [1, 2]


def test_a_forest_is_stored_whole() -> None:
    """What is loaded scores alike and has the same version; another stretch or threshold has another."""
    again = load(dump(FITTED))
    times, table = station(300, 5)
    assert again.version == FITTED.version
    assert (again.threshold, again.fitted_to) == (FITTED.threshold, HEALTHY[0][-1])
    np.testing.assert_array_equal(again.score(times, table), FITTED.score(times, table))
    assert fit(*HEALTHY).version == FITTED.version
    assert fit(*HEALTHY, seed=1).version != FITTED.version
    assert replace(FITTED, threshold=0.9).version != FITTED.version


def test_stored_bytes_are_not_trusted() -> None:
    """Bytes that are no forest, pickles, other formats and looping trees are refused in plain words."""
    whole = dict(FITTED._arrays())

    def packed(**changed: object) -> bytes:
        file = io.BytesIO()
        np.savez_compressed(file, **{**whole, **changed})  # type: ignore[arg-type]
        return file.getvalue()

    damaged = [
        b"", b"no zip", dump(FITTED)[:-40],
        packed(whole=np.array([99, 0, 0, 256])),
        packed(left=np.zeros_like(FITTED.left)),
        packed(feature=FITTED.feature + 7),
        packed(split=FITTED.split[:-1]),
        packed(roots=FITTED.roots[:0]),
        packed(middle=np.array([{}], object)),
    ]  # fmt: skip
    for stored in damaged:
        with pytest.raises(ValueError, match=r"stored forest: .*fit it again"):
            load(stored)


def test_an_inflated_forest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would unpack to more than the limit is not unpacked."""
    monkeypatch.setattr(forest, "LARGEST", 1000)
    with pytest.raises(ValueError, match="larger than 1000 bytes"):
        load(dump(FITTED))


def test_too_little_to_fit_on() -> None:
    """Fewer moments than a week, or mostly silent ones, give no forest."""
    times, table = station(167)
    with pytest.raises(ValueError, match="167 usable moments, it takes at least 168"):
        fit(times, table)
    times, table = station(300)
    table[:, :3] = np.nan
    with pytest.raises(ValueError, match="0 usable moments"):
        fit(times, table)


def test_another_number_of_sensors_is_refused() -> None:
    """A forest judges only what it was fitted on."""
    with pytest.raises(ValueError, match="fitted on 4 sensors"):
        FITTED.score(HEALTHY[0], HEALTHY[1][:, :3])


def test_flat_and_silent_sensors_do_no_harm() -> None:
    """A sensor that never moved, or never spoke, while the forest was fitted leaves it finite."""
    times, table = station(24 * 21, 6)
    table[:, 2], table[:, 3] = 5.0, np.nan
    made = fit(times, table)
    scores = made.score(*station(100, 7))
    assert np.isfinite(scores).all()
    table[:10, 2] = 1e300
    assert np.isfinite(made.score(times, table)).all()


def test_it_is_time_to_fit_again() -> None:
    """A forest is stale when its stretch ended long enough ago."""
    assert not stale(FITTED, FITTED.fitted_to + 28 * DAY - 1)
    assert stale(FITTED, FITTED.fitted_to + 28 * DAY)
    assert stale(FITTED, FITTED.fitted_to + HOUR, every=HOUR)


def test_sensors_side_by_side() -> None:
    """Each hour has the last usable reading of each sensor; an hour without any has no row."""
    a = np.array([HOUR, HOUR + 1, 2 * HOUR, 5 * HOUR], np.int64)
    b = np.array([5 * HOUR - 1, 2 * HOUR - 1], np.int64)
    ones = [np.array([1, 1, 4, 1], np.uint8), np.ones(2, np.uint8)]
    times, table = moments([a, b], [np.array([1.0, 2, 3, 4]), np.array([5.0, 6])], ones)
    assert times.tolist() == [HOUR, 2 * HOUR, 5 * HOUR]
    np.testing.assert_array_equal(table, [[1, np.nan], [2, 6], [4, 5]])
    assert moments([], [])[1].shape == (0, 0)


def test_path_lengths() -> None:
    """c(n) of the paper: 0, 1, then 2 H(n - 1) - 2 (n - 1) / n."""
    assert path_length(np.array([0, 1, 2])).tolist() == [0, 0, 1]
    harmonic = np.log(255) + 0.5772156649
    assert path_length(np.array([256]))[0] == pytest.approx(2 * harmonic - 2 * 255 / 256)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-learn fitting says what to install, and scoring still works."""
    ordinary = builtins.__import__

    def absent(name: str, *args: object, **kwargs: object) -> ModuleType:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return ordinary(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "sklearn.ensemble")
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"sensor-loader\[analysis\]"):
        fit(*HEALTHY)
    stored: Forest = load(dump(FITTED))
    assert np.isfinite(stored.score(*HEALTHY)).all()

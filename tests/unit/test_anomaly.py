"""The detectors: what they find, what they forgive, and that they never see the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.quality.anomaly import (
    Detector,
    RobustZScore,
    UnitScale,
    ZScore,
    anomalous,
    find,
    zscores,
)
from loader.quality.anomalyrule import AlertRule, AlertState, after_run
from loader.quality.reference import Season
from loader.readings import DAY, HOUR, Float64, Int64, UInt8

SHORT = Season(cell=HOUR, period=6 * HOUR, periods=3, neighbours=1, recent=4 * HOUR, minimum=2)
DETECTORS: list[Detector] = [RobustZScore(), ZScore(), UnitScale()]
QUICK: list[Detector] = [RobustZScore(SHORT), ZScore(SHORT), UnitScale(SHORT)]


def hours(n: int) -> Int64:
    return np.arange(1, n + 1, dtype=np.int64) * HOUR


def dust(n: int, seed: int = 1) -> Float64:
    """Skewed hourly values with a daily and a weekly season and days that are alike."""
    chance = np.random.default_rng(seed)
    t = np.arange(n)
    slow = np.repeat(chance.normal(0, 0.3, n // 24 + 1), 24)[:n]
    season = 0.5 * np.sin(2 * np.pi * t / 24) + 0.2 * (t // 24 % 7 < 5)
    return np.asarray(np.exp(2 + season + slow + chance.normal(0, 0.2, n)), np.float64)


@st.composite
def irregular(draw: st.DrawFn) -> tuple[Int64, Float64, UInt8]:
    """Readings at any times of three days, in any order and with equal times, any values and flags."""
    n = draw(st.integers(1, 60))
    step = draw(st.sampled_from([1, HOUR // 7, HOUR]))
    times = draw(st.lists(st.integers(0, 3 * DAY // step), min_size=n, max_size=n))
    value = st.one_of(
        st.floats(-1e9, 1e9), st.sampled_from([0.0, 1.0, 7.0, 7000.0, float("nan"), float("inf")])
    )
    values = draw(st.lists(value, min_size=n, max_size=n))
    flags = draw(st.lists(st.sampled_from([1, 1, 1, 2, 2, 3, 4, 9]), min_size=n, max_size=n))
    return np.array(times, np.int64) * step, np.array(values, np.float64), np.array(flags, np.uint8)


@pytest.mark.parametrize("detector", QUICK, ids=lambda d: d.name)
@given(readings=irregular(), at=st.integers(0, 3 * DAY), other=irregular())
def test_later_readings_never_change_earlier_scores(
    detector: Detector, readings: tuple[Int64, Float64, UInt8], at: int, other: tuple[Int64, Float64, UInt8]
) -> None:
    """Replacing everything later than a time by other readings leaves the scores up to it as they are."""
    times, values, flags = readings
    early, later = times <= at, other[0] > at
    before = detector.score(times, values, flags)[early]
    mixed = [
        np.concatenate((mine[early], theirs[later])) for mine, theirs in zip(readings, other, strict=True)
    ]
    after = detector.score(*mixed)[: int(early.sum())]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("detector", QUICK, ids=lambda d: d.name)
@given(readings=irregular(), start=st.integers(0, 3 * DAY))
def test_scores_do_not_depend_on_how_the_data_is_cut(
    detector: Detector, readings: tuple[Int64, Float64, UInt8], start: int
) -> None:
    """With the readings of its reach before it, a part of a series has the scores of the whole."""
    times, values, flags = readings
    whole = detector.score(times, values, flags)[times > start]
    near = times > start - detector.reach
    part = detector.score(times[near], values[near], flags[near])[times[near] > start]
    np.testing.assert_array_equal(whole, part)


@pytest.mark.parametrize("detector", QUICK, ids=lambda d: d.name)
@given(readings=irregular(), after=st.integers(0, 3 * DAY))
def test_what_is_only_context_is_not_judged(
    detector: Detector, readings: tuple[Int64, Float64, UInt8], after: int
) -> None:
    """With `after`, later readings have the scores that they have anyway, and the others have none."""
    times, values, flags = readings
    judged = detector.judge(times, values, flags, after)
    whole = detector.judge(times, values, flags)
    later = times > after
    np.testing.assert_array_equal(judged.score[later], whole.score[later])
    np.testing.assert_array_equal(judged.expected[later], whole.expected[later])
    assert np.isnan(judged.score[~later]).all()
    assert find(detector, *readings, after) == [a for a in find(detector, *readings) if a.time > after]


@given(readings=irregular())
def test_unusable_readings_are_not_judged_and_not_judged_by(readings: tuple[Int64, Float64, UInt8]) -> None:
    """Missing, infinite, suspect and failed readings have no score, and leaving them out changes none."""
    times, values, flags = readings
    good = np.isfinite(values) & (flags <= 2)
    for detector in QUICK:
        scores = detector.score(times, values, flags)
        assert np.isnan(scores[~good]).all()
        np.testing.assert_array_equal(scores[good], detector.score(times[good], values[good]))


@settings(max_examples=25)
@given(factor=st.sampled_from([2.0**-20, 0.25, 1024.0, 2.0**30]), seed=st.integers(0, 99))
def test_scores_do_not_depend_on_the_unit(factor: float, seed: int) -> None:
    """The same series in another unit has the same scores."""
    values = dust(200, seed)
    for detector in DETECTORS:
        scores = detector.score(hours(200), values)
        np.testing.assert_allclose(
            detector.score(hours(200), values * factor), scores, rtol=1e-9, atol=1e-12
        )


def test_the_reach_is_exact() -> None:
    """The oldest reading within the reach counts, and one that is older does not."""
    season = Season(cell=HOUR, period=DAY, periods=2, neighbours=0, recent=HOUR, minimum=2)
    detector = ZScore(season)
    assert detector.reach == 49 * HOUR
    now = 100 * HOUR
    oldest = now - detector.reach + 1
    times = np.array([oldest, now - 24 * HOUR, now], np.int64)
    values = np.array([1.0, 2.0, 9.0])
    assert np.isfinite(detector.score(times, values)[2])
    times[0] -= 1
    assert np.isnan(detector.score(times, values)[2])
    assert RobustZScore().reach == 28 * DAY + 2 * HOUR


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_dust_is_no_anomaly_and_a_spike_is(seed: int) -> None:
    """Skew, seasons and dusty days are forgiven for a year; a twentyfold reading is found and explained."""
    values, times = dust(24 * 365, seed), hours(24 * 365)
    detector = RobustZScore()
    assert anomalous(detector, detector.score(times, values)).sum() <= 2
    at = 5000 + seed
    values[at] = 20 * values[at]
    (found,) = (a for a in find(detector, times, values) if a.time == times[at])
    assert (found.detector, found.version) == ("robust_zscore", "1")
    (part,) = found.parts
    assert part.sensor == 0
    assert part.value == values[at]
    assert part.distance == found.score > detector.threshold
    assert 2 < part.expected < 30


def test_what_happens_every_day_is_usual() -> None:
    """A daily peak is no anomaly at its hour; the same value at another hour is one."""
    chance = np.random.default_rng(2)
    n = 24 * 40
    values = 10 + chance.normal(0, 0.3, n)
    values[8::24] += 100
    detector = RobustZScore(Season(recent=HOUR))
    assert not anomalous(detector, detector.score(hours(n), values))[24 * 12 :].any()
    odd = 24 * 35 + 15
    values[odd] += 100
    assert find(detector, hours(n), values, after=24 * 30 * HOUR)[0].time == hours(n)[odd]


def test_an_episode_becomes_usual() -> None:
    """A lasting change of level is an anomaly at first and forgiven once it has filled the recent days."""
    values = dust(24 * 60, 3)
    values[24 * 40 :] *= 30
    detector = RobustZScore()
    found = anomalous(detector, detector.score(hours(len(values)), values))
    assert found[24 * 40 : 24 * 40 + 6].all()
    assert not found[24 * 43 :].any()


def test_up_to_a_quarter_of_the_reference_may_be_wrong() -> None:
    """With every fifth reading a thousandfold, all of those and no others are found."""
    values = dust(24 * 20, 4)
    wrong = np.zeros(len(values), bool)
    wrong[::5] = True
    values[wrong] *= 1000
    detector = RobustZScore()
    found = anomalous(detector, detector.score(hours(len(values)), values))
    after = slice(24 * 4, None)
    np.testing.assert_array_equal(found[after], wrong[after])


@pytest.mark.parametrize(("level", "odd"), [(0.0, 5.0), (20.0, 30.0)])
def test_flat_series(level: float, odd: float) -> None:
    """A series that never moved is judged by its level; one that is 0 throughout has no scale."""
    values = np.full(24 * 10, level)
    values[-1] = odd
    for detector in (RobustZScore(), ZScore()):
        scores = detector.score(hours(len(values)), values)
        if level:
            assert (scores[48:-1] == 0).all()
            assert scores[-1] > detector.threshold
        else:
            assert np.isnan(scores).all()


def test_a_series_at_rest_may_stir() -> None:
    """Where most readings are 0, the others set the scale: one like them is no anomaly."""
    values = np.zeros(24 * 30)
    values[5::17] = np.random.default_rng(5).uniform(1, 6, len(values[5::17]))
    detector = RobustZScore()
    assert not anomalous(detector, detector.score(hours(len(values)), values))[24 * 5 :].any()
    values[-1] = 4000
    assert anomalous(detector, detector.score(hours(len(values)), values))[-1]


def test_wrong_units_are_found_both_ways() -> None:
    """A thousandth and a thousandfold are found, signed, among good readings; a double is not."""
    values = dust(24 * 20, 6)
    values[-4:] = [0.008, 8000, 16, 8]
    detector = UnitScale()
    scores = detector.score(hours(len(values)), values)
    assert anomalous(detector, scores)[-4:].tolist() == [True, True, False, False]
    assert scores[-4] == pytest.approx(-3, abs=0.3)
    assert scores[-3] == pytest.approx(3, abs=0.3)
    assert not anomalous(detector, scores[:-4]).any()


@pytest.mark.parametrize("zeros", [True, False])
def test_a_series_that_knows_zero_or_less_has_no_thousandths(zeros: bool) -> None:
    """Where values reach down to 0 or below, a small one proves nothing."""
    values = dust(24 * 20, 7)
    values[::10] = 0 if zeros else -1
    values[-1] = 0.008
    assert np.isnan(UnitScale().score(hours(len(values)), values)[-1])


def test_too_little_history_is_not_judged() -> None:
    """The first readings have no score, and a gap longer than the reach begins anew."""
    values, times = dust(100), hours(100)
    times[50:] += 40 * DAY
    for detector in DETECTORS:
        scores = detector.score(times, values)
        assert np.isnan(scores[:12]).all()
        assert np.isfinite(scores[12:50]).all()
        assert np.isnan(scores[50:62]).all()
        assert np.isfinite(scores[62:]).all()
        assert len(detector.score(times[:0], values[:0])) == 0
        assert find(detector, times[:0], values[:0]) == []


def test_far_apart_readings_take_no_more_memory() -> None:
    """Readings over ages are judged like any others, without a table of all hours between them."""
    times = np.concatenate((hours(100), hours(100) + 500_000 * DAY))
    values = np.tile(dust(100), 2)
    for detector in DETECTORS:
        scores = detector.score(times, values)
        np.testing.assert_array_equal(scores[:100], scores[100:])


def test_values_at_the_ends_of_float64_are_no_error() -> None:
    """Huge and tiny values give finite scores or none, without a warning."""
    values = np.tile([1e308, -1e308, 1e-308, 5e-324, 0.0, 1.0], 40)
    for detector in DETECTORS:
        for series in (values, values * 0 + 5e-324, np.r_[values * 1e-300, 1e308]):
            scores = detector.score(hours(len(series)), series)
            assert not np.isinf(scores).any()


def test_z_scores_for_an_export() -> None:
    """An export's columns are the scores and their verdicts, by the robust z-score unless told."""
    values, times = dust(24 * 10), hours(24 * 10)
    values[-1] *= 50
    score, alert = zscores(times, values)
    np.testing.assert_array_equal(score, RobustZScore().score(times, values))
    assert alert.tolist() == [False] * (len(values) - 1) + [True]
    plain, _ = zscores(times, values, detector=ZScore())
    assert plain[-1] != score[-1]


def test_the_plain_z_score_is_the_textbook_one() -> None:
    """(x - mean) / standard deviation of the earlier readings."""
    season = Season(cell=HOUR, period=DAY, periods=1, neighbours=0, recent=2 * DAY, minimum=12)
    values = np.random.default_rng(8).normal(50, 5, 30)
    scores = ZScore(season).score(hours(30), values)
    before = values[:20]
    assert scores[20] == pytest.approx((values[20] - before.mean()) / before.std(ddof=1))


def test_a_season_must_fit() -> None:
    """Lengths that are no whole numbers of cells are refused by name."""
    for wrong in (
        {"period": HOUR + 1},
        {"recent": 1},
        {"cell": 0},
        {"periods": 0},
        {"minimum": 1},
        {"neighbours": 24},
    ):
        with pytest.raises(ValueError, match="season: "):
            Season(**wrong)


def counts(rule: AlertRule, runs: list[tuple[int, int]]) -> list[bool]:
    """Whether it alerts after each run of (judged, anomalies)."""
    state, states = AlertState(), []
    for judged, anomalies in runs:
        state = after_run(rule, state, judged, anomalies)
        states.append(state.alerting)
    return states


def test_more_than_the_rate_alerts_at_once() -> None:
    """Ten anomalies in a run are let pass, eleven alert, and it is over after quiet runs only."""
    rule = AlertRule(rate=10, persistence=2, memory=3)
    assert counts(rule, [(99, 10), (99, 0), (99, 0), (99, 0), (99, 11)]) == [False] * 4 + [True]
    assert counts(rule, [(99, 11), (99, 0), (99, 0), (99, 0)]) == [True, True, True, False]


def test_persistence_counts_runs_and_skips_empty_ones() -> None:
    """Few anomalies alert when they come back within the memory; runs that judged nothing do not count."""
    rule = AlertRule(rate=10, persistence=2, memory=3)
    assert counts(rule, [(9, 1), (9, 0), (9, 0), (9, 1)]) == [False] * 4
    assert counts(rule, [(9, 1), (9, 0), (0, 0), (0, 0), (9, 1)]) == [False] * 4 + [True]
    assert counts(rule, [(9, 1), (9, 1), (0, 0), (9, 0), (9, 0), (9, 0)])[-2:] == [True, False]


def test_an_impossible_rule_is_refused() -> None:
    """More runs than are remembered cannot be asked for."""
    for wrong in ({"rate": -1}, {"persistence": 0}, {"persistence": 9, "memory": 8}, {"memory": 63}):
        with pytest.raises(ValueError, match="alert rule: "):
            replace(AlertRule(), **wrong)

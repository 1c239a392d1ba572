"""Thresholds learned from history: what they are made of, and that they leave it alone."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.quality.checks import Checks
from loader.quality.fences import FAIL, LEAST, SUSPECT, TAIL, rounded
from loader.quality.suggest import KEPT, Learned, Learner, as_settings
from loader.readings import HOUR, SECOND, Check, Flag, Float64, Readings, Series
from loader.settings.quality import QualitySettings, SourceQuality
from loader.settings.rules import rule_of

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "openaq"

STATED, STATED_CLIMATOLOGY = 0.005, 0.025
"""The share of their own history that suggested rules flag at most, as the documentation says."""

ZERO = 1_704_067_200 * SECOND
"""2024-01-01T00:00:00Z."""

SERIES = Series("s", "thing", "u", station="st", partition="p", cadence_s=3600.0)


def hourly(value: Sequence[float] | Float64, flag: int = Flag.GOOD) -> Readings:
    """One reading an hour."""
    n = len(value)
    return Readings.of(np.zeros(n), ZERO + np.arange(n) * HOUR, np.array(value), flag=np.full(n, flag))


def learned(readings: Readings, *, cadence: int = HOUR, **more: bool) -> Learned | None:
    learner = Learner(**more)
    learner.add(7, cadence, readings)
    return learner.learned()


def certain(readings: Readings, **more: bool) -> Learned:
    found = learned(readings, **more)
    assert found is not None
    return found


def checks(found: Learned, parameter: str = "thing", unit: str = "u") -> Checks:
    """The checks of a configuration that says what was learned and nothing else."""
    rule = {parameter: {"units": {unit: as_settings(found)}}}
    return Checks(rule_of(QualitySettings.model_validate({"parameters": rule}), SourceQuality()))


def objected(check: Checks, series: Series, readings: Readings) -> int:
    """How many usable readings are suspect or fail."""
    flag, _ = check([series], readings, np.zeros(len(readings), bool))
    usable = (readings.flag == Flag.GOOD) | (readings.flag == Flag.NOT_EVALUATED)
    return int(np.count_nonzero(usable & ((flag == Flag.SUSPECT) | (flag == Flag.FAIL))))


def walk(draw: np.random.Generator, n: int) -> Float64:
    return np.cumsum(draw.normal(size=n))


SHAPES: dict[str, Callable[[np.random.Generator, int], Float64]] = {
    "normal": lambda draw, n: draw.normal(20, 5, n),
    "lognormal": lambda draw, n: draw.lognormal(2, 1, n),
    "cauchy": lambda draw, n: draw.standard_cauchy(n),
    "mostly 0": lambda draw, n: np.where(draw.random(n) < 0.95, 0.0, draw.exponential(5, n)),
    "rarely not 0": lambda draw, n: np.where(draw.random(n) < 0.9995, 0.0, draw.exponential(5, n)),
    "two levels": lambda draw, n: np.where(np.arange(n) // 50 % 2, 10.0, 20.0) + draw.normal(0, 0.1, n),
    "whole numbers": lambda draw, n: draw.poisson(3, n).astype(float),
    "walk": walk,
    "minute": lambda draw, n: draw.normal(0, 1e-7, n),
    "enormous": lambda draw, n: draw.normal(0, 1e12, n),
    "too large to add": lambda draw, n: draw.uniform(-1, 1, n) * 1.7e308,
    "negative": lambda draw, n: -draw.lognormal(3, 1, n),
    "constant": lambda draw, n: np.full(n, 3.0) + 0 * draw.random(n),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_learned_leaves_its_history_alone(shape: str) -> None:
    """Whatever values are like, of those that rules come from no more than the stated share is flagged."""
    for seed in range(5):
        readings = hourly(SHAPES[shape](np.random.default_rng(seed), 9000))
        for more, stated in (({}, STATED), ({"climatology": True}, STATED_CLIMATOLOGY)):
            found = certain(readings, attenuated=True, **more)
            flagged = objected(checks(found), SERIES, readings) / len(readings)
            assert flagged <= found.share + 1e-9, f"seed {seed}: the share that is told is an upper bound"
            assert found.share <= stated, f"seed {seed}"


def test_the_fences_are_where_the_formula_says() -> None:
    """An edge, and beyond it 1.5 and 3 times its distance from the median, rounded outwards."""
    value = np.random.default_rng(1).permutation(np.arange(5001.0))
    found = certain(hourly(value))
    low, middle, high = 5, 2500, 4995
    assert (SUSPECT, FAIL, TAIL) == (1.5, 3, 0.001)
    assert found.suspect == (rounded(low - 1.5 * 2495, up=False), rounded(high + 1.5 * 2495, up=True))
    assert found.fail == (rounded(low - 3 * (middle - low), up=False), rounded(high + 3 * 2495, up=True))
    assert found.suspect == (-3738, 8738)

    rate = np.abs(np.diff(value))
    edge, middle = np.quantile(rate, [0.999, 0.5])
    assert found.rate is not None
    assert found.rate.suspect == rounded(edge + 1.5 * (edge - middle), up=True)
    assert found.rate.fail == rounded(edge + 3 * (edge - middle), up=True)

    peaks = [
        max(0, min(b - a, b - c), min(a - b, c - b))
        for a, b, c in zip(value, value[1:], value[2:], strict=False)
    ]
    edge, middle = np.quantile(peaks, [0.999, 0.5])
    assert found.spike is not None
    assert found.spike.suspect == rounded(edge + 1.5 * (edge - middle), up=True)


def test_a_rate_is_an_hour_whatever_the_cadence() -> None:
    """Readings ten times as often change ten times as fast."""
    value = np.random.default_rng(2).normal(size=3000)
    slow = hourly(value)
    fast = Readings(slow.series, ZERO + np.arange(3000) * HOUR // 10, slow.value, slow.flag, slow.tests)
    a, b = certain(slow).rate, certain(fast).rate
    assert a is not None
    assert b is not None
    assert b.suspect == pytest.approx(10 * a.suspect, rel=0.02)


def test_the_longest_stretch_that_stood_still_counts() -> None:
    """Twice and four times as long as the longest run, missing values in it included; what failed
    ends it."""
    value = np.arange(1000.0) % 17
    value[100:113] = 5.5
    assert certain(hourly(value)).still == (24 * HOUR, 48 * HOUR)
    gone = hourly(value)
    gone.value[105] = np.nan
    gone.flag[105] = Flag.MISSING
    assert certain(gone).still == (24 * HOUR, 48 * HOUR)
    gone.flag[109] = Flag.FAIL
    assert certain(gone).still == (16 * HOUR, 32 * HOUR)
    value[300:340] = 7.5
    stuck = hourly(value)
    stuck.flag[330:340] = Flag.SUSPECT
    stuck.tests[330:340] = Check.FLAT
    assert certain(stuck).still == (24 * HOUR, 48 * HOUR), "what a flat line ends is no stillness to expect"
    stuck.tests[330:340] = Check.SPIKE
    assert certain(stuck).still == (58 * HOUR, 116 * HOUR)
    value[300:340] = np.arange(40)
    fast = hourly(value)
    fast.time[:] = ZERO + np.arange(1000) * (HOUR // 4)
    assert certain(fast).still == (6 * HOUR, 12 * HOUR), "four readings an hour where one was said"
    without = learned(hourly(value), cadence=0)
    assert without is not None
    assert without.still is None, "without a cadence nothing is said"


def test_a_value_has_to_move_half_of_what_it_nearly_always_does() -> None:
    """A half and a quarter of the highest less the lowest of a day that one in a thousand days has less of;
    a sensor that begins to creep is then found, and where some days stand still nothing is said."""
    hours = np.arange(24 * 200)
    value = 10 * np.sin(hours * np.pi / 12) + np.random.default_rng(12).normal(0, 0.1, len(hours))
    found = certain(hourly(value), attenuated=True)
    moved = [np.ptp(value[max(0, row - 23) : row + 1]) for row in range(11, len(value))]
    edge = np.quantile(moved, 0.001)
    assert found.movement is not None
    assert found.movement.suspect == rounded(edge / 2, up=False)
    assert found.movement.fail == rounded(edge / 4, up=False)
    assert certain(hourly(value)).movement is None, "only where it is asked for"

    creeping = np.concatenate([value[:48], value[48:] / 100])
    flag, bits = checks(found)([SERIES], hourly(creeping), np.zeros(len(value), bool))
    assert np.all(bits[80:] & int(Check.ATTENUATED))
    assert np.all(flag[80:] == Flag.FAIL)
    value[1000:1100] = 3.0
    assert certain(hourly(value), attenuated=True).movement is None


def test_only_usable_readings_teach() -> None:
    """What is suspect, failed or missing changes nothing, nor do differences to it."""
    value = np.random.default_rng(3).normal(size=4000)
    clean = hourly(value)
    spoilt = hourly(value)
    wrong = np.arange(50, 4000, 100)
    spoilt.value[wrong] = 1e9
    spoilt.flag[wrong] = np.resize([Flag.SUSPECT, Flag.FAIL, Flag.MISSING], len(wrong))
    a, b = certain(clean), certain(spoilt)
    assert b.readings == a.readings - len(wrong)
    for name in ("fail", "suspect"):
        assert getattr(b, name) == pytest.approx(getattr(a, name), rel=0.05)
    for limits, others in ((a.spike, b.spike), (a.rate, b.rate)):
        assert limits is not None
        assert others is not None
        assert others.fail == pytest.approx(limits.fail, rel=0.05)


def test_a_few_wrong_readings_move_no_fence_far() -> None:
    """Fewer than one in a thousand of them, whatever they say, leave it among the right ones."""
    value = np.random.default_rng(4).normal(20, 2, 20_000)
    clean = certain(hourly(value))
    value[::2500] = 1e6
    found = certain(hourly(value))
    assert clean.fail is not None
    assert found.fail is not None
    assert found.fail[1] < 2 * clean.fail[1]
    assert objected(checks(found), SERIES, hourly(value)) >= 8, "and they are found themselves"


def test_too_little_teaches_nothing() -> None:
    """Below the least number of usable readings there is no rule; of what never moves, none either."""
    value = np.random.default_rng(5).normal(size=LEAST)
    assert learned(hourly(value[1:])) is None
    assert learned(hourly(value)) is not None
    assert as_settings(certain(hourly(np.full(LEAST, 2.5)))) == {}
    assert learned(Readings.empty()) is None


def test_bounds_that_are_kept_stay() -> None:
    """A range does not reach beyond what the configuration allows already, unless readings do."""
    learner = Learner()
    learner.add(1, HOUR, hourly(np.random.default_rng(6).uniform(0, 100, 2000)))
    found = learner.learned((0, 105))
    assert found is not None
    assert found.fail == found.suspect == (0, 105)
    found = learner.learned((0, 50))
    assert found is not None
    assert found.suspect is not None
    assert found.suspect[1] > 100


@given(cuts=st.lists(st.integers(1, 1199), max_size=8), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_chunks_do_not_matter(cuts: list[int], seed: int) -> None:
    """The same is learned however the readings of a series are cut."""
    draw = np.random.default_rng(seed)
    value = np.round(draw.normal(size=1200), 1)
    value[draw.random(1200) < 0.1] = np.nan
    value[300:340] = 1.5
    value[1190:] = 2.5
    readings = hourly(value)
    readings.flag[:] = np.where(np.isnan(value), Flag.MISSING, Flag.GOOD)
    readings.flag[draw.random(1200) < 0.05] = Flag.FAIL
    readings.tests[draw.random(1200) < 0.5] = Check.FLAT
    readings.time[:] = ZERO + np.cumsum(draw.integers(1, 8, 1200)) * (HOUR // 4)
    learner = Learner(climatology=True, attenuated=True)
    for first, last in pairwise(sorted({0, 1200, *cuts})):
        learner.add(7, HOUR, readings.take(np.arange(first, last)))
    assert learner.learned() == learned(readings, climatology=True, attenuated=True)


def test_what_is_suggested_means_the_same_over_other_rules() -> None:
    """A wider rule with another offset, tolerance or method changes nothing of it."""
    draw = np.random.default_rng(3)
    found = certain(hourly(np.round(draw.normal(20, 3, 9000), 1)), climatology=True, attenuated=True)
    own = {"units": {"u": as_settings(found)}}
    wide = {
        "spike": {"suspect": 1, "method": "average"},
        "flat_line": {"fail": HOUR, "tolerance": 0.5},
        "attenuated": {"fail": 5, "method": "deviation", "period": HOUR, "least": 2},
        "climatology": {"utc_offset": 5, "usual": [{"range": [0, 1]}]},
    }
    alone = QualitySettings.model_validate({"parameters": {"thing": own}})
    over = QualitySettings.model_validate({"parameters": {"thing": wide}})
    source = SourceQuality.model_validate({"parameters": {"thing": own}})
    rule = rule_of(alone, SourceQuality())(SERIES)
    assert all((rule.spike, rule.flat, rule.attenuated, rule.climatology))
    assert rule_of(over, source)(SERIES) == rule


def test_memory_is_bounded() -> None:
    """Of more figures than are kept every second counts, and the fences stay where they were."""
    draw, learner = np.random.default_rng(7), Learner()
    for start in range(0, 3 * KEPT, KEPT // 2 + 1):
        part = hourly(draw.normal(size=KEPT // 2 + 1))
        learner.add(
            1, HOUR, Readings(part.series, part.time + start * HOUR, part.value, part.flag, part.tests)
        )
        assert learner._value.size <= KEPT
    found, small = learner.learned(), certain(hourly(draw.normal(size=200_000)))
    assert found is not None
    assert found.readings > 3 * KEPT
    assert found.suspect == pytest.approx(small.suspect, rel=0.1)
    assert found.share <= STATED


def test_a_climatology_has_the_finest_cells_that_are_full() -> None:
    """A month and hour with values enough has its span, else the month has one, else nothing."""
    hours = np.arange(24 * 90)
    value = hours % 24 + np.random.default_rng(8).normal(0, 0.1, len(hours))
    found = certain(hourly(value), climatology=True)
    assert set(found.climatology) == {(1, None), (2, None), (3, None)}
    years = hourly(
        np.resize(hours % 24, 24 * 365 * 3) + np.random.default_rng(9).normal(0, 0.1, 24 * 365 * 3)
    )
    found = certain(years, climatology=True)
    assert set(found.climatology) == {(m, h) for m in range(1, 13) for h in range(24)}
    low, suspect_low, suspect_high, high = found.climatology[7, 12]
    assert 10.5 < low < suspect_low < 12 < suspect_high < high < 13.5
    check = checks(found)
    odd = Readings.of([0], [ZERO + 181 * 24 * HOUR + 3 * HOUR], [12.0])
    assert check([SERIES], odd, np.zeros(1, bool))[0].tolist() == [Flag.FAIL], "noon's value at night"


@given(st.floats(-1e300, 1e300).filter(lambda x: x == 0 or abs(x) > 1e-300))
def test_rounding_goes_outwards_and_not_far(number: float) -> None:
    """Four significant digits, on the side that was asked for, within one thousandth."""
    up, down = rounded(number, up=True), rounded(number, up=False)
    assert down <= number <= up
    assert up - down <= abs(number) * 0.00101
    assert float(f"{up:.3e}") == up


def stored(kind: str) -> Iterator[tuple[Series, Readings]]:
    """The series of the Toronto or of the raw French stations, flagged by the shipped rules."""
    columns = {
        "explorer_toronto_2025": ("datetimeUtc", "value", "unit"),
        "france_raw_vs_injected/raw": ("datetime_utc", "value_avg", "units"),
    }[kind]
    paths = sorted(DATA.glob(f"{kind}/*.csv.gz"))
    if not paths:
        pytest.skip(f"no {kind} at {DATA.resolve()}")
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for path in paths:
        for row in csv.DictReader(gzip.decompress(path.read_bytes()).decode("utf-8-sig").splitlines()):
            time, value, unit = (row[name] for name in columns)
            key = (row["location_id"], row["parameter"], unit)
            micros = round(datetime.fromisoformat(time).timestamp()) * SECOND
            found.setdefault(key, {})[micros] = float(value)
    check = Checks(rule_of(QualitySettings(), SourceQuality()))
    for (station, parameter, unit), values in found.items():
        one = Series(
            f"{station} {parameter}", parameter, unit, station=station, partition="p", cadence_s=3600
        )
        order = sorted(values)
        readings = Readings.of(np.zeros(len(order)), order, [values[time] for time in order])
        yield one, readings.with_flags(*check([one], readings, np.zeros(len(order), bool)))


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("explorer_toronto_2025", 50_000, 0.001), ("france_raw_vs_injected/raw", 1_000, 0.001)],
)
@pytest.mark.parametrize("climatology", [False, True])
def test_rules_from_real_stations_flag_hardly_any_of_their_readings(
    kind: str, least: int, most: float, climatology: bool
) -> None:
    """Learned by parameter and unit, they object to less than one in a thousand."""
    groups: dict[tuple[str, str], list[tuple[Series, Readings]]] = {}
    for one, readings in stored(kind):
        groups.setdefault((one.parameter, one.unit), []).append((one, readings))
    used = flagged = 0
    for (parameter, unit), members in groups.items():
        learner = Learner(climatology=climatology, attenuated=True)
        for number, (_, readings) in enumerate(members):
            learner.add(number, HOUR, readings)
        found = learner.learned()
        if found is None:
            continue
        check = checks(found, parameter, unit)
        used += found.readings
        flagged += sum(objected(check, one, readings) for one, readings in members)
    assert used >= least
    assert flagged <= most * used, f"{flagged} of {used}"

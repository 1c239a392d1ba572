"""The simulated source: the same readings however they are asked for, and each flaw on its own."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loader.errors import NotFound
from loader.readings import (
    DAY,
    HOUR,
    SECOND,
    Page,
    PartitionState,
    Readings,
    Task,
    TaskKind,
    Window,
)
from loader.sources.simulator import Flaws, Simulator, SimulatorSettings

EARLIEST = 631_152_000 * SECOND
FUTURE = 300 * SECOND
NOW = 1_750_000_000 * SECOND + 123_456
MONTH = Window(NOW - 30 * DAY, NOW)
ALL_FLAWS = dict.fromkeys(Flaws.model_fields, 0.05)
SENSOR = "demo-1/pm25"


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def simulator(clock: Clock | None = None, name: str = "demo", **given: Any) -> Simulator:
    configured = SimulatorSettings(type="simulator", **given)
    return Simulator(name, configured, clock or Clock(), EARLIEST, FUTURE)


def pages(source: Simulator, window: Window, partition: str = SENSOR, **task: Any) -> list[Page]:
    return list(source.read(Task(partition, window, TaskKind.LIVE, **task)))


def readings(found: list[Page]) -> dict[int, float]:
    """Time to value; of a repeated time the last."""
    joined = Readings.concat([page.readings for page in found])
    return dict(zip(joined.time.tolist(), joined.value.tolist(), strict=True))


def truth(source: Simulator, window: Window, now: int, partition: str = SENSOR) -> dict[int, float]:
    right = source.truth(partition, window, now)
    assert (np.diff(right.time) > 0).all()
    return dict(zip(right.time.tolist(), right.value.tolist(), strict=True))


def state(partition: str, source: Simulator) -> PartitionState:
    survey = source.survey([], NOW)
    (found,) = [p for p in survey.partitions if p.name == partition]
    return PartitionState(found.name, found.station, NOW, NOW, series=found.series)


def test_it_reports_on_every_stamp_unless_told_otherwise() -> None:
    """Without flaws a window holds one plausible reading for every whole hour in it."""
    found = readings(pages(simulator(), MONTH))
    first = MONTH.start // HOUR * HOUR + HOUR
    assert list(found) == list(range(first, NOW, HOUR))
    values = np.array(list(found.values()))
    assert ((values >= 0) & (values < 200)).all()
    assert len(set(values)) > 30


def test_stations_sensors_and_their_descriptions() -> None:
    """A survey lists each station's six sensors with unit, cadence and zone, one at +05:45."""
    survey = simulator(stations=3).survey([], NOW)
    assert [p.name for p in survey.partitions[:7]] == [
        "demo-1/pm25", "demo-1/pm10", "demo-1/o3", "demo-1/no2", "demo-1/temperature",
        "demo-1/relativehumidity", "demo-2/pm25",
    ]  # fmt: skip
    assert len(survey.partitions) == 18
    assert survey.listed == {p.name for p in survey.partitions}
    assert set(survey.latest.values()) == {NOW // HOUR * HOUR}
    (pm25,) = survey.partitions[6].series
    assert (pm25.sensor, pm25.parameter, pm25.unit) == ("demo-2/pm25", "pm25", "µg/m³")
    assert (pm25.station, pm25.cadence_s, pm25.timezone) == ("demo-2", 3600, "Asia/Kathmandu")


def test_a_rig_reports_every_six_minutes() -> None:
    """A test rig has temperature, pressure and an uptime that grows until the next restart."""
    rig = simulator(kind="rig", name="rig", stations=1)
    assert [p.name for p in rig.survey([], NOW).partitions] == [
        "rig-1/temperature", "rig-1/pressure", "rig-1/uptime",
    ]  # fmt: skip
    uptime = readings(pages(rig, MONTH, "rig-1/uptime"))
    assert set(np.diff(list(uptime))) == {HOUR // 10}
    steps = np.diff(list(uptime.values()))
    restarts = np.count_nonzero(steps < 0)
    assert 1 <= restarts <= 7
    assert set(steps[steps >= 0]) == {360.0}


def test_a_survey_lists_afresh_only_what_is_new_or_old() -> None:
    """Known sensors are not described again until a day has passed or they have changed."""
    source = simulator(stations=1)
    known = [state(p.name, source) for p in source.survey([], NOW).partitions]
    again = source.survey(known, NOW + HOUR)
    assert [p.name for p in again.partitions] == [k.name for k in known]
    assert again.listed == frozenset()
    assert len(source.survey(known, NOW + DAY).listed) == 6
    changed = replace(known[0], series=(replace(known[0].series[0], cadence_s=60),))
    assert source.survey([changed, *known[1:]], NOW).listed == {known[0].name}


def test_a_day_has_its_rush_hours_and_a_week_its_sunday() -> None:
    """Mornings are dirtier than nights, weekdays than weekends, afternoons warmer than dawns."""
    source = simulator()
    year = Window(NOW - 365 * DAY, NOW)

    def by_hour(parameter: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        found = source.truth(f"demo-1/{parameter}", year, NOW)
        local = found.time - 5 * HOUR
        return found.value, local % DAY // HOUR, (local // DAY + 3) % 7

    value, hour, weekday = by_hour("no2")
    assert value[hour == 8].mean() > 1.4 * value[hour == 3].mean()
    assert value[weekday < 5].mean() > 1.2 * value[weekday >= 5].mean()
    value, hour, _ = by_hour("temperature")
    assert value[hour == 15].mean() > value[hour == 3].mean() + 5
    coarse = source.truth("demo-1/pm10", year, NOW).value
    fine = source.truth("demo-1/pm25", year, NOW).value
    assert (coarse > fine).all()


def test_another_seed_station_or_sensor_has_other_values() -> None:
    """No two sensors repeat each other, and neither do two seeds."""

    def values(source: Simulator, partition: str) -> tuple[float, ...]:
        return tuple(readings(pages(source, MONTH, partition)).values())

    different = {
        values(simulator(), "demo-1/pm25"),
        values(simulator(seed=43), "demo-1/pm25"),
        values(simulator(), "demo-2/pm25"),
        values(simulator(), "demo-1/pm10"),
        values(simulator(stations=7), "demo-7/pm25"),
    }
    assert len(different) == 5
    assert values(simulator(), SENSOR) == values(simulator(stations=9, concurrency=1), SENSOR)


@settings(max_examples=30)
@given(
    cuts=st.lists(st.integers(MONTH.start, MONTH.end), max_size=6),
    seed=st.integers(0, 2**63 - 1),
    partition=st.sampled_from(["demo-1/pm25", "demo-3/temperature"]),
)
def test_any_cut_of_a_window_gives_the_same(cuts: list[int], seed: int, partition: str) -> None:
    """Reading a window in pieces yields what reading it whole does: readings, rejects, repeats."""
    source = simulator(seed=seed, flaws=ALL_FLAWS)
    whole = pages(source, MONTH, partition)
    edges = [MONTH.start, *sorted(cuts), MONTH.end]
    parts = [page for a, b in zip(edges, edges[1:]) for page in pages(source, Window(a, b), partition)]  # noqa: B905, RUF007

    def seen(found: list[Page]) -> list[tuple[int, float]]:
        joined = Readings.concat([p.readings for p in found])
        return list(zip(joined.time.tolist(), joined.value.tolist(), strict=True))

    assert seen(parts) == seen(whole)
    assert [r for p in parts for r in p.rejects] == [r for p in whole for r in p.rejects]
    assert sum(p.fetched for p in parts) == sum(p.fetched for p in whole)
    assert readings(whole) == truth(source, MONTH, NOW, partition)


def test_pages_hold_a_thousand_stamps_and_reach_the_end() -> None:
    """A long window comes in pages that ascend without overlap and end where the window ends."""
    window = Window(NOW - 3500 * HOUR, NOW)
    found = pages(simulator(), window)
    assert [len(page.readings) for page in found] == [1000, 1000, 1000, 500]
    assert [page.fetched for page in found] == [1000, 1000, 1000, 500]
    covered = [window.start, *(page.covered_to for page in found)]
    assert covered == sorted(set(covered))
    assert covered[-1] == window.end
    assert [len(page.places) for page in found] == [1, 0, 0, 0]
    place = found[0].places[0]
    assert (place.time, place.latitude, place.longitude) == (EARLIEST, 43.6532, -79.3832)


def test_a_window_without_stamps_is_read_all_the_same() -> None:
    """Between two stamps there is one empty page that covers the window."""
    window = Window(10**6 * HOUR + 1, 10**6 * HOUR + 2)
    (page,) = pages(simulator(Clock(window.end)), window)
    assert (len(page.readings), page.covered_to, page.fetched) == (0, window.end, 0)


def test_nothing_is_shown_before_the_earliest_time_or_after_now() -> None:
    """Sensors began to report at `earliest`, and what is to come is not known yet."""
    source = simulator()
    assert min(readings(pages(source, Window(EARLIEST - DAY, EARLIEST + DAY)))) == EARLIEST
    assert max(readings(pages(source, Window(NOW - DAY, NOW + DAY)))) == NOW // HOUR * HOUR


def test_windows_to_be_skipped_are_not_read() -> None:
    """What lies in an isolated hole is left out; the page still covers the whole window."""
    skip = Window(NOW - 10 * HOUR, NOW - 5 * HOUR)
    (page,) = pages(simulator(), Window(NOW - DAY, NOW), skip=(skip,))
    assert page.covered_to == NOW
    times = page.readings.time
    assert len(times) == 24 - 5
    assert not ((times > skip.start) & (times <= skip.end)).any()


YEAR = Window(NOW - 365 * DAY, NOW)


def share(flaw: str) -> tuple[Simulator, dict[int, float], dict[int, float]]:
    """A source of which a tenth is flawed, what it shows of a year, and what a flawless one would."""
    source = simulator(flaws={flaw: 0.1})
    return source, readings(pages(source, YEAR)), readings(pages(simulator(), YEAR))


def test_gaps_are_outages_of_several_readings() -> None:
    """A share of the readings never comes, at least several at a time; the others are untouched."""
    _, found, flawless = share("gaps")
    absent = sorted(flawless.keys() - found.keys())
    assert 0.06 < len(absent) / len(flawless) < 0.14
    assert found.items() <= flawless.items()
    edges = [i for i in range(1, len(absent)) if absent[i] - absent[i - 1] > HOUR]
    runs = np.diff([0, *edges, len(absent)])
    assert (runs[1:-1] % 6 == 0).all()


def test_late_readings_show_up_behind_newer_ones() -> None:
    """A share of a stretch's readings is not there at first and all there eight cadences later."""
    clock = Clock(NOW)
    source = simulator(clock, flaws={"late": 0.5})
    window = Window(NOW - 8 * HOUR, NOW)
    early = readings(pages(source, window))
    clock.now = NOW + 9 * HOUR
    final = readings(pages(source, window))
    assert len(final) == 8
    assert 0 < len(early) < 8
    assert early.items() <= final.items()
    for hour in range(10):
        clock.now = NOW + hour * HOUR
        assert readings(pages(source, window)) == truth(source, window, clock.now)


def test_revised_values_change_once_and_stay() -> None:
    """A share of the values differs from what was shown first, after a day for good."""
    clock = Clock(NOW)
    source = simulator(clock, flaws={"revised": 0.5})
    window = Window(NOW - 20 * HOUR, NOW)
    shown: dict[int, set[float]] = {}
    for hour in range(30):
        clock.now = NOW + hour * HOUR
        for time, value in readings(pages(source, window)).items():
            shown.setdefault(time, set()).add(value)
    changes = Counter(len(values) for values in shown.values())
    assert set(changes) == {1, 2}
    clock.now = NOW + 1000 * DAY
    assert readings(pages(source, window)) == truth(source, window, NOW + 25 * HOUR)
    before = readings(pages(simulator(), window))
    assert before != readings(pages(source, window))


def test_duplicates_come_twice_in_a_page_and_count_twice() -> None:
    """A share of the rows is repeated with the same value, right behind the first."""
    source, found, flawless = share("duplicates")
    assert found == flawless
    (page, *_) = pages(source, Window(NOW - 500 * HOUR, NOW))
    assert page.fetched == len(page.readings)
    repeated = len(page.readings) - len(set(page.readings.time.tolist()))
    assert 25 < repeated < 90
    assert (np.diff(page.readings.time) >= 0).all()


def test_spikes_stand_far_above_their_neighbours() -> None:
    """A share of the values is several times as large as it should be."""
    _, found, flawless = share("spikes")
    higher = [t for t in found if found[t] != flawless[t]]
    assert 0.07 < len(higher) / len(found) < 0.13
    assert all(found[t] > flawless[t] * 5 + 40 for t in higher)


def test_flat_lines_hold_one_value_for_eight_readings() -> None:
    """A share of the time the same value is repeated eight times, aligned to eight cadences."""
    _, found, _ = share("flat")
    blocks: dict[int, list[float]] = {}
    for time, value in found.items():
        blocks.setdefault(time // (8 * HOUR), []).append(value)
    flat = [b for b in blocks.values() if len(b) == 8 and len(set(b)) == 1]
    assert 0.06 < len(flat) / len(blocks) < 0.14


def test_sentinels_stand_for_values_that_are_not_there() -> None:
    """A share of the values is -999."""
    _, found, flawless = share("sentinels")
    codes = [t for t, value in found.items() if value == -999]
    assert 0.07 < len(codes) / len(found) < 0.13
    assert all(found[t] == flawless[t] for t in found if t not in set(codes))


def test_clock_errors_are_rejected_with_a_record_that_decodes() -> None:
    """A share of the records bears a stamp decades ahead: rejected, legible, rejected again."""
    source, found, flawless = share("clock_errors")
    assert found.items() <= flawless.items()
    rejects = [r for page in pages(source, YEAR) for r in page.rejects]
    assert len(rejects) == len(flawless) - len(found)
    assert 0.07 < len(rejects) / len(flawless) < 0.13
    assert len({r.payload for r in rejects}) == len(rejects)
    reject = rejects[0]
    assert (reject.rule, reject.partition) == ("timestamp", SENSOR)
    assert reject.time is not None
    assert reject.time > NOW + 15 * 365 * DAY
    assert json.loads(reject.payload)["sensor"] == SENSOR
    known = state(SENSOR, source)
    page = source.decode(known, reject.payload)
    assert (len(page.readings), page.rejects, page.fetched) == (0, (reject,), 1)


def test_a_rejected_record_becomes_a_reading_when_its_time_has_come() -> None:
    """Decoding goes by the clock of the day: what lay in the future decodes once it is past."""
    source, _, _ = share("clock_errors")
    reject = next(r for page in pages(source, YEAR) for r in page.rejects)
    assert reject.time is not None
    later = simulator(Clock(reject.time))
    page = later.decode(state(SENSOR, later), reject.payload)
    assert page.readings.time.tolist() == [reject.time]
    assert page.series[0].sensor == SENSOR
    assert page.rejects == ()


def test_a_source_without_any_reading_has_no_latest() -> None:
    """If nothing ever comes, the survey says nothing about it, and soon."""
    source = simulator(stations=1, flaws={"gaps": 1})
    survey = source.survey([], NOW)
    assert survey.latest == {}
    assert len(survey.partitions) == 6


def test_latest_is_the_newest_that_a_read_would_bring() -> None:
    """Gaps, late rows and wrong clocks at the live edge move the newest reading back."""
    for seed in range(20):
        source = simulator(seed=seed, stations=1, flaws={"gaps": 0.5, "late": 0.5, "clock_errors": 0.5})
        for name, at in source.survey([], NOW).latest.items():
            assert at == max(truth(source, MONTH, NOW, name))


def test_an_unknown_sensor_says_what_to_do() -> None:
    """A sensor that the settings do not make is an error that names them."""
    with pytest.raises(NotFound, match=r"demo: no sensor 'demo-9/pm25' with 3 stations.*raise `stations`"):
        pages(simulator(), MONTH, "demo-9/pm25")


@pytest.mark.parametrize(
    "wrong",
    [
        {"stations": 0},
        {"kind": "boat"},
        {"flaws": {"gaps": 1.5}},
        {"flaws": {"late": -0.1}},
        {"flaws": {"leaks": 0.1}},
        {"flaws": {"gaps": float("nan")}},
        {"cadence": "0s"},
        {"cadence": "2d"},
        {"seed": -1},
        {"station": 3},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """Unknown keys, shares beyond 0 to 1 and impossible cadences are refused."""
    with pytest.raises(ValidationError):
        SimulatorSettings(type="simulator", **wrong)


def test_the_cadence_may_be_chosen() -> None:
    """A given cadence replaces that of the kind, in the readings and in their description."""
    source = simulator(kind="rig", cadence="15m", stations=1)
    found = readings(pages(source, Window(NOW - DAY, NOW), "demo-1/uptime"))
    assert set(np.diff(list(found))) == {HOUR // 4}
    assert source.survey([], NOW).partitions[0].series[0].cadence_s == 900


def test_closing_ends_the_wait_for_slow_pages() -> None:
    """A source with an hour's latency stops waiting once it is closed."""
    source = simulator(latency="1h")
    source.close()
    assert len(readings(pages(source, Window(NOW - DAY, NOW)))) == 24


def test_it_is_always_well() -> None:
    """The connection check says what is simulated, and costs no request."""
    source = simulator()
    (finding,) = source.check()
    assert finding.ok
    assert "18 sensors at 3 stations" in finding.detail
    assert source.usage().requests == 0
    assert source.requests(Task(SENSOR, MONTH, TaskKind.LIVE)) == 0

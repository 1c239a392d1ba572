"""What a validation says of readings: the checks of loading, repeats, order, gaps, score."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.quality.checks import Checks
from loader.readings import DAY, HOUR, Flag, Readings, Series
from loader.settings.durations import parse_time
from loader.settings.quality import ParameterRule, QualitySettings, SourceQuality
from loader.settings.rules import rule_of
from tests.unit.validated import LONG, only, rows, told, validated, write

STEP = QualitySettings(
    parameters={
        "x": ParameterRule.model_validate({
            "range": [0, 50], "spike": {"suspect": 10, "fail": 30}, "rate": {"fail": 40},
            "flat_line": {"suspect": 3 * HOUR, "fail": 5 * HOUR}, "gap": 3 * HOUR,
        })
    }
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 20, 49, 60, -999])), min_size=1, max_size=40
    )
)
def test_flags_are_those_of_loading(tmp_path: Path, some: list[tuple[int, float]]) -> None:
    """In whatever order lines come: as if the last line of each hour had been stored."""
    start = parse_time("2024-01-01")
    text = "time,parameter,value\n" + "".join(
        f"{(start + hour * HOUR) // 1_000_000},x,{value}\n" for hour, value in some
    )
    found = validated(write(tmp_path, "a.csv", text), quality=STEP, cadence_s=3600.0)
    stored = dict(some)
    series = Series("a", "x", "", station="a", partition="a", cadence_s=3600.0)
    time = [start + hour * HOUR for hour in sorted(stored)]
    readings = Readings.of([0] * len(stored), time, [stored[hour] for hour in sorted(stored)])
    checks = Checks(rule_of(STEP, SourceQuality()))
    flag, tests = checks([series], readings, np.ones(len(readings), bool))
    assert found.readings.time.tolist() == time
    assert found.readings.flag.tolist() == flag.tolist()
    assert found.readings.tests.tolist() == tests.tolist()
    tally = only(found)
    assert tally.counts.duplicate == len(some) - len(stored)
    assert tally.counts.missing == np.count_nonzero(flag == Flag.MISSING)
    backwards = sum(b[0] < a[0] for a, b in pairwise(some))
    forwards = sum(b[0] > a[0] for a, b in pairwise(some))
    assert tally.unordered == min(backwards, forwards)
    assert sum(s.count for s in tally.checks.values()) == sum(int(t).bit_count() for t in tests)


def test_portions_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A series that is longer than what is checked and learned from at once has the same flags, cadence
    and gaps."""
    random = np.random.default_rng(5)
    value = np.repeat(random.integers(0, 50, 200), random.integers(1, 9, 200))
    stamps = parse_time("2024-01-01") + np.cumsum(random.choice([HOUR, HOUR, HOUR, 5 * HOUR], len(value)))
    stamps[600:] -= np.arange(len(value) - 600) * HOUR // 2
    text = "time,parameter,value\n" + "".join(
        f"{t // 1_000_000},x,{v}\n" for t, v in zip(stamps, value, strict=True)
    )
    path = write(tmp_path, "a.csv", text)
    whole = validated(path, quality=STEP)
    assert {"spike", "rate", "gap", "flat_line"} <= whole.checks.keys()
    monkeypatch.setattr("loader.validation.examine.AT_ONCE", 70)
    monkeypatch.setattr("loader.validation.expected.AT_ONCE", 70)
    cut = validated(path, quality=STEP)
    assert cut.readings.flag.tolist() == whole.readings.flag.tolist()
    assert cut.readings.tests.tolist() == whole.readings.tests.tolist()
    assert only(cut) == only(whole)


def test_gaps_and_completeness_by_day(tmp_path: Path) -> None:
    """Of 72 hours 10 are not there and 2 have no value."""
    lines = rows(72).splitlines()
    lines[5], lines[60] = (line.rsplit(",", 1)[0] + "," for line in (lines[5], lines[60]))
    del lines[20:30]
    tally = only(validated(write(tmp_path, "a.csv", LONG + "\n".join(lines))))
    assert (tally.gaps.count, tally.gaps.missing) == (1, 10)
    ((window, missing),) = tally.gaps.longest
    start = parse_time("2024-01-01")
    assert (window.start, window.end, missing) == (start + 19 * HOUR, start + 29 * HOUR, 10)
    assert (tally.counts.due, tally.counts.observed) == (72, 60)
    # The reading of midnight is the end of the day before.
    assert dict(tally.days) == {
        start - DAY: (1, 1),
        start: (24, 18),
        start + DAY: (24, 19),
        start + 2 * DAY: (23, 22),
    }
    assert tally.score is not None
    parts = tally.score.components
    assert (parts.completeness, parts.validity, parts.timeliness) == (60 / 72, 1.0, None)


def test_a_changed_cadence_is_no_gap(tmp_path: Path) -> None:
    """A station of 15 minutes that goes hourly is learned, as in loading; --cadence is taken as it is."""
    start = parse_time("2024-01-01")
    stamps = [start + i * HOUR // 4 for i in range(400)]
    stamps += [stamps[-1] + i * HOUR for i in range(1, 200)]
    text = "time,parameter,value\n" + "".join(
        f"{t // 1_000_000},pm25,{i % 9}\n" for i, t in enumerate(stamps)
    )
    path = write(tmp_path, "a.csv", text)
    learned = only(validated(path))
    assert [s for _, s in learned.cadences] == [900.0, 3600.0]
    assert (learned.gaps.count, learned.counts.due, learned.counts.observed) == (0, 599, 599)
    taken = only(validated(path, cadence_s=900.0))
    assert taken.gaps.missing == 3 * 199


def test_repeats_in_one_file_and_in_several(tmp_path: Path) -> None:
    """Within a file they lower uniqueness; what comes again in another file was only fetched again."""
    one = write(tmp_path, "one.csv", LONG + rows(30) + rows(2))
    two = write(tmp_path, "two.csv", LONG + rows(1) + rows(2, start=1))
    found = validated(one, two)
    tally = only(found)
    # 10, 11, 12 in the first file are 10, 10, 11 in the second.
    assert (tally.repeats.same, tally.repeats.other) == (2, 0)
    assert (tally.repeats.again, tally.repeats.revised) == (1, 2)
    assert (tally.counts.fetched, tally.counts.revised, tally.counts.duplicate) == (35, 30, 2)
    assert found.readings.value[:4].tolist() == [10, 10, 11, 13]
    assert told(found) == [
        f"two.csv:3: pm25: 10 stands against 11 for the same time ({one}, line 33)",
        f"two.csv:4: pm25: 11 stands against 12 for the same time ({one}, line 4)",
    ]
    assert tally.score is not None
    assert tally.score.components.uniqueness == 1 - 2 / 35


def test_a_sample_is_whole_blocks(tmp_path: Path) -> None:
    """Nothing is said of what lies between two blocks: no gap, no spike, nothing missing."""
    start = parse_time("2024-01-01")
    text = "time,parameter,value\n" + "".join(
        f"{(start + i * HOUR) // 1_000_000},x,{i % 2 + i // 1000}\n" for i in range(10_000)
    )
    path = write(tmp_path, "a.csv", text)
    found = validated(path, sample=1000, quality=STEP)
    tally = only(found)
    assert found.sampled
    assert tally.counts.revised == 1000
    assert (tally.gaps.count, tally.counts.due, tally.counts.observed) == (0, 1000, 1000)
    assert not found.checks
    assert [found.line[0], found.line[-1]] == [2, 10_001]
    assert np.count_nonzero(np.diff(found.line) > 1) == 9
    again = validated(path, sample=1000, quality=STEP)
    assert again.line.tolist() == found.line.tolist()
    assert not validated(path, sample=10_000).sampled


def test_a_sample_of_a_file_without_order_tells_no_completeness(tmp_path: Path) -> None:
    """What is missing in a block may stand elsewhere in the file."""
    lines = rows(700).splitlines()
    np.random.default_rng(3).shuffle(lines)
    path = write(tmp_path, "a.csv", LONG + "\n".join(lines))
    assert only(validated(path, sample=300)).score is None
    assert only(validated(path)).counts.observed == 700


def test_a_code_for_no_value_is_suspected(tmp_path: Path) -> None:
    """Only far from everything else, only if it comes again and again, and only as long as nobody
    has said what it means."""

    def suspected(values: list[float], **rule: object) -> tuple[float, int] | None:
        lines = [f"{1704067200 + 3600 * i},{value}" for i, value in enumerate(values)]
        quality = QualitySettings(parameters={"odd": ParameterRule.model_validate(rule)})
        path = write(tmp_path, "a.csv", "time,odd\n" + "\n".join(lines))
        return only(validated(path, quality=quality)).code

    usual = [3.5, 4, 5, 3.75] * 5
    assert suspected([*usual, -200, -200, -200]) == (-200.0, 3)
    assert suspected([*usual, 9999, *usual, 9999, 9999]) == (9999.0, 3)
    assert suspected([*usual, -200, -200, -200], sentinels=[-200]) is None
    assert suspected([*usual, -200, -200]) is None
    assert suspected([*usual, 6, 6, 6]) is None
    assert suspected([*usual, -2, -2, -2]) is None
    assert suspected([5.0] * 20) is None


def test_units_and_places_that_change_are_inconsistent(tmp_path: Path) -> None:
    """A foreign unit, another place, stamps off the grid."""
    lines = [
        f"2024-01-{1 + h // 24:02}T{h % 24:02}:00Z,o3,ppm,0.01,{43.5 if h < 20 else 44},7\n"
        for h in range(48)
    ]
    lines.append("2024-01-02T23:20Z,o3,ppm,0.02,44,7\n")
    lines += [line.replace("ppm,0.01", "furlong,1") for line in lines[:48]]
    found = validated(write(tmp_path, "a.csv", "time,parameter,unit,value,lat,lon\n" + "".join(lines)))
    good, foreign = found.tallies
    assert (good.moved, good.counts.inconsistent) == (1, 2)
    assert (foreign.counts.inconsistent, foreign.checks["unit"].count) == (48, 48)

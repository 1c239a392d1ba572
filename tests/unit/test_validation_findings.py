"""What a validation says of readings: the checks of loading, repeats, order, gaps, score; and its page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.durations import parse_time
from loader.quality.checks import Checks
from loader.qualityrules import rule_of
from loader.qualitysettings import ParameterRule, QualitySettings, SourceQuality
from loader.readings import DAY, HOUR, Flag, Readings, Series
from loader.validation.plots import completeness, values
from loader.validation.report import page
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


class _Page(HTMLParser):
    """Tags, and the addresses that anything is fetched from."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in {"src", "href", "data", "action"}]


def test_the_page_needs_nothing_else_and_escapes_everything(tmp_path: Path) -> None:
    """No script, nothing fetched; names from the file are text, wherever they stand."""
    evil = "<script>alert(1)</script>&\"'"
    cell = '"' + evil.replace('"', '""') + '"'
    lines = [f"2024-01-{1 + h // 24:02}T{h % 24:02}:00Z,{cell},pm25,{cell},{h % 5}" for h in range(48)]
    lines += ["<b>,x,pm25,u,1", f"2024-01-05T00:00Z,{cell},pm25,{cell},-5"]
    found = validated(write(tmp_path, "a<i>.csv", LONG + "\n".join(lines)))
    html = "".join(page(found, parse_time("2024-05-01")))
    parsed = _Page()
    parsed.feed(html)
    assert not {"script", "b", "i", "iframe", "img", "link", "object"} & set(parsed.tags)
    assert {address[:1] for address in parsed.addresses} == {"#"}
    assert "url(" not in html
    assert "@import" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "prefers-color-scheme: dark" in html
    assert "default-src 'none'" in html
    for drawn in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(drawn)
    assert parsed.tags.count("svg") == 2 * len(found.tallies)


def test_plots_show_what_there_is() -> None:
    """The line is broken at gaps, flagged readings are points with their reason, missing ones ticks;
    a million readings are thinned without losing the extremes."""
    hours = np.array([0, 1, 2, 10, 11, 12]) * HOUR
    readings = Readings.of([0] * 6, hours, [1, 2, 3, 4, 99, np.nan], [0, 0, 0, 0, 4, 0], [1, 1, 1, 1, 4, 9])
    drawn = ElementTree.fromstring(values(readings, "ppm", cadence_s=3600.0, cycles=False))
    line = next(e for e in drawn if e.get("class") == "line").get("d", "")
    assert line.count("M") == 2
    (point,) = [e for e in drawn if e.get("class") == "fail"]
    assert point[0].text == "1970-01-01T11:00:00Z: 99 ppm, gross_range"
    assert next(e for e in drawn if e.get("class") == "none").get("d", "").count("M") == 1

    many = 300_000
    value = np.sin(np.arange(many) / 1000)
    value[123_456] = 7.5
    dense = Readings.of([0] * many, np.arange(many) * HOUR, value)
    text = values(dense, "", cadence_s=3600.0, cycles=False)
    assert len(text) < 100_000
    line = next(e for e in ElementTree.fromstring(text) if e.get("class") == "line").get("d", "")
    heights = [float(y) for y in re.findall(r" ([0-9.]+)", line)]
    assert min(heights) == 8.0
    assert max(heights) == 168.0


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-300, 1e16, 1.7e308, -1.7e308])
def test_any_values_can_be_drawn(value: float) -> None:
    """Constant, tiny and huge ones."""
    readings = Readings.of([0, 0], [0, HOUR], [value, value], flag=[1, 1])
    assert "nan" not in values(readings, "", cadence_s=None, cycles=False).replace("none", "")
    both = Readings.of([0, 0], [0, HOUR], [value, -value], flag=[1, 1])
    assert "nan" not in values(both, "", cadence_s=None, cycles=True)


def test_many_days_share_bars() -> None:
    """Ten years are not 3650 bars, and nothing is lost in them."""
    days = {day * DAY: (24, 24 if day % 2 else 12) for day in range(3650)}
    drawn = ElementTree.fromstring(completeness(days))
    titles = [e[0].text or "" for e in drawn]
    assert len(titles) <= 300
    counts = [re.search(r": ([0-9,]+) of ([0-9,]+)", t) for t in titles]
    assert sum(int(c[2].replace(",", "")) for c in counts if c) == 3650 * 24
    assert sum(int(c[1].replace(",", "")) for c in counts if c) == 3650 * 18
    assert completeness({}) == ""

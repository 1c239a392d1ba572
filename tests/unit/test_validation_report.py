"""The report of a validation: plots, tables, rules, and that it needs nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from math import nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.readings import DAY, HOUR, Readings, Series
from loader.records import Counts
from loader.settings.durations import parse_time
from loader.settings.quality import ParameterRule, QualitySettings, SourceQuality
from loader.settings.rules import rule_of
from loader.validation.axes import cycles, times
from loader.validation.plots import BASE, TOP, completeness, values
from loader.validation.report import LISTED, PLOTS
from loader.validation.result import Tally
from loader.validation.ruletext import sentences
from loader.validation.stamps import CYCLE
from tests.unit.validated import LONG, validated, write


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
    found = validated(write(tmp_path, "a<i>.csv", LONG + "\n".join(lines)), draws=True)
    html = found.html
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
    assert parsed.tags.count("figure") == len(found.tallies)


def tally(readings: Readings, cadence_s: float | None = 3600.0, **more: Any) -> Tally:
    """A series with these readings."""
    return Tally(
        Series("a", "o3", "ppm", station="a", partition="a"),
        pieces=((int(readings.time[0]), int(readings.time[-1])),),
        counts=Counts(revised=len(readings)),
        score=None,
        cadences=() if cadence_s is None else ((0, cadence_s),),
        **more,
    )


def drawn(
    of: Tally, readings: Readings, **ranges: tuple[float, float]
) -> dict[str, list[ElementTree.Element]]:
    """What a plot consists of, by class."""
    found: dict[str, list[ElementTree.Element]] = {}
    for one in ElementTree.fromstring(values(of, readings, **ranges)):
        found.setdefault(one.get("class", ""), []).append(one)
    return found


def test_plots_show_what_there_is() -> None:
    """The line is broken at gaps and at missing readings, gaps are shaded, flagged readings are points
    with their reason, missing ones ticks."""
    hours = np.array([0, 1, 2, 10, 11, 12, 13]) * HOUR
    value = [1, 2, 3, 4, 9, np.nan, 5]
    readings = Readings.of([0] * 7, hours, value, [0, 0, 16, 0, 4, 0, 0], [1, 1, 3, 1, 4, 9, 1])
    parts = drawn(tally(readings), readings, fail=(nan, 8.0), suspect=(0.5, 20.0))
    assert parts["line"][0].get("d", "").count("M") == 3
    (fail,) = parts["fail"]
    assert fail[0].text == "1970-01-01T11:00:00Z: 9 ppm, gross_range"
    assert parts["suspect"][0][0].text == "1970-01-01T02:00:00Z: 3 ppm, spike"
    assert parts["none"][0].get("d", "").count("M") == 1
    (gap,) = parts["gap"]
    assert gap[0].text == "nothing from 1970-01-01T02:00:00Z to 1970-01-01T10:00:00Z"
    (limit,) = parts["fail limit"]
    assert limit[0].text == "highest value that does not fail: 8"
    assert "suspect limit" not in parts
    blocks = replace(tally(readings), pieces=((0, 2 * HOUR), (10 * HOUR, 13 * HOUR)))
    assert "gap" not in drawn(blocks, readings)


def test_a_million_readings_are_thinned() -> None:
    """Without losing the extremes; blocks of a sample need not be in order."""
    many = 300_000
    value = np.sin(np.arange(many) / 1000)
    value[123_456] = 2.5
    dense = Readings.of([0] * many, np.arange(many) * HOUR, value)
    text = values(tally(dense), dense)
    assert len(text) < 100_000
    line = next(e for e in ElementTree.fromstring(text) if e.get("class") == "line").get("d", "")
    heights = [float(y) for y in re.findall(r" ([0-9.]+)", line)]
    assert (min(heights), max(heights)) == (TOP, BASE)
    backwards = dense.take(np.arange(many)[::-1])
    assert values(tally(dense), backwards) == text


def test_what_fails_far_outside_does_not_flatten_the_rest() -> None:
    """It stands at the edge, and its value is told; so does a suspected code."""
    value = [*range(50), 1e6, -200, -200, -200]
    flag = [1] * 50 + [4, 1, 1, 1]
    readings = Readings.of([0] * 54, np.arange(54) * HOUR, value, [0] * 50 + [4, 0, 0, 0], flag)
    (fail,) = drawn(tally(readings, code=(-200.0, 3)), readings)["fail"]
    assert "1e+06 ppm, gross_range" in (fail[0].text or "")
    labels = [e.text for e in drawn(tally(readings, code=(-200.0, 3)), readings)["right"]]
    assert labels == ["0", "50"]


@given(st.integers(-(10**16), 25 * 10**16), st.integers(0, 57), st.integers(1, 9))
def test_times_have_few_round_ticks(begin: int, power: int, factor: int) -> None:
    """Seven at most and in order, whether a microsecond is shown or a thousand years."""
    end = begin + factor * 2**power
    ticks = times(begin, end)
    at = [time for time, _ in ticks]
    assert at == sorted(set(at))
    assert len(at) <= 7
    assert all(begin <= time <= end for time in at)
    assert len({said for _, said in ticks}) == len(ticks)
    if end - begin >= 10 and end < 250_000_000_000_000_000:
        assert ticks


def test_ticks_are_those_of_a_calendar() -> None:
    """Midnights, Mondays, the first of a month; or round numbers of cycles."""
    assert cycles(CYCLE, 192 * CYCLE) == [(n * CYCLE, f"cycle {n}") for n in (50, 100, 150)]
    assert cycles(CYCLE, 2 * CYCLE) == [(n * CYCLE, f"cycle {n}") for n in (1, 2)]
    day = parse_time("2024-02-27T07:30:00Z")
    assert [said for _, said in times(day, day + 9 * HOUR)][:2] == ["08:00", "10:00"]
    assert [said for _, said in times(day, day + 3 * DAY)][:2] == ["02-27 12:00", "02-28 00:00"]
    weeks = [time for time, _ in times(day, day + 40 * DAY)]
    assert {(time // DAY + 3) % 7 for time in weeks} == {0}
    assert times(day, day + 400 * DAY)[0][1] == "2024-03"
    assert [said for _, said in times(day, day + 4000 * DAY)][:2] == ["2026", "2028"]


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-300, 1e16, 1.7e308, -1.7e308])
def test_any_values_can_be_drawn(value: float) -> None:
    """Constant, tiny and huge ones."""
    readings = Readings.of([0, 0], [0, HOUR], [value, value], flag=[1, 1])
    assert "nan" not in values(tally(readings, None), readings).replace("none", "")
    both = Readings.of([0, 0], [0, HOUR], [value, -value], flag=[1, 1])
    assert "nan" not in values(tally(both, None, cycles=True), both)


def test_the_worst_are_drawn_and_a_page_has_an_end(tmp_path: Path) -> None:
    """Of many series 60 are drawn, 200 are listed, and of long names the beginning is shown."""
    at = "2024-01-01T{:02}:00Z"
    lines = [
        f"{at.format(h)},{s}{'x' * 5000},pm25,µg/m³,{-9 if s == 250 else 5}"
        for s in range(260)
        for h in range(3)
    ]
    found = validated(write(tmp_path, "a.csv", LONG + "\n".join(lines)), draws=True)
    assert found.html.count("<figure") == PLOTS
    assert '<figure id="s250"' in found.html
    assert '<figure id="s59"' not in found.html
    assert f"{LISTED} of 260 series" in found.html
    assert len(found.html) < 500_000


def test_the_rules_are_told() -> None:
    """With their figures, in the unit of the series."""
    told = ParameterRule.model_validate({
        "range": [0, 50], "suspect": [1, 40],
        "spike": {"suspect": 10, "fail": 30, "method": "differential"},
        "rate": {"fail": 40}, "flat_line": {"suspect": 3 * HOUR, "fail": 5 * HOUR, "tolerance": 0.5},
        "gap": 3 * HOUR, "neighbours": {"within_km": 5, "suspect": 20, "least": 2},
        "cadence": HOUR, "sentinels": [-999], "policy": {"gross_range": "quarantine"},
    })  # fmt: skip
    rule = rule_of(QualitySettings(parameters={"x": told}), SourceQuality())
    assert list(sentences(rule(Series("a", "x", "", station="a", partition="a")))) == [
        "sentinel: -999 stand for no value",
        "gross_range: outside 0 to 50 fail, outside 1 to 40 suspect",
        "spike: off both neighbours by more than 10 suspect, 30 fail",
        "rate: in an hour more than 40 fail",
        "flat_line: still within 0.5 for 3 h suspect, 5 h fail",
        "gap: more than 3 h since the reading before",
        "neighbours: more than 20 outside what 2 stations or more measured within 5 km and 1 h",
        "a reading every 1 h",
        "gross_range: loading would quarantine",
    ]


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

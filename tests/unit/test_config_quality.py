"""What the configuration says of readings: laid over each other, and made into the rule of a series."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loader import config
from loader.errors import ConfigError
from loader.quality.neighbours import NeighbourRule
from loader.quality.rules import AttenuatedRule, FlatRule, Limits, PrecisionRule, Rule, SpikeRule
from loader.readings import DAY, HOUR, Check, Series
from loader.settings.quality import PARAMETERS, SHIPPED, ParameterRule, QualitySettings, SourceQuality
from loader.settings.rules import made, rule_of
from loader.wiring import TYPES, build_check


def series(parameter: str = "o3", unit: str = "ppm", station: str = "1") -> Series:
    return Series(f"{station}/{parameter}", parameter, unit, station, station, cadence_s=3600)


def load(tmp_path: Path, text: str) -> config.Config:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, TYPES, {})


LAYERS = """
sources:
  air:
    type: simulator
    quality:
      sentinels: [-200]
      policy: {unit: stop}
      parameters:
        o3: {spike: {fail: 0.5}, units: {ppm: {flat_line: {tolerance: 0.002}}}}
      stations:
        "3459": {o3: {spike: null, gap: 2h}, wind: {unit: m/s}}
quality:
  policy: {sentinel: quarantine, unit: quarantine}
  parameters:
    o3: {spike: {suspect: 0.1}, suspect: [null, 0.3], policy: {spike: stop}}
"""


@pytest.mark.parametrize("unit", ["ug/m3", "μg/m³", "µg/m3"])
def test_a_rule_counts_however_its_unit_is_spelled(tmp_path: Path, unit: str) -> None:
    """What is said of a unit replaces what a wider rule says of it in another spelling."""
    text = f"""
sources:
  air:
    type: simulator
    quality:
      parameters:
        o3: {{units: {{{unit}: {{spike: {{suspect: 3}}}}}}}}
quality:
  parameters:
    o3: {{units: {{"µg/m³": {{spike: {{suspect: 7, fail: 9}}}}}}}}
"""
    rule = build_check(load(tmp_path, text), "air").rule(series(unit="µg/m³"))
    assert rule.spike == SpikeRule(Limits(suspect=3, fail=9), differential=True)
    assert rule.fail == made(PARAMETERS["o3"], "µg/m³", ()).fail


@pytest.mark.parametrize(
    "block", ["ranges: {ug/m3: [0, 1], µg/m³: [0, 2]}", "units: {ug/m3: {}, µg/m³: {}}"]
)
def test_a_unit_in_two_spellings_is_refused(tmp_path: Path, block: str) -> None:
    """Which of the two was meant nobody can tell."""
    text = f"sources: {{air: {{type: simulator}}}}\nquality: {{parameters: {{o3: {{{block}}}}}}}\n"
    with pytest.raises(ConfigError, match="names one unit twice, as ug/m3 and as µg/m³"):
        load(tmp_path, text)


def test_a_unit_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    """Of a wider rule only what it says of that unit stays; the other units that it lists are foreign."""
    text = "sources: {air: {type: simulator}}\nquality: {parameters: {o3: {unit: ppm}}}\n"
    check = build_check(load(tmp_path, text), "air")
    shipped = made(PARAMETERS["o3"], "ppm", ())
    assert (check.rule(series()).foreign, check.rule(series()).fail) == (False, shipped.fail)
    assert [check.rule(series(unit=unit)).foreign for unit in ("ppb", "µg/m³", "mg/l")] == [True] * 3


def test_the_narrower_rule_wins_key_by_key(tmp_path: Path) -> None:
    """Shipped, general, source and station: each changes what it names and leaves the rest."""
    check = build_check(load(tmp_path, LAYERS), "air")
    shipped = made(PARAMETERS["o3"], "ppm", ())
    source = check.rule(series())
    assert source.fail == shipped.fail == (-0.005, 0.6)
    assert math.isnan(source.suspect[0])
    assert source.suspect[1] == 0.3
    assert source.spike == SpikeRule(Limits(suspect=0.1, fail=0.5), differential=True)
    assert shipped.flat is not None
    assert source.flat == replace(shipped.flat, tolerance=0.002)
    assert (source.gap, source.sentinels) == (0, (-200,))
    assert source.policy == {Check.SENTINEL: "quarantine", Check.UNIT: "stop", Check.SPIKE: "stop"}
    station = check.rule(series(station="3459"))
    assert (station.spike, station.gap) == (None, 2 * HOUR)
    assert (station.suspect[1], station.flat) == (0.3, source.flat)
    assert check.rule(series("wind", "m/s")) == Rule(
        sentinels=(-200,), policy={Check.SENTINEL: "quarantine", Check.UNIT: "stop"}
    )
    assert check.rule(series("wind", "m/s", "3459")).expected
    # What is said of one source, or station, is not said of another.
    assert check.rule(series("no2")).spike == made(PARAMETERS["no2"], "ppm", ()).spike


def test_a_source_that_says_nothing_has_the_shipped_rules(tmp_path: Path) -> None:
    """Without a word about quality each parameter has its shipped rule, others have none."""
    check = build_check(load(tmp_path, "sources: {air: {type: simulator}}\n"), "air")
    for name, rule in PARAMETERS.items():
        unit = next(iter(rule.ranges), "any")
        assert check.rule(series(name, unit)) == made(rule, unit, (-99, -999, -9999))
    assert check.rule(series("other")) == Rule(sentinels=(-99, -999, -9999))


def test_turbofans_are_turbofans_only_where_that_is_said(tmp_path: Path) -> None:
    """A sensor called s1 is anybody's; a source of the turbofan set has its ranges, and what is said of
    a parameter lies over them; another source of the same configuration has not."""
    text = """
sources:
  engines: {type: simulator, quality: {defaults: [cmapss], parameters: {s2: {suspect: null}}}}
  rig: {type: simulator}
quality: {parameters: {s3: {range: [0, 1]}}}
"""
    config = load(tmp_path, text)
    engines, rig = build_check(config, "engines"), build_check(config, "rig")
    shipped = {name: made(rule, "", ()) for name, rule in SHIPPED["cmapss"].items()}
    assert engines.rule(series("s1", "")).fail == shipped["s1"].fail
    assert engines.rule(series("s2", "")).fail == shipped["s2"].fail
    assert all(map(math.isnan, engines.rule(series("s2", "")).suspect))
    assert engines.rule(series("s3", "")).fail == rig.rule(series("s3", "")).fail == (0, 1)
    assert not engines.rule(series("pm25", "µg/m³")).expected
    assert not rig.rule(series("s1", "")).expected
    assert rig.rule(series("pm25", "µg/m³")).expected
    both = load(tmp_path, text.replace("quality: {par", "quality: {defaults: [air, cmapss], par"))
    assert build_check(both, "rig").rule(series("s1", "")).fail == shipped["s1"].fail


def test_a_sources_sentinels_count_before_a_parameters_general_ones(tmp_path: Path) -> None:
    """Codes of one source replace those of `quality`, the shipped ones of temperature included, save
    where the source itself says something else of a parameter."""
    own = "{sentinels: [-200], parameters: {o3: {sentinels: [7]}}}"
    check = build_check(load(tmp_path, f"sources: {{air: {{type: simulator, quality: {own}}}}}\n"), "air")
    found = {name: check.rule(series(name)).sentinels for name in ("temperature", "pm25", "o3", "other")}
    assert found == {"temperature": (-200,), "pm25": (-200,), "o3": (7,), "other": (-200,)}


def test_a_new_range_replaces_all_wider_ones() -> None:
    """Whoever writes a range knows the unit: neither shipped ranges nor those of `units` remain, while
    the other tests do; and no unit is foreign any more."""
    own = ParameterRule(range=(0, 1)).over(PARAMETERS["o3"])
    assert made(own, "K", ()).fail == (0, 1)
    assert made(own, "ppm", ()).fail == (0, 1)
    assert made(own, "ppm", ()).spike == made(PARAMETERS["o3"], "ppm", ()).spike
    listed = ParameterRule(units={"ppm": {"range": (0, 9)}, "K": {"spike": {"fail": 1}}})
    assert made(ParameterRule(ranges={"K": (0, 1)}).over(listed), "ppm", ()).fail != (0, 9)


def test_a_unit_is_known_in_every_spelling_and_others_are_foreign() -> None:
    """Nothing in units of the value is tried in a foreign unit: what remains looks at times, equality
    and decimals."""
    rule = ParameterRule.model_validate(
        {
            "units": {"µg/m³": {"spike": {"fail": 3}}},
            "flat_line": {"fail": "3h", "tolerance": 0.5},
            "rate": {"fail": 2},
            "gap": "2h",
            "precision": {},
            "neighbours": {"suspect": 5},
            "climatology": {"usual": [{"suspect": [0, 1]}]},
            "attenuated": {"fail": 1},
        }
    )
    for unit in ("µg/m³", "μg/m³", "ug/m3"):
        known = made(rule, unit, ())
        assert (known.foreign, known.spike) == (False, SpikeRule(Limits(fail=3)))
        assert known.rate == Limits(fail=2 / 3600)
        assert known.flat == FlatRule(fail=3 * HOUR, tolerance=0.5)
        assert known.attenuated == AttenuatedRule(Limits(fail=1), DAY, 12)
        assert known.neighbours == NeighbourRule(10, 5, 3, HOUR)
    assert made(rule, "ppm", ()) == Rule(
        expected=True,
        foreign=True,
        units=("µg/m³",),
        flat=FlatRule(fail=3 * HOUR),
        gap=2 * HOUR,
        precision=PrecisionRule(DAY, 12),
    )


def test_a_unit_counts_before_the_rest_of_its_rule_and_after_a_narrower_one() -> None:
    """Within one rule the own unit's figures win; a narrower rule's general figure wins over them."""
    wide = ParameterRule.model_validate({"spike": {"fail": 1}, "units": {"ppm": {"spike": {"fail": 2}}}})
    assert made(wide, "ppm", ()).spike == SpikeRule(Limits(fail=2))
    assert made(wide, "ppb", ()).foreign
    narrow = ParameterRule.model_validate({"spike": {"fail": 3}}).over(wide)
    assert made(narrow, "ppm", ()).spike == SpikeRule(Limits(fail=3))
    assert made(ParameterRule(spike=None).over(wide), "ppm", ()).spike is None


def test_spans_of_a_climatology_are_by_month_and_hour() -> None:
    """Lists of months and hours become their cells, without either all of them; the zone is fixed."""
    usual = [{"suspect": [0, 1]}, {"months": [1, 2], "hours": [3], "range": [None, 5]}]
    rule = ParameterRule.model_validate({"climatology": {"utc_offset": -3.5, "usual": usual}})
    climate = made(rule, "c", ()).climatology
    assert climate is not None
    assert [key for key, _ in climate.spans] == [(None, None), (1, 3), (2, 3)]
    assert climate.spans[1][1][3] == 5
    assert climate.shift == -7 * HOUR // 2


@given(st.sampled_from(sorted(PARAMETERS)))
def test_laying_a_rule_over_itself_changes_nothing(name: str) -> None:
    """What is said twice is said once: the shipped rules over themselves are the shipped rules."""
    rule = PARAMETERS[name]
    again = rule.model_copy().over(rule)
    units = [*rule.ranges, "any"]
    assert [made(again, u, ()) for u in units] == [made(rule, u, ()) for u in units]


WRONG = """
sources:
  air:
    type: simulator
    quality:
      stations: {"3459": {o3: {spike: {fail: 1, suspect: 2}, range: [2, 1], gap: 0s}}}
quality:
  parameters:
    o3: {policy: {spik: stop, rate: drop}, flat_line: {fail: 3}, spike: 3, ranges: {ppm: [3, 1]}}
    no2: {policy: {neighbours: stop}, climatology: {usual: [{months: [13]}]}, rate: {fail: -1}}
    co: {attenuated: {suspect: 1, fail: 2, method: [range]}, units: {ppm: {unit: x}}}
"""


def test_errors_name_place_and_remedy(tmp_path: Path) -> None:
    """Whatever is wrong in a rule, at any depth, is told with line, column and what to write."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path, WRONG)
    found = [line.removeprefix(f"{tmp_path}/config.yaml:") for line in str(error.value).splitlines()]
    for place, text in [
        ("6:39: sources.air.quality.stations.3459.o3.spike", "make suspect the smaller one"),
        ("6:69: sources.air.quality.stations.3459.o3.range", "write [1, 2]"),
        ("6:82: sources.air.quality.stations.3459.o3.gap", "more than 0"),
        ("9:25: quality.parameters.o3.policy.spik", "upstream, sentinel, gross_range"),
        ("9:37: quality.parameters.o3.policy.rate", "flag, quarantine or stop"),
        ("9:62: quality.parameters.o3.flat_line.fail", "has no unit"),
        ("9:73: quality.parameters.o3.spike", "must be a block of keys"),
        ("9:90: quality.parameters.o3.ranges.ppm", "write [1, 3]"),
        ("10:19: quality.parameters.no2.policy", "leave neighbours at flag"),
        ("10:71: quality.parameters.no2.climatology.usual[0].months[0]", "at most 12"),
        ("10:92: quality.parameters.no2.rate.fail", "at least 0"),
        ("11:52: quality.parameters.co.attenuated.method", "range or deviation"),
        ("11:76: quality.parameters.co.units.ppm.unit", "no known key"),
    ]:
        assert any(line.startswith(f"{place}: ") and text in line for line in found), (place, found)
    assert len(found) == 13


LAYERED = """
sources:
  air:
    type: simulator
    quality:
      parameters: {o3: {spike: {suspect: 2000}}, pm10: {rate: {suspect: 9}}, x: {attenuated: {suspect: 1}}}
      stations: {"1": {no2: {units: {ppb: {spike: {fail: 7}}}}, pm10: {gap: 2h}}}
quality:
  parameters: {pm25: {flat_line: {suspect: 20d}}, pm10: {rate: {fail: 8}}, x: {attenuated: {fail: 2}}}
"""


def test_a_threshold_that_a_wider_rule_makes_void_is_refused(tmp_path: Path) -> None:
    """Who sets only one of two thresholds beyond the other one, wherever that stands, is told where."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path, LAYERED)
    found = [line.partition("config.yaml:")[2] for line in str(error.value).splitlines()]
    own, one = "sources.air.quality.parameters", "sources.air.quality.stations.1"
    wider = "one of them of a wider rule; give both here"
    assert found == [
        f"6:25: {own}.o3.spike: in ppm has suspect 2000 and fail 0.15, {wider}",
        f"6:57: {own}.pm10.rate: has suspect 9 and fail 8, {wider}",
        f"6:82: {own}.x.attenuated: has suspect 1 and fail 2, {wider}",
        f"7:44: {one}.no2.units.ppb.spike: has suspect 100 and fail 7, {wider}",
        f"9:23: quality.parameters.pm25.flat_line: has suspect 20d and fail 10d, {wider}",
    ]
    # A figure for any unit, which fits one of them at least, may be meant for that.
    mended = LAYERED.replace("suspect: 2000", "suspect: 200").replace("20d", "20d, fail: 30d")
    mended = mended.replace("suspect: 9", "suspect: 7").replace("fail: 2}", "fail: 1}")
    assert load(tmp_path, mended.replace("fail: 7", "fail: 700"))


def test_attenuated_thresholds_go_the_other_way() -> None:
    """A signal that moves less is worse: suspect is the larger of the two."""
    with pytest.raises(ValidationError, match="make suspect the larger one"):
        ParameterRule.model_validate({"attenuated": {"suspect": 1, "fail": 2}})


def test_rules_do_not_leak_between_sources() -> None:
    """Making the rules of one source leaves the settings, and so those of the next, alone."""
    quality = QualitySettings()
    before = quality.model_dump()
    own = SourceQuality.model_validate({"sentinels": [-1], "parameters": {"o3": {"spike": None}}})
    assert rule_of(quality, own)(series()).spike is None
    assert quality.model_dump() == before
    assert rule_of(quality, SourceQuality())(series()).spike is not None

"""docs/quality.md says what the code does: flags, bits, sentinels, weights, formulas, causes."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest

from benchmarks.flags import judged, summary
from loader import gaps
from loader.config import QualitySettings
from loader.quality.checks import CHECK_NAMES
from loader.quality.rules import MOST_STEPS
from loader.quality.score import COMPONENT_NAMES, Components, Weights
from loader.readings import Check, Flag
from loader.records import COUNT_NAMES
from loader.settings.durations import format_duration
from loader.settings.quality import PARAMETERS, SHIPPED, Policy
from loader.settings.rules import made
from loader.settings.shipped import AIR, C_MAPSS_SEEN

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
TEXT = (Path(__file__).resolve().parents[2] / "docs" / "quality.md").read_text(encoding="utf-8")


def table(first_header: str) -> list[list[str]]:
    """The rows of the table whose first column has this header, without their markup."""
    after = TEXT.split(f"| {first_header} |", 1)[1]
    lines = after.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_every_flag_is_documented() -> None:
    """The table of flags has each flag's number and name, and no other."""
    documented = {int(row[0]): row[1] for row in table("flag")}
    assert documented == {f.value: f.name.lower().replace("_", " ") for f in Flag}


def test_every_check_is_documented() -> None:
    """The table of checks has each bit and its names, and no other."""
    documented = {int(bit): (name, called) for bit, name, called, *_ in table("bit")}
    assert documented == {c.value: (c.name, CHECK_NAMES[c]) for c in Check}


def test_every_policy_is_documented() -> None:
    """The table of policies has those that may be configured, and no other."""
    assert [row[0] for row in table("policy")] == list(get_args(Policy))


def bounds(span: tuple[float, float]) -> str:
    low, high = span
    if math.isnan(low):
        return "-" if math.isnan(high) else f"above {high:.10g}"
    return f"{low:.10g} to {high:.10g}"


def test_every_shipped_threshold_is_documented() -> None:
    """The table has suspect range, spike and flat line of each parameter of air in each unit, and
    nothing else is shipped."""
    expected = []
    for name in AIR:
        for unit in PARAMETERS[name].ranges or ["any"]:
            rule = made(PARAMETERS[name], unit, ())
            spike, flat = rule.spike, rule.flat
            assert spike is None or spike.differential
            assert flat is None or flat.tolerance == 0
            expected.append(
                [
                    name,
                    unit,
                    bounds(rule.suspect),
                    f"{spike.limits.suspect:.10g} / {spike.limits.fail:.10g}" if spike else "-",
                    f"{format_duration(flat.suspect)} / {format_duration(flat.fail)}" if flat else "-",
                ]
            )
            others = (
                rule.rate,
                rule.gap,
                rule.attenuated,
                rule.climatology,
                rule.precision,
                rule.neighbours,
            )
            assert not any(others)
            assert (rule.cadence, rule.policy) == (0, {})
    assert table("parameter | unit") == expected


def test_what_runs_by_default_is_documented() -> None:
    """The table has every check, and says yes of those that a shipped rule or the code itself makes."""
    rules = [made(rule, unit, ()) for rule in PARAMETERS.values() for unit in rule.ranges or ["any"]]
    kinds = {"flat_line": "flat", "gross_range": "fail"}
    runs = {"upstream", "sentinel", "unit"}
    runs |= {n for n in CHECK_NAMES.values() if any(getattr(r, kinds.get(n, n), None) for r in rules)}
    rows = table("check | runs")
    assert [name for name, *_ in rows] == [
        *("upstream", "sentinel", "gross_range", "unit", "spike", "flat_line", "rate", "gap"),
        *("attenuated", "climatology", "precision", "neighbours"),
    ]
    assert {name for name, *_ in rows} == set(CHECK_NAMES.values())
    assert {name for name, said, _ in rows if said == "yes"} == runs


def test_the_ranges_of_c_mapss_are_documented() -> None:
    """The table has what was seen of each column, and where it is suspect and fails."""
    rules = {name: made(rule, "", ()) for name, rule in SHIPPED["cmapss"].items()}
    assert table("parameter | seen") == [
        [name, bounds(seen), bounds(rules[name].suspect), bounds(rules[name].fail)]
        for name, seen in C_MAPSS_SEEN.items()
    ]


def test_how_often_the_defaults_object_is_what_the_benchmark_says() -> None:
    """The table of counts is what `python -m benchmarks.flags` prints for the same data."""
    if not DATA.exists():
        pytest.skip(f"no data at {DATA.resolve()}")
    _, *lines = summary(list(judged(DATA)))
    assert table("data | parameter") == [[str(cell) for cell in line] for line in lines]


def test_the_most_readings_of_a_flat_line_are_documented() -> None:
    """The bound on what is looked for is the code's."""
    assert f"a threshold of more than {MOST_STEPS} readings is not tried" in TEXT


def test_the_shipped_sentinels_are_documented() -> None:
    """The codes that stand for no value are named as shipped."""
    *most, last = (f"{code:g}" for code in QualitySettings().sentinels)
    assert f"({', '.join(most)} and {last} unless configured)" in TEXT
    assert PARAMETERS["temperature"].sentinels == (-999, -9999)
    assert [n for n, rule in PARAMETERS.items() if rule.sentinels] == ["temperature"]


def test_every_component_is_documented_with_its_weight_and_formula() -> None:
    """The table of components has each weight, and the formula that the code's docstring gives."""
    rows = {name: (float(weight), formula) for name, weight, formula in table("component")}
    assert tuple(rows) == COMPONENT_NAMES
    assert {name: weight for name, (weight, _) in rows.items()} == asdict(Weights())
    configured = QualitySettings().weights.as_weights()
    assert configured == Weights()
    for name, (_, formula) in rows.items():
        assert re.search(rf"{name}\s+{re.escape(formula)}", Components.__doc__ or "")
        assert set(re.findall(r"[a-z]+", formula)) <= set(COUNT_NAMES)


def test_every_cause_of_a_gap_is_documented() -> None:
    """The table of causes has each cause and no other."""
    causes = {
        gaps.EXPIRED, gaps.QUARANTINED, gaps.FETCH_FAILED, gaps.SOURCE_HAD_NOTHING, gaps.NOT_YET_DUE,
        gaps.NOT_ASKED_FOR,
    }  # fmt: skip
    assert {row[0] for row in table("cause")} == causes

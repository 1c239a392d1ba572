"""docs/quality.md says what the code does: flags, bits, sentinels, weights, formulas, causes."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

from loader import gaps
from loader.config import QualitySettings
from loader.quality.score import COMPONENT_NAMES, Components, Weights
from loader.readings import Check, Flag
from loader.records import COUNT_NAMES

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
    """The table of checks has each bit and its name, and no other."""
    assert {int(row[0]): row[1] for row in table("bit")} == {c.value: c.name for c in Check}


def test_the_shipped_sentinels_are_documented() -> None:
    """The codes that stand for no value are named as shipped."""
    *most, last = (f"{code:g}" for code in QualitySettings().sentinels)
    assert f"({', '.join(most)} and {last} unless configured)" in TEXT
    assert QualitySettings().parameters["temperature"].sentinels == (-999, -9999)
    assert [n for n, rule in QualitySettings().parameters.items() if rule.sentinels] == ["temperature"]


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

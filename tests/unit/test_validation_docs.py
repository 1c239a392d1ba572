"""docs/validate.md and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loader.validation import blocks, columns, jsonfile, lines, stamps, tables, trouble
from loader.validation.collect import READINGS
from loader.validation.columns import NAMES, plain
from loader.validation.examine import CODE_REPEATS
from loader.validation.html import LONGEST
from loader.validation.report import LISTED, PLOTS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "validate.md").read_text(encoding="utf-8")
FLAT = " ".join(TEXT.split())

ROWS = {
    role: set(re.findall(r"`([^`]+)`", cells))
    for role, cells in re.findall(
        r"^\| (time|value|parameter, unit|station|sensor|place) \| (.*) \|$", TEXT, re.M
    )
}


@pytest.mark.parametrize(
    ("row", "roles"),
    [
        ("time", {"time"}),
        ("value", {"value"}),
        ("parameter, unit", {"parameter", "unit"}),
        ("station", {"station"}),
        ("sensor", {"sensor"}),
        ("place", {"latitude", "longitude"}),
    ],
)
def test_the_names_in_the_table_are_known(row: str, roles: set[str]) -> None:
    """Each stands for what its row says."""
    known = {name for role in roles for name in NAMES[role]}
    known |= {*columns.DATE_PARTS} if row == "time" else set()
    known |= {*columns.PLACE_WORDS} if row == "station" else set()
    assert ROWS[row]
    assert {plain(name) for name in ROWS[row]} <= known


@pytest.mark.parametrize(
    ("said", "value", "figure"),
    [
        ("by a thousand of the first 20,000 records", (columns.JUDGED_BY, tables.ROWS), (1000, 20_000)),
        ("first ten of each kind", trouble.KEPT, 10),
        ("three times at least", CODE_REPEATS, 3),
        ("plots of the 60 worst series", PLOTS, 60),
        ("Beyond 25 million readings", READINGS, 25_000_000),
        ("Tables end after 200 rows", LISTED, 200),
        ("names after 160 letters", LONGEST, 160),
        ("up to ten blocks of neighbouring records", blocks.MOST, 10),
        ("A line may have a million bytes", lines.LINE, 10**6),
        ("a JSON record 16 million", jsonfile.RECORD, 16 * 10**6),
        ("a cycle then counts as an hour", stamps.CYCLE, 3600 * 10**6),
    ],
)  # fmt: skip
def test_figures(said: str, value: object, figure: object) -> None:
    """Every number in the text is the one that holds."""
    assert said in FLAT
    assert value == figure


def test_kinds_of_failing_lines_are_named() -> None:
    """Those that are no records, and the others."""
    named = FLAT.partition("those that are no records (")[2].partition(")")[0]
    assert set(re.findall(r"`(\w+)`", named)) == trouble.NO_RECORD
    for rule in ("timestamp", "early", "future", "value"):
        assert f"`{rule}`" in FLAT

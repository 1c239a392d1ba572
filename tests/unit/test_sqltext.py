"""Named queries and numbered migrations from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader import sqltext


def test_queries_are_cut_at_their_names(tmp_path: Path) -> None:
    """Each name has the text up to the next one, without the last semicolon."""
    file = tmp_path / "queries.sql"
    file.write_text(
        "-- what this is\n\n"
        "-- name: one\nSELECT 1\n  -- not a name: here\nFROM t;\n\n-- name: two\nSELECT 2"
    )
    assert sqltext.queries(file) == {
        "one": "SELECT 1\n  -- not a name: here\nFROM t",
        "two": "SELECT 2",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 0;\n-- name: one\nSELECT 1;", "above the first"),
        ("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;", "one is there twice"),
        ("-- name: one\n-- name: two\nSELECT 2;", "one is empty"),
    ],
)
def test_a_query_file_with_a_mistake_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """SQL without a name, a name given twice, a name without SQL."""
    file = tmp_path / "queries.sql"
    file.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        sqltext.queries(file)


def test_migrations_come_in_order(tmp_path: Path) -> None:
    """By number, with their names."""
    for name in ("0002_more.sql", "0001_initial.sql"):
        (tmp_path / name).write_text(f"-- {name}")
    assert [(m.number, m.name, m.sql) for m in sqltext.migrations(tmp_path)] == [
        (1, "initial", "-- 0001_initial.sql"),
        (2, "more", "-- 0002_more.sql"),
    ]


@pytest.mark.parametrize(
    "names", [["0002_b.sql"], ["0001_a.sql", "0003_c.sql"], ["0001_a.sql", "0001_b.sql"], ["a.sql"]]
)
def test_migrations_with_a_gap_are_refused(tmp_path: Path, names: list[str]) -> None:
    """They count 1, 2, 3, and are called by number and name."""
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="migration"):
        sqltext.migrations(tmp_path)


def test_text_is_made_storable() -> None:
    """NUL and lone surrogates go, everything else stays."""
    assert sqltext.storable("a\x00b\ud800c\udfffd µ 東 🜁\n") == "a\ufffdb\ufffdc\ufffdd µ 東 🜁\n"

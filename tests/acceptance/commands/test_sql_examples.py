"""The SQL in docs/how-to.md gives what the page says, on every store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from builders import Loading, at
from shell import NO2, PM25, Kept

from loader.findings import Assessment, QualityDay
from loader.readings import DAY, Check, Readings, UInt8, UInt32
from tests.checks import Checks

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "how-to.md").read_text(encoding="utf-8")
WORST, COMPLETENESS, RUNS, OBJECTIONS, UPSTREAM = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def fill(kept: Kept) -> None:
    """Readings that were objected to in several ways, and two assessed days of each series."""

    def some(_: object, readings: Readings, __: object) -> tuple[UInt8, UInt32]:
        tests = readings.tests.copy()
        tests[readings.value == 7] = Check.UPSTREAM | Check.SPIKE | Check.FLAT
        tests[readings.value == 8] = Check.GROSS_RANGE
        return readings.flag, tests

    loading = Loading(kept.store)
    loading.commit([(PM25, 20, 7.0), (PM25, 21, 7.0), (PM25, 22, 8.0), (NO2, 20, 9.0)], check=Checks(some))
    loading.finish(quality=80.0)
    for one in kept.store.series("src"):
        days = (
            QualityDay(one.id, at(0), due=24, observed=24, good=24, score=100.0),
            QualityDay(one.id, at(24), due=24, observed=6, good=3, suspect=3, late=1, score=60.0),
            QualityDay(one.id, at(0) + 2 * DAY, unevaluated=2),
        )
        kept.store.assess(loading.lease, Assessment(one.id, days=days))
    loading.lease.release()


def test_the_queries_find_what_the_page_says(kept: Kept) -> None:
    """Worst days, sums of counts, runs, objections by name, the sources' own flags."""
    fill(kept)
    worst = [(str(day), *rest) for day, *rest in kept.query(WORST)]
    assert sorted(worst) == [
        ("2024-02-01", "Here", "pm25", 60.0, 0.25, 0.5),
        ("2024-02-01", "There", "no2", 60.0, 0.25, 0.5),
    ]
    found = kept.query(COMPLETENESS)
    assert sorted((station, float(share)) for station, _, share in found) == [
        ("Here", 0.625),
        ("There", 0.625),
    ]
    assert [row[0] for row in kept.query(RUNS.replace("'demo'", "'src'"))] == [2, 1]
    assert kept.query(RUNS) == []
    assert kept.query(OBJECTIONS) == [("pm25", "upstream,spike,flat_line", 2), ("pm25", "gross_range", 1)]
    assert kept.query(UPSTREAM) == [("src", "Here", "pm25", 2)]


def test_a_share_of_nothing_is_null(kept: Kept) -> None:
    """A day on which nothing was due, or nothing came, has no share of it."""
    fill(kept)
    here = next(s.id for s in kept.store.series("src") if s.series.sensor == "a")
    lease = kept.store.acquire("src")
    silent = QualityDay(here, at(0) + 3 * DAY, due=24, score=0.0)
    kept.store.assess(lease, Assessment(here, days=(silent,)))
    lease.release()
    shares = "completeness, validity, timeliness, uniqueness, consistency"
    rows = kept.query(
        f"SELECT {shares} FROM quality_daily WHERE sensor = 'a' AND day >= '2024-02-02' ORDER BY day"
    )
    assert rows[0] == (None, 1.0, 1.0, 1.0, 1.0)
    assert rows[1] == (0.0, None, None, None, None)


@pytest.mark.parametrize("view", ["quality_daily", "quality_runs", "flagged"])
def test_the_page_names_every_column(kept: Kept, view: str) -> None:
    """Those that it calls the five components by their names."""
    text = next(line for line in PAGE.splitlines() if line.startswith(f"| `{view}` |"))
    named = re.findall(r"`([a-z_]+)`", text.replace(f"`{view}`", ""))
    if "the five components" in text:
        named += ["completeness", "validity", "timeliness", "uniqueness", "consistency"]
    sql = (
        f"SELECT name FROM pragma_table_info('{view}')"
        if kept.case.name == "sqlite"
        else f"SELECT column_name FROM information_schema.columns WHERE table_name = '{view}'"
    )
    assert {name for (name,) in kept.query(sql)} == set(named)

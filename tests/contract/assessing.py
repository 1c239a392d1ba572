"""What tests of assessments assess, and how they look at what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from builders import Loading, Row, series
from stores import AnyStore

from loader.assess import Assessor
from loader.findings import Standing
from loader.quality.checks import Checks as RuleChecks
from loader.quality.rules import Rule
from loader.readings import Window
from loader.settings.analysis import AnomalySettings, DriftSettings

S1, S2 = (series(name, cadence_s=3600.0) for name in ("s1", "s2"))
RULES = RuleChecks(lambda _: Rule())
EVER = Window(-(2**60), 2**60)
DAYS = 36


def assess(loading: Loading, **more: Any) -> tuple[int, int]:
    """Assess with the defaults but for `more`; (done, waiting)."""
    given = {"anomalies": AnomalySettings(), "drift": DriftSettings(), "check": RULES, **more}
    left = Assessor(**given)(loading.store, loading.lease, threading.Event(), lambda: None)
    return left.done, left.waiting


def found(store: AnyStore) -> dict[str, list[Any]]:
    """Everything that assessments wrote."""
    return {
        "quality": list(store.quality("src", EVER.start, EVER.end)),
        "cadences": sorted(store.cadences("src").items()),
        "anomalies": sorted(
            store.anomalies("src", EVER.start, EVER.end), key=lambda a: (a.series_id, a.detector, a.time)
        ),
        "drifts": store.drifts("src", EVER.start),
        "standings": store.standings("src"),
    }


def standings(store: AnyStore) -> dict[str, Standing]:
    """Those of the only series, by detector."""
    return {one.detector: one for one in store.standings("src")}


def air(days: int = DAYS, seed: int = 1, which: Sequence[Any] = (S1, S2)) -> list[Row]:
    """Hourly values with a daily season; some hours are missing, some have no value."""
    chance = np.random.default_rng(seed)
    rows: list[Row] = []
    for one in which:
        for hour in range(1, days * 24 + 1):
            if chance.random() < 0.03:
                continue
            value = 20 + 5 * np.sin(hour * np.pi / 12) + chance.normal(0, 1)
            rows.append((one, hour, None if chance.random() < 0.02 else round(float(value), 3)))
    return rows


def spoilt(rows: Iterable[Row], hours: Iterable[int], factor: float = 30) -> list[Row]:
    """The rows, S1's values of these hours multiplied."""
    wrong = set(hours)
    return [
        (one, hour, value * factor if value is not None and one is S1 and hour in wrong else value)
        for one, hour, value in rows
    ]


def whole_days(rows: Iterable[Row]) -> dict[int, list[Row]]:
    by: dict[int, list[Row]] = {}
    for row in rows:
        by.setdefault(int((row[1] - 1) // 24), []).append(row)
    return by


def steps_of(rows: Iterable[Row], first: int) -> list[list[Row]]:
    """The first so many days in one step, and each day after them."""
    days = list(whole_days(rows).values())
    return [[row for day in days[:first] for row in day], *days[first:]]

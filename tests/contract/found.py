"""Findings for tests to put into stores, and short ways to ask for them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from builders import Loading, at, series, span
from stores import AnyStore

from loader.findings import Assessment, Cadence, FoundAnomaly, FoundDrift, Model, QualityDay, Standing
from loader.readings import Progress

S1, S2 = series("s1"), series("s2")
EVER = (-(2**62), 2**62)


def assessed(store: AnyStore) -> Loading:
    """Two sensors with readings of hours 1 to 9, of which nothing is pending."""
    loading = Loading(store)
    rows = [(one, float(h), float(h)) for one in (S1, S2) for h in range(1, 10)]
    cover = (span(0, 9),)
    loading.commit(rows, Progress("p-s1", cover=cover), Progress("p-s2", cover=cover))
    for pending in store.pending("src"):
        store.assess(loading.lease, Assessment(pending.series_id, pending.window))
    return loading


def ids(loading: Loading) -> tuple[int, int]:
    found = {s.series.sensor: s.id for s in loading.store.series(loading.source)}
    return found["s1"], found["s2"]


def days(store: AnyStore, source: str | None = "src") -> list[QualityDay]:
    return list(store.quality(source, *EVER))


def anomaly(number: int, hour: float, detector: str = "zscore", **more: Any) -> FoundAnomaly:
    explanation = json.dumps({"distance": "x", "parts": [{"series_id": number, "value": 1.5}]})
    given = {"version": "1", "score": -4.5, "explanation": explanation, **more}
    return FoundAnomaly(number, at(hour), detector, **given)


def drift(number: int, hour: float, against: str = "first", **more: Any) -> FoundDrift:
    given = {"ks": 0.5, "psi": 0.25, "shift": 1.5, "scale": 2.0, "drifting": True, **more}
    return FoundDrift(number, at(hour), against, 30, 40, **given)


def model(station: str = "st1", version: str = "1", **more: Any) -> Model:
    return Model(station, "forest", version, at(0), at(9), **{"sensors": (2, 1), "data": b"\x00x", **more})


def full(number: int) -> Assessment:
    """Something of everything."""
    return Assessment(
        number,
        days=(QualityDay(number, at(0), due=24, observed=20, good=18, suspect=2, score=87.5),),
        cadences=(Cadence(number, at(0), 3600.0), Cadence(number, at(5), 0.25)),
        judged={"zscore": span(0, 9)},
        anomalies=(anomaly(number, 3), anomaly(number, 4)),
        drifts=(drift(number, 8),),
        standings=(Standing(number, "zscore", True, 5, at(3), at(9), "5 in a run"),),
    )


def flags(rows: list[tuple[float, int, int]]) -> tuple[Any, Any, Any]:
    """(hour, flag, tests) as columns."""
    hour, flag, tests = zip(*rows, strict=True)
    return (
        np.array([at(h) for h in hour], np.int64),
        np.array(flag, np.uint8),
        np.array(tests, np.uint32),
    )

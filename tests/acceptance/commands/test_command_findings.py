"""`loader anomalies` and `loader drift` as a user calls them, on every store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from builders import Loading, at, series
from shell import Kept, Shell
from stores import AnyStore

from loader.commands.output import iso
from loader.contracts import Lease
from loader.findings import Assessment, FoundAnomaly, FoundDrift, Standing
from loader.readings import DAY
from loader.stores.sqlite import SQLiteStore


def ids(store: AnyStore) -> tuple[int, int]:
    """The series of Here and of There."""
    found = {s.series.sensor: s.id for s in store.series("src")}
    return found["a"], found["b"]


def put(store: AnyStore, *found: Assessment) -> None:
    lease: Lease = store.acquire("src")
    for one in found:
        store.assess(lease, one)
    lease.release()


def anomaly(
    series_id: int, hour: float, detector: str, parts: Sequence[tuple[int, float | None]]
) -> FoundAnomaly:
    told = [{"series_id": id_, "value": v, "expected": 20.0, "distance": 7.5} for id_, v in parts]
    explanation = json.dumps({"distance": "robust standard deviations", "parts": told})
    return FoundAnomaly(series_id, at(hour), detector, "1", 7.5, explanation)


def test_anomalies_are_listed_as_they_were_found(shell: Shell, kept: Kept) -> None:
    """The newest first, with the sensors that are out, by series, time and detector."""
    here, there = ids(kept.store)
    put(
        kept.store,
        Assessment(
            here,
            anomalies=(
                anomaly(here, 2, "robust_zscore", [(here, 2.0)]),
                anomaly(here, 5.5, "isolation_forest", [(there, None), (here, 5.0)]),
            ),
        ),
        Assessment(there, anomalies=(anomaly(there, 3, "unit_scale", [(there, -1.0)]),)),
    )
    newest, middle, oldest = shell.json("anomalies")
    assert newest == {
        "source": "src",
        "station": "Here",
        "sensor": "a",
        "parameter": "pm25",
        "unit": "ug/m3",
        "time": iso(at(5.5)),
        "detector": "isolation_forest",
        "version": "1",
        "score": 7.5,
        "distance_in": "robust standard deviations",
        "parts": [
            {
                "sensor": "b",
                "parameter": "no2",
                "unit": "ppb",
                "value": None,
                "expected": 20.0,
                "distance": 7.5,
            },
            {
                "sensor": "a",
                "parameter": "pm25",
                "unit": "ug/m3",
                "value": 5.0,
                "expected": 20.0,
                "distance": 7.5,
            },
        ],
    }
    assert (middle["sensor"], oldest["time"]) == ("b", iso(at(2)))

    def times(*arguments: str) -> list[str]:
        return [found["time"] for found in shell.json("anomalies", *arguments)]

    assert times("--station", "Here") == [iso(at(5.5)), iso(at(2))]
    assert times("--detector", "unit_scale") == [iso(at(3))]
    assert times("--since", iso(at(2)), "--until", iso(at(3))) == [iso(at(3))]
    assert times("--limit", "2") == [iso(at(5.5)), iso(at(3))]
    table = shell("anomalies", "--limit", "1").splitlines()
    assert table[1].split() == [
        iso(at(5.5)),
        *["src", "Here", "a", "pm25", "ug/m3", "-", "20", "7.5", "7.5", "isolation_forest"],
    ]
    assert "the newest 1; --limit shows more" in shell.err
    assert shell("anomalies", "--limit", "3")
    assert shell.err == ""


def test_stored_readings_are_judged_on_request(shell: Shell, filled: SQLiteStore) -> None:
    """What lies far out is found wherever the stretch begins, and nothing is kept of it."""
    loading = Loading(filled)
    hours = np.arange(100, 100 + 35 * 24)
    values = 20 + 5 * np.sin(hours / 24 * 2 * np.pi) + np.random.default_rng(1).normal(0, 0.5, len(hours))
    values[-30] = 200.0
    sensor = series("c", partition="p-c", station="Far")
    loading.commit([(sensor, float(h), float(v)) for h, v in zip(hours, values, strict=True)])
    loading.finish()
    loading.lease.release()
    when = at(float(hours[-30]))
    scan = ("anomalies", "--scan", "--station", "Far")
    for since in (at(0), when - 2 * DAY, when - 1):
        found = shell.json(*scan, "--since", iso(since), "--detector", "robust_zscore")
        mine = next(one for one in found if one["time"] == iso(when))
        assert mine["parts"][0]["value"] == 200.0
        assert mine["score"] > 4
    assert iso(when) not in shell(*scan, "--since", iso(when))
    assert iso(when) in shell(*scan, "--since", iso(at(0)))
    assert shell.json("anomalies") == []
    shell("anomalies", "--scan", code=2)
    assert "give --since" in shell.err
    shell(*scan, "--since", iso(at(0)), "--detector", "isolation_forest", code=2)
    assert "looks at stations" in shell.err


def test_a_run_a_search_and_an_export_agree(shell: Shell) -> None:
    """The anomalies that a run has stored are those that a search finds, and that an export marks."""
    (shell.folder / "config.yaml").write_text(
        "store: sqlite:///loader.db\n"
        "sources: {demo: {type: simulator, stations: 2, initial: 40d, flaws: {spikes: 0.03}}}\n"
    )
    shell("run")
    newest = datetime.fromisoformat(shell.json("status")[0]["newest"])
    since = (newest - timedelta(days=7)).isoformat()
    found = shell.json("anomalies")
    assert found
    searched = shell.json("anomalies", "--scan", "--since", since)
    assert [(a["time"], a["sensor"], a["score"]) for a in searched] == [
        (a["time"], a["sensor"], a["score"]) for a in found
    ]
    told = shell("export", "--since", since, "--with", "zscore,alert", "--format", "ndjson")
    marked = {
        (row["time"], row["sensor"], row["zscore"])
        for row in map(json.loads, told.splitlines())
        if row["alert"]
    }
    assert marked == {
        (a["time"], a["sensor"], a["score"]) for a in found if a["detector"] == "robust_zscore"
    }


def drift(series_id: int, days: int, against: str = "first", drifting: bool = False) -> FoundDrift:
    return FoundDrift(series_id, at(24 * days), against, 56, 55, 0.5, 0.75, -1.25, 2.0, drifting)


def test_drift_shows_the_newest_comparison(shell: Shell, kept: Kept) -> None:
    """With its effect sizes, what it is against, and since when that alerts; all with --history."""
    here, there = ids(kept.store)
    put(
        kept.store,
        Assessment(
            here,
            drifts=(drift(here, 28), drift(here, 29, drifting=True)),
            standings=(
                Standing(here, "drift", True, 0, at(24 * 29), at(24 * 29)),
                Standing(here, "unit_scale", False, 0, at(1), at(1)),
            ),
        ),
        Assessment(
            there,
            drifts=(drift(there, 28, "season"),),
            standings=(Standing(there, "drift", False, 1, at(24), at(24 * 28)),),
        ),
    )
    first, second = shell.json("drift")
    assert first == {
        "source": "src",
        "station": "Here",
        "sensor": "a",
        "parameter": "pm25",
        "unit": "ug/m3",
        "time": iso(at(24 * 29)),
        "against": "first",
        "reference": 56,
        "current": 55,
        "ks": 0.5,
        "psi": 0.75,
        "shift": -1.25,
        "scale": 2.0,
        "drifting": True,
        "alerting": True,
        "alerting_since": iso(at(24 * 29)),
    }
    assert (second["sensor"], second["against"], second["alerting"]) == ("b", "season", False)
    assert second["alerting_since"] is None
    history = shell.json("drift", "--history", "--parameter", "pm25")
    assert [found["time"] for found in history] == [iso(at(24 * 28)), iso(at(24 * 29))]
    assert [found["sensor"] for found in shell.json("drift", "--since", iso(at(24 * 28)))] == ["a"]
    lines = shell("drift").splitlines()
    assert lines[1].split()[-6:] == ["0.50", "0.75", "-1.25", "2.00", "yes", iso(at(24 * 29))]
    assert lines[2].split()[-2:] == ["no", "-"]
    assert shell("drift", "--station", "There", "--since", iso(at(24 * 40))) == ""
    assert "no series was compared" in shell.err

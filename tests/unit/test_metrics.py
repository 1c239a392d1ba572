"""What Prometheus is told, read back with its own parser."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loader.metrics import KINDS, Metrics
from loader.records import Counts, Outcome, RunReport

NOW = 1_800_000_000_000_000


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every value by its name and labels."""
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in text_string_to_metric_families(text.decode())
        for s in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One value; None where it is not shown."""
    return samples(metrics.render()[0]).get((name, frozenset(labels.items())))


def report(outcome: Outcome = Outcome.OK, counts: Counts | None = None, source: str = "a") -> RunReport:
    return RunReport(
        id=1, source=source, trigger="schedule", started=NOW, outcome=outcome, counts=counts or Counts()
    )


def test_everything_begins_at_nought() -> None:
    """Each source shows every outcome and kind before its first run, and no sensor anywhere."""
    metrics = Metrics(["a", "b"])
    found = samples(metrics.render()[0])
    for source in ("a", "b"):
        for outcome in Outcome:
            assert found["loader_runs_total", frozenset({("source", source), ("outcome", outcome)})] == 0
        for kind in KINDS:
            assert found["loader_readings_total", frozenset({("source", source), ("kind", kind)})] == 0
        for code in ("200", "none"):
            assert found["loader_requests_total", frozenset({("source", source), ("code", code)})] == 0
        for name in (
            "loader_run_duration_seconds_count",
            "loader_last_success_timestamp_seconds",
            "loader_newest_reading_timestamp_seconds",
            "loader_consecutive_failures",
            "loader_quality_score",
            "loader_holes",
            "loader_anomalous_series",
            "loader_drifting_series",
            "loader_pending_series",
            "loader_next_run_timestamp_seconds",
        ):
            assert found[name, frozenset({("source", source)})] == 0
    names = {name for _, labels in found for name, _ in labels}
    assert names <= {"source", "outcome", "kind", "code", "le", "version", "python"}
    assert {"loader_build_info", "process_resident_memory_bytes"} <= {name for name, _ in found}
    assert not [name for name, _ in found if name.endswith("_created")]


def test_a_run_is_counted() -> None:
    """Outcome, readings by kind, requests by code and duration add up over runs."""
    metrics = Metrics(["a"])
    counts = Counts(**{kind: n for n, kind in enumerate(KINDS, 1)})
    metrics.ran(report(counts=counts), {"200": 7, "none": 1}, 2.0)
    metrics.ran(report(Outcome.PARTIAL, counts), {"200": 1, "503": 2}, 4000.0)
    assert value(metrics, "loader_runs_total", source="a", outcome="ok") == 1
    assert value(metrics, "loader_runs_total", source="a", outcome="partial") == 1
    for n, kind in enumerate(KINDS, 1):
        assert value(metrics, "loader_readings_total", source="a", kind=kind) == 2 * n
    for code, count in {"200": 8, "503": 2, "none": 1}.items():
        assert value(metrics, "loader_requests_total", source="a", code=code) == count
    assert value(metrics, "loader_run_duration_seconds_sum", source="a") == 4002
    assert value(metrics, "loader_run_duration_seconds_bucket", source="a", le="5.0") == 1
    assert value(metrics, "loader_run_duration_seconds_bucket", source="a", le="10800.0") == 2


def test_a_run_that_did_not_take_place_has_no_duration() -> None:
    """A skipped run counts as one, and leaves the durations alone."""
    metrics = Metrics(["a"])
    metrics.ran(report(Outcome.SKIPPED), {}, None)
    assert value(metrics, "loader_runs_total", source="a", outcome="skipped") == 1
    assert value(metrics, "loader_run_duration_seconds_count", source="a") == 0


def test_the_state_is_shown_in_seconds() -> None:
    """Microseconds become seconds; what is not known stays as it was."""
    metrics = Metrics(["a"])
    metrics.state(
        "a", newest=NOW, failures=3, quality=97.5, holes=2, next_run=NOW + 500_000, last_success=NOW
    )
    metrics.state(
        "a", newest=None, failures=0, quality=None, holes=0, next_run=None, last_success=None,
        anomalous=1, drifting=2, pending=3,
    )  # fmt: skip
    assert value(metrics, "loader_newest_reading_timestamp_seconds", source="a") == 1.8e9
    assert value(metrics, "loader_next_run_timestamp_seconds", source="a") == 1.8e9 + 0.5
    assert value(metrics, "loader_last_success_timestamp_seconds", source="a") == 1.8e9
    assert value(metrics, "loader_quality_score", source="a") == 97.5
    assert value(metrics, "loader_consecutive_failures", source="a") == 0
    assert value(metrics, "loader_holes", source="a") == 0
    assert value(metrics, "loader_anomalous_series", source="a") == 1
    assert value(metrics, "loader_drifting_series", source="a") == 2
    assert value(metrics, "loader_pending_series", source="a") == 3


def test_a_reload_adds_and_removes_sources() -> None:
    """What goes on keeps its counts; what is gone is not shown, and a late report of it is ignored."""
    metrics = Metrics(["a", "b"])
    metrics.ran(report(), {"200": 1}, 1.0)
    metrics.ran(report(source="b"), {"418": 1}, 1.0)
    metrics.watch(["a", "c"])
    metrics.ran(report(source="b"), {"200": 1}, 1.0)
    metrics.state("b", newest=NOW, failures=1, quality=1, holes=1, next_run=NOW, last_success=NOW)
    shown = {
        dict(labels)["source"] for _, labels in samples(metrics.render()[0]) if "source" in dict(labels)
    }
    assert shown == {"a", "c"}
    assert value(metrics, "loader_runs_total", source="a", outcome="ok") == 1
    assert value(metrics, "loader_runs_total", source="c", outcome="ok") == 0


def test_threads_lose_no_count() -> None:
    """Runs that end at once in many threads, while figures are asked for, are all counted."""
    metrics = Metrics(["a"])

    def work() -> None:
        for _ in range(100):
            metrics.ran(report(counts=Counts(new=1)), {"200": 1}, 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.render()
    assert value(metrics, "loader_readings_total", source="a", kind="new") == 400
    assert value(metrics, "loader_requests_total", source="a", code="200") == 400


def test_the_file_is_whole_and_replaced(tmp_path: Path) -> None:
    """A file holds what is rendered, may be read by others, and nothing else is left beside it."""
    metrics, path = Metrics(["a"]), tmp_path / "new" / "loader.prom"
    metrics.write(path)
    metrics.ran(report(), {}, 1.0)
    metrics.write(path)
    found = samples(path.read_bytes())
    assert found["loader_runs_total", frozenset({("source", "a"), ("outcome", "ok")})] == 1
    assert [p.name for p in path.parent.iterdir()] == ["loader.prom"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where the target is a folder, the error is told and no part of a file stays."""
    (tmp_path / "loader.prom").mkdir()
    with pytest.raises(OSError, match=r"loader\.prom"):
        Metrics(["a"]).write(tmp_path / "loader.prom")
    assert [p.name for p in tmp_path.iterdir()] == ["loader.prom"]

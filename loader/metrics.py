"""Figures for Prometheus. No labels by station or sensor: their number has no bound."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from loader import __version__, atomic
from loader.records import Counts, Outcome, RunReport

KINDS = (
    "new",
    "refetched",
    "revised",
    "late",
    "duplicate",
    "missing",
    "suspect",
    "failed",
    "quarantined",
    "vanished",
    "expired",
)
"""What is counted of readings; each is a field of `Counts`."""

BUCKETS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 12 * 3600)


class Metrics:
    """All figures of one process; callable from any thread. Every series begins at zero."""

    def __init__(self, sources: Sequence[str]) -> None:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            Info,
            ProcessCollector,
            disable_created_metrics,
        )

        # A second line for each count, with the time when this process first knew of it: of no use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        at, by = self._registry, ["source"]
        ProcessCollector(registry=at)
        self.runs = Counter("loader_runs_total", "Runs by how they ended.", [*by, "outcome"], registry=at)
        self.duration = Histogram(
            "loader_run_duration_seconds", "How long runs took.", by, buckets=BUCKETS_S, registry=at
        )
        self.readings = Counter(
            "loader_readings_total", "Readings by what happened to them.", [*by, "kind"], registry=at
        )
        self.requests = Counter(
            "loader_requests_total", "Requests by HTTP status; none: no answer.", [*by, "code"], registry=at
        )
        gauges = {
            "last_success_timestamp_seconds": "When the newest run ended that went well.",
            "newest_reading_timestamp_seconds": "The time of the newest reading.",
            "consecutive_failures": "Runs in a row that failed.",
            "quality_score": "Score of the newest run that has one, 0 to 100.",
            "holes": "Windows that could not be read yet.",
            "anomalous_series": "Series that stand alerting with a detector of anomalies.",
            "drifting_series": "Series that stand alerting with drift.",
            "pending_series": "Series with readings that were not assessed yet.",
            "next_run_timestamp_seconds": "When the next run is due.",
        }
        self._gauges = {
            name: Gauge(f"loader_{name}", text, by, registry=at) for name, text in gauges.items()
        }
        Info("loader_build", "This program.", registry=at).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self._watched: set[str] = set()
        self.watch(sources)

    def watch(self, sources: Sequence[str]) -> None:
        """From now on show these sources; what was counted of others is taken away."""
        with self._lock:
            for name in self._watched - set(sources):
                self._forget(name)
            for name in set(sources) - self._watched:
                for outcome in Outcome:
                    self.runs.labels(name, outcome.value)
                for kind in KINDS:
                    self.readings.labels(name, kind)
                self.duration.labels(name)
                for code in ("200", "none"):
                    self.requests.labels(name, code)
                for gauge in self._gauges.values():
                    gauge.labels(name)
            self._watched = set(sources)

    def _forget(self, source: str) -> None:
        for metric in (self.runs, self.duration, self.readings, self.requests, *self._gauges.values()):
            metric.remove_by_labels({"source": source})

    def ran(self, report: RunReport, codes: Mapping[str, int], seconds: float | None) -> None:
        """A run has ended, or (`seconds` None) did not take place. `codes` counts its requests by
        how they were answered."""
        with self._lock:
            source = report.source
            if source not in self._watched:
                return
            self.runs.labels(source, (report.outcome or Outcome.INTERRUPTED).value).inc()
            if seconds is not None:
                self.duration.labels(source).observe(seconds)
            self._add(source, report.counts)
            for code, count in codes.items():
                self.requests.labels(source, code).inc(count)

    def _add(self, source: str, counts: Counts) -> None:
        for kind in KINDS:
            self.readings.labels(source, kind).inc(getattr(counts, kind))

    def state(
        self,
        source: str,
        *,
        newest: int | None,
        failures: int,
        quality: float | None,
        holes: int,
        next_run: int | None,
        last_success: int | None,
        anomalous: int = 0,
        drifting: int = 0,
        pending: int = 0,
    ) -> None:
        """How the source stands. Times in microseconds UTC; what is unknown stays as it was."""
        seen = {
            "newest_reading_timestamp_seconds": _seconds(newest),
            "consecutive_failures": float(failures),
            "quality_score": quality,
            "holes": float(holes),
            "anomalous_series": float(anomalous),
            "drifting_series": float(drifting),
            "pending_series": float(pending),
            "next_run_timestamp_seconds": _seconds(next_run),
            "last_success_timestamp_seconds": _seconds(last_success),
        }
        with self._lock:
            if source in self._watched:
                for name, value in seen.items():
                    if value is not None:
                        self._gauges[name].labels(source).set(value)

    def render(self) -> tuple[bytes, str]:
        """Everything in Prometheus' text format, and its content type."""
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def write(self, path: Path) -> None:
        """Write them into a file, whole or not at all, for a collector that reads text files.
        Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.replace(path, self.render()[0], mode=0o644)


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1e6

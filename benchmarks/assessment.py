"""What it costs to assess a run's readings: `python -m benchmarks.assessment [DATABASE_URL]`.

A million hourly readings of 100 series are loaded from memory at once, then 1 % more, then one hour; each
time the run and the assessment behind it are timed, wall clock and the process's own CPU. Without an
address the store is SQLite in a temporary folder; a database must be empty, and is left full.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.airfiles import Data, series
from benchmarks.airreplay import CONFIG, DELAY, Recorded, Silent
from loader import wiring
from loader.errors import LoaderError
from loader.pipeline import Order
from loader.readings import DAY, HOUR

SERIES, BULK, MORE = 100, 10_000, 100
START = 19_000 * DAY


def made() -> Data:
    """Skewed values with a daily season, five series a station."""
    hours = BULK + MORE + 1
    times = START + np.arange(1, hours + 1, dtype=np.int64) * HOUR
    chance, data = np.random.default_rng(1), {}
    for i in range(SERIES):
        season = 0.5 * np.sin(np.arange(hours) * np.pi / 12)
        values = np.round(np.exp(2 + season + chance.normal(0, 0.3, hours)), 2)
        data[series(f"st{i // 5}", f"pm25_{i % 5}", "µg/m³")] = (times, values)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assessment", description=__doc__)
    parser.add_argument("database", nargs="?", metavar="DATABASE_URL")
    try:
        measure(parser.parse_args().database)
    except LoaderError as error:
        raise SystemExit(str(error)) from None


def measure(database: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = database or f"sqlite:///{folder}/loader.db"
        path = Path(folder) / "config.yaml"
        path.write_text(CONFIG.replace("sqlite:///loader.db", url))
        config = wiring.load_config(path)
        store, source, stop = wiring.open_store(config), Recorded(made()), threading.Event()
        pipeline = wiring.build_pipeline(config, "data", store, stop, Silent())
        pipeline = replace(
            pipeline,
            source=source,
            clock=lambda: source.now,
            policy=replace(pipeline.policy, start=lambda _: START),
        )
        assess, lease = wiring.build_assessor(config, "data"), store.acquire("data")
        if store.partitions("data"):
            raise SystemExit("the database must be empty: its source `data` is to be loaded from the start")
        print("| new readings | run | its CPU | assessment | its CPU |\n|---|---|---|---|---|")
        for hours in (BULK, BULK + MORE, BULK + MORE + 1):
            source.now = START + hours * HOUR + DELAY
            marks = [(time.perf_counter(), time.process_time())]
            report = pipeline.run(Order(trigger="schedule"), lease)
            marks.append((time.perf_counter(), time.process_time()))
            assess(store, lease, stop, lambda: None)
            marks.append((time.perf_counter(), time.process_time()))
            steps = pairwise(marks)
            spans = [f"{b - a:.2f} s" for step in steps for a, b in zip(*step, strict=True)]
            print(f"| {report.counts.new:,} | {' | '.join(spans)} |", flush=True)
        lease.release()
        store.close()


if __name__ == "__main__":
    main()

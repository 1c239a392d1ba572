"""The QARTOD tests on one core: how many readings they judge a second, beside ioos_qc.

ioos_qc is the reference implementation. It is measured where it is installed (`pip install ioos_qc`);
the loader does not need it. Both get the same arrays in memory and the same thresholds: gross range,
spike, rate of change and flat line over the minutes of 100 sensors, with 1 % of the values missing
and a sensor stuck now and then.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.figures import Report
from loader.quality.kernels import GrossRange, RateOfChange, Spike, evaluate
from loader.quality.rows import Kernel, Rows
from loader.quality.windows import FlatLine
from loader.readings import SECOND, Float64, Int32, Int64, UInt8

SENSORS = 100
MINUTE = 60 * SECOND
RANGE, SUSPECT_RANGE = (-40.0, 60.0), (0.0, 40.0)
SPIKE = (3.0, 10.0)
RATE = (5 / 60, 20 / 60)
FLAT_S = (360, 720)
TOLERANCE = 0.01

Columns = tuple[Int32, Int64, Float64]


def quality(report: Report, runs: int, readings: int = 1_000_000) -> None:
    """Measure both and add what was found."""
    many, few = columns(readings // SENSORS), columns(10)
    # The best of several: what is measured is short, and others use the machine too.
    walls = [best(lambda: ours(many), 3) for _ in range(runs)]
    report.line("four QARTOD tests, loader", readings, walls)
    report.target("readings judged a second", readings / statistics.median(walls) / 1e6, ">=", 15, " M")
    small = best(lambda: ours(few), 200)
    report.target("1,000 readings of 100 sensors judged in", small * 1e3, "<=", 0.5, " ms")
    if importlib.util.find_spec("ioos_qc") is None:
        report.fact("four QARTOD tests, ioos_qc", "not measured: pip install ioos_qc")
        return
    theirs = [best(lambda: reference(many), 3) for _ in range(runs)]
    report.line("four QARTOD tests, ioos_qc", readings, theirs)
    times = [b / a for a, b in zip(walls, theirs, strict=True)]
    report.fact("QARTOD tests, times as fast as ioos_qc", f"{statistics.median(times):.0f}")
    small_times = best(lambda: reference(few), 3) / small
    report.fact("the same with 10 readings a sensor", f"{small_times:.0f}")
    differ = np.count_nonzero(ours(many)[0] != reference(many))
    report.fact("flags in which they differ", f"{differ} of {readings:,}")


def columns(each: int) -> Columns:
    """`each` readings of every sensor, a minute apart."""
    random = np.random.default_rng(7)
    n = SENSORS * each
    series = np.repeat(np.arange(SENSORS, dtype=np.int32), each)
    stamps = 1_767_225_600 * SECOND + np.arange(each) * MINUTE
    value = (20 + 5 * np.sin(np.arange(n) / 300) + random.normal(0, 0.2, n)).round(3)
    for stuck in range(0, n, 50_000):
        value[stuck : stuck + 40] = 7
    value[random.random(n) < 0.01] = np.nan
    value[random.random(n) < 0.001] = 99
    return series, np.tile(stamps, SENSORS), value


def ours(of: Columns) -> tuple[UInt8, np.ndarray]:
    """The verdict of the four tests and their bits, from bare columns."""

    def every(threshold: float) -> Float64:
        return np.full(SENSORS, threshold)

    def times(seconds: float) -> Int64:
        return np.full(SENSORS, round(seconds * SECOND))

    tests: list[Kernel] = [
        GrossRange(*map(every, (*RANGE, *SUSPECT_RANGE))),
        Spike(*map(every, SPIKE)),
        RateOfChange(*map(every, RATE)),
        FlatLine(*map(times, FLAT_S), every(TOLERANCE), times(60), times(600)),
    ]
    return evaluate(Rows.of(*of), tests)


def reference(of: Columns) -> UInt8:
    """The same by ioos_qc, a sensor at a time as it takes them."""
    from ioos_qc import qartod

    series, stamps, value = of
    verdicts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in np.split(np.arange(len(series)), np.flatnonzero(np.diff(series)) + 1):
            x, t = value[part], stamps[part].astype("datetime64[us]").astype("datetime64[ns]")
            flags = [
                qartod.gross_range_test(x, RANGE, SUSPECT_RANGE),
                qartod.spike_test(x, *SPIKE),
                qartod.rate_of_change_test(x, t, *RATE),
                qartod.flat_line_test(x, t, *FLAT_S, TOLERANCE),
            ]
            verdicts.append(np.ma.filled(qartod.qartod_compare(flags), 9))
    return np.concatenate(verdicts).astype(np.uint8)


def best(work: Callable[[], object], times: int) -> float:
    """The shortest of so many, in seconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)

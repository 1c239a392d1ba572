"""The QARTOD tests on one core: how many readings they judge a second, beside ioos_qc.

ioos_qc is the reference implementation; it gets an environment of its own, as dlt does. Both get the
same arrays in memory and the same thresholds: gross range, spike, rate of change and flat line over
the minutes of 100 sensors, with 1 % of the values missing and a sensor stuck now and then. Full
minutes, since ioos_qc cuts the steps between readings to whole seconds.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.environment import HERE, environment
from benchmarks.figures import Report
from benchmarks.process import Failed, measure
from loader.quality.checks import Checks
from loader.quality.rules import FlatRule, Limits, Rule, SpikeRule
from loader.readings import SECOND, Float64, Int32, Int64, Readings, Series, UInt8

SENSORS = 100
MINUTE = 60 * SECOND
RANGE, SUSPECT_RANGE = (-40.0, 60.0), (0.0, 40.0)
SPIKE = (3.0, 10.0)
RATE = (5 / 60, 20 / 60)
FLAT_S = (360, 720)
TOLERANCE = 0.01

LIMITS = {
    "range": RANGE,
    "suspect_range": SUSPECT_RANGE,
    "spike": SPIKE,
    "rate": RATE,
    "flat_s": FLAT_S,
    "tolerance": TOLERANCE,
}
RULE = Rule(
    expected=True,
    fail=RANGE,
    suspect=SUSPECT_RANGE,
    spike=SpikeRule(Limits(*SPIKE)),
    rate=Limits(*RATE),
    flat=FlatRule(FLAT_S[0] * SECOND, FLAT_S[1] * SECOND, TOLERANCE),
)

Columns = tuple[Int32, Int64, Float64]


def quality(report: Report, runs: int, readings: int = 1_000_000) -> None:
    """Measure both, in turns, and add what was found; where ioos_qc cannot be had, why."""
    try:
        rival = IoosQc(environment("ioos"))
    except Failed as error:
        rival = None
        report.fact("four QARTOD tests, ioos_qc", f"not measured: {error}")
    ours, many, few = Ours(), columns(readings // SENSORS), columns(10)
    turns: list[tuple[Judged, Judged]] = []
    small: list[tuple[Judged, Judged]] = []
    for _ in range(runs):
        for of, found in ((many, turns), (few, small)):
            mine = ours.judge(of)
            found.append((mine, mine if rival is None else rival.judge(of)))
    line(report, "four QARTOD tests, loader", [mine for mine, _ in turns])
    cpu = statistics.median(mine.cpu_s for mine, _ in turns)
    report.target("readings judged a second, one core", readings / cpu / 1e6, ">=", 15, " M")
    cpu = statistics.median(mine.cpu_s for mine, _ in small)
    report.target("1,000 readings of 100 sensors judged in", cpu * 1e3, "<=", 0.5, " ms")
    if rival is None:
        return
    theirs = [other for _, other in turns]
    line(report, f"four QARTOD tests, ioos_qc {theirs[0].version}", theirs)
    for name, found in (("four QARTOD tests", turns), ("the same, 1,000 readings", small)):
        times = statistics.median(other.cpu_s / mine.cpu_s for mine, other in found)
        mine, other = found[-1]
        took = f"the last {mine.cpu_s * 1e3:.2f} ms against {other.cpu_s * 1e3:.0f} ms"
        report.fact(f"{name}, times as fast as ioos_qc", f"{times:.0f} ({took})")
        differ = np.count_nonzero(mine.verdict != other.verdict)
        count = ", ".join(f"{n:,} of flag {flag}" for flag, n in enumerate(np.bincount(mine.verdict)) if n)
        report.fact(f"{name}, judged differently", f"{differ} of {len(mine.verdict):,} ({count})")


def line(report: Report, name: str, runs: Sequence[Judged]) -> None:
    rows = len(runs[0].verdict)
    report.line(name, rows, [one.wall_s for one in runs], cpus=[one.cpu_s for one in runs])


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the seconds that it took: of CPU, which is what the clock would show on a core of
    one's own, and on the clock."""

    verdict: UInt8
    cpu_s: float
    wall_s: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class IoosQc:
    """ioos_qc in its own environment; a process each time, only the judging counts."""

    python: Path

    def judge(self, of: Columns) -> Judged:
        """Raises Failed where it does not work."""
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            source, out = Path(folder, "columns.npy"), Path(folder, "verdict.npy")
            np.save(source, np.rec.fromarrays(of, names=["series", "time", "value"]))
            # -P: this folder's own modules must not stand in the way of what ioos_qc imports.
            took = measure([self.python, "-P", HERE / "ioos_rival.py", source, json.dumps(LIMITS), out])
            said = json.loads(took.out)
            return Judged(np.load(out), **said)


class Ours:
    """The checker of a source whose series have these four tests, called as by a commit."""

    def __init__(self) -> None:
        self.checks = Checks(lambda _: RULE)
        self.series = [
            Series(f"{i}", "temperature", "c", f"st{i}", f"st{i}", cadence_s=60) for i in range(SENSORS)
        ]

    def judge(self, of: Columns) -> Judged:
        readings = Readings.of(*of)
        written = np.ones(len(readings), np.bool_)
        return best(lambda: self.checks(self.series, readings, written)[0])


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


def best(work: Callable[[], UInt8]) -> Judged:
    """The one of least CPU, of two at least and of half a second: what is measured is short, and
    others use the machine too."""
    took: list[tuple[float, float]] = []
    while len(took) < 2 or sum(cpu for cpu, _ in took) < 0.5:
        began, used = time.perf_counter(), time.process_time()
        verdict = work()
        took.append((time.process_time() - used, time.perf_counter() - began))
    return Judged(verdict, *min(took))

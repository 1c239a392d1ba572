"""Real processes and real signals: a run that is asked to stop, and one that is killed."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

CONFIG = """
store: sqlite:///{folder}/loader.db
sources:
  demo:
    type: simulator
    stations: 3
    initial: {days}d
    concurrency: 2
    latency: {latency}
"""


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """Leave no process and no pipe behind, whatever a test did."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
        process.communicate()
    STARTED.clear()


STARTED: list[subprocess.Popen[str]] = []


def start(folder: Path, latency: str, days: int = 700) -> subprocess.Popen[str]:
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder=folder, latency=latency, days=days))
    process = subprocess.Popen(
        [sys.executable, "-m", "loader", "-c", str(config), "run", "--log-level", "debug", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def events(process: subprocess.Popen[str]) -> Iterator[str]:
    """The events of its log, as they come."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{"):
            yield json.loads(line)["event"]


def until(process: subprocess.Popen[str], event: str, times: int = 1) -> None:
    """Read the log until an event has come so many times."""
    for seen in events(process):
        times -= seen == event
        if times == 0:
            return
    pytest.fail(f"the process ended before {event}")


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "loader.db")) as db:
        return db.execute(sql).fetchall()


def check_sums(folder: Path) -> None:
    assert rows(folder, "SELECT sum(new) FROM run") == rows(folder, "SELECT count(*) FROM reading")
    assert rows(folder, "SELECT sum(revised) FROM run") == rows(folder, "SELECT count(*) FROM revision")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_batch_and_exits(tmp_path: Path, number: int, code: int) -> None:
    """The run is recorded as interrupted, what was read is kept, the next run gets the rest."""
    process = start(tmp_path, "50ms")
    until(process, "commit.end")
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert json.loads(out)[0]["outcome"] == "interrupted"
    ((outcome, new),) = rows(tmp_path, "SELECT outcome, new FROM run")
    assert outcome == "interrupted"
    assert 0 < int(str(new)) < 18 * 700 * 24
    check_sums(tmp_path)


def test_a_second_signal_leaves_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """Whatever was committed stays; the next run closes the dead one and continues."""
    process = start(tmp_path, "2s", days=60)
    until(process, "run.begin")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (130, 143)
    process = start(tmp_path, "0s", days=60)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert rows(tmp_path, "SELECT outcome FROM run ORDER BY id") == [("interrupted",), ("ok",)]
    check_sums(tmp_path)


@pytest.mark.slow
def test_a_killed_run_leaves_whole_batches_and_the_next_continues(tmp_path: Path) -> None:
    """SIGKILL in the middle of a commit: all of the batch or none of it, and no row twice."""
    for _ in range(3):
        process = start(tmp_path, "1ms")
        until(process, "commit.begin", times=2)
        process.kill()
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
    process = start(tmp_path, "0s")
    process.communicate(timeout=120)
    assert process.returncode == 0
    outcomes = rows(tmp_path, "SELECT outcome FROM run ORDER BY id")
    assert outcomes == [("interrupted",)] * 3 + [("ok",)]
    check_sums(tmp_path)
    ((count,),) = rows(tmp_path, "SELECT count(*) FROM reading")
    assert abs(int(str(count)) - 18 * 700 * 24) <= 18


def test_a_second_loader_exits_with_75_and_leaves_a_row(tmp_path: Path) -> None:
    """Two at once: the second one says who is in the way and records that it was skipped."""
    first = start(tmp_path, "50ms")
    until(first, "commit.end")
    second = start(tmp_path, "50ms")
    _, said = second.communicate(timeout=60)
    assert second.returncode == 75
    assert "demo" in said
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert rows(tmp_path, "SELECT outcome FROM run ORDER BY id") == [("interrupted",), ("skipped",)]

"""The heartbeat's file, and what `loader health` makes of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from loader import heartbeat
from loader.commands.health import trouble
from loader.heartbeat import LONGEST, READY, Beat, beat, read
from loader.readings import SECOND

NOW = 1_800_000_000_000_000
MINUTE = 60 * SECOND


def one(at: int = NOW, state: str = READY) -> Beat:
    return Beat(pid=42, at=at, version="1.0", state=state)


def now() -> int:
    return time.time_ns() // 1000


def health(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`loader health` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "loader", "health", *arguments],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if not k.startswith("LOADER_")} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_beat_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Folders are made, nothing is left beside the file, and the newest beat counts."""
    path = tmp_path / "new" / "deep" / "heartbeat.json"
    beat(path, one())
    beat(path, one(NOW + 1, "no: \u00e9"))
    assert read(path) == one(NOW + 1, "no: \u00e9")
    assert [p.name for p in path.parent.iterdir()] == ["heartbeat.json"]


def test_a_reader_never_sees_half_a_beat(tmp_path: Path) -> None:
    """While it is written over and over, each reading of it is a whole beat."""
    path = tmp_path / "heartbeat.json"
    beat(path, one())
    stop = threading.Event()

    def write() -> None:
        at = NOW
        while not stop.is_set():
            at += 1
            beat(path, one(at, "x" * (at % LONGEST)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(500):
            found = read(path)
            assert found.state in (READY, "x" * (found.at % LONGEST))
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "{}", '{"pid": 1, "at": "x", "version": "", "state": ""}', "[" * 60_000,
     '{"pid": 1, "at": Infinity, "version": "", "state": ""}', "\xff\xfe"],
)  # fmt: skip
def test_what_is_no_heartbeat_is_told(tmp_path: Path, text: str) -> None:
    """Any other content is a ValueError, and makes the daemon unhealthy with one sentence."""
    path = tmp_path / "heartbeat.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="no heartbeat"):
        read(path)
    assert "cannot be read" in (trouble(path, MINUTE, NOW) or "")


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (0, None),
        (MINUTE, None),
        (MINUTE + SECOND, "process 42 gave its last sign of life 61 s ago"),
        (-MINUTE, None),
        (-MINUTE - SECOND, "process 42 gave its last sign of life 61 s ahead of this clock"),
    ],
)
def test_a_beat_counts_for_its_age(tmp_path: Path, later: int, said: str | None) -> None:
    """Old, or from the future after the clock was set back, is not healthy; the limit itself is."""
    path = tmp_path / "heartbeat.json"
    beat(path, one())
    assert trouble(path, MINUTE, NOW + later) == said


def test_trouble_is_told(tmp_path: Path) -> None:
    """A fresh beat of a daemon that cannot work says why."""
    path = tmp_path / "heartbeat.json"
    beat(path, one(state="config.yaml:3:1: sources is missing"))
    assert trouble(path, MINUTE, NOW) == "config.yaml:3:1: sources is missing"


def test_a_long_reason_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    """A configuration that is wrong in very many places leaves a heartbeat that can be read."""
    path = tmp_path / "heartbeat.json"
    beat(path, one(state="\U0001f321" * 100_000))
    assert trouble(path, MINUTE, NOW) == "\U0001f321" * LONGEST


def test_the_command_tells_by_its_exit_code(tmp_path: Path) -> None:
    """0 with one line, or 1 with the reason; the file's place and the limit can be chosen."""
    none = health(cwd=tmp_path)
    assert (none.returncode, none.stdout) == (1, "")
    assert "state/heartbeat.json is not there" in none.stderr
    beat(tmp_path / "state" / "heartbeat.json", one(now()))
    fresh = health(cwd=tmp_path)
    assert (fresh.returncode, fresh.stdout) == (0, "healthy\n")
    other = tmp_path / "other.json"
    beat(other, one(now() - 90 * SECOND))
    assert health(cwd=tmp_path, LOADER_HEARTBEAT=str(other)).returncode == 1
    assert health("--file", str(other), "--max-age", "1m45s", cwd=tmp_path).returncode == 0
    assert health("--max-age", "soon", cwd=tmp_path).returncode == 2


def test_a_bad_configuration_is_not_read(tmp_path: Path) -> None:
    """The check itself does not fail over a configuration that the daemon may have long mended."""
    (tmp_path / "config.yaml").write_text("][")
    beat(tmp_path / "state" / "heartbeat.json", one(now()))
    assert health(cwd=tmp_path).returncode == 0


def test_the_check_is_light(tmp_path: Path) -> None:
    """It runs every few seconds for years: nothing heavy is imported, and little time is used."""
    path = tmp_path / "heartbeat.json"
    path.write_text(json.dumps({"pid": 1, "at": now(), "version": "1", "state": heartbeat.READY}))
    program = (
        "import sys; from loader.__main__ import cli; "
        f"cli(['health', '--file', {str(path)!r}], standalone_mode=False); "
        "print({'numpy', 'pydantic', 'rich', 'yaml', 'requests', 'structlog'} & set(sys.modules))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout == "healthy\nset()\n"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1

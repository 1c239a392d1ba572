"""`loader export` as a user calls it: filters, files, pipes, signals."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import Loading, at
from shell import PM25, Shell

from loader.commands.output import iso
from loader.stores.sqlite import SQLiteStore

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.usefixtures("filled")
def test_export_filters_and_writes_files_whole(shell: Shell) -> None:
    """By source, station, parameter and time; the file's name decides the format."""
    rows = list(csv.DictReader(io.StringIO(shell("export"), newline="")))
    assert len(rows) == 11
    assert [r["station"] for r in rows] == ["Here"] * 8 + ["There"] * 3
    assert [r["value"] for r in rows if r["station"] == "There"] == ["-1.0"] * 3
    assert shell("export", "--station", "There", "--parameter", "pm25").count("\n") == 1
    assert "no readings fit" in shell.err
    some = shell("export", "--since", iso(at(1)), "--until", iso(at(3)), "--format", "ndjson")
    assert [json.loads(line)["time"] for line in some.splitlines()] == [iso(at(h)) for h in (2, 3, 2, 3)]
    local = shell("export", "--zone", "station", "--layout", "wide")
    assert "2024-01-30T20:00:00-05:00" in local
    assert "station There" in shell.err

    assert shell("export", "--output", "out.json", "--sensor", "b") == ""
    out = shell.folder / "out.json"
    assert len(json.loads(out.read_text())) == 3
    out.chmod(0o640)
    link = shell.folder / "link.json"
    link.symlink_to(out)
    shell("export", "-o", "link.json")
    assert link.is_symlink()
    assert len(json.loads(out.read_text())) == 11
    assert out.stat().st_mode & 0o777 == 0o640
    assert not list(shell.folder.glob(".*.part"))


@pytest.mark.usefixtures("filled")
def test_export_takes_more_columns(shell: Shell) -> None:
    """In the order they are named, each once; what there is not is refused by name."""
    long = shell("export", "--with", "tests, zscore,tests").splitlines()
    assert long[0].endswith(",longitude,tests,zscore")
    assert long[1].endswith(",43.5,-79.25,,"), "too little to judge by, and nothing objects"
    wide = shell("export", "--with", "zscore,alert", "--layout", "wide", "--station", "Here").splitlines()
    assert wide[0] == "source,station,time,pm25,pm25_zscore,pm25_alert"
    shell("export", "--with", "zscore,median", code=2)
    assert "--with median: there is zscore, alert, tests" in shell.err


def test_an_export_that_fails_leaves_the_old_file(shell: Shell, filled: SQLiteStore) -> None:
    """A folder that is not there, a device that is full: one clear line, and nothing half-written."""
    out = shell.folder / "out.csv"
    out.write_text("old")
    shell("export", "-o", "nowhere/out.csv", code=1)
    assert "nowhere" in shell.err
    if Path("/dev/full").exists():
        shell("export", "-o", "/dev/full", code=1)
        assert "No space left" in shell.err
        assert Path("/dev/full").is_char_device()
    filled.close()
    (shell.folder / "loader.db").write_bytes(b"no database" * 100)
    shell("export", "-o", "out.csv", code=1)
    assert out.read_text() == "old"
    assert not list(shell.folder.glob(".*.part"))


def test_a_reader_that_leaves_ends_an_export_quietly(shell: Shell, store: SQLiteStore) -> None:
    """As with `| head -1`: no traceback, no message, exit code 0."""
    loading = Loading(store)
    loading.commit([(PM25, h / 100, h) for h in range(20_000)])
    with subprocess.Popen(
        [sys.executable, "-m", "loader", "export"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=shell.folder,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"source,")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.usefixtures("filled")
def test_an_export_asked_to_end_clears_its_file_away(shell: Shell) -> None:
    """SIGTERM in the midst: the old file stays, the unfinished one does not."""
    (shell.folder / "out.csv").write_text("old")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from loader.commands.output import FileOutput\n"
        "with FileOutput(Path('out.csv')) as out:\n"
        "    out.write(b'new')\n"
        "    assert list(Path().glob('.out.csv.*.part'))\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=shell.folder,
        timeout=60,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert (shell.folder / "out.csv").read_text() == "old"
    assert not list(shell.folder.glob(".*.part"))

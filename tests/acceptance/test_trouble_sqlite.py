"""SQLite where it cannot be: a full disk, a place that may not be written, a file that is no store."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.trouble import Desk, demo, desk, mounted

DAYS = 200
READINGS = 18 * DAYS * 24
"""What the demo's first run brings, give or take an hour a sensor."""


@contextmanager
def crowded(folder: Path) -> Iterator[tuple[Desk, Path]]:
    """A desk on a disk that a first run fills up; what to remove to make room."""
    with mounted(folder, "24m") as disk, desk(disk, demo(f"{DAYS}d")) as made:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(22 << 20))
        yield made, ballast


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """A run on a disk that fills up says so, waits, and finishes as soon as there is room."""
    with crowded(tmp_path / "disk") as (made, ballast):
        run = made.start("run")
        run.until("the disk is full")
        assert made.rows("SELECT count(*) FROM run WHERE finished IS NULL") == [(1,)]
        ballast.unlink()
        assert run.end().code == 0
        made.check_sums()
        ((count,),) = made.rows("SELECT count(*) FROM reading")
        assert abs(count - READINGS) <= 18


def test_a_run_that_gives_up_on_a_full_disk_is_continued(tmp_path: Path) -> None:
    """Asked to stop while it waits for room it ends at once; nothing is half-written, and the next
    run loads what is missing."""
    with crowded(tmp_path / "disk") as (made, ballast):
        run = made.start("run")
        run.until("the disk is full")
        run.ask(signal.SIGTERM)
        assert run.end().code == 143
        assert made.rows("PRAGMA integrity_check") == [("ok",)]
        (before,) = made.rows("SELECT count(*) FROM reading")[0]
        assert before < READINGS - 18
        ballast.unlink()
        made.loader("run")
        made.check_sums()
        ((count,),) = made.rows("SELECT count(*) FROM reading")
        assert abs(count - READINGS) <= 18
        assert made.rows("SELECT outcome FROM run ORDER BY id DESC LIMIT 1") == [("ok",)]


def test_a_disk_that_is_full_from_the_start_is_named(tmp_path: Path) -> None:
    """Every command ends with one line that says what to do; none leaves a broken database."""
    with mounted(tmp_path / "disk", "4m") as disk, desk(disk, demo("1d")) as made:
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            while _fits(ballast.fileno()):
                pass
        for command in ("status", "export"):
            said = made.loader(command, code=1)
            assert "loader.db: the disk is full (0 bytes free)" in said.err
            assert len(said.err.splitlines()) == 1
        (disk / "ballast").unlink()
        made.loader("run")
        made.check_sums()


def _fits(descriptor: int) -> bool:
    try:
        return os.write(descriptor, bytes(4096)) > 0
    except OSError:
        return False


def test_an_export_onto_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """What was there before stays, and nothing else does."""
    with desk(tmp_path, demo("60d")) as made, mounted(tmp_path / "disk", "1m") as disk:
        made.loader("run")
        (disk / "out.csv").write_text("old")
        said = made.loader("export", "-o", str(disk / "out.csv"), code=1)
        assert f"cannot write {disk / 'out.csv'}: No space left on device" in said.err
        assert [p.name for p in disk.iterdir()] == ["out.csv"]
        assert (disk / "out.csv").read_text() == "old"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder, which is a file system of its own where root runs the tests, cannot be written."""
    if os.geteuid() == 0:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield
        return
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


@contextmanager
def place(folder: Path) -> Iterator[Path]:
    if os.geteuid() == 0:
        with mounted(folder, "8m") as made:
            yield made
    else:
        folder.mkdir()
        yield folder


@pytest.mark.parametrize("there", [False, True], ids=["empty", "with readings"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, there: bool) -> None:
    """With path and remedy, by commands that write and by those that only look."""
    with place(tmp_path / "place") as folder, desk(folder, demo("1d")) as made:
        if there:
            made.loader("run")
        with read_only(folder):
            for command in ("run", "export", "forget demo --yes"):
                said = made.loader(*command.split(), code=1)
                assert f"{folder}/loader.db: cannot be written" in said.err, command
            check = made.loader("check", code=1).out
            assert f"FAIL  store     {folder}/loader.db: cannot be written" in check


def _newer(made: Desk) -> None:
    made.loader("run")
    with closing(sqlite3.connect(made.folder / "loader.db")) as db:
        db.execute("INSERT INTO schema_version VALUES (999, 0)")
        db.commit()


def _foreign(made: Desk) -> None:
    with closing(sqlite3.connect(made.folder / "loader.db")) as db:
        db.execute("CREATE TABLE reading (a)")


def _damaged(made: Desk) -> None:
    made.loader("run")
    content = (made.folder / "loader.db").read_bytes()
    (made.folder / "loader.db").write_bytes(content[:4096] + b"\x5a" * (len(content) - 4096))


def _text(made: Desk) -> None:
    (made.folder / "loader.db").write_text("Dear reader, this is a letter and no database.\n" * 40)


def _folder(made: Desk) -> None:
    (made.folder / "loader.db").mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_newer, "loader.db: has schema version 999, this loader knows"),
        (_foreign, "loader.db: belongs to another program; name another file in `store`"),
        (_damaged, "loader.db: the database is damaged"),
        (_text, "loader.db: is not a SQLite database; name another file in `store`"),
        (_folder, "loader.db: is a folder; name a file in it in `store`"),
    ],
)
def test_what_is_no_database_of_ours_is_left_alone(tmp_path: Path, spoil: object, said: str) -> None:
    """One line says what it is; not a byte of it is changed."""
    assert callable(spoil)
    with desk(tmp_path, demo("1d")) as made:
        spoil(made)
        file = tmp_path / "loader.db"
        before = file.read_bytes() if file.is_file() else None
        for command in ("run", "export"):
            told = made.loader(*command.split(), code=1).err.splitlines()
            assert said in told[-1], told
        assert before == (file.read_bytes() if file.is_file() else None)
        assert said in made.loader("check", code=1).out


@pytest.mark.slow
def test_two_at_once_share_the_work_and_nothing_else(tmp_path: Path) -> None:
    """Four loaders on a store that none of them has made yet: one loads, three say who is in the way."""
    with desk(tmp_path, demo("700d", latency="20ms")) as made:
        running = [made.start("run") for _ in range(4)]
        said = [one.end() for one in running]
        assert sorted(one.code for one in said) == [0, 75, 75, 75]
        for one in said:
            if one.code == 75:
                assert "is being loaded by another process" in one.out
                assert "skipped" in one.out
        made.check_sums()
        outcomes = made.rows("SELECT outcome, count(*) FROM run GROUP BY 1 ORDER BY 1")
        assert outcomes == [("ok", 1), ("skipped", 3)]

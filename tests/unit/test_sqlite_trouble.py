"""What can go wrong around the file: full disk, read-only folder, other processes, removed files."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from loader.contracts import Lease
from loader.errors import LeaseLost, StoreError, StoreUnavailable
from loader.findings import Assessment, Cadence
from loader.readings import Readings, Series, Window
from loader.records import Batch, Counts
from loader.stores.sqlite import SQLiteStore
from loader.stores.sqlite.lease import lock_file
from tests.checks import good

ROOT = Path(__file__).resolve().parents[2]
SERIES = (Series("s1", "pm25", "ug/m3", "st1", "p1"),)
ROWS = 2000


def batch(run: int, seq: int, rows: int = ROWS) -> Batch:
    """As many readings as asked for, after those of the batches before."""
    times = seq * 10**9 + np.arange(rows)
    readings = Readings.of(np.zeros(rows), times, np.random.default_rng(seq).random(rows))
    return Batch(run, seq, "src", 1, SERIES, readings, (), (), (), Counts())


def opened(path: Path, busy_s: float = 30.0) -> tuple[SQLiteStore, Lease, int]:
    store = SQLiteStore(path, busy_s=busy_s)
    store.migrate()
    lease = store.acquire("src")
    return store, lease, store.begin_run(lease, "test", 1)


def stored(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("SELECT count(*) FROM reading").fetchone()[0]
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_writes_nothing_and_passes(small_disk: Path) -> None:
    """The batch that does not fit is refused whole, with path and free bytes; with room again the
    same batch goes in."""
    store, lease, run = opened(small_disk / "loader.db")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    batches = iter(range(200))
    with pytest.raises(StoreUnavailable, match=r"loader\.db: .*\d+ bytes free"):
        deque(store.commit(lease, batch(run, seq), good) for seq in batches)
    done = next(batches) - 1
    assert done > 0
    assert store.partitions("src") == store.partitions("src"), "it can still be asked"
    assert stored(small_disk / "loader.db") == done * ROWS
    ballast.unlink()
    committed = store.commit(lease, batch(run, done), good)
    assert (committed.replayed, committed.counts.new) == (False, ROWS)
    store.close()
    assert stored(small_disk / "loader.db") == (done + 1) * ROWS


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_sqlite_trouble import ROWS, batch, good, opened, stored
from loader.errors import StoreUnavailable
path = Path(sys.argv[1])
store, lease, run = opened(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
for seq in range(200):
    try:
        store.commit(lease, batch(run, seq), good)
    except StoreUnavailable as error:
        said = str(error)
        break
assert seq > 0 and "loader.db" in said and "bytes free" in said, said
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert stored(path) == seq * ROWS, (stored(path), seq)
assert store.commit(lease, batch(run, seq), good).counts.new == ROWS
store.close()
assert stored(path) == (seq + 1) * ROWS
"""


def test_a_file_that_may_not_grow_writes_nothing_and_passes(tmp_path: Path) -> None:
    """The same with a limit on the file's size, which needs no rights to set up."""
    script = LIMITED.format(here=str(Path(__file__).parent))
    run_python(script, tmp_path / "loader.db")


def run_python(script: str, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


READ_ONLY = """
import os, sys
from pathlib import Path
from loader.errors import StoreError
from loader.stores.sqlite import SQLiteStore
if os.geteuid() == 0:  # whom no permission stops
    os.setuid(65534)
store = SQLiteStore(Path(sys.argv[1]))
for call in (store.migrate, lambda: store.acquire("src")):
    try:
        call()
    except StoreError as error:
        assert sys.argv[1] in str(error), error
    else:
        raise AssertionError("it was written")
store.close()
"""


@pytest.mark.parametrize("there", [False, True], ids=["empty", "with a database"])
def test_a_folder_that_cannot_be_written_is_named(there: bool) -> None:
    """Opening and locking fail with one clear line, whether or not a database is there already."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if there:
            opened(folder / "loader.db")[0].close()
            lock_file(folder / "loader.db", "src").unlink()
        folder.chmod(0o555)
        try:
            run_python(READ_ONLY, folder / "loader.db")
        finally:
            folder.chmod(0o755)


def test_a_busy_database_is_waited_for_and_then_named(tmp_path: Path) -> None:
    """Another process's long transaction makes a commit fail for now; afterwards it goes in."""
    path = tmp_path / "loader.db"
    store, lease, run = opened(path, busy_s=0.2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="busy"):
            store.commit(lease, batch(run, 1), good)
        with pytest.raises(StoreUnavailable, match="busy"):
            store.take("k", 1, {60: 1}, 0.0, 1)
        other.execute("ROLLBACK")
    assert store.commit(lease, batch(run, 1), good).counts.new == ROWS
    assert store.take("k", 1, {60: 1}, 0.0, 1).count == 1
    store.close()


@pytest.mark.parametrize("instead", [False, True], ids=["removed", "replaced"])
def test_a_database_taken_away_under_the_store_is_noticed(tmp_path: Path, instead: bool) -> None:
    """Writing into a file that nobody can find any more would lose readings."""
    path = tmp_path / "loader.db"
    store, lease, run = opened(path)
    store.commit(lease, batch(run, 1), good)
    path.rename(tmp_path / "moved.db")
    if instead:
        path.touch()
    with pytest.raises(StoreError, match="removed or replaced"):
        store.commit(lease, batch(run, 2), good)
    store.close()


def test_a_lock_file_taken_away_ends_the_lease(tmp_path: Path) -> None:
    """Another process may hold a lock on a new file of that name, so the old one counts no more."""
    path = tmp_path / "loader.db"
    store, lease, run = opened(path)
    lock_file(path, "src").unlink()
    with pytest.raises(LeaseLost):
        store.commit(lease, batch(run, 1), good)
    second = SQLiteStore(path)
    second.acquire("src").release()
    second.close()
    store.close()
    assert stored(path) == 0


def test_the_lock_is_beside_the_database_itself(tmp_path: Path) -> None:
    """By whatever way one gets at the file, a link included, it is one lock."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = opened(tmp_path / "real" / "loader.db")[0]
    other = SQLiteStore(tmp_path / "link" / "loader.db")
    with pytest.raises(Exception, match="src"):
        other.acquire("src")
    other.close()
    store.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A database with overwritten pages gives one line that says so."""
    path = tmp_path / "loader.db"
    store, lease, run = opened(path)
    store.commit(lease, batch(run, 1), good)
    number = store.series("src")[0].id
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    damaged = SQLiteStore(path)
    with pytest.raises(StoreError, match=r"loader\.db: the database is damaged"):
        list(damaged.scan([number], Window(0, 10**12)))
    damaged.close()


def test_commits_survive_a_power_cut(tmp_path: Path) -> None:
    """The writing connection waits for the disk at every commit (`synchronous` FULL, in WAL mode), and
    still does so after assessments, which do not wait, succeeded or failed."""
    store, lease, run = opened(tmp_path / "loader.db")
    connection = store._database.writer()
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.commit(lease, batch(run, 1), good)
    (number,) = (one.id for one in store.series("src"))
    store.assess(lease, Assessment(number, cadences=(Cadence(number, 1, 60.0),)))
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with pytest.raises(StoreError):
        store.assess(lease, Assessment(number, cadences=(Cadence(number, 1, -1.0),)))
    assert store._database.writer().execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()

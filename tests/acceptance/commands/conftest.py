"""A configuration, a store, and one run in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))

from builders import Loading, at, hole, partition, span
from shell import NO2, PM25, Shell

from loader.readings import Progress, Reject
from loader.stores.sqlite import SQLiteStore


@pytest.fixture
def shell(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    (tmp_path / "config.yaml").write_text(
        "store: sqlite:///loader.db\n"
        "sources:\n"
        "  src: {type: simulator, lookback: {min: 1h, max: 2h}}\n"
        "  idle: {type: simulator, enabled: false}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADER_CONFIG", raising=False)
    return Shell(tmp_path, capfdbinary, monkeypatch)


@pytest.fixture
def store(shell: Shell) -> Iterator[SQLiteStore]:
    made = SQLiteStore(shell.folder / "loader.db")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def filled(store: SQLiteStore) -> SQLiteStore:
    """One run of `src`: hours 1 to 10 of Here without 4 and 7, where a hole is; 1 to 3 of There."""
    loading = Loading(store)
    store.register(loading.lease, [partition(PM25), partition(NO2)], at(0))
    hours = [h for h in range(1, 11) if h not in (4, 7)]
    loading.commit(
        [*((PM25, h, float(h)) for h in hours), *((NO2, h, -1.0) for h in (1, 2, 3))],
        Progress(
            "p-a", cover=(span(0, 6), span(7, 10)), holes=(hole(6, 7, next_try=None),), watermark=at(10)
        ),
        Progress("p-b", cover=(span(0, 3),), watermark=at(3), ended=True, error="HTTP 500"),
        places=[(PM25, 0, 43.5, -79.25)],
        rejects=[
            Reject("p-a", "timestamp", "no time in it", b'{"value": 1}'),
            Reject("p-b", "schema", "not \x1b[31mJSON", b"\xff\x00"),
        ],
    )
    loading.finish(quality=97.5)
    loading.lease.release()
    return store

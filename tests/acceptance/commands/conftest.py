"""A configuration, a store, and one run in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))

from shell import Kept, Shell, configure, fill
from stores import STORES, StoreCase

from loader.stores.sqlite import SQLiteStore


@pytest.fixture
def shell(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    configure(tmp_path, "sqlite:///loader.db")
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
    """A store after one run."""
    fill(store)
    return store


@pytest.fixture(params=[case for case in STORES if not case.slow], ids=lambda case: case.name)
def kept(request: pytest.FixtureRequest, shell: Shell, tmp_path: Path) -> Iterator[Kept]:
    case: StoreCase = request.param
    if reason := case.missing():
        pytest.skip(reason)
    address = case.fresh(tmp_path)
    try:
        configure(shell.folder, address if "://" in address else f"sqlite:///{address}")
        store = case.open(address)
        fill(store)
        yield Kept(case, address, store)
        store.close()
    finally:
        case.drop(address)

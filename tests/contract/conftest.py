"""Fixtures of the conformance suites: every registered store, fresh for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stores import STORES, AnyStore, StoreCase


@pytest.fixture(
    params=[
        pytest.param(case, id=case.name, marks=pytest.mark.slow if case.slow else ()) for case in STORES
    ]
)
def case(request: pytest.FixtureRequest) -> StoreCase:
    """One kind of store; a test that takes it runs once for each that is registered."""
    chosen: StoreCase = request.param
    reason = chosen.missing()
    if reason:
        pytest.skip(reason)
    return chosen


@pytest.fixture
def address(case: StoreCase, tmp_path: Path) -> Iterator[str]:
    """An empty place for a store."""
    made = case.fresh(tmp_path)
    yield made
    case.drop(made)


@pytest.fixture
def reopen(case: StoreCase, address: str) -> Iterator[Callable[[], AnyStore]]:
    """Opens one more store object on the same place; closed at the end."""
    opened: list[AnyStore] = []

    def open_again() -> AnyStore:
        opened.append(case.open(address))
        return opened[-1]

    yield open_again
    for store in reversed(opened):
        store.close()


@pytest.fixture
def store(reopen: Callable[[], AnyStore]) -> AnyStore:
    """A fresh, empty store."""
    return reopen()


@pytest.fixture
def query(case: StoreCase, address: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Looks at the tables behind the store's back."""
    return lambda sql: case.query(address, sql)

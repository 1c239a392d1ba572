"""Fixtures of the tests that need a PostgreSQL server: a fresh database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests import postgres

if TYPE_CHECKING:
    from loader.stores.postgres import PostgresStore


@pytest.fixture(params=postgres.versions())
def server(request: pytest.FixtureRequest) -> postgres.Server:
    if reason := postgres.missing():
        pytest.skip(reason)
    return postgres.server(request.param)


@pytest.fixture
def bare(server: postgres.Server) -> Iterator[str]:
    """An empty database."""
    made = server.create()
    yield made
    server.drop(made)


@pytest.fixture
def url(server: postgres.Server) -> Iterator[str]:
    """A database with the tables in it."""
    made = server.migrated()
    yield made
    server.drop(made)


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    """A store in it."""
    from loader.stores.postgres import PostgresStore

    made = PostgresStore(url)
    yield made
    made.close()

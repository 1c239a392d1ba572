"""The profile postgres: a gated start, a stand-by that takes over, a database that goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.engine import docker, missing, until
from tests.image.stack import PASSWORD, Stack, config, stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

TAKEOVER_S = 30
OUTAGE_S = 60
SUMS = "SELECT (SELECT sum(new) FROM run) = (SELECT count(*) FROM reading)"
FINISHED = "SELECT count(*) FROM run WHERE outcome = 'ok'"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Stack]:
    """Two lines in .env, and it is up and has loaded something."""
    env = {"COMPOSE_PROFILES": "postgres", "POSTGRES_PASSWORD": PASSWORD}
    with stack(tmp_path, config(), env) as made:
        made.compose("up", "--detach")
        # The loader was started only when the database was healthy.
        assert made.health("database") == "healthy"
        assert made.inspect(".State.StartedAt", "database") < made.inspect(".State.StartedAt")
        made.until_healthy()
        until(lambda: int(made.query(FINISHED) or 0) > 0, "a run")
        yield made


def settled(made: Stack) -> None:
    """Every row is counted once: true whenever no run is being written."""
    until(lambda: made.query(SUMS) == "t", "every row is counted once")


def test_a_stand_by_takes_over_within_30_seconds(made: Stack) -> None:
    """Two loaders on one database: one leads; it is killed, and the other goes on."""
    name, first = f"{made.project}-second", made.container()
    made.compose("run", "--detach", "--no-deps", "--name", name, "loader")
    try:
        until(lambda: "standing by" in docker("logs", name), "the second stands by")
        docker("kill", first)
        done = int(made.query(FINISHED))
        until(lambda: int(made.query(FINISHED) or 0) > done, "the second loads", TAKEOVER_S)
        settled(made)
        docker("stop", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0\n"
    finally:
        docker("rm", "--force", name, code=None)


def test_it_goes_on_after_the_database_was_away_for_a_minute(made: Stack) -> None:
    """Alive all the time, not ready meanwhile, and nothing is lost or doubled."""
    done = int(made.query(FINISHED))
    made.compose("stop", "database")
    began = time.monotonic()
    until(lambda: made.ask("/readyz")[0] == 503, "it is not ready", OUTAGE_S)
    until(
        lambda: made.ask("/livez")[0] != 200 or time.monotonic() - began >= OUTAGE_S,
        "the minute is over",
        OUTAGE_S + 10,
    )
    assert made.ask("/livez")[0] == 200
    made.compose("start", "database")
    until(lambda: int(made.query(FINISHED) or 0) > done, "it loads again")
    until(lambda: made.ask("/readyz")[0] == 200, "it is ready again")
    assert made.inspect(".RestartCount") == 0
    settled(made)
    made.compose("stop", "loader")
    assert made.inspect(".State.ExitCode") == 0

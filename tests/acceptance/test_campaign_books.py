"""The audit at the end of a campaign notices every kind of damage: without that its praise is nothing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.campaign import CONFIG
from tests.acceptance.campaign_books import SOURCE, audit, sqlite_books
from tests.acceptance.campaign_loader import Loader
from tests.openaq_server import HOUR, KEY, OpenAQServer, World, made_up


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world, and the file that one real run has loaded it into."""
    folder = tmp_path_factory.mktemp("books")
    world = made_up(seed=11, stations=4, days=3)
    spoilt = next(t for t in world.sensors[3917].times if t not in world.sensors[3917].changes)
    world.spoil(3917, spoilt, "value-text")
    world.now = world.settled + HOUR
    with OpenAQServer(world) as server:
        config = folder / "config.yaml"
        path = folder / "loader.db"
        locations = sorted(world.locations)
        config.write_text(
            CONFIG.format(
                store=f"sqlite:///{path}", source=SOURCE, url=server.url, key=KEY, locations=locations
            )
        )
        loader = Loader(config, small=True)
        assert loader.finish() == 0, loader.said()
    return world, path


def test_one_quiet_run_leaves_nothing_to_say(loaded: tuple[World, Path]) -> None:
    """After a run that nothing disturbs the tables equal the world."""
    world, path = loaded
    found = audit(sqlite_books(path), world)
    assert found.problems == []
    assert found.rows == world.count()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM reading WHERE one()", "1 lost"),
        ("UPDATE reading SET value = value + 1 WHERE one()", "1 wrong"),
        ("UPDATE reading SET time = time + 1 WHERE one()", "1 invented"),
        ("DELETE FROM series WHERE id = 1", "without a series"),
        ("UPDATE run SET finished = NULL", "never closed"),
        ("UPDATE run SET new = new + 1", "sum(run.new)"),
        ("UPDATE run SET revised = revised + 1", "sum(run.revised)"),
        ("UPDATE batch SET duplicate = duplicate + 1 WHERE seq = 0", "its batches"),
        ("DELETE FROM coverage WHERE partition = '3917'", "outside the coverage"),
        (
            "INSERT INTO hole SELECT source, partition, 0, 1, '', 1, 1, 0 FROM partition LIMIT 1",
            "without a cause",
        ),
        ("DELETE FROM quarantine", "quarantined by sensor"),
        ("UPDATE series SET sensor = 'copy' WHERE id = 1", "does not have"),
    ],
)
def test_damage_is_noticed(loaded: tuple[World, Path], tmp_path: Path, damage: str, said: str) -> None:
    """Each way to lose, double or invent something is reported in its own words."""
    world, path = loaded
    copy = Path(shutil.copy(path, tmp_path / "copy.db"))
    first = "(series_id, time) = (SELECT series_id, time FROM reading WHERE value > 1 LIMIT 1)"
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute(damage.replace("one()", first))
    problems = audit(sqlite_books(copy), world).problems
    assert any(said in problem for problem in problems), problems

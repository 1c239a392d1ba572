"""`loader locations` against a server that speaks the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from openaq_site import LAST, Site, site

from loader.__main__ import cli
from loader.errors import AccessDenied, UsageError
from tests.openaq_server import KEY, Location


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as made:
        yield made


def run(there: Site, tmp_path: Path, *arguments: str, key: str = KEY) -> Result:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"store: sqlite:///{tmp_path}/loader.db\nsources:\n"
        "  demo: {type: simulator}\n  air:\n    type: openaq\n"
        f"    base_url: {there.server.url}\n    api_key: '{key}'\n    locations: [1]\n    tries: 1\n"
    )
    return CliRunner().invoke(cli, ["-c", str(config), "locations", *arguments])


def test_table_and_lines_to_paste(there: Site, tmp_path: Path) -> None:
    """Stations near a place come with what they measure, their newest reading and licence, and with
    YAML that parses."""
    there.world.add_location(Location(3, "Evil: [name]\n# \x1b[31m", "UTC", 40.86, -73.93, licence=False))
    result = run(there, tmp_path, "--near", "40.85,-73.93", "--radius", "10km")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["id", "name", "parameters", "last", "reading", "licence", "distance"]
    assert "Harlem" in lines[1]
    assert "o3 pm25 temperature" in lines[1]
    assert "2026-11-20T10:00:00Z" in lines[1]
    assert "US Public Domain" in lines[1]
    assert "0.0 km" in lines[1]
    assert "1.1 km" in lines[2]
    assert "\x1b" not in result.stdout
    pasted = yaml.safe_load(result.stdout[result.stdout.index("sources:") :])
    assert pasted["sources"]["openaq"]["locations"] == [1, 3]
    assert result.stdout.rstrip().endswith("# Harlem, Evil: [name]# [31m")
    assert not (tmp_path / "loader.db").exists()


def test_json(there: Site, tmp_path: Path) -> None:
    """With --json the same comes as one document."""
    result = run(there, tmp_path, "--country", "np", "--json")
    (found,) = json.loads(result.stdout)
    assert (found["id"], found["name"], found["parameters"]) == (2, "Ratnapark", ["pm25"])
    assert found["last"] == "2026-11-20T09:45:00Z"
    assert found["timezone"] == "Asia/Kathmandu"


def test_parameter_and_limit_narrow_it(there: Site, tmp_path: Path) -> None:
    """Only stations that measure the parameter are shown, and of those as many as asked for."""
    everywhere = ("--bbox", "-180,-90,180,90")
    assert [r["id"] for r in json.loads(run(there, tmp_path, *everywhere, "--json").stdout)] == [1, 2]
    only = run(there, tmp_path, *everywhere, "--parameter", "O3", "--json")
    assert [r["id"] for r in json.loads(only.stdout)] == [1]
    one = run(there, tmp_path, *everywhere, "--limit", "1")
    assert "1 more; --limit 2 shows them" in one.stderr
    assert "locations: [1]" in one.stdout
    none = run(there, tmp_path, *everywhere, "--parameter", "so2")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no station found there that measures so2" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((), UsageError, "say where"),
        (("--near", "1,2"), UsageError, "near and radius go together"),
        (("--near", "1,2", "--radius", "26km"), UsageError, "at most 25km"),
        (("--near", "here", "--radius", "1km"), UsageError, "--near 'here' is not latitude"),
        (("--bbox", "3,1,2,2"), UsageError, "west < east"),
        (("--country", "Nepal"), UsageError, "two letters"),
        (("--country", "NP", "--source", "demo"), UsageError, "there are: air"),
    ],
)
def test_what_cannot_be_asked(
    there: Site, tmp_path: Path, arguments: tuple[str, ...], error: type[Exception], says: str
) -> None:
    """Impossible questions are refused before anything is asked."""
    result = run(there, tmp_path, *arguments)
    assert isinstance(result.exception, error)
    assert says in str(result.exception)
    assert there.asked() == []


@pytest.mark.parametrize("key", ["", "sesame-open-9"])
def test_key_is_needed(there: Site, tmp_path: Path, key: str) -> None:
    """Without a good key the command says how to get one."""
    result = run(there, tmp_path, "--country", "NP", key=key)
    assert isinstance(result.exception, AccessDenied)
    assert "https://explore.openaq.org" in str(result.exception)
    assert "sesame" not in str(result.exception)


def test_newest_come_first(there: Site, tmp_path: Path) -> None:
    """Without a place the stations with the newest readings come first, silent ones last."""
    there.world.add_location(Location(3, "Silent", "UTC", 0.0, 0.0))
    there.world.add_location(Location(4, "Fresh", "UTC", 0.0, 0.0))
    there.world.add_sensor(41, 4, 2)
    there.world.add(41, LAST + 600_000_000, 1.0)
    result = run(there, tmp_path, "--bbox", "-180,-90,180,90", "--json")
    assert [r["id"] for r in json.loads(result.stdout)] == [4, 1, 2, 3]

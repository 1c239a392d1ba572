"""`loader init` and `loader schema`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from loader import config
from loader.commands.init import command as init
from loader.commands.schema import command as schema
from loader.errors import LoaderError, UsageError
from loader.wiring import TYPES


def test_init_makes_a_folder_that_works(tmp_path: Path) -> None:
    """config.yaml, its schema, .env.example and state/ are there, and the configuration loads."""
    folder = tmp_path / "new" / "place"
    result = CliRunner().invoke(init, [str(folder)])
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in folder.iterdir()) == [
        ".env.example",
        "config.schema.json",
        "config.yaml",
        "state",
    ]
    assert config.load(folder / "config.yaml", TYPES, {}).sources.keys() == {"openaq", "demo"}
    assert f"cd {folder} && loader run" in result.output


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    """One file that is there already stops it before it writes any."""
    (tmp_path / "config.yaml").write_text("mine")
    result = CliRunner().invoke(init, [str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert "config.yaml already" in str(result.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "mine"


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    """A folder that cannot be made is named, without a traceback."""
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(init, [str(tmp_path / "file" / "place")])
    assert isinstance(result.exception, LoaderError)
    assert "cannot be written" in str(result.exception)


def test_schema_prints_the_schema() -> None:
    """Valid JSON on stdout, with every type of source in it."""
    printed = json.loads(CliRunner().invoke(schema).output)
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    types = printed["properties"]["sources"]["additionalProperties"]["properties"]["type"]["enum"]
    assert types == list(TYPES)

"""Variables in the configuration: the environment, `.env`, and secrets from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader import config
from loader.errors import ConfigError
from loader.settings.environment import read_dotenv
from loader.sources.openaq.settings import OpenAQSettings
from loader.wiring import TYPES

AIR = "sources: {air: {type: openaq, locations: [1], api_key: '${KEY}'}}\n"


def load(tmp_path: Path, text: str, **environ: str) -> config.Config:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, TYPES, environ)


def key(loaded: config.Config) -> str | None:
    air = loaded.sources["air"]
    assert isinstance(air, OpenAQSettings)
    return air.key


def test_a_variable_becomes_whatever_the_key_wants(tmp_path: Path) -> None:
    """A number, a switch, a duration or text: the key decides, not the look of the value."""
    text = (
        "sources:\n  air:\n    type: openaq\n    locations: [${ID}]\n    enabled: ${ON}\n"
        "    concurrency: ${N:-9}\n    initial: ${BACK}\n    api_key: ${KEY}\n"
        '    base_url: https://${HOST}/v${V:-3}$${x}\n    limits: {per_minute: "${PER}"}\n'
    ).replace("[${ID}]", '["${ID}"]')
    air = load(
        tmp_path, text, ID="7", ON="false", BACK="2d", KEY="31415926", HOST="a.org", PER="5"
    ).sources["air"]
    assert isinstance(air, OpenAQSettings)
    assert (air.locations, air.enabled, air.concurrency, air.limits.per_minute) == ((7,), False, 9, 5)
    assert (str(air.initial), air.key, air.base_url) == ("2d", "31415926", "https://a.org/v3${x}")


def test_an_unset_variable_leaves_an_optional_key_out(tmp_path: Path) -> None:
    """Unset or empty, with an empty default or none: there is no key, and that is no error."""
    assert key(load(tmp_path, AIR)) is None
    assert key(load(tmp_path, AIR, KEY="")) is None
    assert key(load(tmp_path, AIR.replace("${KEY}", "${KEY:-}"))) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "sources: {d: {type: simulator, seed: '${SEED}'}}",
            "1:38: sources.d.seed: the variable SEED is not set",
        ),
        (
            "sources: {d: {type: simulator, kind: 'a${K}'}}",
            "1:38: sources.d.kind: the variable K is not set",
        ),
        (
            "sources: {d: {type: simulator, kind: '${K'}}",
            "1:38: sources.d.kind: has a ${ that is no variable",
        ),
        (
            "sources: {d: {type: simulator, kind: '${1}'}}",
            "1:38: sources.d.kind: has a ${ that is no variable",
        ),
    ],
)
def test_a_variable_that_is_needed_is_named(tmp_path: Path, text: str, what: str) -> None:
    """The error stands at the key and names the variable and the remedy."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert what in str(error.value)
    assert ":-default}" in str(error.value)


def test_a_refused_value_names_its_variable(tmp_path: Path) -> None:
    """The value itself is not shown: it may be anything."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path, "sources: {d: {type: simulator, seed: '${SEED}'}}", SEED="tell-nobody")
    assert "its value comes from SEED" in str(error.value)
    assert "tell-nobody" not in str(error.value)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """NAME_FILE names a file whose stripped text is the value of NAME."""
    secret = tmp_path / "secret"
    secret.write_text(" s3cret\n")
    assert key(load(tmp_path, AIR, KEY_FILE=str(secret))) == "s3cret"


def test_files_are_for_secrets_only(tmp_path: Path) -> None:
    """LEVEL_FILE may be somebody else's variable: it says nothing about ${LEVEL}."""
    text = AIR + "log: {level: '${LEVEL:-debug}'}\n"
    assert load(tmp_path, text, LEVEL_FILE="/nowhere").log.level == "debug"


def test_a_secret_given_twice_is_an_error(tmp_path: Path) -> None:
    """NAME and NAME_FILE both set: nobody can know which one is meant."""
    with pytest.raises(
        ConfigError, match=r"sources\.air\.api_key: both KEY and KEY_FILE are set; unset one"
    ):
        load(tmp_path, AIR, KEY="a", KEY_FILE="b")


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "there is no such file"), (b"", "is empty"), (b"\xff", "UTF-8"), (b"x" * 64_001, "larger")],
)
def test_a_secret_file_that_is_no_use_is_named(tmp_path: Path, content: bytes | None, what: str) -> None:
    """Absent, empty, binary or huge: the error names the variable and the file."""
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigError, match=f"KEY_FILE names.*{what}"):
        load(tmp_path, AIR, KEY_FILE=str(secret))


def test_the_database_url_sets_the_store(tmp_path: Path) -> None:
    """With the shipped line, and where the file names no store; an address in the file stands."""
    postgres = "postgresql://u:p@h/d"
    shipped = "store: ${DATABASE_URL:-sqlite:///state/loader.db}\n"
    for text in (AIR, AIR + shipped, AIR + "store:\n"):
        assert load(tmp_path, text, DATABASE_URL=postgres).store.raw == postgres
        assert load(tmp_path, text).store.raw == "sqlite:///state/loader.db"
        secret = tmp_path / "url"
        secret.write_text(postgres + "\n")
        assert load(tmp_path, text, DATABASE_URL_FILE=str(secret)).store.raw == postgres
        with pytest.raises(ConfigError, match="store: both DATABASE_URL and DATABASE_URL_FILE are set"):
            load(tmp_path, text, DATABASE_URL=postgres, DATABASE_URL_FILE=str(secret))
    assert (
        load(tmp_path, AIR + "store: sqlite:///a.db\n", DATABASE_URL=postgres).store.raw == "sqlite:///a.db"
    )


def test_the_real_environment_wins_over_dotenv(tmp_path: Path) -> None:
    """A value, or a secret's file, in the environment hides both of .env."""
    (tmp_path / ".env").write_text("KEY=local\n")
    secret = tmp_path / "secret"
    secret.write_text("filed")
    assert key(load(tmp_path, AIR)) == "local"
    assert key(load(tmp_path, AIR, KEY="real")) == "real"
    assert key(load(tmp_path, AIR, KEY_FILE=str(secret))) == "filed"


def test_dotenv_is_read_as_shells_write_it(tmp_path: Path) -> None:
    """export, quotes, escapes, comments, empty values and Windows line ends."""
    file = tmp_path / ".env"
    file.write_bytes(
        b"# remark\r\n\r\nA=1\r\nexport B = two words # remark\r\nC='single # not a remark'\r\n"
        b'D="a \\"b\\" \\n c" # remark\r\nE=\r\nF=a#b\r\nG=x=y\r\nH= # nothing\r\n'
    )
    assert read_dotenv(file) == {
        "A": "1",
        "B": "two words",
        "C": "single # not a remark",
        "D": 'a "b" \n c',
        "E": "",
        "F": "a#b",
        "G": "x=y",
        "H": "",
    }


def test_a_dotenv_line_that_is_none_is_named(tmp_path: Path) -> None:
    """Each wrong line of .env is told with its place, and without its value."""
    (tmp_path / ".env").write_text("A=1\nsecret words\nB='open\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path, AIR)
    lines = str(error.value).splitlines()
    assert lines[0].startswith(f"{tmp_path}/.env:2:1: is not KEY=VALUE")
    assert lines[1].startswith(f"{tmp_path}/.env:3:3: B: a quote is not closed")
    assert "secret words" not in str(error.value)


def test_the_shipped_file_reads_dotenv_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody keeps secrets beside an installed package: for its file, .env is the current folder's."""
    (tmp_path / ".env").write_text("OPENAQ_API_KEY=mine-1234\n")
    monkeypatch.chdir(tmp_path)
    loaded = config.load(config.shipped("config.yaml"), TYPES, {})
    assert loaded.sources["openaq"].unusable() is None

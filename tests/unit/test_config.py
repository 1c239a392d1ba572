"""Reading the configuration: what it means, and where and how it complains."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from loader import config, log
from loader.errors import ConfigError
from loader.readings import DAY, HOUR
from loader.settings.quality import SourceQuality
from loader.sources.openaq.settings import OpenAQSettings
from loader.wiring import TYPES

DEMO = "sources: {demo: {type: simulator}}\n"


def load(tmp_path: Path, text: str, **environ: str) -> config.Config:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, TYPES, environ)


def complaints(tmp_path: Path, text: str | bytes, **environ: str) -> list[str]:
    """The error's lines, without the folder."""
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as error:
        config.load(file, TYPES, environ)
    return [line.removeprefix(f"{tmp_path}/") for line in str(error.value).splitlines()]


def test_a_type_alone_is_enough(tmp_path: Path) -> None:
    """Everything but a source's type has a default."""
    loaded = load(tmp_path, DEMO)
    demo = loaded.sources["demo"]
    assert loaded.store.raw == "sqlite:///state/loader.db"
    assert (demo.lookback.min, demo.lookback.max, demo.lookback.sweep) == (2 * HOUR, 3 * DAY, 6 * HOUR)
    assert demo.initial.start(100 * DAY) == 93 * DAY
    assert demo.unusable() is None
    assert loaded.quality.rules(demo.quality)["pm25"].range == (0, 1000)


def test_the_configuration_cannot_be_changed(tmp_path: Path) -> None:
    """What was checked stays as it was checked."""
    loaded = load(tmp_path, DEMO)
    with pytest.raises(ValueError, match="frozen"):
        loaded.sources["demo"].lookback.min = 5  # type: ignore[misc]


def test_everything_wrong_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    """One error a line, in the file's order: file, line, column, key, what and remedy."""
    text = """\
sources:
  air:
    type: openaq
    base_ulr: https://api.openaq.org
    api_key: abc
    api_key: def
    locations: [3459, abc, true]
    initial: soon
    lookback: {min: 2h, max: 3d, sweep: 7200}
    concurrency: 400
    enabled: yes
    limits: 5
  demo:
    type: simulater
  "bad name": {type: simulator}
quality:
  parameters:
    pm25: {range: [1000, 0]}
    no: {range: [1]}
  earliest: 2020
log:
  level: loud
  file: {max_bytes: 5}
"""
    expected = [
        ("4:5: sources.air.base_ulr", "did you mean base_url?"),
        ("6:5: sources.air.api_key", "second time (first on line 5)"),
        ("7:23: sources.air.locations[1]", "must be a whole number; 'abc' is not"),
        ("7:28: sources.air.locations[2]", "must not be true"),
        ("8:14: sources.air.initial", "'soon' is refused: is not a duration"),
        ("9:41: sources.air.lookback.sweep", "7200 is refused: has no unit"),
        ("10:18: sources.air.concurrency", "must be at most 64; 400 is not"),
        ("11:14: sources.air.enabled", "yes is ambiguous in YAML; write true"),
        ("12:13: sources.air.limits", "must be a block of keys"),
        ("14:11: sources.demo.type", "did you mean simulator?"),
        ("15:3: sources.bad name", "is no name for a source"),
        ("18:19: quality.parameters.pm25.range", "write [0, 1000]"),
        ("19:17: quality.parameters.no.range", "number 2 is missing"),
        ("20:13: quality.earliest", "must be a date, such as 2024-03-01; 2020 is not"),
        ("22:10: log.level", "must be debug, info, warning or error"),
        ("23:3: log.file.path", "is missing"),
        ("23:21: log.file.max_bytes", "must be at least 10000"),
    ]
    found = complaints(tmp_path, text)
    assert len(found) == len(expected), found
    for line, (place, what) in zip(found, expected, strict=True):
        assert line.startswith(f"config.yaml:{place}: "), line
        assert what in line, line


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", "1:1: sources", "`loader init`"),
        ("# nothing\n", "1:1: sources", "`loader init`"),
        ("sources:\n", "1:1: sources", "names no source"),
        ("- a\n", "1:1", "must hold keys"),
        ("sources:\n\tdemo: 1\n", "2:1", "tab"),
        ("a: b: c\n", "1:5", "a value with a colon in it stands in quotes"),
        ("sources: {d: {type: simulator, seed: ${SEED}}}\n", "1:39", "stands in quotes"),
        ("sources: 'open\n", "2:1", "is not YAML"),
        (b"a: 1\nb: \xff\n", "2:4", "UTF-8"),
        ("a: \x01\n", "1:4", "does not allow"),
        (DEMO + "---\na: 1\n", "2:1", "second document"),
        ("a: " + "[" * 50_000, "1:23", "nested more than 20 deep"),
        (DEMO + "log: &x {}\n", "2:6: log", "anchor"),
        (DEMO + "log: !!python/object:os.system {}\n", "2:6: log", "tag"),
        (DEMO + "<<: {log: {}}\n", "2:1: <<", "merge keys"),
        (DEMO + "? [a]\n: b\n", "2:3", "a key is plain text"),
        (DEMO + "quality: [1]\n", "2:10: quality", "must be a block of keys"),
        (DEMO + "store: mysql://a:b@c/d\n", "2:8: store", "must be sqlite:///"),
        (DEMO + "store: sqlite://state/x.db\n", "2:8: store", "must be sqlite:///"),
        (DEMO + "store: 'sqlite:///:memory:'\n", "2:8: store", "must be a file"),
        (DEMO + "store: sqlite:///x.db?mode=ro\n", "2:8: store", "options after a ?"),
        (DEMO + "store: postgresql://u:pa%ss@h/d\n", "2:8: store", "write %25"),
        (DEMO + "store: 5\n", "2:8: store", "must be text"),
        ("sources: {d: }\n", "1:11: sources.d.type", "write one of: openaq, simulator"),
        ("sources: {d: 5}\n", "1:14: sources.d", "must be a block of keys"),
        ("sources: {d: {type: simulator, tipe: 1}}\n", "1:32: sources.d.tipe", "did you mean type?"),
        ("sources: {d: {type: simulator, kind: off}}\n", "1:38: sources.d.kind", "'off' in quotes"),
        ("sources: {d: {type: simulator, seed: .inf}}\n", "1:38: sources.d.seed", "finite"),
        (
            "sources: {d: {type: openaq, locations: [1], api_key: 123}}\n",
            "1:54: sources.d.api_key",
            "quotes",
        ),
        (
            "sources: {d: {type: simulator, lookback: {min: 4d}}}\n",
            "1:42: sources.d.lookback",
            "min is longer than max",
        ),
        (
            "sources: {d: {type: simulator, holes: {pause: 0s}}}\n",
            "1:47: sources.d.holes.pause",
            "must be more than 0s",
        ),
        (DEMO + "quality: {weights: {validity: -1}}\n", "2:31: quality.weights.validity", "at least 0"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(
    tmp_path: Path, text: str | bytes, place: str, what: str
) -> None:
    """Every kind of mistake has a line and a column, and says what to do."""
    found = complaints(tmp_path, text)
    assert any(line.startswith(f"config.yaml:{place}: ") and what in line for line in found), found


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    """Absent, a folder, or far too large: said in one line."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"#" * 1_000_001)
    for name, what in [("none", "loader init"), ("folder", "folder"), ("large", "1,000,000 bytes")]:
        with pytest.raises(ConfigError, match=what):
            config.load(tmp_path / name, TYPES, {})


def test_text_stays_text(tmp_path: Path) -> None:
    """Words that some YAML readers turn into booleans or numbers work as text, in quotes or as keys."""
    loaded = load(
        tmp_path,
        "sources: {a: {type: openaq, country: 'NO', parameters: ['no', no2], api_key: '0123'}}\n"
        "quality: {parameters: {no: {range: [0, 1]}}}\n",
    )
    air = loaded.sources["a"]
    assert isinstance(air, OpenAQSettings)
    assert (air.country, air.parameters, air.key) == ("NO", ("no", "no2"), "0123")
    assert loaded.quality.parameters["no"].range == (0, 1)


def test_a_key_without_a_value_has_its_default(tmp_path: Path) -> None:
    """Commenting out everything below a key leaves a valid file; an unknown key stays an error."""
    loaded = load(
        tmp_path,
        "sources:\n  d:\n    type: simulator\n    seed:\n    lookback:\nlog:\nquality: {parameters: }\n",
    )
    assert loaded == load(tmp_path, "sources: {d: {type: simulator}}")
    assert "unknown" not in loaded.sources
    assert "no known key" in complaints(tmp_path, DEMO + "lgo:\n")[0]


def test_a_rule_is_laid_over_the_shipped_one(tmp_path: Path) -> None:
    """Keys that are not named keep the shipped values, but a range of one's own replaces them all."""
    rules = load(
        tmp_path,
        DEMO
        + "quality: {parameters: {temperature: {unit: c}, o3: {range: [0, 1]}, no2: {range: null}, "
        + "x: {unit: V}}}\n",
    ).quality.rules(SourceQuality())
    assert rules["temperature"].sentinels == (-999, -9999)
    assert rules["temperature"].ranges["c"] == (-100, 150)
    assert (rules["o3"].range, rules["o3"].ranges) == ((0, 1), {})
    assert (rules["no2"].range, rules["no2"].ranges) == (None, {})
    assert (rules["x"].range, rules["x"].unit) == (None, "V")
    assert rules["pm25"].range == (0, 1000)


def test_weights_become_those_of_the_score(tmp_path: Path) -> None:
    """The defaults are the score's own, and all zero is refused."""
    from loader.quality.score import Weights

    assert load(tmp_path, DEMO).quality.weights.as_weights() == Weights()
    zero = (
        "quality: {weights: {completeness: 0, validity: 0, timeliness: 0, uniqueness: 0, consistency: 0}}\n"
    )
    assert "at least one component" in complaints(tmp_path, DEMO + zero)[0]


def test_the_shipped_configuration_loads() -> None:
    """`loader run` works anywhere: without a key OpenAQ says how to get one, and the demo runs."""
    loaded = config.load(config.shipped("config.yaml"), TYPES, {})
    assert "explore.openaq.org" in (loaded.sources["openaq"].unusable() or "")
    assert loaded.sources["demo"].unusable() is None
    assert config.shipped(".env.example").exists()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pa55word@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgres://me:pa55@word/x@host/db", "postgres://me:***@host/db"),
        ("postgresql://me@host/db?sslmode=require", "postgresql://me@host/db?sslmode=require"),
        (
            "postgresql://host/db?user=me&password=pa55word&x=1",
            "postgresql://host/db?user=me&password=***&x=1",
        ),
        ("sqlite:////var/lib/loader.db", "sqlite:////var/lib/loader.db"),
    ],
)
def test_a_password_is_never_shown(tmp_path: Path, url: str, shown: str) -> None:
    """Neither str, repr, nor a dump of the configuration holds it; `raw` does."""
    store = load(tmp_path, DEMO + f"store: {url}\n").store
    assert (store.raw, store.shown, str(store)) == (url, shown, shown)
    loaded = load(tmp_path, DEMO + f"store: {url}\n")
    for text in (
        repr(store),
        repr(loaded),
        str(loaded),
        loaded.model_dump_json(),
        repr(loaded.model_dump()),
    ):
        assert "pa55" not in text


def test_loading_registers_secrets_for_masking(tmp_path: Path) -> None:
    """Keys and passwords of the configuration are masked in whatever is logged afterwards."""
    load(
        tmp_path,
        "store: postgresql://me:hunter2%21@host/db\n"
        "sources: {a: {type: openaq, locations: [1], api_key: key-0987}}\n",
    )
    assert log.redact("a key-0987 and hunter2! or hunter2%21") == "a *** and *** or ***"


def test_a_refused_secret_is_not_repeated(tmp_path: Path) -> None:
    """Errors name the key and the variable, never what was in them."""
    for text in (
        DEMO,
        DEMO + "store: ${DATABASE_URL}\n",
        DEMO + "store: mysql://u:hunter2@h/d\n",
        DEMO + "store:\n",
    ):
        found = complaints(tmp_path, text, DATABASE_URL="mysql://u:hunter2@h/d")
        assert "store: must be sqlite:///" in found[0]
        assert "hunter2" not in "\n".join(found)
    number = "sources: {a: {type: openaq, locations: [1], api_key: 31415926}}\n"
    assert "31415926" not in "\n".join(complaints(tmp_path, number))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A file without read permission ends in one line, unless one is root and may read anything."""
    file = tmp_path / "config.yaml"
    file.write_text(DEMO)
    file.chmod(0)
    try:
        config.load(file, TYPES, {})
    except ConfigError as e:
        assert "cannot be read" in str(e)  # noqa: PT017 - root reads it without an error
    finally:
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_a_source_that_is_left_out_need_not_say_what_it_is(tmp_path: Path) -> None:
    """`demo: {enabled: false}` is enough to take the demo out."""
    path = tmp_path / "config.yaml"
    path.write_text("sources:\n  demo: {enabled: false}\n  rig: {type: simulator}\n")
    loaded = config.load(path, TYPES, {})
    assert {name: s.enabled for name, s in loaded.sources.items()} == {"demo": False, "rig": True}

"""config.yaml, the models, the schema and docs/configuration.md say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from loader import config
from loader.settings.alerting import Channel, LimitSettings
from loader.settings.durations import format_duration
from loader.settings.quality import PARAMETERS, ParameterRule, SourceQuality, UnitRule, UsualSettings
from loader.settings.shipped import AIR
from loader.settings.tree import annotation_at, models
from loader.wiring import TYPES

ROOT = Path(__file__).resolve().parents[2]
MANUAL = (ROOT / "config.yaml").read_text(encoding="utf-8")
DOCS = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SCHEMA = config.schema(TYPES)

COMMENTED_KEY = re.compile(r"^( *)#(?=[a-z])", re.MULTILINE)
"""A key that is left at its default; prose has a space after its #."""


def own_fields(model: type[BaseModel]) -> list[str]:
    """What an adapter's settings add to those of every source."""
    return [name for name in model.model_fields if name not in config.SourceSettings.model_fields]


def is_rule(annotation: Any) -> bool:
    """Whether it is a rule of the alerts, which may be written as its number alone."""
    return any("at" in one.model_fields for one in models(annotation))


def default_of(model: type[BaseModel], name: str) -> str:
    """A field's default as a person writes it, from the schema that editors show."""
    holder: dict[str, Any] = SCHEMA if model is config.Config else SCHEMA["$defs"].get(model.__name__, {})
    if model is config.SourceSettings:
        holder = SCHEMA["$defs"]["SimulatorSettings"]
    if model.model_fields[name].is_required():
        return "required"
    default = holder["properties"][name].get("default")
    if default in (None, [], "", {}) and not isinstance(default, bool):
        return "none"
    if is_rule(model.model_fields[name].annotation):
        return f"`{default['at']}`, {default['severity']}"
    return f"`{json.dumps(default, ensure_ascii=False)}`".replace('"', "")


TOLD_ONCE = (ParameterRule, UnitRule)
"""Their keys stand in the table of `quality`, under `parameters`, and nowhere else."""


def rows(model: type[BaseModel], names: list[str], prefix: str = "") -> Iterator[str]:
    """The table of a model and of all that is nested in it."""
    for name in names:
        field = model.model_fields[name]
        path = f"{prefix}{name}"
        inner = [] if is_rule(field.annotation) else models(field.annotation)
        listed = models(annotation_at(field.annotation, 0))
        several = models(annotation_at(field.annotation, "any"))
        if several and not inner:
            path, inner = f"{path}.NAME", several
        if listed and not inner:
            path, inner = f"{path}[]", listed
        if model is not config.QualitySettings:
            inner = [one for one in inner if one not in TOLD_ONCE]
        if not inner or type(None) in getattr(field.annotation, "__args__", ()):
            yield f"| `{path}` | {default_of(model, name)} | {field.description} |"
        for one in inner:
            yield from rows(one, list(one.model_fields), f"{path}.")


def expected_tables() -> dict[str, list[str]]:
    """Every reference table of docs/configuration.md, by its heading."""
    top = [name for name in config.Config.model_fields if name != "sources"]
    common = config.SourceSettings
    tables = {"Every source": list(rows(common, list(common.model_fields)))}
    for name, model in TYPES.items():
        tables[name] = list(rows(model, own_fields(model)))
    for name in top:
        tables[name] = list(rows(config.Config, [name]))
    return tables


def section(heading: str) -> str:
    match = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", DOCS, re.MULTILINE | re.DOTALL)
    assert match, f"docs/configuration.md has no section ### {heading}"
    return match[1]


@pytest.mark.parametrize("heading", list(expected_tables()))
def test_the_docs_have_exactly_the_keys_of_the_models(heading: str) -> None:
    """Key, default and meaning of every row come from the model, and no row is left over."""
    expected = expected_tables()[heading]
    found = [line for line in section(heading).splitlines() if line.startswith("| `")]
    assert found == expected, "write this table into docs/configuration.md:\n" + "\n".join(expected)


def test_every_field_is_described() -> None:
    """A model whose field says nothing could not be explained by docs or editor."""
    silent = [
        line
        for table in expected_tables().values()
        for line in table
        if re.search(r"\| (None)? *\|$", line)
    ]
    assert silent == []


def keys_of(node: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*prefix, key)
            yield from keys_of(value, (*prefix, key))


def keys_in_manual(text: str) -> set[tuple[str, ...]]:
    return set(keys_of(yaml.load(text, yaml.BaseLoader)))


def keys_in_models() -> set[tuple[str, ...]]:
    """Paths of the models' leaves, with the manual's own names for sources and parameters. What
    every channel has is shown with the first of them; cron stands in a remark, for it excludes
    every; a source's rules are those of the alerts."""
    found: set[tuple[str, ...]] = {("store",)}
    shown_once = set(Channel.model_fields)
    names = {block["type"]: name for name, block in yaml.safe_load(MANUAL)["sources"].items()}
    for kind, model in TYPES.items():
        found |= {
            ("sources", names[kind], *path)
            for path in leaves(model)
            if path[0] not in ("alerts", "quality") and path != ("schedule", "cron")
        }
        found |= {("sources", names[kind], "alerts"), ("sources", names[kind], "quality")}
    found |= {
        ("alerts", *path)
        for path in leaves(config.Config.model_fields["alerts"].annotation)
        if path[0] == "slack" or path[-1] not in shown_once
    }
    for block in ("anomalies", "drift"):
        found |= {(block, *path) for path in leaves(config.Config.model_fields[block].annotation)}
    found |= {("daemon", *path) for path in leaves(config.Config.model_fields["daemon"].annotation)}
    found |= {("quality", *path) for path in leaves(config.QualitySettings) if path[0] != "parameters"}
    return found | {("log", *path) for path in leaves(config.LogSettings)}


def leaves(model: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        inner = [] if is_rule(field.annotation) else models(field.annotation)
        if not inner:
            yield (*prefix, name)
        for one in inner:
            yield from leaves(one, (*prefix, name))


def test_the_manual_shows_every_key() -> None:
    """No key of any model is missing from config.yaml, live or commented out."""
    assert keys_in_models() - keys_in_manual(COMMENTED_KEY.sub(r"\1", MANUAL)) == set()


def test_the_manual_shows_every_key_of_a_parameter() -> None:
    """Every key that a parameter may have occurs among those of config.yaml, nested ones too."""
    everything = yaml.safe_load(COMMENTED_KEY.sub(r"\1", MANUAL))["quality"]["parameters"]
    shown = {path for rule in everything.values() for path in keys_of(rule)}
    expected = set(leaves(ParameterRule)) | {("climatology", "usual")}
    assert expected - shown == set()
    usual = everything["my_water"]["climatology"]["usual"][0]
    assert set(usual) == set(UsualSettings.model_fields)


def test_the_manual_shows_every_key_of_a_limit() -> None:
    """Every key that a parameter's limit may have occurs among the examples of config.yaml."""
    everything = yaml.safe_load(COMMENTED_KEY.sub(r"\1", MANUAL))["limits"]
    assert {key for limit in everything.values() for key in limit} == set(LimitSettings.model_fields)


def test_the_manual_loads_with_every_key_live(tmp_path: Path) -> None:
    """Nothing in config.yaml, commented out or not, is unknown to the models or refused by them."""
    file = tmp_path / "config.yaml"
    file.write_text(COMMENTED_KEY.sub(r"\1", MANUAL), encoding="utf-8")
    assert config.load(file, TYPES, {}).sources.keys() == {"openaq", "demo"}


@pytest.mark.parametrize(
    "line", COMMENTED_KEY.findall(MANUAL) and re.findall(r"^ *#[a-z].*$", MANUAL, re.M)
)
def test_a_commented_key_shows_its_default(line: str, tmp_path: Path) -> None:
    """Taking the # away from one line changes nothing, unless the comment says `default: `."""
    key = line.strip().lstrip("#").partition(":")[0]
    if "default: " in line.lower() or key == "file":
        assert re.search(r"default: (none|air 1h, rig 6m)", line) or key == "file"
        return
    live = tmp_path / "config.yaml"
    live.write_text(MANUAL.replace(line, line.replace("#", "", 1), 1), encoding="utf-8")
    assert resolved(config.load(live, TYPES, {})) == resolved(config.load(ROOT / "config.yaml", TYPES, {}))


def resolved(loaded: config.Config) -> config.Config:
    """With the shipped rules among those of the parameters: to name one as it is changes nothing."""
    rules = {"parameters": loaded.quality.rules(SourceQuality())}
    return loaded.model_copy(update={"quality": loaded.quality.model_copy(update=rules)})


FIXED = """
store: ${DATABASE_URL:-sqlite:///state/loader.db}
sources:
  openaq:
    type: openaq
    base_url: https://api.openaq.org
    api_key: ${OPENAQ_API_KEY}
    locations: [3459, 6093549]
    parameters: [pm25, pm10, o3, no2]
    initial: 7d
    lookback: {min: 2h, max: 3d, sweep: 6h}
    concurrency: 4
    limits: {per_minute: 60, per_hour: 2000}
    schedule: {every: 2h}
  demo:
    type: simulator
    kind: air
    stations: 3
    seed: 42
quality:
  parameters:
    pm25: {range: [0, 1000]}
limits:
anomalies:
drift:
alerts:
  repeat: 4h
  rules: {failures: 3, quality_below: 90}
  slack: {webhook_url: "${SLACK_WEBHOOK_URL}"}
  email:
    {host: "${SMTP_HOST}", port: 587, user: "${SMTP_USER}", password: "${SMTP_PASSWORD}", from: "", to: []}
  webhook: {url: "${ALERT_WEBHOOK_URL}", secret: "${ALERT_WEBHOOK_SECRET}"}
  ping: {url: "${HEALTHCHECK_URL}"}
daemon:
log:
  level: info
"""


def test_the_live_keys_are_the_agreed_ones() -> None:
    """Others configure it so: these keys and values are live in config.yaml, and nothing else."""
    assert yaml.safe_load(MANUAL) == yaml.safe_load(FIXED)


def test_the_shipped_rules_are_shown() -> None:
    """The parameters of config.yaml, commented ones included, have the shipped ranges."""
    shown = yaml.safe_load(COMMENTED_KEY.sub(r"\1", MANUAL))["quality"]["parameters"]
    shipped = {name: ParameterRule(**rule) for name, rule in shown.items() if not name.startswith("my_")}
    kept = {"range", "ranges", "sentinels"}
    assert {name: rule.model_dump(include=kept) for name, rule in shipped.items()} == {
        name: PARAMETERS[name].model_dump(include=kept) for name in AIR
    }
    assert all(rule.model_fields_set <= kept for rule in shipped.values())


def test_the_docs_give_a_reason_for_every_shipped_bound() -> None:
    """Each unit of each shipped rule has a row with its bounds and a reason."""
    text = section("Shipped ranges")
    for name in AIR:
        rule = PARAMETERS[name]
        for unit, (low, high) in (rule.ranges or {"any": rule.range or (0, 0)}).items():
            row = rf"^\| {name} \| {re.escape(unit)} \| {low:.10g} \| {high:.10g} \| \S.* \|$"
            assert re.search(row, text, re.MULTILINE), row


def test_the_schema_file_is_the_schema() -> None:
    """config.schema.json is what `loader schema` prints, and the manual's first line names it."""
    assert json.loads((ROOT / "config.schema.json").read_text(encoding="utf-8")) == SCHEMA
    assert MANUAL.splitlines()[0] == "# yaml-language-server: $schema=config.schema.json"


def test_the_schema_writes_durations_as_people_do() -> None:
    """A default in the schema is one that the file may hold."""
    shown = SCHEMA["$defs"]["Lookback"]["properties"]["max"]["default"]
    assert shown == format_duration(config.Lookback().max) == "3d"


def test_the_example_environment_names_what_the_manual_reads() -> None:
    """Every variable of config.yaml is explained in .env.example."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    live = "\n".join(line for line in MANUAL.splitlines() if not line.lstrip().startswith("#"))
    for name in re.findall(r"\$\{([A-Z_]+)", live):
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name

"""The JSON Schema of the configuration file, for editors that check and complete while one types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from loader.settings.durations import PATTERN, Initial, format_duration
from loader.settings.models import Config, SourceSettings

KIND = "which kind of source this is"
_VARIABLE = {"type": "string", "pattern": r"\$\{", "description": "a variable: ${NAME} or ${NAME:-default}"}


def schema(types: Mapping[str, type[SourceSettings]]) -> dict[str, Any]:
    """Draft 2020-12, with every source block told apart by its `type`.

    A variable may stand for every number and switch, as in the file itself.
    """
    from pydantic.json_schema import GenerateJsonSchema, models_json_schema

    class Generator(GenerateJsonSchema):
        def encode_default(self, dft: Any) -> Any:
            return str(dft) if isinstance(dft, Initial) else super().encode_default(dft)

    classes: list[type[BaseModel]] = [Config, *types.values()]
    _, whole = models_json_schema(
        [(c, "validation") for c in classes],
        ref_template="#/$defs/{model}",
        by_alias=False,
        schema_generator=Generator,
    )
    definitions: dict[str, Any] = whole["$defs"]
    config = definitions.pop("Config")
    definitions.pop("SourceSettings", None)
    blocks = []
    for name, settings in types.items():
        block = definitions[settings.__name__]
        block["properties"]["type"] = {"const": name, "description": KIND}
        block["required"] = sorted({*block.get("required", ()), "type"})
        # An if for each type tells what is wrong in the block at hand; oneOf would name them all.
        blocks.append(
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{settings.__name__}"},
            }
        )
    _tidy(config)
    _tidy(definitions)
    sources = config["properties"]["sources"]
    sources.pop("anyOf")
    sources["type"] = "object"
    sources["additionalProperties"] = {
        "type": "object",
        "properties": {"type": {"enum": list(types), "description": KIND}},
        # A source that is left out need not say what it is.
        "if": {"properties": {"enabled": {"const": False}}, "required": ["enabled"], "maxProperties": 1},
        "else": {"required": ["type"], "allOf": blocks},
    }
    sources["minProperties"] = 1
    definitions["Variable"] = _VARIABLE
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the sensor loader",
        **{key: value for key, value in config.items() if key != "description"},
        "$defs": dict(sorted(definitions.items())),
    }


def _tidy(node: Any) -> None:
    """In place: put `or a variable` beside every type that text cannot be, write defaults the way
    a person does, and drop titles, which only repeat the key."""
    if isinstance(node, list):
        for one in node:
            _tidy(one)
        return
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key not in ("default", "if", "enum", "const"):
            _tidy(value)
    if isinstance(node.get("title"), str):
        del node["title"]
    if isinstance(node.get("default"), int) and PATTERN in _patterns(node):
        node["default"] = format_duration(node["default"])
    if "$ref" in node and "description" in node:
        # A block below which everything is commented out.
        node["anyOf"] = [{"$ref": node.pop("$ref")}, {"type": "null"}]
    if "additionalProperties" in node and "description" in node and "properties" not in node:
        own = {k: node.pop(k) for k in ("type", "additionalProperties")}
        node["anyOf"] = [own, {"type": "null"}]
    bound = node.get("type") in ("integer", "number", "boolean") or "pattern" in node or "enum" in node
    if bound and "anyOf" not in node:
        own = {k: node.pop(k) for k in list(node) if k not in ("description", "default")}
        node["anyOf"] = [own, {"$ref": "#/$defs/Variable"}]


def _patterns(node: dict[str, Any]) -> list[str]:
    """The patterns of a field's type, an optional one's included."""
    found = [node["pattern"]] if "pattern" in node else []
    for one in node.get("anyOf", ()):
        found += _patterns(one)
    return found

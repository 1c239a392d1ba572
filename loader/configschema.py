"""The JSON Schema of the configuration file, for editors that check and complete while one types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from loader.settings import Config, SourceSettings

_VARIABLE = {"type": "string", "pattern": r"\$\{", "description": "a variable: ${NAME} or ${NAME:-default}"}
_NEEDS_VARIABLE = ("integer", "number", "boolean")


def schema(types: Mapping[str, type[SourceSettings]]) -> dict[str, Any]:
    """Draft 2020-12, with every source block told apart by its `type`.

    A variable may stand for every number and switch, as in the file itself.
    """
    from pydantic.json_schema import models_json_schema

    classes: list[type[BaseModel]] = [Config, *types.values()]
    _, whole = models_json_schema(
        [(c, "validation") for c in classes], ref_template="#/$defs/{model}", by_alias=False
    )
    definitions: dict[str, Any] = whole["$defs"]
    config = definitions.pop("Config")
    definitions.pop("SourceSettings", None)
    blocks = []
    for name, settings in types.items():
        block = definitions[settings.__name__]
        kind = block["properties"]["type"]
        block["properties"]["type"] = {"const": name, "description": kind.get("description", "")}
        block["required"] = sorted({*block.get("required", ()), "type"})
        # An if for each type tells what is wrong in the block at hand; oneOf would name them all.
        blocks.append(
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{settings.__name__}"},
            }
        )
    sources = config["properties"]["sources"]
    sources["additionalProperties"] = {
        "type": "object",
        "properties": {"type": {"enum": list(types), "description": "which kind of source this is"}},
        "required": ["type"],
        "allOf": blocks,
    }
    sources["minProperties"] = 1
    _allow_variables(config)
    _allow_variables(definitions)
    definitions["Variable"] = _VARIABLE
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the sensor loader",
        **{key: value for key, value in config.items() if key not in ("title", "description")},
        "$defs": dict(sorted(definitions.items())),
    }


def _allow_variables(node: Any) -> None:
    """Put `or a variable` beside every type that text cannot be, in place."""
    if isinstance(node, list):
        for one in node:
            _allow_variables(one)
        return
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key not in ("default", "if", "enum", "const"):
            _allow_variables(value)
    text_with_form = node.get("type") == "string" and ("pattern" in node or "format" in node)
    if node.get("type") in _NEEDS_VARIABLE or text_with_form or ("enum" in node and "type" in node):
        own = {k: node.pop(k) for k in list(node) if k not in ("title", "description", "default")}
        node["anyOf"] = [own, {"$ref": "#/$defs/Variable"}]

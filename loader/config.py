"""Reads the configuration: a YAML file and the environment become frozen models.

Whatever is wrong is told at once, a line each: `config.yaml:12:5: sources.openaq.lookback.min:
what is wrong, and what to do`. Values that came from variables, and secrets, are never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from loader import log
from loader.errors import ConfigError
from loader.settings.block import Settings
from loader.settings.complaints import explain, unknown
from loader.settings.durations import Duration, Initial, format_duration, parse_duration, parse_time
from loader.settings.environment import VariableError, Variables, read_dotenv, unset
from loader.settings.layers import contradictions
from loader.settings.models import (
    Config,
    Holes,
    LogFile,
    LogSettings,
    Lookback,
    SourceSettings,
    StoreURL,
)
from loader.settings.quality import ParameterRule, QualitySettings, ScoreWeights, SourceQuality
from loader.settings.schema import schema
from loader.settings.tree import annotation_at, choices, is_secret, models, secrets
from loader.settings.yamlsource import (
    Block,
    Items,
    Mark,
    Node,
    Problems,
    Scalar,
    YamlPath,
    constant,
    parse,
    read_text,
)

__all__ = [
    "Config",
    "Duration",
    "Holes",
    "Initial",
    "LogFile",
    "LogSettings",
    "Lookback",
    "ParameterRule",
    "QualitySettings",
    "ScoreWeights",
    "Settings",
    "SourceQuality",
    "SourceSettings",
    "StoreURL",
    "format_duration",
    "load",
    "parse_duration",
    "parse_time",
    "schema",
    "shipped",
]

Types = Mapping[str, type[SourceSettings]]

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


def shipped(name: str) -> Path:
    """A file that comes with the package: `config.yaml` or `.env.example`."""
    package = Path(__file__).parent
    installed = package / "shipped" / name
    # In a checkout the one copy stands at the top; only a wheel carries it inside the package.
    return installed if installed.exists() else package.parent / name


def load(path: Path, types: Types, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration file at `path`.

    `types` are the known source types; `environ` is the environment (the process's own where
    None). A `.env` beside the file is read too; for the shipped file, the one in the current
    folder. Raises ConfigError with everything that is wrong.
    """
    if not path.exists():
        raise ConfigError(
            f"{path}: there is no such file; `loader init` writes one, or name another with --config"
        )
    text = read_text(path)
    beside = Path() if path.resolve() == shipped(path.name).resolve() else path.parent
    variables = Variables(os.environ if environ is None else environ, read_dotenv(beside / ".env"))
    return _Reading(Problems(str(path)), types, variables).config(text)


class _Reading:
    """One reading of one file: what stands where, what came from variables, what is wrong."""

    def __init__(self, problems: Problems, types: Types, variables: Variables) -> None:
        self.problems = problems
        self.types = types
        self.variables = variables
        self.marks: dict[YamlPath, Mark] = {(): Mark(1, 1)}
        self.keys: dict[YamlPath, Mark] = {}
        self.filled: dict[YamlPath, tuple[str, ...]] = {}
        self.empty: set[YamlPath] = set()

    def config(self, text: str) -> Config:
        root = parse(text, self.problems)
        if root is None:
            self.problems.check()
        elif not isinstance(root, Block):
            self.problems.add(
                root.mark, (), "must hold keys, such as sources:; `loader init` writes an example"
            )
            raise self.problems.error()
        data = self._block(root, (), Config) if root else {}
        if "store" not in data or ("store",) in self.empty:
            self._store_from_environment(data)
        config = self._validate(data)
        self.problems.check()
        assert config is not None  # noqa: S101 (without problems there is a result)
        for secret in secrets(config):
            log.register_secret(secret)
        return config

    # From nodes to plain data

    def _value(self, node: Node, path: YamlPath, model: Any) -> Any:
        self.marks[path] = node.mark
        if isinstance(node, Block):
            return self._block(node, path, model)
        if isinstance(node, Items):
            return [
                self._value(item, (*path, i), annotation_at(model, i)) for i, item in enumerate(node.items)
            ]
        return self._scalar(node, path, model)

    def _block(self, block: Block, path: YamlPath, model: Any) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, (key, node) in block.items.items():
            at = (*path, name)
            self.keys[at] = key.mark
            inner = annotation_at(model, name)
            if path == ("sources",) and isinstance(node, Block):
                inner = self._source_type(node, at) or SourceSettings
            out[name] = self._value(node, at, inner)
        return out

    def _scalar(self, node: Scalar, path: YamlPath, model: Any) -> Any:
        if "${" not in node.text:
            if node.plain and not node.text:
                self.empty.add(path)
            value = constant(node, path, self.problems)
            if isinstance(value, bool) and model is not None and bool not in choices(model):
                # Python takes True for the number 1; nobody who writes `tries: true` means that.
                switch = any("enabled" in one.model_fields for one in models(model))
                instead = f"write {{enabled: {node.text}}}" if switch else "no switch stands here"
                self.problems.add(node.mark, path, f"must not be {node.text}; {instead}")
            return value
        try:
            filled = self.variables.fill(node.text, secret=is_secret(model))
        except VariableError as e:
            self.problems.add(node.mark, path, str(e))
            return None
        self.filled[path] = filled.used
        return filled.text

    def _source_type(self, block: Block, path: YamlPath) -> type[SourceSettings] | None:
        """The settings of a source block; None where its `type` is missing or unknown, which
        is told later, when it is validated."""
        _, node = block.items.get("type", (None, None))
        if not isinstance(node, Scalar):
            return None
        quiet = _Reading(Problems(""), self.types, self.variables)
        return self.types.get(str(quiet._scalar(node, path, str)))

    def _store_from_environment(self, data: dict[str, Any]) -> None:
        try:
            url = self.variables.get("DATABASE_URL", secret=True)
        except VariableError as e:
            self.problems.add(Mark(1, 1), ("store",), str(e))
            return
        if url is not None:
            data["store"] = url
            self.marks.setdefault(("store",), Mark(1, 1))
            self.empty.discard(("store",))
            self.filled["store",] = ("DATABASE_URL",)

    # From plain data to models

    def _validate(self, data: dict[str, Any]) -> Config | None:
        sources = data.get("sources")
        if sources is None or sources == {}:
            if not self.problems.at(("sources",)):
                mark = self.keys.get(("sources",), Mark(1, 1))
                self.problems.add(
                    mark, ("sources",), "names no source; add one (`loader init` writes an example)"
                )
            data = data | {"sources": {}}
        elif isinstance(sources, dict):
            data = data | {"sources": {name: self._source(name, block) for name, block in sources.items()}}
        result = self._model(Config, data, ())
        if not isinstance(result, Config):
            return None
        self._named_sources(result)
        self._layers(result)
        return result

    def _named_sources(self, config: Config) -> None:
        """Wherever a source is named, it must be one of the configuration's."""
        for channel in type(config.alerts).model_fields:
            named = getattr(getattr(config.alerts, channel), "sources", ())
            for i, name in enumerate(named):
                if name not in config.sources:
                    path: YamlPath = ("alerts", channel, "sources", i)
                    self.problems.add(self.marks[path], path, unknown(name, config.sources, "source"))
        for parameter, limit in config.limits.items():
            for name in limit.sources:
                if name not in config.sources:
                    path = ("limits", parameter, "sources", name)
                    self.problems.add(self.keys[path], path, unknown(name, config.sources, "source"))

    def _layers(self, config: Config) -> None:
        """Thresholds must still be in order where rules lie over each other."""
        for name, source in config.sources.items():
            for path, text in contradictions(config.quality, name, source.quality):
                # A block may say so by what it names of another unit: then its parameter is the place.
                at = next(path[:n] for n in range(len(path), 0, -1) if path[:n] in self.keys)
                self.problems.add(self.keys[at], path, text)

    def _source(self, name: str, block: Any) -> SourceSettings:
        path = ("sources", name)
        stand_in = SourceSettings(type="")
        if not re.fullmatch(_NAME, name):
            self.problems.add(
                self.keys[path], path, "is no name for a source; use letters, digits, - and _, at most 64"
            )
        if block is None:
            block = {}
        if not isinstance(block, dict):
            self.problems.add(self.marks[path], path, "must be a block of keys, beginning with its type")
            return stand_in
        if self.problems.at((*path, "type")):
            return stand_in
        if block == {"enabled": False}:
            # What a source is need not be said to leave it out.
            return SourceSettings(type="", enabled=False)
        kind = block.get("type")
        if kind is None or kind not in self.types:
            at = (*path, "type")
            if kind is None:
                known = ", ".join(sorted(self.types))
                self.problems.add(self.keys[path], at, f"is missing; write one of: {known}")
            else:
                self.problems.add(self.marks[at], at, unknown(str(kind), self.types, "type"))
            return stand_in
        result = self._model(self.types[kind], block, path)
        return result if isinstance(result, SourceSettings) else stand_in

    def _model(self, model: type[BaseModel], data: dict[str, Any], path: YamlPath) -> BaseModel | None:
        """Validate one model's data. A key without a value means its default, unless it is unknown."""
        try:
            return model.model_validate(data, context={"file": True})
        except ValidationError as e:
            errors = e.errors(include_url=False)
        blank = [at for error in errors if (at := (*path, *error["loc"])) in self.empty]
        blank = [at for at in blank if annotation_at(self._holder(model, path, at), at[-1]) is not None]
        if blank:
            return self._model(model, _without(data, [at[len(path) :] for at in blank]), path)
        for error in errors:
            self._complain(error, model, path)
        return None

    def _holder(self, model: Any, root: YamlPath, at: YamlPath) -> Any:
        """The type of the block that `at` stands in."""
        for step in at[len(root) : -1]:
            model = annotation_at(model, step)
        return model

    def _complain(self, error: Mapping[str, Any], model: type[BaseModel], root: YamlPath) -> None:
        whole: YamlPath = (*root, *error["loc"])
        # Unions and validators add steps of their own, which no line of the file has.
        path = next(whole[:n] for n in range(len(whole), -1, -1) if whole[:n] in self.marks)
        if self.problems.at(path):
            return
        holder = self._holder(model, root, whole)
        mark = self.marks[path]
        if error["type"] == "missing" and isinstance(whole[-1], str):
            mark = self.keys.get(path, mark)
            self.problems.add(mark, whole, "is missing and has no default; add it")
        elif error["type"] == "missing":
            self.problems.add(mark, path, f"has too few items; number {int(whole[-1]) + 1} is missing")
        elif error["type"] == "extra_forbidden":
            known = [key for one in models(holder) for key in one.model_fields]
            self.problems.add(self.keys.get(path, mark), path, unknown(str(whole[-1]), known, "key"))
        elif path in self.filled and error.get("input") is None:
            self.problems.add(mark, path, unset(self.filled[path][0]))
        else:
            own = self._holder(model, root, (*path, ""))
            shown = path == whole and path not in self.filled and not is_secret(own)
            text = explain(error, shown)
            if used := self.filled.get(path):
                text += f" (its value comes from {' and '.join(used)})"
            self.problems.add(mark, path, text)


def _without(data: dict[str, Any], paths: list[YamlPath]) -> dict[str, Any]:
    """A copy without the keys at `paths`."""
    heads = {path[0] for path in paths if len(path) == 1}
    out = {}
    for key, value in data.items():
        deeper = [path[1:] for path in paths if path[0] == key and len(path) > 1]
        if key not in heads:
            out[key] = _without(value, deeper) if deeper and isinstance(value, dict) else value
    return out

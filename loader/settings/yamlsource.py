"""YAML with the place of everything kept, so that an error can point at its line and column.

The file is read as events, not by a YAML constructor: duplicate keys, tags and anchors stay
visible, and a plain scalar means what YAML 1.2 says (`010` and `12:30` are text, `on` is no
boolean).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loader.errors import ConfigError

LARGEST = 1_000_000
DEEPEST = 20

YamlPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; `plain` when it stands without quotes."""

    mark: Mark
    text: str
    plain: bool


@dataclass(frozen=True, slots=True)
class Block:
    """A mapping; keys are text always, in the file's order, each once."""

    mark: Mark
    items: dict[str, tuple[Scalar, Node]]


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    mark: Mark
    items: list[Node]


Node = Scalar | Block | Items


def show(path: YamlPath) -> str:
    """`sources.openaq.locations[1]`."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            out += f".{part}" if out else part
    return out


@dataclass
class Problems:
    """Everything wrong with a file, gathered so that it is told at once."""

    file: str
    found: list[tuple[Mark, YamlPath, str]] = field(default_factory=list)

    def add(self, mark: Mark, path: YamlPath, text: str) -> None:
        if (mark, path, text) not in self.found:
            self.found.append((mark, path, text))

    def at(self, path: YamlPath) -> bool:
        """Whether something is known to be wrong with `path` itself or what holds it."""
        return any(p == path[: len(p)] for _, p, _ in self.found if p)

    def lines(self) -> Iterator[str]:
        for mark, path, text in sorted(self.found, key=lambda f: f[0]):
            where = f"{show(path)}: " if path else ""
            yield f"{self.file}:{mark.line}:{mark.column}: {where}{text}"

    def error(self) -> ConfigError:
        """All of them as one error, a line each, in the file's order."""
        return ConfigError("\n".join(self.lines()))

    def check(self) -> None:
        """Raise the error, if there is anything to tell."""
        if self.found:
            raise self.error()


def read_text(path: Path, largest: int = LARGEST) -> str:
    """A small UTF-8 file's text. ConfigError where it is absent, unreadable, too large or not UTF-8."""
    try:
        with path.open("rb") as f:
            raw = f.read(largest + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: this is a folder; name a file") from None
    except (OSError, ValueError) as e:
        raise ConfigError(f"{path}: cannot be read: {getattr(e, 'strerror', None) or e}") from None
    if len(raw) > largest:
        raise ConfigError(f"{path}: is larger than {largest:,} bytes; this cannot be the right file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        before = raw[: e.start]
        line, column = before.count(b"\n") + 1, e.start - (before.rfind(b"\n") + 1) + 1
        raise ConfigError(f"{path}:{line}:{column}: is not UTF-8 text; save it as UTF-8") from None


def parse(text: str, problems: Problems) -> Node | None:
    """The file's tree; None for an empty file or one with a syntax error (which is then among
    the problems)."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text, loader):
            builder.take(event)
    except yaml.YAMLError as e:
        problems.add(*_syntax(e, text))
        return None
    return builder.root


def _syntax(error: yaml.YAMLError, text: str) -> tuple[Mark, YamlPath, str]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        # A character that YAML does not allow: the reader knows its position only.
        position = getattr(error, "position", 0)
        before = text[:position]
        where = Mark(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
        return where, (), "holds a character that YAML does not allow; delete it"
    where = Mark(mark.line + 1, mark.column + 1)
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    what = f"is not YAML: {getattr(error, 'problem', None) or 'cannot be read'}"
    if line[: mark.column + 1].endswith("\t") or "\t" in line[: len(line) - len(line.lstrip())]:
        what = "is indented with a tab; YAML wants spaces"
    elif re.search(r"[{\[].*\$\{", line):
        what += '; between { } or [ ] a variable stands in quotes: "${NAME}"'
    elif re.match(r"\s*[^#\s'\"].*: .*: ", line):
        what += "; a value with a colon in it stands in quotes"
    else:
        what += "; look at the indentation and quotes here and on the line above"
    return where, (), what


@dataclass
class _Open:
    """A node whose end has not come yet; of a block, the key that waits for its value."""

    node: Block | Items
    path: YamlPath
    key: Scalar | None = None


class _Builder:
    """Builds the tree from events."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.root: Node | None = None
        self.documents = 0
        self.open: list[_Open] = []

    def take(self, event: Any) -> None:
        mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents == 2:
                    self.problems.add(mark, (), "begins a second document; delete this --- line")
            case yaml.AliasEvent():
                self._refuse_anchor(mark)
                self._place(Scalar(mark, "", True))
            case yaml.ScalarEvent():
                self._refuse_decoration(event, mark)
                self._place(Scalar(mark, event.value, not event.style))
            case yaml.MappingStartEvent():
                self._begin(event, Block(mark, {}))
            case yaml.SequenceStartEvent():
                self._begin(event, Items(mark, []))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self.open.pop()

    def _path(self) -> YamlPath:
        """The path of the node that comes next; a key's own is that of its block."""
        if not self.open:
            return ()
        top = self.open[-1]
        if isinstance(top.node, Items):
            return (*top.path, len(top.node.items))
        return top.path if top.key is None else (*top.path, top.key.text)

    def _refuse_anchor(self, mark: Mark) -> None:
        self.problems.add(mark, self._path(), "uses a YAML anchor or alias; write the value out instead")

    def _refuse_decoration(self, event: Any, mark: Mark) -> None:
        if event.anchor:
            self._refuse_anchor(mark)
        if event.tag and event.tag != "!":
            self.problems.add(mark, self._path(), f"has the YAML tag {event.tag}; leave the tag out")

    def _begin(self, event: Any, node: Block | Items) -> None:
        self._refuse_decoration(event, node.mark)
        if len(self.open) >= DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {DEEPEST} deep", problem_mark=event.start_mark
            )
        path = self._path()
        self._place(node)
        self.open.append(_Open(node, path))

    def _place(self, node: Node) -> None:
        if not self.open:
            self.root = self.root or node
            return
        top = self.open[-1]
        if isinstance(top.node, Items):
            top.node.items.append(node)
        elif top.key is None:
            top.key = self._key(node, top)
        else:
            self._pair(top.key, node, top)
            top.key = None

    def _key(self, node: Node, top: _Open) -> Scalar:
        if not isinstance(node, Scalar):
            self.problems.add(node.mark, top.path, "has a list or block as a key; a key is plain text")
            return Scalar(node.mark, "", False)
        if not node.text:
            self.problems.add(node.mark, top.path, "has a key without a name; name it")
        return node

    def _pair(self, key: Scalar, node: Node, top: _Open) -> None:
        assert isinstance(top.node, Block)  # noqa: S101 (only blocks have keys)
        path = (*top.path, key.text)
        if not key.text:
            return
        if key.plain and key.text == "<<":
            self.problems.add(key.mark, path, "YAML merge keys are not read; write the keys out instead")
        elif key.text in top.node.items:
            first = top.node.items[key.text][0].mark.line
            self.problems.add(
                key.mark, path, f"stands here a second time (first on line {first}); delete one"
            )
        else:
            top.node.items[key.text] = (key, node)


_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})")
_RADIX = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,22}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_CONSTANTS: dict[str, float | bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
    ".inf": float("inf"),
    "-.inf": float("-inf"),
    ".nan": float("nan"),
}
_NOT_BOOLEANS = {"on": "true", "yes": "true", "off": "false", "no": "false"}


def constant(scalar: Scalar, path: YamlPath, problems: Problems) -> str | int | float | bool | None:
    """What a scalar without variables means. `on`, `yes`, `off` and `no` are refused, because
    readers of YAML disagree about them."""
    text, low = scalar.text, scalar.text.lower()
    if not scalar.plain:
        return text
    if low in _NOT_BOOLEANS:
        remedy = f"write {_NOT_BOOLEANS[low]}, or '{text}' in quotes where the word is meant"
        problems.add(scalar.mark, path, f"{text} is ambiguous in YAML; {remedy}")
        return None
    if low in _CONSTANTS:
        return _CONSTANTS[low]
    if _INT.fullmatch(text) or _RADIX.fullmatch(text):
        return int(text, 0)
    # 007 is neither the number 7 nor octal to everybody: it stays the text that was written.
    if _FLOAT.fullmatch(text) and not text.isdigit():
        return float(text)
    return text

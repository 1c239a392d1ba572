"""Variables for the configuration: the environment, a local `.env`, and files that hold secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loader.errors import ConfigError
from loader.settings.yamlsource import Mark, Problems, read_text

SECRET_FILE_LIMIT = 64_000

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*?)\s*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def read_dotenv(path: Path) -> dict[str, str]:
    """KEY=VALUE lines, as shells write them: `export`, quotes, `#` comments; {} where there is
    no such file. ConfigError names every line that is something else."""
    if not path.exists():
        return {}
    problems = Problems(str(path))
    out: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        value = None if match is None else _unquote(match[2])
        if match is None:
            problems.add(Mark(number, 1), (), "is not KEY=VALUE; put # before a remark")
        elif value is None:
            problems.add(Mark(number, match.start(2) + 1), (), f"{match[1]}: a quote is not closed")
        else:
            out[match[1]] = value
    problems.check()
    return out


def _unquote(text: str) -> str | None:
    if text.startswith('"'):
        if match := _DOUBLE.fullmatch(text):
            return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), match[1])
        return None
    if text.startswith("'"):
        if match := _SINGLE.fullmatch(text):
            return match[1]
        return None
    return "" if text.startswith("#") else re.split(r"\s#", text, maxsplit=1)[0].rstrip()


class VariableError(ValueError):
    """A variable cannot be put in; the text says why and what to do."""


@dataclass(frozen=True)
class Variables:
    """Looks variables up. The real environment wins over `.env`; an empty one counts as unset."""

    real: Mapping[str, str] = field(repr=False)
    local: Mapping[str, str] = field(default_factory=dict, repr=False)

    def get(self, name: str, *, secret: bool = False) -> str | None:
        """The variable's value, None where unset. For a secret, NAME_FILE may name a file whose
        stripped text is the value. VariableError where both are set or the file is no use."""
        for where in (self.real, self.local):
            value = where.get(name) or None
            file = where.get(f"{name}_FILE") or None if secret else None
            if value and file:
                raise VariableError(f"both {name} and {name}_FILE are set; unset one of them")
            if value:
                return value
            if file:
                return self._from_file(f"{name}_FILE", Path(file))
        return None

    @staticmethod
    def _from_file(name: str, path: Path) -> str:
        try:
            value = read_text(path, SECRET_FILE_LIMIT).strip()
        except ConfigError as e:
            raise VariableError(f"the file that {name} names cannot be used: {e}") from None
        if not value:
            raise VariableError(f"the file that {name} names, {path}, is empty")
        return value

    def fill(self, text: str, *, secret: bool = False) -> Filled:
        """Put variables into a text: `${NAME}`, `${NAME:-default}`; `$${` stands for `${`.

        VariableError for a malformed reference, and for an unset one without default inside a
        longer text.
        """
        used: list[str] = []
        whole = _REFERENCE.fullmatch(text)
        if whole and whole[1]:
            return Filled(self.get(whole[1], secret=secret) or whole[2] or None, (whole[1],))

        def put(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if name is None:
                if match[0] == "$${":
                    return "${"
                raise VariableError(
                    "has a ${ that is no variable; write ${NAME} or ${NAME:-default}, "
                    "or $${ where these two characters are meant"
                )
            used.append(name)
            value = self.get(name, secret=secret)
            if value is None:
                value = self.real.get(name, self.local.get(name)) if default is None else default
            if value is None:
                raise VariableError(unset(name))
            return value

        return Filled(_REFERENCE.sub(put, text), tuple(used))


@dataclass(frozen=True, slots=True)
class Filled:
    """A text after its variables were put in, None where the only one is unset, and their names."""

    text: str | None = field(repr=False)
    used: tuple[str, ...] = ()


def unset(name: str) -> str:
    """What to tell somebody who has to set `name`."""
    return (
        f"the variable {name} is not set; set it (in the environment or in .env), "
        f"or write ${{{name}:-default}}"
    )

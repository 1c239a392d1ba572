"""The part of GitHub's expression language that the workflows use: paths into contexts, texts, `&&`, `||`,
`!`, `==`, `!=`, brackets and status functions. Anything else is refused, so that nothing is mistaken."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<sign>&&|\|\||==|!=|!|\(|\))"
    r"|(?P<call>[a-z]+)\(\s*\)|(?P<path>[A-Za-z_][\w.-]*))"
)
_SIGNS = {"&&": " and ", "||": " or ", "!": " not "}
_PLACE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)

Contexts = Mapping[str, Any]
Status = Mapping[str, bool]
"""What success(), failure(), cancelled() and always() say."""


def look_up(contexts: Contexts, path: str) -> Any:
    """What stands at `a.b.c`; empty where the last steps of the path do not exist, as on GitHub."""
    first, *rest = path.split(".")
    if first not in contexts:
        raise ValueError(f"no context {first!r} (in {path})")
    found = contexts[first]
    for name in rest:
        found = found.get(name, "") if isinstance(found, Mapping) else ""
    return found


def evaluate(text: str, contexts: Contexts, status: Status) -> Any:
    """The value of one expression."""
    source, at, values = "", 0, []
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"cannot read {text[at:]!r} in {text!r}")
        at = match.end()
        if match["sign"]:
            source += _SIGNS.get(match["sign"], match["sign"])
            continue
        if match["text"]:
            values.append(match["text"][1:-1].replace("''", "'"))
        elif match["call"]:
            values.append(status[match["call"]])
        else:
            values.append(look_up(contexts, match["path"]))
        source += f"v[{len(values) - 1}]"
    return eval(source, {"__builtins__": {}}, {"v": values})


def condition(text: str | None, contexts: Contexts, status: Status) -> bool:
    """Whether a step with that `if:` is carried out: without a status function only after success."""
    if text is None:
        return status["success"]
    text = text.strip().removeprefix("${{").removesuffix("}}")
    named = re.search(r"\b(always|failure|success|cancelled)\(", text)
    return bool(evaluate(text, contexts, status)) and (named is not None or status["success"])


def fill(text: Any, contexts: Contexts, status: Status) -> str:
    """A value with its `${{ }}` put in; booleans as GitHub writes them."""
    put: Callable[[Any], str] = lambda value: str(value).lower() if isinstance(value, bool) else str(value)  # noqa: E731
    return _PLACE.sub(lambda match: put(evaluate(match[1], contexts, status)), put(text))

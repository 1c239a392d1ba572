"""Says in plain words what a model refused, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from loader.settings.durations import format_duration, parse_duration

_FIXED = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "model_type": "must be a block of keys",
    "dict_type": "must be a block of keys",
    "list_type": "must be a list, such as [a, b]",
    "tuple_type": "must be a list, such as [a, b]",
    "date_from_datetime_inexact": "must be a date, such as 2024-03-01",
    "date_from_datetime_parsing": "must be a date, such as 2024-03-01",
    "date_parsing": "must be a date, such as 2024-03-01",
    "date_type": "must be a date, such as 2024-03-01",
    "path_type": "must be a path",
    "url_parsing": "must be a URL, such as https://example.org",
}
_BOUNDS = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


def unknown(word: str, known: Iterable[str], what: str) -> str:
    """`is no known key; did you mean lookback?` with what is known otherwise."""
    from difflib import get_close_matches

    listed = sorted(known)
    close = get_close_matches(word, listed, n=1, cutoff=0.6)
    if close:
        return f"is no known {what}; did you mean {close[0]}? (known here: {', '.join(listed)})"
    return f"is no known {what}; delete it, or use one of: {', '.join(listed)}"


def explain(error: Mapping[str, Any], show_value: bool) -> str:
    """One pydantic error (an item of `ValidationError.errors()`) in our words.

    `show_value` says whether the refused value may be repeated.
    """
    kind, context, value = error["type"], error.get("ctx", {}), error.get("input")
    if kind == "value_error":
        text = str(context["error"])
    elif kind == "string_type":
        text = "must be text"
        if isinstance(value, bool | int | float):
            text += "; put it in quotes"
    elif kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        text = f"{words} {_bound(context[key], value)}"
    elif kind in ("too_long", "too_short"):
        least, most = context.get("min_length"), context.get("max_length")
        text = (
            f"must have at most {most} items" if most is not None else f"must have at least {least} items"
        )
    elif kind in ("literal_error", "enum"):
        text = f"must be {context['expected']}".replace("'", "")
    else:
        text = _FIXED.get(kind) or _own_words(error["msg"])
    if show_value and isinstance(value, str | int | float) and len(str(value)) <= 60:
        text = f"{value!r} is refused: {text}" if kind == "value_error" else f"{text}; {value!r} is not"
    return text


def _bound(bound: float, value: Any) -> str:
    """A bound in the notation of the value that broke it."""
    try:
        parse_duration(value)
        return format_duration(int(bound))
    except (ValueError, AttributeError):
        return f"{bound:g}" if abs(bound) < 1e6 else f"{bound}"


def _own_words(message: str) -> str:
    message = re.sub(r"^\w+ should ", "must ", message.removeprefix("Value error, "))
    return message[:1].lower() + message[1:]

"""JSON as the server's jsonb takes it, to and from the records of the journal."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from loader.sqltext import storable


def encode(value: Any) -> str:
    """A record, or what JSON can hold, as text. In strings, NUL bytes and lone surrogates, which
    jsonb refuses, become U+FFFD; numbers that JSON has no word for become null."""
    return json.dumps(_plain(msgspec.to_builtins(value)), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

"""The envelope around every answer of the API, and the single records in it."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from loader.responses import BadBody

UNDECODABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding may raise: bytes that are no UTF-8 come as a plain ValueError."""

T = TypeVar("T")


class Meta(msgspec.Struct):
    limit: Any = None


class _RawPage(msgspec.Struct):
    meta: Meta
    results: list[msgspec.Raw]


_RAW = msgspec.json.Decoder(_RawPage)


def raw_records(body: bytes) -> tuple[int | None, list[bytes]]:
    """The envelope's page size and its records, undecoded. Raises BadBody for anything else."""
    try:
        page = _RAW.decode(body)
        return page_size(page.meta), [bytes(raw) for raw in page.results]
    except UNDECODABLE:
        mended = _MENDABLE.sub(_mend, body)
    try:
        page = _RAW.decode(mended)
    except UNDECODABLE:
        raise BadBody("the body is no page of the API") from None
    # The mended text only tells where each record is; what is wrong with it is found later.
    out, at = [], max(mended.find(b'"results"'), 0)
    for raw in map(bytes, page.results):
        at = mended.index(raw, at)
        out.append(body[at : at + len(raw)])
        at += len(raw)
    return page_size(page.meta), out


_MENDABLE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?(?:NaN|Infinity)\b', re.DOTALL)
_ESCAPE = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F]..|\\.", re.DOTALL)


def _mend(found: re.Match[bytes]) -> bytes:
    """What some servers write though it is no JSON, replaced by as many letters that are."""
    text = found[0]
    if not text.startswith(b'"'):
        return b'"%b"' % (b" " * (len(text) - 2))
    return _ESCAPE.sub(_replace_half, text) if b"\\u" in text else text


def _replace_half(found: re.Match[bytes]) -> bytes:
    """Half of a surrogate pair, without its other half, is no character."""
    return b"\\ufffd" if len(found[0]) == 6 else found[0]


def records(body: bytes, decoder: msgspec.json.Decoder[T]) -> list[T]:
    """The envelope's records, decoded. Raises BadBody where one of them cannot be."""
    try:
        return [decoder.decode(raw) for raw in raw_records(body)[1]]
    except UNDECODABLE as error:
        raise BadBody(f"a record is not as the API describes it: {reason(error)}") from None


def page_size(meta: Meta) -> int | None:
    """The page size that the server says it used; None where it does not."""
    limit = meta.limit
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None


def reason(error: Exception) -> str:
    """What a decoder's error says, the field first."""
    if not isinstance(error, msgspec.ValidationError):
        return "not readable as JSON"
    what, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        return f"{field}.{missing[1]}: missing".lstrip(".")
    return f"{field}: {what[:1].lower()}{what[1:]}".removeprefix(": ")

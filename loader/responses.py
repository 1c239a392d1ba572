"""What HTTP responses say: bodies, inflated piece by piece under a limit, errors, times. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime

LONGEST_DETAIL = 200


class BadBody(Exception):
    """A body that is not what was asked for: cut off, not inflatable, or no such document."""


class TooLarge(Exception):
    """A body beyond its limit; nothing past the limit was inflated."""


def inflate(pieces: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """The body that `pieces` carry in the content coding `encoding` (identity, gzip, deflate).

    Raises TooLarge as soon as it has more than `limit` bytes, BadBody where it ends early or
    cannot be inflated.
    """
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return _limited(pieces, limit)
    if coding in ("gzip", "x-gzip"):
        return _limited(_members(pieces, limit), limit)
    if coding == "deflate":
        return _limited(_deflated(pieces, limit), limit)
    raise BadBody("the body comes in a coding that was not asked for")


def _limited(pieces: Iterable[bytes], limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            # Whoever keeps the error keeps this frame.
            parts.clear()
            del piece
            raise TooLarge(f"the body has more than {limit} bytes")
        parts.append(piece)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _members(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Inflate gzip, which may be several members one after the other."""
    member = zlib.decompressobj(31)
    for piece in pieces:
        rest = piece
        while rest:
            if member.eof:
                # Zeros may follow the last member as padding.
                if not rest.strip(b"\0"):
                    break
                member = zlib.decompressobj(31)
            try:
                yield member.decompress(rest, limit + 1)
            except zlib.error:
                raise BadBody("the body cannot be inflated") from None
            rest = member.unconsumed_tail or (member.unused_data if member.eof else b"")
    if not member.eof:
        raise BadBody("the body is cut off")


def _deflated(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Inflate `deflate`, which servers send with the zlib header or without it."""
    stream = zlib.decompressobj()
    first = True
    for piece in pieces:
        rest = piece
        while rest and not stream.eof:
            try:
                out = stream.decompress(rest, limit + 1)
            except zlib.error:
                if not first:
                    raise BadBody("the body cannot be inflated") from None
                stream = zlib.decompressobj(-zlib.MAX_WBITS)
                first = False
                continue
            first = False
            yield out
            rest = stream.unconsumed_tail
    if not stream.eof:
        raise BadBody("the body is cut off")


def detail_of(body: bytes, secrets: Iterable[str] = ()) -> str:
    """What an error's body says, on one line of at most 200 characters; "" where it says nothing.

    Understands `{"detail": text}`, `{"detail": [{loc, msg}]}`, `{"message": text}`, a JSON string
    and plain text. Secrets are blotted out, for a server may echo them.
    """
    text = body.decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = "" if text.lstrip().startswith("<") else text
    if isinstance(said, dict):
        said = said.get("detail") or said.get("message") or ""
    if isinstance(said, list):
        said = "; ".join(map(_complaint, said))
    text = said if isinstance(said, str) else ""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_DETAIL else line[: LONGEST_DETAIL - 1] + "…"


def _complaint(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    where = item.get("loc")
    name = f"{where[-1]}: " if isinstance(where, list) and where else ""
    return f"{name}{item.get('msg', '')}"


def http_date(text: str) -> float | None:
    """Seconds since the epoch of an HTTP date; None where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: int) -> float | None:
    """Seconds from `now` (microseconds UTC) that Retry-After asks to wait, never negative; None
    where it is absent or illegible."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value[:9])
    at = http_date(value)
    return None if at is None else max(0.0, at - now / 1e6)


def number(headers: Mapping[str, str], name: str) -> int | None:
    """A header's whole number, not negative; None where it has none."""
    value = headers.get(name, "").strip()
    return int(value) if value.isdecimal() and len(value) < 12 else None

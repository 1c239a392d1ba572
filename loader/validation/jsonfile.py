"""JSON: an array of records, an object that holds one (such as an API's answer), or a record a line."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from loader.validation import lines
from loader.validation.blocks import Blocks, sample, whole
from loader.validation.tables import ROWS, Opened, Table, columned, flat
from loader.validation.trouble import Trouble, Troubles, Unreadable

RECORD = 16_000_000
"""A record, or whatever stands beside the records, may have so many letters."""

DEEP = 8
"""An array of records is looked for in so many objects inside each other."""

_BLANK = " \t\r\n"


def is_lines(head: bytes) -> bool:
    """Whether a file that begins with `{` has a record a line: its first line is one by itself,
    and it is not an answer that holds an array of them."""
    first, separator, rest = head.lstrip().partition(b"\n")
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    if separator and rest.strip():
        return True
    return not _holds_records(record)


def _holds_records(value: dict[str, Any]) -> bool:
    return any(
        _holds_records(v)
        if isinstance(v, dict)
        else isinstance(v, list) and (not v or isinstance(v[0], dict))
        for v in value.values()
    )


def open_ndjson(path: Path, encoding: str, most: int, wanted: int | None, troubles: Troubles) -> Opened:
    """A record a line. Raises Unreadable."""
    blocks = whole(1, most) if wanted is None else sample(1, lines.count(path), wanted)
    return _opened("ndjson", _line_tables(path, encoding, blocks, troubles), blocks)


def open_json(path: Path, encoding: str, most: int, wanted: int | None, troubles: Troubles) -> Opened:
    """An array of records, by itself or in an object. Raises Unreadable."""
    blocks = whole(1, most)
    if wanted is not None:
        total = sum(1 for _ in _Scanner(path, encoding).records())
        blocks = sample(1, total, wanted)
    return _opened("json", _array_tables(path, encoding, blocks, troubles), blocks)


def _opened(form: str, tables: Iterator[Table], blocks: Blocks) -> Opened:
    first = next(tables, None)
    names = [] if first is None else list(first.columns)
    some = iter(()) if first is None else chain([first], tables)
    return Opened(form, names, some, text=False, sampled=blocks.sampled, facts=blocks.said)


_DECODE = msgspec.json.Decoder().decode


def _line_tables(path: Path, encoding: str, blocks: Blocks, troubles: Troubles) -> Iterator[Table]:
    for portion in lines.read(path, encoding, troubles, blocks):
        numbers: list[int] = []
        records: list[dict[str, Any]] = []
        for number, text in zip(portion.numbers, portion.texts, strict=True):
            if not text or text.isspace():
                continue
            try:
                record = _DECODE(text)
            except (msgspec.DecodeError, RecursionError):
                record = _leniently(path, number, text, troubles)
            if isinstance(record, dict):
                numbers.append(number)
                records.append(flat(record))
            elif record is not None:
                _no_record(path, number, record, troubles)
        for i in range(0, len(records), ROWS):
            yield Table(numbers[i : i + ROWS], columned(records[i : i + ROWS]), portion.block)


def _leniently(path: Path, number: int, text: str, troubles: Troubles) -> Any:
    """NaN and Infinity, which JSON does not have, are let through: they are told of the value."""
    try:
        return json.loads(text)
    except RecursionError:
        why = "is nested too deeply"
    except ValueError as error:
        at = getattr(error, "pos", 0)
        why = f"is no JSON ({_reason(error)}, column {at + 1})"
    troubles.add(Trouble(str(path), number, "line", "syntax", why))
    return None


def _reason(error: ValueError) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else "a number of thousands of digits"


def _no_record(path: Path, number: int, record: object, troubles: Troubles) -> None:
    kind = {list: "an array", str: "a text", bool: "true or false"}.get(type(record), "a number")
    troubles.add(Trouble(str(path), number, "line", "syntax", f"is {kind}, not an object"))


def _array_tables(path: Path, encoding: str, blocks: Blocks, troubles: Troubles) -> Iterator[Table]:
    numbers: list[int] = []
    records: list[dict[str, Any]] = []
    where: list[str] = []
    at = 0
    broken: Unreadable | None = None
    try:
        for ordinal, (line, name, record) in enumerate(_Scanner(path, encoding).records(), start=1):
            inside = next(iter(blocks.within(range(ordinal, ordinal + 1))), None)
            if inside is None:
                if ordinal > blocks.end:
                    troubles.cut = not blocks.sampled
                    break
                continue
            if records and (len(records) == ROWS or inside[0] != at):
                yield Table(numbers, columned(records), at, where)
                numbers, records, where = [], [], []
            at = inside[0]
            if isinstance(record, dict):
                numbers.append(line)
                records.append(flat(record))
                where.append(f"{name}[{ordinal - 1}].")
            else:
                _no_record(path, line, 0 if record is None else record, troubles)
    except Unreadable as error:
        broken = error
    # What stands before the mistake is looked at all the same.
    if records:
        yield Table(numbers, columned(records), at, where)
    if broken is not None:
        raise broken


class _Scanner:
    """Reads a JSON document value by value, so that an array need not fit into memory."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._path = path
        self._text, self._at, self._line = "", 0, 1
        self._keys: list[str] = []
        self._found = self._empty = False
        self._portions = self._decoded(encoding)
        self._value = json.JSONDecoder().raw_decode

    def _decoded(self, encoding: str) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
        line = 1
        with lines.opened(self._path) as file:
            for portion in chain(lines.portions(self._path, file), [b""]):
                try:
                    yield decoder.decode(portion, final=not portion)
                except UnicodeDecodeError as error:
                    at = line + error.object[: error.start].count(b"\n")
                    raise Unreadable(
                        f"{self._path}:{at}: is not {encoding.upper()} (0x{error.object[error.start]:02x});"
                        " if the file is Latin-1, say --encoding latin-1"
                    ) from None
                line += portion.count(b"\n")

    def records(self) -> Iterator[tuple[int, str, Any]]:
        """(line, name of the array, item) of the array of records, however deep in objects it lies:
        of several the first. The rest is passed over, so that what is cut off is noticed."""
        opening = self._peek()
        if opening not in ("[", "{"):
            raise self._error("begins with neither [ nor {")
        yield from self._items("") if opening == "[" else self._inside("")
        if self._peek():
            raise self._error("goes on after the end of the document; give a record a line, or one array")
        if opening == "{" and not (self._found or self._empty):
            raise self._error(f"holds no array of records; it has: {', '.join(self._keys) or 'nothing'}")

    def _inside(self, prefix: str) -> Iterator[tuple[int, str, Any]]:
        """The items of the array of records in an object, if it has not been found before."""
        self._expect("{")
        while (mark := self._peek()) != "}":
            if not mark:
                raise self._error("the object is not closed")
            name = f"{prefix}{self._next()}"
            if len(self._keys) < 10:
                self._keys.append(name)
            self._expect(":")
            opening = self._peek()
            if opening == "{" and name.count(".") < DEEP:
                yield from self._inside(f"{name}.")
            elif opening == "[" and (self._found or self._ahead() == "{"):
                others, self._found = self._found, True
                yield from (item for item in self._items(name) if not others)
            else:
                self._empty |= self._next() == []
            if self._peek() == ",":
                self._at += 1
        self._at += 1

    def _items(self, name: str) -> Iterator[tuple[int, str, Any]]:
        self._expect("[")
        while self._peek() != "]":
            line = self._line
            yield line, name, self._next()
            mark = self._peek()
            if mark == ",":
                self._at += 1
            elif mark != "]":
                raise self._error("the array is not closed" if not mark else "a comma is missing")
        self._at += 1

    def _peek(self) -> str:
        """The next letter that is not blank; "" at the end. Line and position are moved to it."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _BLANK:
                self._line += text[at] == "\n"
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if not self._more():
                return ""

    def _ahead(self) -> str:
        """The letter after the next one, blanks left out."""
        while True:
            rest = self._text[self._at + 1 : self._at + 1000].lstrip(_BLANK)
            if rest or len(self._text) - self._at > 1000 or not self._more():
                return rest[:1]

    def _expect(self, letter: str) -> None:
        if self._peek() != letter:
            raise self._error(f"{letter} is missing")
        self._at += 1

    def _next(self) -> Any:
        """The next value, however many portions it takes."""
        self._peek()
        while True:
            try:
                value, end = self._value(self._text, self._at)
                # What ends with the portion may go on in the next: 12 and 34 are 1234.
                if end < len(self._text) or not self._more():
                    self._line += self._text.count("\n", self._at, end)
                    self._at = end
                    return value
            except RecursionError:
                raise self._error("is nested too deeply") from None
            except ValueError as error:
                near_end = len(self._text) - getattr(error, "pos", 0) < 100
                if not (near_end or self._open_text(error)) or not self._more():
                    at = getattr(error, "pos", self._at)
                    self._line += self._text.count("\n", self._at, at)
                    raise self._error(f"is no JSON ({_reason(error)})") from None

    @staticmethod
    def _open_text(error: ValueError) -> bool:
        return "Unterminated string" in str(error)

    def _more(self) -> bool:
        if len(self._text) - self._at > RECORD:
            raise self._error(f"a value is longer than {RECORD:,} letters; give a JSON array of records")
        self._text, self._at = self._text[self._at :], 0
        for portion in self._portions:
            if portion:
                self._text += portion
                return True
        return False

    def _error(self, why: str) -> Unreadable:
        return Unreadable(f"{self._path}:{self._line}: {why}")

"""CSV and its kin: separators `,` `;` `|` tab and blanks, with a header or without."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path

from loader.validation import lines
from loader.validation.blocks import Blocks, sample, whole
from loader.validation.columns import known, plain_number
from loader.validation.lines import Lines
from loader.validation.stamps import is_time
from loader.validation.tables import ROWS, Opened, Table
from loader.validation.trouble import Trouble, Troubles, Unreadable

SEPARATORS = (",", ";", "\t", "|")
COLUMNS = 10_000


class _Feed:
    """Hands lines to csv.reader and knows where the record at hand began."""

    def __init__(self, portions: Iterable[Lines]) -> None:
        self._lines = chain.from_iterable(zip(p.numbers, p.texts, strict=True) for p in portions)
        self.first = 0
        self.last = 0
        self.begun = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.last, text = next(self._lines)
        if not self.begun:
            self.first, self.begun = self.last, True
        # csv.reader needs the line's end to tell that a quoted field goes on.
        return text + "\n"


def open_csv(path: Path, encoding: str, most: int, wanted: int | None, troubles: Troubles) -> Opened:
    """Look at the first lines, and get ready to read the rest. Raises Unreadable."""
    number, first = _first_line(path, encoding)
    separator = separator_of(first)
    cells = next(iter(_split([first], separator)), [])
    if len(cells) > COLUMNS:
        raise Unreadable(f"{path}:{number}: has {len(cells):,} columns; that is no table of readings")
    header = not _is_data(cells)
    names = _named(cells) if header else [str(i + 1) for i in range(len(cells))]
    begin = number + header
    blocks = whole(begin, most) if wanted is None else sample(begin, lines.count(path), wanted)
    return Opened(
        format="csv",
        names=names,
        tables=_tables(path, encoding, blocks, troubles, separator=separator, names=names),
        text=True,
        header=header,
        comma=separator != ",",
        sampled=blocks.sampled,
        facts={"separator": {"\t": "tab", " ": "blanks"}.get(separator, separator), **blocks.said},
    )


def _first_line(path: Path, encoding: str) -> tuple[int, str]:
    """The first line that says something; comments (`#`) and empty lines before it do not."""
    ahead = Troubles()
    for portion in lines.read(path, encoding, ahead, whole(1, 1000)):
        if ahead.first and (not portion.numbers or ahead.first[0].line < portion.numbers[0]):
            break
        for number, text in zip(portion.numbers, portion.texts, strict=True):
            if text.strip() and not text.startswith("#"):
                if ahead.first and ahead.first[0].line < number:
                    raise Unreadable(str(ahead.first[0]))
                return number, text
    if ahead.first:
        raise Unreadable(str(ahead.first[0]))
    raise Unreadable(f"{path}:1: the file has no line that says anything")


def separator_of(line: str) -> str:
    """What separates the fields of a line: whatever gives most of them, outside quotes."""
    bare = "".join(line.split('"')[::2])
    best = max(SEPARATORS, key=bare.count)
    return best if bare.count(best) or len(bare.split()) < 3 else " "


def _split(texts: Iterable[str], separator: str) -> Iterator[list[str]]:
    if separator == " ":
        return (text.split() for text in texts)
    return csv.reader(texts, delimiter=separator)


def _is_data(cells: list[str]) -> bool:
    """Whether a line is a record rather than a header: none of its cells is a name we know, and
    one is a number or a time."""
    if any(known(cell) for cell in cells):
        return False
    return any(plain_number(cell) is not None or is_time(cell) for cell in cells if cell.strip())


def _named(cells: list[str]) -> list[str]:
    """Each name once; the ends of lines that are just separators have numbers."""
    names: list[str] = []
    for i, cell in enumerate(cells):
        name = cell.strip() or str(i + 1)
        names.append(name if name not in names else f"{name} ({i + 1})")
    return names


def _tables(
    path: Path, encoding: str, blocks: Blocks, troubles: Troubles, *, separator: str, names: list[str]
) -> Iterator[Table]:
    portions = lines.read(path, encoding, troubles, blocks)
    for block, some in groupby(portions, key=lambda p: p.block):
        feed = _Feed(some)
        numbers: list[int] = []
        rows: list[list[str]] = []
        edge = blocks.sampled and block > 0
        broken: Unreadable | None = None
        try:
            for number, row in _records(path, feed, separator, troubles):
                if len(row) != len(names) and not _fits(row, names):
                    if not edge:
                        why = f"has {_fields(len(row))} where there are {len(names)} columns"
                        if feed.last > number:
                            why += f", up to line {feed.last}: a quote not closed?"
                        troubles.add(Trouble(str(path), number, "line", "fields", why))
                    continue
                edge = False
                numbers.append(number)
                rows.append(row)
                if len(rows) == ROWS:
                    yield _table(names, numbers, rows, block)
                    numbers, rows = [], []
        except Unreadable as error:
            broken = error
        # What stands before the damage is looked at all the same.
        if rows:
            yield _table(names, numbers, rows, block)
        if broken is not None:
            raise broken


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _fits(row: list[str], names: list[str]) -> bool:
    """Whether a row that is longer only ends in separators, which are then taken off."""
    if len(row) > len(names) and not any(cell.strip() for cell in row[len(names) :]):
        del row[len(names) :]
        return True
    return False


def _table(names: list[str], numbers: list[int], rows: list[list[str]], block: int) -> Table:
    columns = (list(column) for column in zip(*rows, strict=True))
    return Table(numbers, dict(zip(names, columns, strict=True)), block)


def _records(
    path: Path, feed: _Feed, separator: str, troubles: Troubles
) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every record that is not empty."""
    records = _split(feed, separator)
    while True:
        feed.begun = False
        try:
            row = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            why = str(error)
            if "field limit" in why:
                why = f"has a field of more than {csv.field_size_limit():,} letters: a quote not closed?"
            troubles.add(Trouble(str(path), feed.first, "line", "fields", why))
            continue
        if any(row):
            yield feed.first, row

"""The one place where commands print: tables, JSON, times, sizes, and what is said beside them.

Reports go to stdout and nothing else does; remarks go to stderr. Colour and rules are for
terminals; elsewhere a table is plain text in columns, as wide as it needs to be.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import click

from loader.errors import LoaderError, UsageError

if TYPE_CHECKING:
    from loader.readings import Window

PROSE = 24
"""Columns that a terminal leaves at least for a text that may be long."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UTF8 = ("utf-8", "backslashreplace")

_NOTHING = ("0", "-", "")
"""What a cell shows that has nothing to say."""

_STYLES = {
    "ok": "green",
    "partial": "yellow",
    "running": "cyan",
    "interrupted": "yellow",
    "skipped": "dim",
    "missed": "red",
    "failed": "red",
    "silent": "red",
}
"""Words that are told by their colour too, on a terminal."""


def iso(time: int) -> str:
    """Microseconds UTC as ISO 8601 with a Z; a fraction only where there is one."""
    try:
        at = _EPOCH + timedelta(microseconds=time)
    except OverflowError:
        return "beyond the calendar"
    return at.replace(tzinfo=None).isoformat() + "Z"


def iso_or_none(time: int | None) -> str | None:
    """The same, for what may not have happened."""
    return None if time is None else iso(time)


def ago(micros: int | None) -> str:
    """A span for people, in its two largest units: `3 h 20 min`; `-` where there is none."""
    if micros is None:
        return "-"
    if micros < 0:
        return f"-{ago(-micros)}"
    seconds = micros // 1_000_000
    if seconds < 120:
        return f"{micros / 1e6:.1f} s" if micros < 10_000_000 else f"{seconds} s"
    minutes = seconds // 60
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def number(count: int | None) -> str:
    """A count with its thousands apart; `-` where there is none."""
    return "-" if count is None else f"{count:,}"


def tenth(figure: float | None) -> str:
    """A score or a percentage to a tenth, rounded down: 100.0 is all of it; `-` where there is none."""
    from loader.quality.score import rounded_down

    return "-" if figure is None else f"{rounded_down(figure):.1f}"


def bar(share: float, width: int) -> str:
    """A bar that fills so much of `width` characters, and spaces to its end; 99.9 % is not full.
    Where blocks cannot be shown it is made of # signs."""
    eighths = max(int(share > 0), int(min(max(share, 0.0), 1.0) * 8 * width))
    if _blocks():
        text = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
    else:
        text = "#" * max(eighths // 8, int(share > 0))
    return text.ljust(width)


def _blocks() -> bool:
    """Whether standard output can show parts of a block."""
    try:
        "█▏".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return not (sys.stdout.isatty() and os.environ.get("TERM") in ("dumb", "linux"))


def plural(count: int, noun: str) -> str:
    """`1 hole`, `1,200 holes`."""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun.removesuffix('s')}s"


def clean(text: str) -> str:
    """Text from outside, fit for a terminal: control characters, which could move the cursor or
    change colours, become visible escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def note(text: str) -> None:
    """A remark beside the report, on stderr; where nobody reads it any more, none."""
    with suppress(OSError):
        click.echo(text, err=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers stand on the right. On a terminal only `prose` is broken over
    lines to fit, and a `spare` column that says nothing is left out where they do not all fit."""

    title: str
    right: bool = False
    prose: bool = False
    spare: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[str | None]], title: str = "") -> None:
    """Print a table on stdout; None is shown as `-`. All rows are held, to measure them."""
    cells = [[clean("-" if c is None else c) for c in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(columns, cells, title)
        return
    widths = [max([len(c.title), *(len(row[i]) for row in cells)]) for i, c in enumerate(columns)]
    lines = [title] if title else []
    for row in [[c.title for c in columns], *cells]:
        shown = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        lines.append("  ".join(shown).rstrip())
    line(*lines)


def _rich_table(columns: Sequence[Column], cells: list[list[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = Console().width
    if _needed(columns, cells) > width:
        said = [
            i for i, c in enumerate(columns) if not c.spare or any(row[i] not in _NOTHING for row in cells)
        ]
        columns, cells = [columns[i] for i in said], [[row[i] for i in said] for row in cells]
    shown = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for column in columns:
        shown.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.prose,
        )
    for row in cells:
        shown.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    # Too narrow a terminal breaks the lines itself: better than times cut into pieces.
    console = Console(highlight=False, width=max(width, _needed(columns, cells)))
    with console.capture() as capture:
        console.print(shown)
    put(capture.get().encode(console.encoding, "replace"))


def _needed(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> int:
    """How wide the table is at least."""
    needed = 0
    for i, column in enumerate(columns):
        widest = max([len(column.title), *(len(row[i]) for row in cells)])
        needed += 2 + (min(widest, PROSE) if column.prose else widest)
    return needed - 2


def _style(cell: str) -> str:
    return _STYLES.get(cell.partition(" ")[0], "")


def line(*lines: str) -> None:
    """Print lines of a report on stdout; what its encoding lacks becomes `?`."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    put("".join(f"{one}\n" for one in lines).encode(encoding, "replace"))


def document(value: Any) -> None:
    """Print one JSON document on stdout, in UTF-8."""
    put((json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode(*_UTF8))


def documents(values: Iterable[Any]) -> int:
    """Print one JSON array on stdout as its items come, one a line; returns how many they were."""
    count = 0
    for value in values:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        put(((",\n " if count else "[\n ") + text).encode(*_UTF8))
        count += 1
    put(b"\n]\n" if count else b"[]\n")
    return count


def put(data: bytes) -> None:
    """Write to stdout, at once. A reader that has gone ends the program quietly, as it asked for
    no more; any other trouble raises LoaderError."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _mute()
        raise click.exceptions.Exit(0) from None
    except OSError as error:
        _mute()
        raise LoaderError(f"cannot write to standard output: {error.strerror}") from error


def _mute() -> None:
    """Give the interpreter something to flush into when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def span(window: Window) -> dict[str, str]:
    """A window (from, to] in JSON."""
    return {"from": iso(window.start), "to": iso(window.end)}


def confirm(yes: bool) -> None:
    """Stop a destructive command that was not given `--yes`; it has said by now what it would do."""
    if not yes:
        raise UsageError("nothing was changed; add --yes to do it")


class FileOutput:
    """Bytes on their way to a file that appears whole or not at all.

    They are written beside it and put in its place on success; on any error what was there stays.
    What is no ordinary file (a pipe, /dev/stdout) is written to directly. A symbolic link is
    followed. SIGTERM ends the program, but not before what was begun is cleared away. Raises
    LoaderError where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        direct = path.exists() and not path.is_file()
        self._path = path if direct else path.resolve()
        self._part = None if direct else self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        self._before: signal.Handlers | Callable[[int, FrameType | None], Any] | int | None = None

    def __enter__(self) -> Self:
        with self._errors():
            self._file: IO[bytes] = (self._part or self._path).open("wb")
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        return self

    def write(self, data: bytes) -> None:
        with self._errors():
            self._file.write(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._errors():
                    self._finish()
        finally:
            with suppress(OSError):
                self._file.close()
            if self._part is not None:
                self._part.unlink(missing_ok=True)
            if self._before is not None:
                signal.signal(signal.SIGTERM, self._before)

    def _finish(self) -> None:
        self._file.flush()
        if self._part is None:
            return
        if self._path.exists():
            self._part.chmod(self._path.stat().st_mode & 0o7777)
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise click.exceptions.Exit(0) from None
        except OSError as error:
            raise LoaderError(f"cannot write {self._path}: {error.strerror}") from error


class StdOutput:
    """Bytes to stdout as they come; errors as in `put`."""

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes) -> None:
        put(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

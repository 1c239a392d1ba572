"""Text files as numbered lines: `.gz` or not, a portion at a time, with limits on everything."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loader.validation.blocks import Blocks
from loader.validation.trouble import Trouble, Troubles, Unreadable

LINE = 1_000_000
"""A line may have so many bytes."""

Bytes = io.BufferedReader | gzip.GzipFile

PORTION = 1 << 20
HEAD = 64 * 1024
"""So many bytes are looked at to see what a file is."""

_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive (an .xlsx file is one, too): take the file out of it, or save it as CSV",
    b"BZh": "compressed with bzip2: decompress it first",
    b"\xfd7zXZ": "compressed with xz: decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: decompress it first",
    b"SQLite format 3": "an SQLite database: export its readings as CSV first",
    b"\xff\xfe\0\0": "UTF-32 text: save it as UTF-8",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Lines:
    """Neighbouring lines without their ends, and the numbers they have in the file (from 1).
    `block` says which block of a sample they are of."""

    numbers: list[int]
    texts: list[str]
    block: int = 0


def opened(path: Path) -> Bytes:
    """The file's bytes, decompressed where it is gzip. Raises Unreadable."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise Unreadable(f"{path}: is a folder; name the files in it, such as {path}/*.csv")
        if not stat.S_ISREG(kind):
            raise Unreadable(f"{path}: is no ordinary file; write what comes out of it to a file first")
        raw = path.open("rb")
        if raw.read(2) == _GZIP:
            raw.close()
            return gzip.GzipFile(path, "rb")
        raw.seek(0)
    except OSError as error:
        if str(path) == "-":
            raise Unreadable("-: standard input is not read; write it to a file first") from error
        raise Unreadable(f"{path}: {error.strerror}") from error
    return raw


def head(path: Path) -> bytes:
    """The first bytes of the content, a byte order mark left out. Raises Unreadable for an empty
    file and for what is plainly no text."""
    content = b""
    with opened(path) as file, suppress(Unreadable):
        # A damaged file is told of when it is read: what comes before the damage can be looked at.
        for portion in portions(path, file, HEAD):
            content += portion
            if len(content) >= HEAD:
                break
    if not content:
        with opened(path) as file:
            next(portions(path, file, HEAD), b"")
    if not content:
        raise Unreadable(f"{path}:1: the file is empty")
    if content.startswith(b"PAR1"):
        return content
    for magic, what in _FOREIGN.items():
        if content.startswith(magic):
            raise Unreadable(f"{path}:1: is {what}")
    content = content.removeprefix(BOM)
    if b"\r" in content and b"\n" not in content:
        raise Unreadable(
            f"{path}:1: its lines end with CR alone: replace each CR by LF, as tr '\\r' '\\n' does"
        )
    if _binary(content):
        at = content[: content.find(b"\0") if b"\0" in content else 0].count(b"\n") + 1
        raise Unreadable(f"{path}:{at}: is no text (control characters); give CSV, JSON, NDJSON or Parquet")
    return content


def _binary(content: bytes) -> bool:
    """Whether more than a few of the bytes are control characters. A stray NUL is a bad line, not
    a binary file."""
    control = sum(content.count(bytes([c])) for c in range(32) if c not in b"\t\n\r\f\x1b")
    return control > 8 + len(content) // 200


def portions(path: Path, file: Bytes, size: int = PORTION) -> Iterator[bytes]:
    """Portions of the content, of about `size`. What can be read before a damage is read. Raises
    Unreadable, naming the line up to which it could be read."""
    line, pieces, length = 1, [], 0
    why = ""
    while not why:
        try:
            piece = file.read1(size)
        except EOFError:
            why = "the gzip file ends too early after this line; fetch it again"
        except (zlib.error, gzip.BadGzipFile):
            why = "the gzip file is damaged after this line; fetch it again"
        except OSError as error:
            why = error.strerror or str(error)
        else:
            line += piece.count(b"\n")
            pieces.append(piece)
            length += len(piece)
            if length < size and piece:
                continue
        if length:
            yield b"".join(pieces)
        elif not why:
            return
        pieces, length = [], 0
    raise Unreadable(f"{path}:{line}: {why}")


def count(path: Path) -> int:
    """How many lines a file has."""
    total, last = 0, b"\n"
    with opened(path) as file:
        for portion in portions(path, file):
            total += portion.count(b"\n")
            last = portion[-1:]
    return total + (last != b"\n")


def read(path: Path, encoding: str, troubles: Troubles, blocks: Blocks) -> Iterator[Lines]:
    """The lines of a file, those of `blocks` only, in portions; lines that are no text in the
    encoding, or hold a NUL, are troubles and left out. Raises Unreadable."""
    decoder = _Decoder(path, encoding, troubles)
    number, rest = 1, b""
    with opened(path) as file:
        for portion in portions(path, file):
            whole = rest + portion
            if number == 1 and len(whole) >= len(BOM):
                whole = whole.removeprefix(BOM)
            raw = whole.split(b"\n")
            rest = raw.pop()
            for block, wanted in blocks.within(range(number, number + len(raw))):
                yield decoder.lines(wanted, raw[wanted.start - number : wanted.stop - number], block)
            number += len(raw)
            if len(rest) > LINE:
                raise decoder.too_long(number)
            if number > blocks.end:
                more = number > blocks.end + 1 or bool(rest or file.read(1))
                troubles.cut = more and not blocks.sampled
                return
        if rest:
            for block, wanted in blocks.within(range(number, number + 1)):
                yield decoder.lines(wanted, [rest], block)


class _Decoder:
    """Makes text of the lines of one file."""

    def __init__(self, path: Path, encoding: str, troubles: Troubles) -> None:
        self._path, self._encoding, self._troubles = path, encoding, troubles

    def too_long(self, number: int) -> Unreadable:
        return Unreadable(
            f"{self._path}:{number}: the line is longer than {LINE:,} bytes; give one record a line, or a"
            " JSON array"
        )

    def lines(self, numbers: range, raw: list[bytes], block: int) -> Lines:
        """The lines that are text, with their numbers; the others are troubles."""
        if max(map(len, raw)) > LINE:
            raise self.too_long(numbers[next(i for i, one in enumerate(raw) if len(one) > LINE)])
        joined = b"\n".join(raw)
        try:
            if b"\0" not in joined:
                texts = joined.decode(self._encoding).replace("\r", "").split("\n")
                return Lines(list(numbers), texts, block)
        except UnicodeDecodeError:
            pass
        found = [(n, self._line(n, one)) for n, one in zip(numbers, raw, strict=True)]
        good = [(n, text) for n, text in found if text is not None]
        return Lines([n for n, _ in good], [text for _, text in good], block)

    def _line(self, number: int, raw: bytes) -> str | None:
        if b"\0" in raw:
            why = f"holds a NUL byte (byte {raw.index(0) + 1})"
        else:
            try:
                return raw.decode(self._encoding).replace("\r", "")
            except UnicodeDecodeError as error:
                why = self._undecoded(raw, error)
        self._troubles.add(Trouble(str(self._path), number, "line", "encoding", why))
        return None

    def _undecoded(self, raw: bytes, error: UnicodeDecodeError) -> str:
        why = f"is not {self._encoding.upper()} (byte {error.start + 1}: 0x{raw[error.start]:02x})"
        latin = "; if the file is Latin-1, say --encoding latin-1"
        return why + (latin if self._encoding == "utf-8" else "")

"""Files that cannot be read, and lines that fail: each has a clear message."""

from __future__ import annotations

import gzip
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from loader.errors import UsageError
from tests.unit.validated import LONG, only, rows, told, validated, write


def error(path: Path) -> str:
    """Why the file could not be read."""
    found = validated(path)
    (why,) = found.errors
    assert found.malformed
    return why.removeprefix(f"{path.parent}/")


def test_parquet_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names what is missing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert error(write(tmp_path, "a.parquet", b"PAR1" + bytes(20))) == (
        'a.parquet: Parquet needs the extra lake: pip install "sensor-loader[lake]"'
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Each has a message that names file, line and remedy."""

    def says(name: str, content: bytes | str, text: str) -> None:
        path = write(tmp_path, name, content)
        assert error(path).startswith(f"{name}:{text}"), error(path)

    random = np.random.default_rng(4).bytes(20_000)
    whole = gzip.compress((LONG + rows(500)).encode())
    says("empty.csv", "", "1: the file is empty")
    says("blank.csv", "\n\n \n", "1: the file has no line that says anything")
    says("header.csv", LONG, "1: has only a header")
    says("rubbish.csv", bytes(1000) + random, "1: is no text (control characters)")
    says("zip.csv", b"PK\x03\x04" + random, "1: is a zip archive")
    says("utf16.csv", LONG.encode("utf-16"), "1: is UTF-16 text: save it as UTF-8")
    says(
        "no.csv", "some,thing\na,b\n", "1: no column has times; there are: some, thing. Say which is which"
    )
    says("novalue.csv", "time,city\n2024-01-01,x\n", "1: no column has values; there are: time, city.")
    says("latin.csv", "time,µg\n2024,1\n".encode("latin-1"), "1: line: is not UTF-8 (byte 6: 0xb5); if the")
    says("none.json", '{"meta": {}, "results": []}', "1: has no record")
    says(
        "other.json",
        '{"meta": {"a": 1}, "count": 0,\n "b": "c"}',
        "2: holds no array of records; it has: meta",
    )
    says("more.json", '[{"time": "2024-01-01T00:00Z", "value": 1}]\n[]', "2: goes on after the end")
    says("half.json", '{"results": [{"time": "2024-01-01T00:00Z", "value": 1}],', "1: the object is not")
    says("bare.json", "{}", "1: its records have no fields")
    says("lists.json", '{"h": {"time": ["2024-01-01"]}}', "1: no column has times; h.time holds a list")
    says("utf32.csv", LONG.encode("utf-32"), "1: is UTF-32 text: save it as UTF-8")
    says("deep.json", "[" * 200_000, "1: is nested too deeply")
    says("latin.json", '[{"a": "é"}]'.encode("latin-1"), "1: is not UTF-8 (0xe9)")
    says("bad.csv", LONG + "x,y\n" * 3, " no line of it can be read; the first: ")
    says("damaged.csv.gz", whole[:40] + b"\xff" * 40 + whole[80:], "")
    says("header.gz", whole[:8], "1: the gzip file ends too early after this line; fetch it again")
    assert (
        error(tmp_path) == f"{tmp_path.name}: is a folder; name the files in it, such as {tmp_path}/*.csv"
    )
    assert error(Path("-")) == "-: standard input is not read; write it to a file first"
    assert error(tmp_path / "absent.csv") == "absent.csv: No such file or directory"
    os.mkfifo(tmp_path / "pipe")
    assert "is no ordinary file" in error(tmp_path / "pipe")
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as file:
        file.writestr("a", "b")
    assert "a zip archive" in error(tmp_path / "a.xlsx")


def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path: Path) -> None:
    """The message has the line up to which it could be read, and what came before is checked."""
    whole = gzip.compress((LONG + rows(500)).encode())
    found = validated(write(tmp_path, "cut.csv.gz", whole[: len(whole) // 2]))
    last = int(found.line[-1])
    line = int(found.errors[0].partition("cut.csv.gz:")[2].partition(":")[0])
    assert found.errors[0].endswith(": the gzip file ends too early after this line; fetch it again")
    # Of the line that is cut in two nobody knows how it would have ended.
    assert line in {last + 1, last + 2}
    assert 100 < only(found).counts.revised < 500


@pytest.mark.parametrize(("name", "start"), [("a.csv", b""), ("a.ndjson", b'{"a":"'), ("a.json", b'["')])
def test_a_line_without_end_is_given_up(tmp_path: Path, name: str, start: bytes) -> None:
    """A file that is one line of 100 MB is not read into memory."""
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(start + b"x" * 100)
        file.seek(100_000_000)
        file.write(b"x")
    with path.open("r+b") as file:
        for at in range(0, 20_000_000, 1_000_000):
            file.seek(at + len(start))
            file.write(b"x" * 1_000_000)
    assert "is longer than 1" in error(path)


def test_lines_that_fail_are_told_and_left_out(tmp_path: Path) -> None:
    """Bad encodings, NUL bytes, missing fields, quotes that are never closed, times, values."""
    text = (
        b"time,parameter,value\n2024-01-01T00:00Z,pm25,1\nnot a time,pm25,2\n"
        b"2024-01-01T02:00Z,pm25,three\n2024-01-01T03:00Z,pm25,1_0\n2024-01-01T04:00Z,pm25,inf\n"
        b"2024-01-01T05:00Z,pm25\n2999-01-01T00:00Z,pm25,4\n1970-01-01T00:00Z,pm25,4\n"
        b"2024-01-01T06:00Z,pm25,1\n2024-01-01T06:00Z,pm25,2\n2024-01-01T07:00Z,pm\xb525,2\n"
        b"2024-01-01T07:00Z,pm\x0025,2\n"
    )
    text += b'2024-01-01T08:00Z,"pm25,1\n2024-01-01T09:00Z",pm25,1,2\n"' + b"x\n" * 70_000
    found = validated(write(tmp_path, "a.csv", text))
    assert told(found)[:12] == [
        "a.csv:3: time: 'not a time' is no time",
        "a.csv:4: value: 'three' is no number",
        "a.csv:5: value: '1_0' is no number",
        "a.csv:6: pm25: inf fails: gross_range",
        "a.csv:7: line: has 2 fields where there are 3 columns",
        "a.csv:8: time: 2999-01-01T00:00Z lies in the future",
        "a.csv:9: time: 1970-01-01T00:00Z is earlier than readings can be",
        "a.csv:11: pm25: 2 stands against 1 for the same time (line 10)",
        "a.csv:12: line: is not UTF-8 (byte 21: 0xb5); if the file is Latin-1, say --encoding latin-1",
        "a.csv:13: line: holds a NUL byte (byte 21)",
        "a.csv:14: line: has 5 fields where there are 3 columns, up to line 15: a quote not closed?",
        "a.csv:16: line: has a field of more than 131,072 letters: a quote not closed?",
    ]
    assert found.files[0].failing["encoding"] == 2
    assert found.malformed
    latin = validated(write(tmp_path, "b.csv", (LONG + rows(3)).encode("latin-1")), encoding="latin-1")
    assert only(latin).series.unit == "µg/m³"


def test_of_each_kind_ten_are_kept_and_all_counted(tmp_path: Path) -> None:
    """However many lines fail, the list stays short."""
    text = LONG + "x,here,pm25,µg/m³,1\n" * 50_000 + rows(2)
    found = validated(write(tmp_path, "a.csv", text))
    assert found.files[0].failing == {"timestamp": 50_000}
    assert [t.line for t in found.troubles] == list(range(2, 12))


def test_more_readings_than_can_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is not read, and the message says what to do."""
    monkeypatch.setattr("loader.validation.collect.READINGS", 50)
    found = validated(write(tmp_path, "a.csv", LONG + rows(60)))
    (why,) = found.errors
    assert why.endswith(
        "a.csv:61: more than 50 readings are not held at once; take --sample, --parameter, or fewer files"
    )
    assert validated(tmp_path / "a.csv", sample=40).errors == []


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    """The message lists those that are; a choice that contradicts itself is refused."""
    path = write(tmp_path, "a.csv", LONG + rows(2))
    with pytest.raises(UsageError, match="there is no such column; there are: time, station, parameter"):
        validated(path, columns={"value": "nope"})
    with pytest.raises(UsageError, match="there is no such column"):
        validated(path, columns={"value": "6"})
    with pytest.raises(UsageError, match="--column no2=value: that column was given to pm25"):
        validated(path, columns={"pm25": "value", "no2": "value"})
    with pytest.raises(UsageError, match="give one of them"):
        validated(path, columns={"value": "value", "pm25": "value"})

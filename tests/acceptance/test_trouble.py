"""What surrounds a loader: streams, terminal, locale, configuration, files it is told to write."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.trouble import ROOT, Desk, demo, desk

FIRST = "readings are in sqlite:///loader.db"


def shell(made: Desk, line: str) -> int:
    """The exit code of a command line in which $L stands for the loader."""
    loader = f"{sys.executable} -m loader"
    env = made.environment({"L": loader})
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=made.folder,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done.returncode


def test_where_readings_are_is_said_once(tmp_path: Path) -> None:
    """After the first run that brought some, on stderr, and not in the way of --json."""
    with desk(tmp_path, demo()) as made:
        first = made.loader("run")
        assert FIRST in first.err
        assert FIRST not in first.out
        assert FIRST not in made.loader("run").err
        made.loader("forget", "demo", "--yes")
        silent = made.loader("run", "--json")
        assert FIRST not in silent.err
        assert json.loads(silent.out)[0]["counts"]["new"] > 0


@pytest.mark.parametrize(
    "closed",
    [
        *(pytest.param(one, marks=pytest.mark.slow) for one in (">&-", "2>&-", "<&-")),
        ">&- 2>&- <&-",
        "2>/dev/full",
    ],
)
def test_closed_streams_stop_nothing(tmp_path: Path, closed: str) -> None:
    """A run without stdin, stdout or stderr does its work; no file takes the stream's number."""
    with desk(tmp_path, demo()) as made:
        assert shell(made, f"$L run {closed}") == 0
        assert shell(made, f"$L status {closed}") == 0
        made.check_sums()
        assert made.rows("SELECT count(*) FROM reading") == [(2160,)]
        assert made.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_full_standard_output_is_an_error(tmp_path: Path) -> None:
    """What could not be printed must not look like success."""
    with desk(tmp_path, demo()) as made:
        made.loader("run")
        for command in ("status", "export", "schema", "--help"):
            assert shell(made, f"$L {command} >/dev/full") == 1, command


def test_nobody_reading_is_no_trouble(tmp_path: Path) -> None:
    """Whoever reads our output, or our log, may go away whenever they like."""
    with desk(tmp_path, demo()) as made:
        read, write = os.pipe()
        os.close(read)
        try:
            for command, *streams in (
                ("run", "stderr"),
                ("run", "stdout"),
                *((other, "stdout", "stderr") for other in ("status", "export", "runs --json", "--help")),
            ):
                closed = dict.fromkeys(streams, write)
                assert made.start(*command.split(), **closed).end().code == 0, (command, streams)
        finally:
            os.close(write)
        made.check_sums()


def test_an_empty_environment_is_enough(tmp_path: Path) -> None:
    """No HOME, no PATH, no locale: units and names still come out right."""
    with desk(tmp_path, demo()):
        bare = {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        for command in ("run", "status --stations", "export --format ndjson -o out.ndjson", "gaps --json"):
            done = subprocess.run(
                [sys.executable, "-m", "loader", *command.split()],
                cwd=tmp_path,
                env=bare,
                check=False,
                capture_output=True,
                timeout=60,
            )
            assert done.returncode == 0, (command, done.stderr)
        assert "µg/m³" in (tmp_path / "out.ndjson").read_text(encoding="utf-8")


def test_tables_fit_the_terminal(tmp_path: Path) -> None:
    """On a terminal columns that say nothing make room; what is left has a line a row."""
    with desk(tmp_path, demo()) as made:
        made.loader("run")
        for columns in (40, 80, 200):
            _fits(made, columns)


def _fits(made: Desk, columns: int) -> None:
    parent, child = pty.openpty()
    try:
        done = made.start("runs", env={"COLUMNS": str(columns), "NO_COLOR": "1"}, stdout=child)
    finally:
        os.close(child)
    try:
        printed = b""
        while chunk := _piece(parent):
            printed += chunk
        assert done.end().code == 0
    finally:
        os.close(parent)
    lines = printed.decode().splitlines()
    assert len(lines) == 2, lines
    assert "2,160" in lines[1]
    assert ("quarantined" in lines[0]) is (columns == 200)


def _piece(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other side was closed
        return b""


def test_a_summary_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    """Nothing has been loaded by then."""
    with desk(tmp_path, demo()) as made:
        said = made.loader("run", "--summary", "/no/such/folder/s.md", code=1)
        assert "/no/such/folder/s.md: No such file or directory" in said.err
        assert not (tmp_path / "loader.db").exists()


def test_a_log_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One that cannot be opened ends the run; one that fills up is told of, and the run goes on."""
    with desk(tmp_path, demo()) as made:
        text = made.config.read_text()
        made.config.write_text(text + "log: {file: {path: /proc/no/x.log}}\n")
        said = made.loader("status", code=78)
        assert said.err.startswith("config.yaml: log.file.path: /proc/no/x.log cannot be written")
        made.config.write_text(text + "log: {file: {path: /dev/full}}\n")
        assert "log file /dev/full cannot be written" in made.loader("run").err
        made.check_sums()


@pytest.mark.parametrize(
    ("command", "text", "begins"),
    [
        ("run", None, "other.yaml: there is no such file; `loader init` writes one"),
        ("status", None, "other.yaml: there is no such file; `loader init` writes one"),
        ("plan", "sources:\n\ta: {type: simulator}\n", "other.yaml:2:1: is indented with a tab"),
        (
            "run",
            "sources:\n  a: {type: simulator}\n  a: {type: simulator}\n",
            "other.yaml:3:3: sources.a: stands here",
        ),
        (
            "status",
            "sources: {a: {type: simulator, sead: 1}}\n",
            "other.yaml:1:32: sources.a.sead: is no known key",
        ),
        (
            "run",
            "sources: {a: {type: simulator, enabled: on}}\n",
            "other.yaml:1:41: sources.a.enabled: on is ambig",
        ),
        (
            "status",
            "store: ${NOT_SET}\nsources: {a: {type: simulator}}\n",
            "other.yaml:1:8: store: the variable NOT_SET",
        ),
        (
            "run",
            "store: 'sqlite:///:memory:'\nsources: {a: {type: simulator}}\n",
            "other.yaml:1:8: store: must be a file",
        ),
    ],
)
def test_a_wrong_configuration_begins_with_its_place(
    tmp_path: Path, command: str, text: str | None, begins: str
) -> None:
    """File, line and column come first, where editors and terminals make links of them."""
    with desk(tmp_path, demo()) as made:
        if text is not None:
            (tmp_path / "other.yaml").write_text(text)
        said = made.loader("-c", "other.yaml", command, code=78)
        assert said.err.startswith(begins), said.err
        assert said.out == ""


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    """Neither a password in an address that is refused, nor one that is set twice."""
    with desk(tmp_path, "store: ${DATABASE_URL}\nsources: {a: {type: simulator}}\n") as made:
        secret = "hunter2hunter2"
        (tmp_path / "url").write_text(f"postgresql://u:{secret}@127.0.0.1:1/x")
        for env, code in (
            ({"DATABASE_URL": f"mysql://u:{secret}@h/d"}, 78),
            ({"DATABASE_URL": f"postgresql://u:{secret}@h:port/d"}, 78),
            ({"DATABASE_URL": f"postgresql://u:{secret}%@h/d"}, 78),
            ({"DATABASE_URL": f"postgresql://u:{secret}@127.0.0.1:1/x"}, 1),
            ({"DATABASE_URL_FILE": "url"}, 1),
            ({"DATABASE_URL_FILE": "url", "DATABASE_URL": f"postgresql://u:{secret}@h/d"}, 78),
        ):
            said = made.loader("status", code=code, env=env)
            assert secret not in said.out + said.err
            assert said.err

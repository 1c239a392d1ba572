"""Logging: formats, levels, the rotated file, masked secrets, threads."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loader import log
from loader.config import LogFile
from loader.errors import ConfigError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins without secrets and ends with logging as other tests expect it."""
    monkeypatch.setattr(log, "_secrets", set())
    monkeypatch.setattr(log, "_pattern", None)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    yield
    log.configure()


def test_a_pipe_gets_json() -> None:
    """Off a terminal every line is one JSON object: time in UTC, level, event, fields."""
    out = io.StringIO()
    log.configure(stream=out)
    log.get_logger(source="demo").bind(run=3).info("run ended", new=12, unit="µg/m³")
    entry = json.loads(out.getvalue())
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "level": "info",
        "event": "run ended",
        "source": "demo",
        "run": 3,
        "new": 12,
        "unit": "µg/m³",
    }


def test_a_terminal_gets_text_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text for people; colours unless NO_COLOR is set or the terminal has none."""
    coloured = Terminal()
    log.configure(stream=coloured)
    log.get_logger().info("hello", n=1)
    assert "\x1b[" in coloured.getvalue()
    for name, value in [("NO_COLOR", "1"), ("TERM", "dumb")]:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            plain = Terminal()
            log.configure(stream=plain)
            log.get_logger().info("hello", n=1)
        assert "hello" in plain.getvalue()
        assert "n=1" in plain.getvalue()
        assert "\x1b" not in plain.getvalue()


def test_the_format_may_be_fixed() -> None:
    """`text` off a terminal and `json` on one, without colours in either."""
    for format_, stream, start in [("text", io.StringIO(), "20"), ("json", Terminal(), "{")]:
        log.configure(format=format_, stream=stream)
        log.get_logger().info("hello")
        assert stream.getvalue().startswith(start)
        assert "\x1b" not in stream.getvalue()


def test_the_level_is_the_least_that_is_logged() -> None:
    """Whatever lies below the level leaves no trace."""
    for level, count in [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]:
        out = io.StringIO()
        log.configure(level, stream=out)
        logger = log.get_logger()
        logger.debug("a")
        logger.info("b")
        logger.warning("c")
        logger.error("d")
        assert len(out.getvalue().splitlines()) == count


@pytest.mark.parametrize("secret", ["s3cr/et key", 'quo"te\\back', "übel-ñ", "a.*b$"])
@pytest.mark.parametrize("format_", ["json", "text"])
def test_a_secret_is_masked_wherever_it_turns_up(secret: str, format_: str) -> None:
    """In the event, in fields, nested, in URLs, in tracebacks, in what libraries log."""
    out = io.StringIO()
    log.configure(format=format_, stream=out)
    log.register_secret(secret)
    from urllib.parse import quote

    logger = log.get_logger()
    logger.info(
        f"event {secret}",
        plain=secret,
        nested={"a": [secret]},
        url=f"https://h/?k={quote(secret, safe='')}",
    )
    try:
        raise ValueError(secret)
    except ValueError:
        logger.exception("failed")
    logging.getLogger("urllib3").warning("retrying %s", secret)
    text = out.getvalue()
    assert "Traceback" in text
    assert "urllib3" in text
    assert text.count(log.MASK) >= 6
    for form in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")):
        assert form not in text


def test_short_secrets_are_not_masked() -> None:
    """Masking `ab` everywhere would make logs unreadable and protect nothing."""
    log.register_secret("ab")
    log.register_secret("")
    assert log.redact("about") == "about"


def test_control_characters_do_not_reach_the_terminal() -> None:
    """What a server sends cannot move the cursor or forge a line."""
    out = io.StringIO()
    log.configure(format="text", stream=out)
    log.get_logger().info("a\x1b[2J\nforged", field="b\x1b[2J\nforged")
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 1


def test_the_file_is_rotated(tmp_path: Path) -> None:
    """JSON lines in files of bounded size, the oldest given up, none cut in two."""
    path = tmp_path / "logs" / "loader.log"
    log.configure(stream=io.StringIO(), file=LogFile(path=path, max_bytes=10_000, backups=2))
    for n in range(600):
        log.get_logger().info("line", n=n)
    log.configure()
    files = [path, tmp_path / "logs" / "loader.log.1", tmp_path / "logs" / "loader.log.2"]
    assert sorted(path.parent.iterdir()) == files
    numbers = []
    for file in reversed(files):
        assert file.stat().st_size <= 10_000
        numbers += [json.loads(line)["n"] for line in file.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 600))


def test_a_file_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    """The key and the file are named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"log\.file\.path: .*cannot be written"):
        log.configure(file=LogFile(path=tmp_path / "file" / "loader.log"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to fill a disk")
def test_a_full_disk_is_said_once_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The loader goes on without its log file."""
    out = io.StringIO()
    log.configure(stream=out, file=LogFile(path=Path("/dev/full")))
    for n in range(3):
        log.get_logger().info("line", n=n)
    assert len(out.getvalue().splitlines()) == 3
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_closed_stderr_stops_nothing() -> None:
    """A terminal that went away is no reason to stop loading."""
    out = io.StringIO()
    log.configure(stream=out)
    out.close()
    log.get_logger().info("nobody reads this")


def test_lines_of_threads_do_not_mix() -> None:
    """Eight threads writing at once leave whole lines, all of them."""
    out = io.StringIO()
    log.configure(stream=out)

    def write(thread: int) -> None:
        for n in range(200):
            log.get_logger(thread=thread).info("line", n=n)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    seen = {(e["thread"], e["n"]) for e in map(json.loads, out.getvalue().splitlines())}
    assert seen == {(t, n) for t in range(8) for n in range(200)}


def test_configuring_again_replaces() -> None:
    """A second call leaves no second line behind, for our events and for those of libraries."""
    first, second = io.StringIO(), io.StringIO()
    log.configure(stream=first)
    log.configure(stream=second)
    log.get_logger().info("ours")
    logging.getLogger("library").warning("theirs")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 2


def test_logging_imports_no_rich() -> None:
    """Start-up time is a feature: neither importing nor logging pulls in rich, which stays usable."""
    code = (
        "import sys; from loader import log; assert 'structlog' not in sys.modules; "
        "log.get_logger().info('x'); assert 'rich' not in sys.modules; import rich.console"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr)["event"] == "x"

"""`loader` processes in a folder of their own: what they were told, what they said, how they ended."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
VARIABLES = (
    "OPENAQ_API_KEY",
    "DATABASE_URL",
    "LOADER_CONFIG",
    "LOADER_LISTEN",
    "LOADER_HEARTBEAT",
    "LOADER_SPOOL",
    "LOADER_AWAIT_CONFIG",
    "LOADER_METRICS_FILE",
    "SLACK_WEBHOOK_URL",
    "SMTP_HOST",
    "ALERT_WEBHOOK_URL",
    "HEALTHCHECK_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
"""What would change how a test's loader behaves; tests set their own."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


class Running:
    """A process whose stderr is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._err: list[str] = []
        self._out: list[str] = []
        self._more = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, kept), daemon=True)
            for stream, kept in ((process.stderr, self._err), (process.stdout, self._out))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], kept: list[str]) -> None:
        for line in stream:
            with self._more:
                kept.append(line)
                self._more.notify_all()
        stream.close()
        with self._more:
            self._more.notify_all()

    def until(self, text: str, times: int = 1) -> None:
        """Return when stderr has said so for the so many-th time."""
        with self._more:
            met = self._more.wait_for(
                lambda: self._count(text) >= times or not self._readers[0].is_alive(), PATIENCE_S
            )
            if not met or self._count(text) < times:
                pytest.fail(f"it never said {text!r} {times} times: {''.join(self._err)}")

    def _count(self, text: str) -> int:
        return sum(text in line for line in self._err)

    def ask(self, number: signal.Signals) -> None:
        """Send a signal, and wait for its end."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)

    def end(self) -> Said:
        """Wait for its end; never with a traceback."""
        self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        said = Said(self.process.returncode, "".join(self._out), "".join(self._err))
        assert "Traceback" not in said.err, said.err
        return said


class Desk:
    """A folder with a configuration, and the loaders started in it."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(config, encoding="utf-8")
        self.started: list[subprocess.Popen[Any]] = []

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k.upper() not in VARIABLES}
        # It would hide what is still to be written when a program ends.
        kept.pop("PYTHONUNBUFFERED", None)
        return kept | {"PYTHONPATH": str(ROOT)} | dict(env)

    def start(self, *args: str, env: Mapping[str, str] | None = None, **options: Any) -> Running:
        """A process that is not waited for; `options` are those of Popen."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-m", "loader", *args],
            cwd=self.folder,
            env=self.environment(env or {}),
            text=True,
            encoding="utf-8",
            **(streams | options),
        )
        self.started.append(process)
        return Running(process)

    def loader(self, *args: str, code: int | None = 0, **options: Any) -> Said:
        """What a command said; it must end with that exit code (None: any)."""
        said = self.start(*args, **options).end()
        assert code in (None, said.code), f"loader {args}: exit {said.code}: {said.out}{said.err}"
        return said

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """One SELECT on the folder's SQLite file, behind the store's back."""
        with closing(sqlite3.connect(self.folder / "loader.db")) as db:
            return db.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        """Change the folder's SQLite file, behind the store's back."""
        with closing(sqlite3.connect(self.folder / "loader.db")) as db, db:
            db.execute(sql)

    def check_sums(self) -> None:
        assert self.rows("SELECT sum(new) FROM run") == self.rows("SELECT count(*) FROM reading")


@contextmanager
def desk(folder: Path, config: str) -> Iterator[Desk]:
    """A desk; whatever was started there is ended with it."""
    made = Desk(folder, config)
    try:
        yield made
    finally:
        for process in made.started:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_S)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size; skips the test where none may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def until(condition: Callable[[], bool], what: str) -> None:
    """Return when it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"never: {what}")
        time.sleep(0.02)


DEMO = """
store: sqlite:///loader.db
sources:
  demo:
    type: simulator
    initial: {initial}
    latency: {latency}
"""


def demo(initial: str = "5d", latency: str = "0s") -> str:
    """A configuration with nothing but the simulator, in SQLite."""
    return DEMO.format(initial=initial, latency=latency)

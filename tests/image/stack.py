"""The compose file of this checkout, brought up as a project of its own in a folder of its own."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from os import getpid
from pathlib import Path
from typing import Any

from tests.image.engine import ROOT, docker, image, until

PASSWORD = "3f9a0c"
_NUMBERS = count(1)

_SELECT = """
import json, sqlite3, sys
with sqlite3.connect("file:state/loader.db?mode=ro", uri=True, timeout=20) as db:
    print(json.dumps(db.execute(sys.argv[1]).fetchall()))
"""
_KILL = """
import os, pathlib, signal
# The loader is the child of the container's init.
for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
    if stat.read_text().rpartition(")")[2].split()[1] == "1":
        os.kill(int(stat.parent.name), signal.SIGKILL)
"""


class Stack:
    """A compose project. `.env` and `config.yaml` in its folder are what a user would edit."""

    def __init__(self, folder: Path, config: str, env: Mapping[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = int(server.getsockname()[1])
        self.folder = folder
        self.project = f"loader-test-{getpid()}-{next(_NUMBERS)}"
        self.config = folder / "config.yaml"
        self.config.write_text(config, encoding="utf-8")
        self.config.chmod(0o644)
        lines = {"LOADER_IMAGE": image(), "LOADER_PORT": str(self.port)} | dict(env)
        (folder / ".env").write_text("".join(f"{k}={v}\n" for k, v in lines.items()), encoding="utf-8")
        self.files = [ROOT / "docker-compose.yml"]

    def compose(self, *words: str, code: int | None = 0) -> str:
        files = [part for file in self.files for part in ("-f", str(file))]
        where = ("--project-directory", str(self.folder), "--project-name", self.project)
        return docker("compose", "--ansi=never", *files, *where, *words, code=code)

    def container(self, service: str = "loader") -> str:
        """The id of the service's container."""
        return self.compose("ps", "--all", "--quiet", service).split()[-1]

    def inspect(self, what: str, service: str = "loader") -> Any:
        """A part of what the engine knows of the service's container, such as .State.Health."""
        return json.loads(docker("inspect", "--format", f"{{{{json {what}}}}}", self.container(service)))

    def health(self, service: str = "loader") -> str:
        """starting, healthy or unhealthy."""
        return str(self.inspect(".State.Health.Status", service))

    def until_healthy(self, seconds: float = 60) -> None:
        until(lambda: self.health() == "healthy", "healthy", seconds)

    def ask(self, path: str) -> tuple[int, str]:
        """GET at the published port: status and text; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def logs(self) -> str:
        return self.compose("logs", "--no-log-prefix", "loader")

    def rows(self, sql: str) -> list[list[Any]]:
        """One SELECT on the volume's SQLite file, behind the store's back; [] where it fails."""
        said = self.compose("exec", "-T", "loader", "python", "-c", _SELECT, sql, code=None)
        lines = said.strip().splitlines()
        return json.loads(lines[-1]) if lines and lines[-1].startswith("[[") else []

    def query(self, sql: str) -> str:
        """The same in PostgreSQL, as psql prints it; "" where it fails."""
        psql = ("psql", "--host=127.0.0.1", "--username=loader", "--dbname=sensors", "-Atc", sql)
        words = ("exec", "-T", "-e", f"PGPASSWORD={PASSWORD}", "database", *psql)
        said = self.compose(*words, code=None).strip()
        return "" if said.startswith("psql: ") else said

    def crash(self) -> None:
        """SIGKILL for the loader, from inside, so that the engine takes it for a crash."""
        self.compose("exec", "-T", "loader", "python", "-c", _KILL, code=None)


@contextmanager
def stack(folder: Path, config: str, env: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A project that is not up yet; whatever it has become is removed with its volumes."""
    made = Stack(folder, config, env or {})
    try:
        yield made
    finally:
        made.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5", code=None)


def config(schedule: str = "{every: 2s}", more: str = "", **settings: str) -> str:
    """A configuration with nothing but the simulator; `store` is left to DATABASE_URL."""
    demo = {"type": "simulator", "cadence": "1s", "initial": "10m", "schedule": schedule} | settings
    body = "".join(f"    {key}: {value}\n" for key, value in demo.items())
    return f"sources:\n  demo:\n{body}{more}"

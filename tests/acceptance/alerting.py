"""A loader with a source that can be broken, and everybody who is to be told, as real servers."""

from __future__ import annotations

import hashlib
import hmac
import json
import shlex
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.daemons import Daemon, daemon
from tests.acceptance.trouble import Desk, Running, desk, until
from tests.openaq_server import HOUR, KEY, Location, OpenAQServer, World
from tests.receivers import Mailbox, Receiver, Reply, certificate

PASSWORD = "hunter2-password"
SIGNING = "signing-secret-91c2"
TOKENS = ("slacktoken77aa", "hooktoken88bb", "pingtoken99cc")
SECRETS = (KEY, PASSWORD, SIGNING, *TOKENS)
STATIONS = {1: "Harlem River", 2: 'Accra "Post" <b>'}
OPENAQ = """
  {name}:
    type: openaq
    base_url: {url}
    api_key: ${{OPENAQ_API_KEY}}
    locations: [1, 2]
    parameters: []
    initial: {initial}
    lookback: {{min: {lookback}, max: 3d, sweep: 6h}}
    limits: {{per_minute: 1000000, per_hour: 10000000}}
    tries: 1
    backoff: 100ms
    schedule: {{every: {every}}}
"""
LOG = "log: {level: debug, format: json, file: {path: loader.log}}\n"


def city(hours: int = 48, value: float = 10.0) -> World:
    """Two stations, each with a sensor for pm25 (10 and 20), hourly until now."""
    world = World()
    top = time.time_ns() // 1000 // HOUR * HOUR
    for number, name in STATIONS.items():
        world.add_location(Location(number, name, "UTC", 40.0 + number, -73.0))
        world.add_sensor(number * 10, number, 2)
        times = [top - i * HOUR for i in range(hours)]
        world.extend(number * 10, [(t, value + (i % 7), t) for i, t in enumerate(times)])
    return world


@dataclass
class Scene:
    """What a test has: the API, the receivers, and the folder of the loader."""

    server: OpenAQServer
    slack: Receiver
    hook: Receiver
    ping: Receiver
    mail: Mailbox
    desk: Desk
    said: list[Running] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {"OPENAQ_API_KEY": KEY, "SSL_CERT_FILE": str(certificate().pem)}

    def daemon(self, name: str = "one") -> Daemon:
        started = daemon(self.desk, env=self.env, name=name)
        self.said.append(started.running)
        return started

    def run(self, *args: str, code: int | None = 0) -> None:
        """`loader run`, which must end with that exit code (None: any)."""
        running = self.desk.start("run", *args, env=self.env)
        self.said.append(running)
        said = running.end()
        assert code in (None, said.code), f"exit {said.code}: {said.out}{said.err}"

    def break_source(self, **more: Any) -> None:
        self.server.faults.add("500", how="text", **more)

    def mend(self) -> None:
        self.server.faults.clear()

    def messages(self) -> list[dict[str, Any]]:
        """What the webhook was sent."""
        return [post.json for post in self.hook.posts]

    def told(self) -> list[tuple[str, str]]:
        """(kind, rule) of what the webhook was sent."""
        return [(m["kind"], m["rule"]) for m in self.messages()]

    def until_told(self, count: int) -> dict[str, Any]:
        """Wait for so many messages in every channel; the newest."""
        until(
            lambda: min(len(self.hook.posts), len(self.slack.posts), len(self.mail.mails)) >= count,
            f"{count} messages: {self.told()}",
        )
        return self.messages()[count - 1]

    def hurry(self) -> None:
        """Let messages that wait for their next try be due, behind the store's back."""
        self.desk.execute("UPDATE outbox SET next_try = 0 WHERE next_try IS NOT NULL")

    def check_signatures(self) -> None:
        """Each of the webhook's messages is signed as docs/alerts.md has it."""
        for post in self.hook.posts:
            stamp = post.headers["X-Loader-Timestamp"]
            signed = hmac.new(SIGNING.encode(), f"{stamp}.".encode() + post.body, hashlib.sha256)
            assert post.headers["X-Loader-Signature"] == f"v1={signed.hexdigest()}"
            assert abs(time.time() - int(stamp)) < 300
            assert post.headers["Idempotency-Key"] == post.json["id"]

    def check_commands(self) -> None:
        """What each message says to look closer with works as it stands."""
        commands = {m["command"] for m in self.messages()}
        assert commands, "no message named a command"
        for line in commands:
            program, *args = shlex.split(line)
            assert program == "loader"
            assert self.desk.loader(*args, env=self.env).out.strip(), f"{line} says nothing"

    def check_secrets(self) -> None:
        """No secret in any message, log or table."""
        texts = {"log": "".join(file.read_text() for file in self.desk.folder.rglob("*.log*"))}
        for number, running in enumerate(self.said):
            texts[f"process {number}"] = "".join([*running._err, *running._out])
        for receiver in (self.slack, self.hook, self.ping):
            texts[receiver.url] = repr([post.body for post in receiver.posts])
        texts["mail"] = "".join(f"{m.message}{m.part('plain')}{m.part('html')}" for m in self.mail.mails)
        with closing(sqlite3.connect(self.desk.folder / "loader.db")) as db:
            texts["tables"] = "\n".join(db.iterdump())
        assert "failures" in texts["tables"]
        for where, text in texts.items():
            assert not [s for s in SECRETS if s in text], f"a secret in {where}"


@contextmanager
def scene(
    folder: Path,
    world: World | None = None,
    *,
    every: str = "1s",
    initial: str = "1d",
    lookback: str = "2h",
    names: Sequence[str] = ("city",),
    rules: str = "",
    missed: bool = False,
    more: str = "",
    channels: str = "",
    slack: list[Reply] | None = None,
    ping: list[Reply] | None = None,
    store: str = "sqlite:///loader.db",
) -> Iterator[Scene]:
    """Everything stands, no loader runs yet. `rules` and `channels` are more lines of `alerts`."""
    with ExitStack() as stack:
        server = stack.enter_context(OpenAQServer(world or city(), gzip=False))
        receivers = [stack.enter_context(Receiver(replies)) for replies in (slack, None, ping)]
        urls = [f"{r.url}/in/{token}" for r, token in zip(receivers, TOKENS, strict=True)]
        mail = stack.enter_context(Mailbox(login=("loader", PASSWORD)))
        sources = [
            OPENAQ.format(name=n, url=server.url, initial=initial, lookback=lookback, every=every)
            for n in names
        ]
        to = {
            "host": mail.host,
            "port": mail.port,
            "user": "loader",
            "password": PASSWORD,
            "from": "Loader <loader@example.org>",
            "to": ["ada@example.org"],
        }
        config = f"store: {json.dumps(store)}\nsources:{''.join(sources)}{more}\n"
        # On a busy machine a loader that is started anew may well be late for a run.
        usual = "memory: 64GB, disk_free: 0" + ("" if missed else ", missed: {enabled: false}")
        config += f"alerts:\n  rules: {{{usual}{rules}}}\n{channels}"
        config += f"  slack: {{webhook_url: {json.dumps(urls[0])}}}\n  email: {json.dumps(to)}\n"
        config += f"  webhook: {{url: {json.dumps(urls[1])}, secret: {SIGNING}}}\n"
        config += f"  ping: {{url: {json.dumps(urls[2])}}}\n{LOG}"
        made = stack.enter_context(desk(folder, config))
        yield Scene(server, *receivers, mail, made)

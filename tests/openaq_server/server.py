"""The server: HTTP/1.1 with keep-alive on a loopback socket, a thread a connection.

Written by hand, because it must be able to do what a proper server never would: stop in the
middle of a body, promise more than it sends, drip, reset.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import zlib
from collections import Counter, deque
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Any, Protocol, Self

from tests.openaq_server.api import Api
from tests.openaq_server.control import control
from tests.openaq_server.faults import Faults, Strike
from tests.openaq_server.instead import INSTEAD, HangUp, redirect
from tests.openaq_server.render import dumps
from tests.openaq_server.request import Answer, Refused, Request, detail, understand
from tests.openaq_server.world import SECOND, World

KEY = "test-key-5f1e"
"""The one key the server accepts unless told otherwise."""

REASONS = {
    200: "OK",
    307: "Temporary Redirect",
    401: "Unauthorized",
    404: "Not Found",
    408: "Request Timeout",
}
OPEN_ENDED = {"x-ratelimit-limit": "1000000", "x-ratelimit-used": "1", "x-ratelimit-remaining": "999999"}
MOST_HEADERS = 200


class Answers(Protocol):
    """What answers requests: `Api`, or the prepared pages of a bench."""

    def window(self, request: Request) -> tuple[int | None, int | None]: ...

    def answer(self, request: Request, strikes: list[Strike]) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the server saw it; `faults` names what struck it."""

    kind: str
    url: str
    status: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's head."""

    method: str
    url: str
    headers: dict[str, str]


class OpenAQServer:
    """Serves `world` on 127.0.0.1, on a port of its own, from `with` to its end.

    requests    (kind of route, status) -> how many
    log         the newest 100,000 requests as `Seen`
    most_at_once  the most requests that were being answered at the same time
    leaked      requests that came, with a key, by another host name than the server's own
    """

    def __init__(
        self,
        world: World,
        faults: Faults | None = None,
        *,
        keys: tuple[str, ...] = (KEY,),
        port: int = 0,
        gzip: bool = True,
        answers: Answers | None = None,
    ) -> None:
        self.world = world
        self.faults = faults or Faults()
        self.keys, self.gzip = keys, gzip
        self.requests: Counter[tuple[str, int]] = Counter()
        self.log: deque[Seen] = deque(maxlen=100_000)
        self.most_at_once = 0
        self.leaked = 0
        self._answers: Answers = answers or Api(world, self.faults)
        self._wanted_port = port
        self._busy = 0
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._last_bodies: dict[str, tuple[int, Answer]] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after a `stop` on the same port again."""
        listener = socket.create_server(("127.0.0.1", self._wanted_port), backlog=128)
        self._wanted_port = listener.getsockname()[1]
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True, name="accept")
        self._acceptor.start()

    def stop(self) -> None:
        """Hang up on everybody; connecting is refused from now on."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        if self._acceptor is not None:
            # What it has taken in is then among the connections.
            self._acceptor.join(10)
        with self._lock:
            connections, threads = list(self._connections), list(self._threads)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)

    @property
    def port(self) -> int:
        return self._wanted_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, kind: str | None = None, status: int | None = None) -> int:
        """Requests so far of this kind and status; None is any."""
        with self._lock:
            return sum(
                n for (k, s), n in self.requests.items() if kind in (None, k) and status in (None, s)
            )

    def forget_requests(self) -> None:
        with self._lock:
            self.requests.clear()
            self.log.clear()
            self.most_at_once = 0

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True, name="serve")
            with self._lock:
                self._connections.add(connection)
                self._threads = {t for t in self._threads if t.is_alive()} | {thread}
                # Under the lock: a thread that has not begun cannot be waited for.
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection.makefile("rb") as stream:
                while (asked := _read_head(stream)) is not None:
                    self._respond(connection, stream, asked)
        except HangUp as end:
            if end.reset:
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _respond(self, connection: socket.socket, stream: Any, asked: Asked) -> None:
        if asked.url.startswith("/_control"):
            length = int(asked.headers.get("content-length", "0"))
            body = dumps(control(self, asked.method, asked.url, stream.read(length)))
            self._send(connection, asked, Answer(200, body, cacheable=False), [])
            return
        with self._lock:
            self._busy += 1
            self.most_at_once = max(self.most_at_once, self._busy)
        kind, status = "none", 0
        strikes: list[Strike] = []
        try:
            kind, strikes, answer = self._decide(asked)
            status = answer.status
            # Counted before it is sent: who has the answer finds it counted.
            self._note(kind, asked.url, status, strikes)
            self._send(connection, asked, answer, strikes)
        except HangUp:
            if not status:
                self._note(kind, asked.url, 0, strikes)
            raise
        finally:
            with self._lock:
                self._busy -= 1
        if asked.headers.get("connection", "").lower() == "close":
            raise HangUp

    def _note(self, kind: str, url: str, status: int, strikes: list[Strike]) -> None:
        with self._lock:
            self.requests[kind, status] += 1
            self.log.append(Seen(kind, url, status, tuple(s.kind for s in strikes)))

    def _decide(self, asked: Asked) -> tuple[str, list[Strike], Answer]:
        """(kind of route, what strikes, the answer) of a request."""
        if asked.method != "GET":
            return "none", [], Answer(405, dumps({"detail": "Method Not Allowed"}), cacheable=False)
        key = asked.headers.get("x-api-key", "")
        try:
            request = understand(asked.url)
        except Refused as refused:
            return "none", [], refused.answer
        if key and asked.headers.get("host") != f"127.0.0.1:{self.port}":
            self.leaked += 1
        if key not in self.keys:
            return request.kind, [], detail(401, "Invalid credentials")
        try:
            window = self._answers.window(request)
        except Refused as refused:
            return request.kind, [], refused.answer
        strikes = self.faults.strikes(request.kind, asked.url, request.sensor, window)
        headers: dict[str, str] = {}
        for limit in self.faults.limits:
            allowed, headers = limit.take(key)
            if not allowed:
                answer = detail(429, "Too many requests")
                answer.headers = headers
                return request.kind, strikes, answer
        return request.kind, strikes, self._answer(request, asked.url, strikes, headers)

    def _answer(self, request: Request, url: str, strikes: list[Strike], headers: dict[str, str]) -> Answer:
        for strike in strikes:
            if strike.kind == "latency":
                time.sleep(strike.option("seconds", 0.05))
            elif strike.kind == "stale":
                kept = self._last_bodies.get(url)
                if kept is not None and self.world.now - kept[0] < strike.option("age", 900) * SECOND:
                    return kept[1]
            elif (instead := self._instead(url, strike)) is not None:
                return instead
        answer = self._answers.answer(request, strikes)
        if answer.metered:
            answer.headers = headers or OPEN_ENDED | {"x-ratelimit-reset": "60"}
        if any(r.kind == "stale" for r in self.faults.rules):
            self._last_bodies[url] = (self.world.now, answer)
        return answer

    def _instead(self, url: str, strike: Strike) -> Answer | None:
        if strike.kind.startswith("redirect"):
            return redirect(strike, url, self.port)
        make = INSTEAD.get(strike.kind)
        return make(strike) if make else None

    def _send(self, connection: socket.socket, asked: Asked, answer: Answer, strikes: list[Strike]) -> None:
        headers: dict[str, str] = {
            "date": formatdate(usegmt=True),
            "server": "uvicorn",
            "content-type": answer.content_type,
        } | answer.headers
        if answer.cacheable:
            headers["cache-control"] = "public, max-age=900"
        body = answer.body
        if answer.content_type == "application/json":
            headers["vary"] = "Accept-Encoding"
            packed = "gzip" in asked.headers.get("accept-encoding", "")
            if self.gzip and packed and len(body) > 500 and "content-encoding" not in headers:
                packer = zlib.compressobj(1, zlib.DEFLATED, 31)
                body = packer.compress(body) + packer.flush()
                headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(body))
        reason = REASONS.get(answer.status, "Status")
        lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{k}: {v}" for k, v in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        for strike in strikes:
            if strike.kind in ("reset", "truncated"):
                part = int(len(body) * strike.option("at", strike.dice))
                connection.sendall(head + body[: min(part, len(body) - 1)])
                raise HangUp(reset=strike.kind == "reset")
            if strike.kind == "slow":
                connection.sendall(head)
                _drip(connection, body, strike.option("seconds", 1.0), strike.option("pieces", 10))
                return
        if len(body) < 1 << 16:
            connection.sendall(head + body)
        else:
            connection.sendall(head)
            connection.sendall(body)


def _read_head(stream: Any) -> Asked | None:
    """The head of the next request; None when the client is gone."""
    line = stream.readline(65_537)
    if not line:
        return None
    method, url, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        line = stream.readline(65_537)
        if line in (b"\r\n", b"\n", b""):
            return Asked(method, url, headers)
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError("too many headers")


def _drip(connection: socket.socket, body: bytes, seconds: float, pieces: int) -> None:
    step = max(1, -(-len(body) // pieces))
    for i in range(0, len(body), step):
        time.sleep(seconds / pieces)
        connection.sendall(body[i : i + step])

"""A real HTTP server on loopback that answers by a script, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    connection: int


@dataclass(frozen=True)
class Answer:
    """A response. `drip` seconds pass after each byte of the body; `cut` sends so many bytes of it
    and closes; `reset` closes before anything is sent; `chunked` sends no length."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: float = 0.0
    wait: float = 0.0
    cut: int | None = None
    reset: bool = False
    chunked: bool = False

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> Answer:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return cls(status, json.dumps(value).encode(), named)


Script = Callable[[Asked], Answer]


class Scripted:
    """`with Scripted(script) as server:`, where a script is a function from request to answer, or
    a list of answers of which the last is given for ever."""

    def __init__(self, script: Script | list[Answer]) -> None:
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        if isinstance(script, list):
            left = list(script)
            self._script: Script = lambda _: left.pop(0) if len(left) > 1 else left[0]
        else:
            self._script = script
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = dict(parse_qsl(parts.query))
        asked = Asked(parts.path, query, dict(handler.headers), handler.client_address[1])
        with self._lock:
            self.asked.append(asked)
            answer = self._script(asked)
        self._stopped.wait(answer.wait)
        if answer.reset:
            # Linger of nothing makes the close a reset.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        body = (
            answer.body
            if not answer.chunked
            else b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body)
        )
        try:
            if answer.drip:
                for byte in body:
                    handler.wfile.write(bytes([byte]))
                    if self._stopped.wait(answer.drip):
                        break
            else:
                handler.wfile.write(body[: answer.cut])
        except OSError:
            pass
        if answer.cut is not None:
            handler.close_connection = True


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return once `condition` holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.005)

"""A small HTTP server for probes and metrics: /livez, /readyz, /metrics."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from socketserver import TCPServer
from typing import Any

from loader import __version__
from loader.errors import UsageError
from loader.log import get_logger

CLIENT_S = 10.0
"""How long a client may take from connecting to having its answer."""

REQUEST = 16_384
"""Bytes read of a request; what comes after them is not looked at."""

AT_ONCE = 16
"""Clients that are served at the same time; one more, and the one that came first must go."""

TEXT = "text/plain; charset=utf-8"

Reasons = Callable[[], Sequence[str]]


class Serving:
    """Listens from construction on until `close`.

    `listen` is HOST:PORT ([HOST]:PORT for IPv6, port 0 for any free one). `live` and `ready` give
    the reasons why not, none meaning that all is well; `metrics` gives a body and its content
    type. Raises UsageError where it cannot listen there.
    """

    def __init__(
        self, listen: str, live: Reasons, ready: Reasons, metrics: Callable[[], tuple[bytes, str]]
    ) -> None:
        host, port = _address(listen)

        class Handler(BaseHTTPRequestHandler):
            timeout = CLIENT_S
            server_version = f"loader/{__version__}"
            sys_version = ""

            def setup(self) -> None:
                super().setup()
                self.rfile = _Head(self.rfile)  # type: ignore[assignment]

            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def _answer(self, *, body: bool) -> None:
                try:
                    status, content, kind = self._said()
                except Exception as error:
                    get_logger().error("http", path=self.path, reason=repr(error))
                    status, content, kind = 500, b"failed; the log says why\n", TEXT
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def _said(self) -> tuple[int, bytes, str]:
                """Status, body and content type."""
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    return (200, *metrics())
                if path not in ("/livez", "/readyz"):
                    return 404, b"there are /livez, /readyz and /metrics\n", TEXT
                reasons = live() if path == "/livez" else ready()
                return 503 if reasons else 200, ("\n".join(reasons or ["ok"]) + "\n").encode(), TEXT

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come every few seconds; nobody wants a line for each."""

        try:
            self._server = _Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(
                f"cannot listen on {listen} ({why}): "
                "name another HOST:PORT with --listen or LOADER_LISTEN, or off"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """A thread for each of AT_ONCE clients. None may stay for long, or keep others out."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._clients: dict[socket.socket, float] = {}
        """Since when (monotonic), the longest first."""
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer asks the DNS for its own name here, which may take long, and uses it nowhere.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._clients) >= AT_ONCE:
                self._dismiss(next(iter(self._clients)))
            self._clients[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Called by the listening thread, several times a second."""
        now = time.monotonic()
        with self._lock:
            for client in [c for c, since in self._clients.items() if now - since > CLIENT_S]:
                self._dismiss(client)

    def _dismiss(self, client: socket.socket) -> None:
        # Its thread wakes up, finds the connection ended and closes it.
        del self._clients[client]
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._clients.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Head:
    """The first REQUEST bytes of what a client sends."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._left = REQUEST

    def readline(self, limit: int) -> bytes:
        data = self._file.readline(min(limit, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._file.close()


def _address(listen: str) -> tuple[str, int]:
    """Host and port. Raises UsageError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"cannot listen on {listen!r}: "
            "write HOST:PORT, such as 127.0.0.1:8080 (--listen or LOADER_LISTEN)"
        )
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)

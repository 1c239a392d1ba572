"""A small HTTP server for probes and metrics: /livez, /readyz, /metrics."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from loader import __version__
from loader.errors import UsageError

REQUEST_S = 5.0
"""How long a client may take to say what it wants."""

AT_ONCE = 16
"""Clients that are answered at the same time; more are turned away."""

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
        room = threading.BoundedSemaphore(AT_ONCE)

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_S
            server_version = f"loader/{__version__}"
            sys_version = ""

            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def _answer(self, *, body: bool) -> None:
                kind = "text/plain; charset=utf-8"
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    status, (content, kind) = 200, metrics()
                elif path in ("/livez", "/readyz"):
                    reasons = live() if path == "/livez" else ready()
                    status = 503 if reasons else 200
                    content = ("\n".join(reasons or ["ok"]) + "\n").encode()
                else:
                    status, content = 404, b"there are /livez, /readyz and /metrics\n"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come every few seconds; nobody wants a line for each."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def process_request(self, request: Any, client_address: Any) -> None:
                if not room.acquire(blocking=False):
                    self.shutdown_request(request)
                    return
                super().process_request(request, client_address)

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                try:
                    super().process_request_thread(request, client_address)
                finally:
                    room.release()

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hangs up is no news."""

        try:
            self._server = Server((host, port), Handler)
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


def _address(listen: str) -> tuple[str, int]:
    """Host and port. Raises UsageError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"cannot listen on {listen!r}: "
            "write HOST:PORT, such as 127.0.0.1:8080 (--listen or LOADER_LISTEN)"
        )
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)

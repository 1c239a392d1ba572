"""Real receivers of messages for tests, on loopback: HTTP as Slack and webhooks speak it, and SMTP.

with Receiver([Reply(429, headers={"Retry-After": "7"}), Reply(200, b"ok")]) as slack:
    ...                     # post to slack.url + "/services/T0/B0/secret"
    slack.posts             # what came in

with Mailbox(security="starttls", login=("loader", "password")) as mailbox:
    ...                     # send to mailbox.host, mailbox.port; SSL_CERT_FILE = certificate().pem
    mailbox.mails
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as SMTPServer
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session


@dataclass(frozen=True)
class Certificate:
    """A certificate for localhost and 127.0.0.1 that nobody signed, and its key, as PEM files."""

    pem: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, self.key)
        return context


@cache
def certificate(name: str = "localhost") -> Certificate:
    """Made by openssl, once a process; `name` is whom it is for."""
    openssl = shutil.which("openssl")
    assert openssl, "these tests need the openssl command"
    # Removed with the object, which lives as long as the process.
    folder = tempfile.TemporaryDirectory(prefix="loader-certificate-")
    _folders.append(folder)
    pem, key = Path(folder.name) / "cert.pem", Path(folder.name) / "key.pem"
    names = f"DNS:{name}" + (",IP:127.0.0.1" if name == "localhost" else "")
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    made += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}"]
    made += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
    return Certificate(pem, key)


_folders: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True)
class Post:
    """A request as it came in; `path` with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    client: int
    """The port that it came from."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer. `hang` gives none until the receiver stops, `reset` breaks the connection instead,
    `cut` sends so many bytes of the body and closes, `drip` lets so many seconds pass after each
    byte of the header, `keep` leaves the connection open although it was asked to close it."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False
    cut: int | None = None
    drip: float = 0.0
    keep: bool = False


class Receiver:
    """Answers as the replies say, one after the other, the last for ever; keeps what came in.

    With `tls` it speaks https with `certificate()`, or with the one given.
    """

    def __init__(
        self,
        replies: list[Reply] | None = None,
        *,
        tls: bool | Certificate = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.posts: list[Post] = []
        self._left = list(replies or [Reply()])
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._answer(self)

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                """A client that refuses the certificate leaves; that is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls:
            made = certificate() if tls is True else tls
            # The handshake takes place in the thread of the connection, not in accept.
            self._server.socket = made.server_context().wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"

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
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            client = handler.client_address[1]
            self.posts.append(Post(handler.command, handler.path, dict(handler.headers), body, client))
            reply = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if reply.hang:
            self._stopped.wait()
        if reply.hang or reply.reset:
            # Linger of nothing makes the close a reset.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            return
        head = f"HTTP/1.1 {reply.status} Said\r\nContent-Length: {len(reply.body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        try:
            for byte in (head + "\r\n").encode() if reply.drip else b"":
                handler.wfile.write(bytes([byte]))
                if self._stopped.wait(reply.drip):
                    break
            if not reply.drip:
                handler.wfile.write((head + "\r\n").encode())
            handler.wfile.write(reply.body[: reply.cut])
        except OSError:
            pass
        if reply.cut is not None:
            handler.close_connection = True
        elif reply.keep:
            handler.close_connection = False


class Lines:
    """A server that says what it is told and nothing else: `greeting` on every connection, then
    it closes (`cut`), or keeps silent until it is stopped."""

    def __init__(self, greeting: bytes = b"", *, cut: bool = False) -> None:
        self._greeting, self._cut = greeting, cut
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1"
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        # A close alone does not wake who waits in accept.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for one in [self._listening, *self._open]:
            one.close()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            connection.sendall(self._greeting)
            if self._cut:
                connection.close()
            else:
                self._open.append(connection)


@dataclass(frozen=True)
class Mail:
    """A mail as it was taken: the envelope, the raw bytes, and the message read back."""

    sender: str
    to: tuple[str, ...]
    raw: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        return cast(EmailMessage, message_from_bytes(self.raw, policy=SMTP_POLICY))

    def part(self, subtype: str) -> str:
        """The text of its part text/`subtype`."""
        body = self.message.get_body((subtype,))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")


class Mailbox:
    """An SMTP server. `security` is none, starttls or tls; `login` is the user and password that
    it wants. `answers` gives other answers than success: to an address (the answer to RCPT), or to
    the words MAIL, DATA (the whole message) and AUTH."""

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        security: str = "starttls",
        login: tuple[str, str] | None = None,
        answers: Mapping[str, str] | None = None,
        tls: Certificate | None = None,
    ) -> None:
        self.mails: list[Mail] = []
        self.logins: list[str] = []
        """Users that tried to log in."""
        self._login = login
        self._answers = dict(answers or {})
        self._listening = socket.create_server((self.host, 0))
        self.port: int = self._listening.getsockname()[1]
        context = (tls or certificate()).server_context() if security != "none" else None
        self._controller = _Listening(
            self,
            self._listening,
            port=self.port,
            hostname=self.host,
            ssl_context=context if security == "tls" else None,
            tls_context=context if security == "starttls" else None,
            authenticator=self._authenticate if login else None,
            # What is encrypted from the start counts as not encrypted there.
            auth_required=bool(login) and security == "starttls",
            auth_require_tls=security == "starttls",
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._controller.stop()
        self._listening.close()

    def _authenticate(
        self, _server: SMTPServer, _session: Session, _envelope: Envelope, _mechanism: str, given: Any
    ) -> AuthResult:
        assert isinstance(given, LoginPassword)
        self.logins.append(given.login.decode())
        if "AUTH" in self._answers:
            return AuthResult(success=False, handled=False, message=self._answers["AUTH"])
        right = (given.login.decode(), given.password.decode()) == self._login
        return AuthResult(success=right, auth_data=given.login.decode(), handled=False)

    async def handle_MAIL(
        self, _server: SMTPServer, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "MAIL" in self._answers:
            return self._answers["MAIL"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, _server: SMTPServer, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self._answers:
            return self._answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTPServer, session: Session, envelope: Envelope) -> str:
        if "DATA" in self._answers:
            return self._answers["DATA"]
        assert isinstance(envelope.original_content, bytes)
        self.mails.append(
            Mail(
                envelope.mail_from or "",
                tuple(envelope.rcpt_tos),
                envelope.original_content,
                session.ssl is not None or self._controller.ssl_context is not None,
                session.auth_data if session.authenticated else None,
            )
        )
        return "250 taken"


class _Listening(Controller):
    """A controller for a socket that listens already, so that no port has to be guessed."""

    def __init__(self, handler: Any, listening: socket.socket, **more: Any) -> None:
        super().__init__(handler, **more)
        self._listening = listening

    def _create_server(self) -> Any:
        factory = cast(Callable[[], Any], self._factory_invoker)  # type: ignore[attr-defined,unused-ignore]
        return self.loop.create_server(factory, sock=self._listening, ssl=self.ssl_context)

"""Messages by e-mail, over a verified encrypted connection unless that is turned off."""

from __future__ import annotations

import contextlib
import hashlib
import html
import smtplib
import socket
import ssl
from email.errors import MessageError
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate, parseaddr
from pathlib import Path

from loader import noticetext
from loader.addresses import loopback
from loader.errors import ConfigError, LoaderError, Permanent, Undelivered
from loader.journal import Notice, NoticeKind, Severity
from loader.log import forms, get_logger
from loader.posting import TOTAL_S, within
from loader.readings import SECOND
from loader.responses import detail_of
from loader.settings.alerting import EmailSettings
from loader.transport import ca_bundle

SETTING = "alerts.email"
PIECE_S = 15.0
"""Seconds to connect, and for each answer of the server."""
QUIT_S = 2.0
_COLOURS = {Severity.CRITICAL: "#b42318", Severity.WARNING: "#b54708"}
_CALM = {NoticeKind.RECOVERY: "#067647", NoticeKind.TEST: "#175cd3"}


class EmailNotifier:
    """Keeps the promises of `loader.contracts.Notifier`.

    A message that some recipients are refused for is delivered to the others, and the refusals
    are logged. It always has the same Message-ID, so a repetition is known as one.
    """

    name = "email"

    def __init__(self, settings: EmailSettings, *, total_s: float = TOTAL_S) -> None:
        if not settings.host:
            raise ConfigError(f"{SETTING}.host is not set")
        self._host, self._port = settings.host.strip("[]"), settings.port
        self._security = settings.security
        self._where = f"{settings.host}:{settings.port}"
        self._total_s = total_s
        self._sender = _address(settings.sender, f"{SETTING}.from")
        self._to = tuple(_address(to, f"{SETTING}.to[{i}]") for i, to in enumerate(settings.to))
        self._user = settings.user or ""
        self._password = settings.password.get_secret_value() if settings.password else ""
        self._check_login()
        self._secrets = sorted(forms(self._password) if self._password else (), key=len, reverse=True)
        self._context = _context()

    def __repr__(self) -> str:
        return f"EmailNotifier({self._where})"

    def send(self, notice: Notice) -> None:
        message = compose(notice, self._sender, self._to)
        refused = within(self._total_s, self._where, lambda: self._deliver(message))
        if refused:
            get_logger().warning("mail refused for some, delivered to the others", refused=refused)

    def _check_login(self) -> None:
        if not self._user:
            return
        if not self._password:
            raise ConfigError(f"{SETTING}.user is set but no password; set SMTP_PASSWORD, or no user")
        for value, name in ((self._user, "user"), (self._password, "password")):
            if not (value.isascii() and value.isprintable()):
                raise ConfigError(f"{SETTING}.{name} has characters that SMTP cannot carry (plain ASCII)")
        if self._security == "none" and not loopback(self._host):
            raise ConfigError(
                f"{SETTING}.security is none: the password would be sent for everybody on the way to "
                "read; use starttls or tls, or no user"
            )

    def _deliver(self, message: EmailMessage) -> dict[str, str]:
        """Send it; returns who was refused, and why. Raises Undelivered and Permanent."""
        try:
            if self._security == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(
                    self._host, self._port, timeout=self._piece_s, context=self._context
                )
            else:
                server = smtplib.SMTP(self._host, self._port, timeout=self._piece_s)
            try:
                refused = self._talk(server, message)
            except BaseException:
                server.close()
                raise
            if server.sock is not None:
                server.sock.settimeout(QUIT_S)
            # The message is taken: that the farewell fails changes nothing.
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()
        except (OSError, smtplib.SMTPException) as error:
            raise self._meaning(error) from None
        return {to: self._said(code, text) for to, (code, text) in refused.items()}

    @property
    def _piece_s(self) -> float:
        return min(PIECE_S, self._total_s)

    def _talk(self, server: smtplib.SMTP, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
        server.ehlo_or_helo_if_needed()
        if self._security == "starttls":
            if not server.has_extn("starttls"):
                raise Permanent(
                    f"{self._where}: offers no STARTTLS, and nothing is sent without; for port 465 set "
                    f"{SETTING}.security to tls, for a server inside your own network to none"
                )
            server.starttls(context=self._context)
            server.ehlo_or_helo_if_needed()
        if self._user:
            if not server.has_extn("auth"):
                raise Permanent(
                    f"{self._where}: wants no login there; take SMTP_USER ({SETTING}.user) away"
                )
            server.login(self._user, self._password)
        to = [one.addr_spec for one in self._to]
        return server.send_message(message, self._sender.addr_spec, to)

    def _said(self, code: int, text: bytes | str) -> str:
        raw = text if isinstance(text, bytes) else str(text).encode("utf-8", "replace")
        return f"{code} {detail_of(raw, self._secrets)}".rstrip()

    def _meaning(self, error: Exception) -> LoaderError:
        """What an error means. Retried: what the server calls temporary (4xx), and no answer."""
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            said = sorted({self._said(code, text) for code, text in error.recipients.values()})[:3]
            text = f"{self._where}: refuses every recipient: {'; '.join(said)}"
            lasting = all(code >= 500 for code, _ in error.recipients.values())
            return Permanent(f"{text}; check {SETTING}.to") if lasting else Undelivered(text)
        if isinstance(error, smtplib.SMTPResponseException):
            text = f"{self._where}: {self._said(error.smtp_code, error.smtp_error)}"
            if error.smtp_code < 500:
                return Undelivered(text)
            if isinstance(error, smtplib.SMTPAuthenticationError):
                text += "; the login is refused, check SMTP_USER and SMTP_PASSWORD"
            elif isinstance(error, smtplib.SMTPSenderRefused):
                text += f"; the sender is refused, check {SETTING}.from"
            return Permanent(text)
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return Permanent(f"{self._where}: {detail_of(str(error).encode(), self._secrets)}")
        return Undelivered(f"{self._where}: {self._no_way(error)}")

    def _no_way(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = noticetext.line(error.verify_message, 200)
            return f"its certificate cannot be verified ({why}); a CA of your own goes into SSL_CERT_FILE"
        if isinstance(error, ssl.SSLError):
            return f"what answers there does not speak TLS; check {SETTING}.port and {SETTING}.security"
        # smtplib makes a broken connection of a time limit that ran out.
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            hint = f"; port 465 wants {SETTING}.security: tls" if self._security == "starttls" else ""
            return f"no answer within the time limit{hint}"
        if isinstance(error, socket.gaierror):
            return "the name of the host cannot be resolved"
        if isinstance(error, ConnectionRefusedError):
            return "no connection, it is refused"
        return "the connection broke, or there is no way there"


def _context() -> ssl.SSLContext:
    """Verifies against the usual certificates (SSL_CERT_FILE names others) and those of the bundle
    that HTTP uses."""
    context = ssl.create_default_context()
    bundle = ca_bundle()
    if isinstance(bundle, str):
        if Path(bundle).is_dir():
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(cafile=bundle)
    return context


def _address(text: str, setting: str) -> Address:
    """`user@host` or `Name <user@host>`; ConfigError for anything else, line breaks included."""
    name, spec = parseaddr(text)
    try:
        if not text.isprintable() or not spec.isascii() or "@" not in spec or " " in spec:
            raise ValueError
        made = Address(display_name=name, addr_spec=spec)
        if not made.username or not made.domain:
            raise ValueError
    except (ValueError, IndexError, MessageError):
        raise ConfigError(
            f"{setting} is no e-mail address; write user@example.com or Name <user@example.com>"
        ) from None
    return made


class _Policy(EmailPolicy):
    """As messages go over SMTP, with subjects encoded as a whole: the usual way loses spaces where
    a long one is partly ASCII."""

    def fold(self, name: str, value: str) -> str:
        if name != "Subject" or value.isascii():
            return str(super().fold(name, value))
        folded = Header(value, "utf-8", header_name=name).encode(linesep=self.linesep)
        return f"{name}: {folded}{self.linesep}"

    def fold_binary(self, name: str, value: str) -> bytes:
        if name != "Subject" or value.isascii():
            return bytes(super().fold_binary(name, value))
        return self.fold(name, value).encode("ascii")


_POLICY = _Policy(linesep="\r\n")


def compose(notice: Notice, sender: Address, to: tuple[Address, ...]) -> EmailMessage:
    """The mail. Nothing of a notice reaches a header but as one line."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = f"[{noticetext.word(notice)}] {noticetext.title(notice)}"
    # When it was made, not when it is sent: so that a repetition is the same mail.
    message["Date"] = formatdate(notice.at // SECOND)
    message["Message-ID"] = f"<{noticetext.key(notice)}@{sender.domain}>"
    if notice.since is not None:
        message["References"] = message["In-Reply-To"] = _thread(notice, sender.domain)
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    # In 7 bits, for not every server takes eight.
    message.set_content(noticetext.text(notice) + "\n", cte="quoted-printable")
    message.add_alternative(as_html(notice), subtype="html", cte="quoted-printable")
    return message


def _thread(notice: Notice, domain: str) -> str:
    """An id that all messages about the same trouble refer to: alert, reminders, recovery."""
    # Not the subjects: of those that an alert named, some recover before others.
    told = repr((notice.rule, sorted(notice.sources), notice.since))
    return f"<{hashlib.sha256(told.encode()).hexdigest()[:32]}@{domain}>"


def as_html(notice: Notice) -> str:
    """The same message as HTML, without anything that has to be fetched."""
    colour = _CALM.get(notice.kind) or _COLOURS[notice.severity]
    parts = [
        '<!doctype html><html><head><meta charset="utf-8"></head>',
        '<body style="font-family:sans-serif;font-size:14px;line-height:1.45">',
        f'<h1 style="font-size:18px;color:{colour}">{html.escape(noticetext.title(notice))}</h1>',
    ]
    if lines := noticetext.lines(notice):
        parts.append(f"<p>{'<br>'.join(map(html.escape, lines))}</p>")
    if facts := noticetext.facts(notice):
        style = 'style="text-align:left;vertical-align:top;padding:2px 16px 2px 0"'
        rows = "".join(
            f"<tr><th {style}>{html.escape(name)}</th><td {style}>{html.escape(value)}</td></tr>"
            for name, value in facts
        )
        parts.append(f"<table>{rows}</table>")
    if names := noticetext.subjects(notice):
        parts.append(f"<p>Concerns: {html.escape(names)}</p>")
    if command := noticetext.line(notice.command):
        parts.append(f"<p>Look closer: <code>{html.escape(command)}</code></p>")
    parts.append(f'<p style="color:#667085;font-size:12px">{html.escape(noticetext.footer(notice))}</p>')
    return "\n".join([*parts, "</body></html>", ""])

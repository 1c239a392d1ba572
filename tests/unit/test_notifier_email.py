"""Messages by e-mail, to a real SMTP server."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC
from email import message_from_bytes
from email.headerregistry import Address
from email.policy import SMTP as SMTP_POLICY
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from notices import NASTY, NOW, bare_environment, notice, notices
from pydantic import SecretStr

from loader import noticetext
from loader.errors import ConfigError, Permanent, Undelivered
from loader.journal import Notice, NoticeKind
from loader.notifiers.email import EmailNotifier, as_html, compose
from loader.settings.alerting import EmailSettings
from tests.receivers import Certificate, Lines, Mailbox, certificate

LOGIN = ("loader", "pass-w0rd+/=")
ADA, BOB = "ada@example.org", "bob@example.org"
_environment = pytest.fixture(autouse=True)(bare_environment)


@pytest.fixture(autouse=True)
def _trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate().pem))


def email(server: Mailbox | Lines, *, total_s: float = 10.0, **other: Any) -> EmailNotifier:
    usual = {
        "host": server.host,
        "port": server.port,
        "from": "Loader <loader@example.org>",
        "to": (ADA,),
    }
    return EmailNotifier(EmailSettings(**{**usual, **other}), total_s=total_s)


def login(password: str = LOGIN[1]) -> dict[str, Any]:
    return {"user": LOGIN[0], "password": SecretStr(password)}


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_is_delivered_encrypted_and_logged_in(security: str) -> None:
    """Over a verified connection, to every recipient, from the sender, as text and as HTML."""
    with Mailbox(security=security, login=LOGIN) as mailbox:
        email(mailbox, security=security, to=(ADA, f"Bob <{BOB}>"), **login()).send(notice())
        (mail,) = mailbox.mails
    assert mail.encrypted
    assert mail.user == "loader"
    assert (mail.sender, mail.to) == ("loader@example.org", (ADA, BOB))
    message = mail.message
    assert message["Subject"] == "[critical] openaq: 3 runs failed in a row"
    assert message["From"] == "Loader <loader@example.org>"
    assert message["To"] == f"{ADA}, Bob <{BOB}>"
    assert message["Date"].datetime.replace(tzinfo=UTC).timestamp() == NOW / 1e6
    assert message["Message-ID"] == "<n-1@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    text, page = mail.part("plain"), mail.part("html")
    for said in ("the last error: 503", "failures: 3", "loader runs --source openaq", "n-1"):
        assert said in text
    assert "station: Delhi & Agra" in text
    assert "Delhi &amp; Agra" in page


def test_a_mail_without_encryption_and_login_is_delivered() -> None:
    """For a server inside one's own network, where that is asked for."""
    with Mailbox(security="none") as mailbox:
        email(mailbox, security="none").send(notice())
    assert not mailbox.mails[0].encrypted


def test_repetitions_and_recovery_belong_together() -> None:
    """A repetition is the same mail; reminder and recovery refer to what the alert refers to."""
    with Mailbox() as mailbox:
        notifier = email(mailbox)
        notifier.send(notice())
        notifier.send(notice())
        notifier.send(notice(id="n-2", kind=NoticeKind.RECOVERY, at=NOW + 1))
        notifier.send(notice(id="n-3", rule="freshness"))
        first, again, recovery, other = (mail.message for mail in mailbox.mails)
    assert first["Message-ID"] == again["Message-ID"] != recovery["Message-ID"]
    assert first["References"] == recovery["References"] == recovery["In-Reply-To"]
    assert first["References"] != other["References"]
    assert recovery["Subject"].startswith("[recovered] ")


def test_without_starttls_nothing_is_sent() -> None:
    """Not in the clear: the server is never told user, password or mail."""
    with Mailbox(security="none", login=LOGIN) as mailbox:
        with pytest.raises(Permanent, match=r"offers no STARTTLS.*security"):
            email(mailbox, **login()).send(notice())
        assert (mailbox.mails, mailbox.logins) == ([], [])


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("other", [False, True])
def test_the_certificate_is_verified(security: str, other: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown certificate is refused, and so is a trusted one for another host."""
    wrong: Certificate = certificate("elsewhere.example")
    if other:
        monkeypatch.setenv("SSL_CERT_FILE", str(wrong.pem))
    with Mailbox(security=security, tls=wrong, login=LOGIN) as mailbox:
        with pytest.raises(Undelivered, match=r"cannot be verified.*SSL_CERT_FILE"):
            email(mailbox, security=security, **login()).send(notice())
        assert (mailbox.mails, mailbox.logins) == ([], [])


def test_the_bundle_of_http_serves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """REQUESTS_CA_BUNDLE names certificates for mail as well."""
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate().pem))
    with Mailbox() as mailbox:
        email(mailbox).send(notice())
    assert len(mailbox.mails) == 1


def test_a_wrong_password_is_told_with_its_variables() -> None:
    """It is not tried again, and the password is not shown."""
    with Mailbox(login=LOGIN) as mailbox:
        notifier = email(mailbox, **login("not-the-p4ssword"))
        with pytest.raises(Permanent, match=r"535 .*SMTP_USER and SMTP_PASSWORD") as caught:
            notifier.send(notice())
        assert mailbox.logins
        assert mailbox.mails == []
    assert "not-the-p4ssword" not in str(caught.value) + repr(notifier)


@pytest.mark.parametrize(
    ("answers", "error", "said"),
    [
        ({"AUTH": "454 4.7.0 try again"}, Undelivered, "454"),
        ({"MAIL": "451 4.3.0 busy"}, Undelivered, "451 4.3.0 busy"),
        ({"MAIL": "550 5.7.1 not you"}, Permanent, r"550 5\.7\.1 not you; the sender.*alerts\.email\.from"),
        ({"DATA": "452 4.3.1 disk full"}, Undelivered, "452"),
        ({"DATA": "554 5.6.0 spam"}, Permanent, "554 5.6.0 spam"),
        ({ADA: "450 4.2.0 greylisted"}, Undelivered, "refuses every recipient: 450"),
        ({ADA: "550 5.1.1 unknown"}, Permanent, r"550 5\.1\.1 unknown; check alerts\.email\.to"),
        ({"DATA": f"554 the password was {LOGIN[1]}"}, Permanent, r"the password was \*\*\*"),
    ],
)
def test_what_the_server_calls_temporary_is_tried_again(
    answers: dict[str, str], error: type[Exception], said: str
) -> None:
    """4xx later, 5xx never, with what the server said, at each step."""
    with Mailbox(login=LOGIN, answers=answers) as mailbox:
        with pytest.raises(error, match=said):
            email(mailbox, **login()).send(notice())
        assert mailbox.mails == []


def test_one_refused_recipient_does_not_keep_it_from_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """It is delivered to the others; who was refused, and why, is logged."""
    with Mailbox(answers={BOB: "550 5.1.1 no such user"}) as mailbox:
        email(mailbox, to=(ADA, BOB)).send(notice())
        assert [mail.to for mail in mailbox.mails] == [(ADA,)]
    logged = capsys.readouterr().err
    assert "no such user" in logged
    assert BOB in logged


@pytest.mark.parametrize(
    ("server", "other", "said"),
    [
        (Lines, {}, "no answer within"),
        (lambda: Lines(b"220-" + b"x" * 40), {}, "no answer within"),
        (lambda: Lines(b"220 ready\r\n"), {}, "no answer within"),
        (Lines, {"security": "tls"}, "no answer within"),
        (lambda: Lines(cut=True), {}, "connection broke"),
        (lambda: Lines(b"220 ready\r\n", cut=True), {}, "connection broke"),
        (lambda: Lines(b"421 busy\r\n"), {}, "421 busy"),
        (lambda: Lines(b"220 ready\r\n"), {"security": "tls"}, "does not speak TLS"),
    ],
)
def test_a_server_that_hangs_or_breaks_is_tried_again(
    server: Callable[[], Lines], other: dict[str, Any], said: str
) -> None:
    """Silence before or after its greeting, a closed connection, TLS where there is none."""
    with server() as there, pytest.raises(Undelivered, match=said):
        email(there, total_s=0.4 if said == "no answer within" else 10.0, **other).send(notice())
    with pytest.raises(Undelivered, match="no connection, it is refused"):
        email(there, **other).send(notice())


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"user": "loader"}, "no password; set SMTP_PASSWORD"),
        ({**login(), "security": "none", "host": "mail.example.org"}, "security is none: the password"),
        (login("pässword"), r"alerts\.email\.password has characters"),
        ({"to": (ADA, "ädä@example.org")}, r"alerts\.email\.to\[1\] is no e-mail address"),
        ({"from": "ä@example.org"}, r"alerts\.email\.from is no e-mail address"),
        ({"host": None}, "host is not set"),
    ],
)
def test_settings_that_cannot_work_are_refused(other: dict[str, Any], said: str) -> None:
    """Before any message, with the key."""
    usual = {"host": "127.0.0.1", "from": "loader@example.org", "to": (ADA,), **other}
    with pytest.raises(ConfigError, match=said) as caught:
        EmailNotifier(EmailSettings(**usual))
    assert "pässword" not in str(caught.value)


SENDER = Address("Loader", addr_spec="loader@example.org")
HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "References", "In-Reply-To"),
    *("Auto-Submitted", "X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
}


def read_back(any_notice: Notice) -> Any:
    raw = compose(any_notice, SENDER, (Address(addr_spec=ADA),)).as_bytes()
    raw.decode("ascii")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")
    return message_from_bytes(raw, policy=SMTP_POLICY)


@settings(max_examples=40)
@given(notices())
def test_no_text_becomes_a_header(any_notice: Notice) -> None:
    """Any message, read back, has its own headers only, and the whole text."""
    message = read_back(any_notice)
    assert set(message.keys()) <= HEADERS
    assert len(message.keys()) == len(set(message.keys()))
    assert message["To"] == ADA
    word = f"[{noticetext.word(any_notice)}] "
    assert message["Subject"] == word + noticetext.title(any_notice)
    assert re.fullmatch(r"<[A-Za-z0-9._-]{1,64}@example\.org>", message["Message-ID"])
    body = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert body == noticetext.text(any_notice) + "\n"


def test_line_breaks_in_every_field_stay_inside() -> None:
    """Neither a recipient nor a body of somebody else's gets in."""
    made = notice(id=NASTY, rule=NASTY, sources=(NASTY,), title=NASTY, lines=(NASTY,), command=NASTY)
    message = read_back(made)
    assert message["Bcc"] is None
    assert message["Subject"].startswith("[critical] Bcc: everybody@example.com <b>&amp;")


TAGS = {*("html", "head", "meta", "body", "h1", "p", "br"), *("table", "tr", "th", "td", "code")}


class Words(HTMLParser):
    """The text that a browser would show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style", "charset"}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@settings(max_examples=20)
@given(notices())
def test_any_text_survives_as_html(any_notice: Notice) -> None:
    """What is shown is the text itself, and no text becomes markup."""
    words = Words()
    words.feed(as_html(any_notice))
    words.close()
    assert words.tags <= TAGS
    shown = "".join(words.text)
    for said in [noticetext.title(any_notice), *noticetext.lines(any_notice)]:
        assert said in shown
    for name, value in noticetext.facts(any_notice):
        assert name + value in shown


def test_long_addresses_fold_without_harm() -> None:
    """A domain as long as there may be, and a hundred recipients."""
    domain = ".".join(["d" * 60] * 4)
    to = tuple(Address(f"Somebody {n}", addr_spec=f"somebody{n}@{domain}") for n in range(100))
    made = compose(notice(), Address(addr_spec=f"loader@{domain}"), to)
    read = message_from_bytes(made.as_bytes(), policy=SMTP_POLICY)
    assert [one.addr_spec for one in read["To"].addresses] == [one.addr_spec for one in to]
    assert re.sub(r"\s", "", read["Message-ID"]) == f"<n-1@{domain}>"

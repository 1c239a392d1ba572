"""Messages through apprise, to a real receiver; the extra may be missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from notices import bare_environment, notice
from pydantic import SecretStr

from loader.errors import ConfigError, Undelivered
from loader.journal import NoticeKind, Severity
from loader.notifiers.apprise import AppriseNotifier
from loader.settings.alerting import AppriseSettings
from tests.receivers import Receiver, Reply

installed = pytest.mark.skipif(find_spec("apprise") is None, reason="the extra apprise is not installed")
# Apprise imports it where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
TOKEN = "quite-secret-t0ken"
_environment = pytest.fixture(autouse=True)(bare_environment)


def apprise(*receivers: Receiver, total_s: float = 10.0) -> AppriseNotifier:
    urls = tuple(SecretStr(f"json://127.0.0.1:{one.port}/{TOKEN}") for one in receivers)
    return AppriseNotifier(AppriseSettings(urls=urls), total_s=total_s)


@installed
@pytest.mark.parametrize(
    ("kind", "severity", "said"),
    [
        (NoticeKind.ALERT, Severity.CRITICAL, "failure"),
        (NoticeKind.REMINDER, Severity.WARNING, "warning"),
        (NoticeKind.RECOVERY, Severity.CRITICAL, "success"),
        (NoticeKind.TEST, Severity.WARNING, "info"),
    ],
)
def test_title_body_and_kind_arrive(kind: NoticeKind, severity: Severity, said: str) -> None:
    """As text, with apprise's own word for how bad it is."""
    with Receiver() as receiver:
        apprise(receiver).send(notice(kind=kind, severity=severity))
        made = receiver.posts[0].json
    assert made["type"] == said
    assert made["title"].endswith("] openaq: 3 runs failed in a row")
    assert "station: Delhi & Agra" in made["message"]


@installed
def test_who_took_it_is_not_sent_it_again(capfd: pytest.CaptureFixture[str]) -> None:
    """One of two services fails: the next try goes to it alone, and no address is shown."""
    with Receiver() as well, Receiver([Reply(500), Reply()]) as ill:
        notifier = apprise(well, ill)
        with pytest.raises(Undelivered, match=r"JSON.*1 of 2.*alerts\.apprise\.urls") as caught:
            notifier.send(notice())
        notifier.send(notice())
        assert (len(well.posts), len(ill.posts)) == (1, 2)
        notifier.send(notice(id="n-2"))
        assert (len(well.posts), len(ill.posts)) == (2, 3)
    captured = capfd.readouterr()
    assert TOKEN not in str(caught.value) + repr(notifier) + captured.err + captured.out


@installed
def test_a_service_that_hangs_is_left() -> None:
    """At the time limit."""
    with Receiver([Reply(hang=True)]) as receiver:
        with pytest.raises(Undelivered, match="no answer within"):
            apprise(receiver, total_s=1).send(notice())
        assert len(receiver.posts) == 1


@installed
def test_an_address_that_apprise_does_not_know_is_refused() -> None:
    """With its number, and without showing it."""
    urls = (SecretStr("json://127.0.0.1/x"), SecretStr(f"nosuchservice://{TOKEN}"))
    with pytest.raises(ConfigError, match=r"alerts\.apprise\.urls.*number 2") as caught:
        AppriseNotifier(AppriseSettings(urls=urls))
    assert TOKEN not in str(caught.value)
    with pytest.raises(ConfigError, match="is empty"):
        AppriseNotifier(AppriseSettings())


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    # What Python itself puts there to say that a module cannot be imported.
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r'pip install "sensor-loader\[apprise\]"'):
        AppriseNotifier(AppriseSettings(urls=(SecretStr("json://127.0.0.1/x"),)))

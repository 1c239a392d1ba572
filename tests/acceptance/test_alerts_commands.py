"""`loader alerts`, as it is typed: what is shown, muted, tried, and refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parent / "commands"))

from builders import at
from shell import Shell, configure, fill

from loader.alerts.spool import Spool
from loader.journal import Alert, Dispatch, Notice, NoticeKind, Phase, Severity
from loader.stores.sqlite import SQLiteStore


@pytest.fixture
def shell(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    configure(tmp_path, "sqlite:///loader.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADER_CONFIG", raising=False)
    monkeypatch.delenv("LOADER_SPOOL", raising=False)
    return Shell(tmp_path, capfdbinary, monkeypatch)


@pytest.fixture
def store(shell: Shell) -> Iterator[SQLiteStore]:
    made = SQLiteStore(shell.folder / "loader.db")
    made.migrate()
    fill(made)
    yield made
    made.close()


FAILING = Alert(
    source="src",
    rule="failures",
    subject="",
    phase=Phase.ALERTING,
    severity=Severity.CRITICAL,
    count=3,
    since=at(1),
    updated=at(4),
    alerted_at=at(3),
    sent=1,
    last_sent=at(3),
    notice="n1",
    cause="the network",
    value=3.0,
    detail="last error: \x1b[31mno",
)
AWAY = Alert("", "store", "", Phase.FAILING, Severity.CRITICAL, 1, at(2), at(2))


def notice(number: str) -> Notice:
    return Notice(
        id=number,
        kind=NoticeKind.ALERT,
        severity=Severity.CRITICAL,
        rule="failures",
        sources=("src",),
        subjects=(),
        title="src: runs keep failing",
        lines=("since then",),
        facts=(),
        command="loader runs --source src",
        at=at(3),
    )


def test_list_shows_what_is_not_well(shell: Shell, store: SQLiteStore) -> None:
    """Alerts of the store and of the spool, with phase, since, count, value; escapes made visible."""
    assert shell("alerts", "list") == ""
    assert "all is well" in shell.err
    assert shell.json("alerts", "list") == []
    store.record([FAILING])
    Spool(shell.folder / "state" / "spool").record([AWAY])
    shown = shell("alerts", "list")
    for part in ("src", "failures", "alerting", "critical", "2024-01-31T01:00:00Z", "loader", "store"):
        assert part in shown
    assert "\\x1b[31mno" in shown
    own, failing = shell.json("alerts", "list")
    assert (own["source"], own["rule"], own["phase"]) == (None, "store", "failing")
    assert failing == {
        "source": "src",
        "rule": "failures",
        "subject": None,
        "phase": "alerting",
        "severity": "critical",
        "since": "2024-01-31T01:00:00Z",
        "alerted_at": "2024-01-31T03:00:00Z",
        "updated": "2024-01-31T04:00:00Z",
        "count": 3,
        "value": 3.0,
        "cause": "the network",
        "detail": "last error: \x1b[31mno",
        "messages": 1,
        "last_message": "2024-01-31T03:00:00Z",
        "muted": None,
    }
    assert [a["rule"] for a in shell.json("alerts", "list", "--source", "src")] == ["failures"]
    assert "there is no source nope" in (shell("alerts", "list", "--source", "nope", code=2) or shell.err)


def test_list_works_while_the_store_is_away(shell: Shell) -> None:
    """What the spool holds is shown, then what is wrong with the store."""
    configure(shell.folder, "postgresql://nobody:secret-word@127.0.0.1:9/none")
    Spool(shell.folder / "state" / "spool").record([AWAY])
    assert "store" in shell("alerts", "list", code=1)
    assert "cannot connect" in shell.err
    assert "secret-word" not in shell.err


def test_mute_and_unmute(shell: Shell, store: SQLiteStore) -> None:
    """A mute has an end, a reason and an author; the list shows it; unmuting ends it."""
    store.record([FAILING])
    made = shell.json("alerts", "mute", "src", "--for", "2h", "--reason", "moving house")
    assert (made["source"], made["reason"]) == ("src", "moving house")
    assert "@" in made["by"]
    shown = shell("alerts", "list")
    assert "src: muted until" in shown
    assert "moving house" in shown
    assert shell.json("alerts", "list")[0]["muted"] == made
    assert shell("alerts", "unmute", "src") == "src: not muted any more\n"
    assert shell("alerts", "unmute", "src") == "src: was not muted\n"
    assert shell.json("alerts", "unmute", "src") == {"source": "src", "ended": False}
    assert store.mutes(0) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nope", "--for", "2h", "--reason", "x"), "there is no source nope; there are: idle, src"),
        (("src", "--for", "2 parsecs", "--reason", "x"), "--for 2 parsecs is not a duration"),
        (("src", "--for", "0s", "--reason", "x"), "must be longer than nothing"),
        (("src", "--for", "900d", "--reason", "x"), "at most 365 days"),
        (("src", "--for", "2h", "--reason", " "), "--reason is empty"),
        (("src", "--for", "2h"), "Missing option '--reason'"),
    ],
)
def test_a_mute_that_makes_no_sense_is_refused(
    shell: Shell, store: SQLiteStore, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2, with what to write instead; nothing is muted."""
    shell("alerts", "mute", *arguments, code=2)
    assert said in shell.err
    assert store.mutes(0) == []


def test_history_shows_how_each_channel_fared(shell: Shell, store: SQLiteStore) -> None:
    """The newest first, those of the spool among them: delivered, waiting, given up."""
    assert shell("alerts", "history") == ""
    sent = [Dispatch(notice("n1"), c, at(3), at(3)) for c in ("mail", "slack")]
    store.record([], sent)
    store.settle("n1", "mail", delivered_at=at(4))
    store.settle("n1", "slack", error="no such hook")
    Spool(shell.folder / "state" / "spool").record([], [Dispatch(notice("n2"), "mail", at(5), at(5))])
    shown = shell("alerts", "history")
    for part in ("delivered", "given up", "no such hook", "waiting", "src: runs keep failing"):
        assert part in shown
    rows = shell.json("alerts", "history")
    assert [r["id"] for r in rows] == ["n2", "n1", "n1"]
    states = {(r["id"], r["channel"]): r["state"] for r in rows}
    assert states == {("n2", "mail"): "waiting", ("n1", "mail"): "delivered", ("n1", "slack"): "given up"}
    assert rows[0]["next_try"] == "2024-01-31T05:00:00Z"
    assert rows[0]["lines"] == ["since then"]
    assert len(shell.json("alerts", "history", "--limit", "1")) == 1


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """A real HTTP server that takes what is posted to /good and refuses the rest with 404."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            good = self.path == "/good"
            got.extend([body] if good else [])
            self.send_response(200 if good else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def channel(shell: Shell, url: str) -> None:
    with (shell.folder / "config.yaml").open("a") as file:
        file.write(f"alerts:\n  webhook:\n    url: {url}\n")


def test_test_without_a_channel(shell: Shell) -> None:
    """There is nothing to try; the text says where channels are named."""
    shell("alerts", "test", code=2)
    assert "no channel is configured" in shell.err


def test_test_sends_a_message(shell: Shell, receiver: tuple[str, list[bytes]]) -> None:
    """It arrives at the real receiver; an unknown channel is refused."""
    channel(shell, receiver[0] + "/good")
    assert shell.json("alerts", "test") == [{"channel": "webhook", "ok": True, "error": None}]
    assert len(receiver[1]) == 1
    assert b"this is a test" in receiver[1][0]
    shell("alerts", "test", "--channel", "pigeon", code=2)
    assert "there is no channel pigeon; there are: webhook" in shell.err


def test_test_says_what_went_wrong(shell: Shell, receiver: tuple[str, list[bytes]]) -> None:
    """Exit code 1, and the reason without the secret address."""
    channel(shell, receiver[0] + "/secret-path")
    shown = shell("alerts", "test", "--channel", "webhook", code=1)
    assert "failed" in shown
    assert "404" in shown
    assert "secret-path" not in shown + shell.err

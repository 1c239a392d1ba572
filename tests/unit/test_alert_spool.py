"""The alert book in a file, and the outbox's patience with its channels."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from loader.alerts.outbox import GIVE_UP, HOLD, LONGEST_PAUSE, pause, send_due
from loader.alerts.spool import NAME, SETTLED, WAITING, Spool
from loader.errors import Permanent, Undelivered
from loader.journal import Alert, Dispatch, Mute, Notice, NoticeKind, Phase, Severity
from loader.journalcontracts import WITHDRAWN
from loader.readings import DAY, HOUR, SECOND
from loader.settings.alerting import Channel

START = 1_800_000_000_000_000


def alert(subject: str = "", **more: Any) -> Alert:
    given = {"phase": Phase.FAILING, "severity": Severity.WARNING, "count": 1, "since": 1, "updated": 2}
    return Alert("", "store", subject, **(given | more))


def dispatch(number: str = "n1", channel: str = "mail", at: int = START) -> Dispatch:
    notice = Notice(
        id=number,
        kind=NoticeKind.ALERT,
        severity=Severity.CRITICAL,
        rule="store",
        sources=(),
        subjects=("पाटन",),
        title="the store is away",
        lines=("since then",),
        facts=(("rule", "store"),),
        command="loader check",
        at=at,
    )
    return Dispatch(notice, channel, at, at)


def test_what_is_recorded_comes_back(tmp_path: Path) -> None:
    """Alerts, messages and mutes, in another object too, every field with its type."""
    spool, other = Spool(tmp_path / "a" / "b"), Spool(tmp_path / "a" / "b")
    assert (spool.alerts(), spool.claim(START, HOLD), spool.mutes(0)) == ([], [], [])
    full = alert(
        "x", phase=Phase.ALERTING, sent=2, last_sent=3, notice="n1", value=1.5, detail="d", cause="c"
    )
    spool.record([full, alert()], [dispatch()])
    spool.mute(Mute("src", START + 1, "moving", "me", START))
    assert other.alerts() == [alert(), full]
    assert isinstance(other.alerts()[0].phase, Phase)
    assert other.dispatches(9) == [dispatch()]
    assert isinstance(other.dispatches(9)[0].notice.facts, tuple)
    assert [m.reason for m in other.mutes(START)] == ["moving"]
    assert other.mutes(START + 1) == []
    assert (other.unmute("src"), other.unmute("src")) == (True, False)
    other.record([alert("x", phase=Phase.OK), alert("never", phase=Phase.OK)])
    assert spool.alerts() == [alert()]


def test_messages_are_claimed_settled_and_withdrawn(tmp_path: Path) -> None:
    """As the stores do it: due ones, the oldest first, held for others; three ways to end."""
    spool = Spool(tmp_path)
    spool.record([], [dispatch("n2", at=START + 2), dispatch("n1"), dispatch("n1", "slack")])
    spool.record([], [dispatch("n1")])
    assert spool.claim(START - 1, HOLD) == []
    (first,) = spool.claim(START + 9, HOLD, 1)
    assert first.notice.id == "n1"
    assert len(spool.claim(START + 9, HOLD)) == 2
    assert spool.claim(START + 8 + HOLD, HOLD) == []
    spool.settle("n1", "mail", delivered_at=START + 10)
    spool.settle("n1", "mail", next_try=START)
    spool.settle("n1", "slack", error="refused")
    spool.settle("n2", "mail", next_try=START + 20, error="later")
    assert spool.delivered(["n1", "n2"]) == {"n1"}
    assert [(d.notice.id, d.tries) for d in spool.claim(START + 20, HOLD)] == [("n2", 1)]
    spool.record([], [], ["n1", "n2"])
    assert {(d.notice.id, d.channel): d.error for d in spool.dispatches(9)} == {
        ("n1", "mail"): None,
        ("n1", "slack"): "refused",
        ("n2", "mail"): WITHDRAWN,
    }
    assert spool.claim(START + DAY, HOLD) == []


def test_a_message_withdrawn_while_it_is_sent_may_still_arrive(tmp_path: Path) -> None:
    """As in the stores: its sender notes that it did; a failure does not bring it back."""
    spool = Spool(tmp_path)
    spool.record([], [dispatch("n1"), dispatch("n1", "slack")])
    assert len(spool.claim(START, HOLD)) == 2
    spool.record([], [dispatch("n2")], ["n1", "n2"])
    spool.settle("n1", "slack", next_try=START, error="timed out")
    assert spool.delivered(["n1"]) == set()
    spool.settle("n1", "mail", delivered_at=START + 1)
    assert spool.delivered(["n1"]) == {"n1"}
    assert [d.notice.id for d in spool.claim(START + DAY, HOLD)] == ["n2"]


def test_the_file_stays_small(tmp_path: Path) -> None:
    """The newest messages are kept: so many that wait, so many that are settled."""
    spool = Spool(tmp_path)
    spool.record([], [dispatch(f"n{i}", at=START + i) for i in range(WAITING + 10)])
    kept = spool.dispatches(9999)
    assert (len(kept), kept[0].notice.id) == (WAITING, f"n{WAITING + 9}")
    for one in kept:
        spool.settle(one.notice.id, "mail", delivered_at=START)
    assert len(spool.dispatches(9999)) == SETTLED
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"alerts": 3}', b"\xff" * 99])
def test_a_broken_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Alerts go on; what was there is kept for whoever wants to look."""
    (tmp_path / NAME).write_bytes(content)
    spool = Spool(tmp_path)
    spool.record([alert()])
    assert Spool(tmp_path).alerts() == [alert()]
    assert (tmp_path / NAME).with_suffix(".unreadable").read_bytes() == content


def test_a_folder_that_cannot_be_is_no_reason_to_be_silent(tmp_path: Path) -> None:
    """What cannot be written is remembered by the process, and written once it can."""
    blocked = tmp_path / "spool"
    blocked.write_text("a file where the folder should be")
    spool = Spool(blocked)
    spool.record([alert()], [dispatch()])
    assert spool.alerts() == [alert()]
    assert len(spool.claim(START, HOLD)) == 1
    blocked.unlink()
    spool.settle("n1", "mail", delivered_at=START)
    assert Spool(blocked).delivered(["n1"]) == {"n1"}
    assert Spool(blocked).alerts() == [alert()]


def test_processes_share_the_file(tmp_path: Path) -> None:
    """Two that write at once lose nothing of each other's."""
    code = (
        "import sys; from pathlib import Path; from loader.alerts.spool import Spool;"
        "from loader.journal import *;"
        "[Spool(Path(sys.argv[1])).record([Alert('', 'store', f'{sys.argv[2]}{i}', Phase.FAILING,"
        " Severity.WARNING, 1, 1, 1)]) for i in range(40)]"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [p.wait(60) for p in started] == [0, 0]
    assert len(Spool(tmp_path).alerts()) == 80


class Mail:
    """A channel that does what `answers` say, the last one for ever."""

    name = "mail"

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.sent: list[str] = []

    def send(self, notice: Notice) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            raise answer
        self.sent.append(notice.id)


def deliver(spool: Spool, mail: Mail, now: int, **more: Any) -> int:
    channels = {"mail": (Channel(), mail)}
    return send_due(
        spool, channels, lambda: now, more.get("stop", threading.Event()), more.get("patience", 9)
    )


def test_everything_due_is_sent(tmp_path: Path) -> None:
    """The oldest first, each once."""
    spool, mail = Spool(tmp_path), Mail(None)
    spool.record([], [dispatch("n2", at=START + 1), dispatch("n1"), dispatch("n3", at=START + 5)])
    assert deliver(spool, mail, START + 2) == 2
    assert mail.sent == ["n1", "n2"]
    assert deliver(spool, mail, START + 5) == 1


def test_pauses_double_to_an_hour() -> None:
    """30 s, 1 min, 2 min ... 1 h; what the receiver asks for counts where it is longer."""
    assert [pause(n) // SECOND for n in (1, 2, 3)] == [30, 60, 120]
    assert pause(99) == LONGEST_PAUSE == HOUR
    assert pause(1, 90.0) == 90 * SECOND
    assert pause(1, 5.0) == 30 * SECOND
    assert pause(1, 1e12) == DAY
    assert pause(1, float("nan")) == pause(1, -1.0) == 30 * SECOND


def test_a_failed_attempt_is_made_again_after_its_pause(tmp_path: Path) -> None:
    """Any error of the channel, expected or not, is noted and tried again, and delivered in the end."""
    spool = Spool(tmp_path)
    mail = Mail(Undelivered("busy", wait_s=45), OSError("no way"), None)
    spool.record([], [dispatch()])
    assert deliver(spool, mail, START) == 0
    (row,) = spool.dispatches(1)
    assert (row.tries, row.next_try, row.error) == (1, START + 45 * SECOND, "busy")
    assert deliver(spool, mail, START + 44 * SECOND) == 0
    assert deliver(spool, mail, START + 45 * SECOND) == 0
    (row,) = spool.dispatches(1)
    assert (row.tries, row.next_try) == (2, START + (45 + 60) * SECOND)
    assert deliver(spool, mail, START + 105 * SECOND) == 1
    (row,) = spool.dispatches(1)
    assert (row.tries, row.delivered_at, row.error) == (3, START + 105 * SECOND, None)


def test_three_days_are_enough(tmp_path: Path) -> None:
    """Then the message is given up, and the row says why."""
    spool, mail, now = Spool(tmp_path), Mail(Undelivered("busy")), START
    spool.record([], [dispatch()])
    attempts = 0
    while (row := spool.dispatches(1)[0]).next_try is not None:
        now = row.next_try
        deliver(spool, mail, now)
        attempts += 1
    assert START + GIVE_UP - HOUR < now <= START + GIVE_UP
    assert (row.tries, row.error, row.delivered_at) == (attempts, "busy", None)
    assert 70 < attempts < 90


def test_what_can_never_work_is_given_up_at_once(tmp_path: Path) -> None:
    """An address that is gone, and a channel that is not configured any more."""
    spool = Spool(tmp_path)
    spool.record([], [dispatch(), dispatch("n2", "pigeon")])
    assert deliver(spool, Mail(Permanent("no such hook")), START) == 0
    rows = {d.channel: (d.next_try, d.error) for d in spool.dispatches(9)}
    assert rows == {
        "mail": (None, "no such hook"),
        "pigeon": (None, "the channel is not configured any more"),
    }


def test_it_stops_when_asked_to_and_when_time_is_up(tmp_path: Path) -> None:
    """What was not begun stays due."""
    spool, mail, stop = Spool(tmp_path), Mail(None), threading.Event()
    spool.record([], [dispatch("n1"), dispatch("n2", at=START + 1)])
    stop.set()
    assert deliver(spool, mail, START + 1, stop=stop) == 0
    assert deliver(spool, mail, START + 1, patience=0) == 1
    assert deliver(spool, mail, START + 1) == 1

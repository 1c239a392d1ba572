"""What a message says: whole, short, and without secrets."""

from __future__ import annotations

import shlex
from typing import Any

import click
import pytest

from loader.__main__ import cli
from loader.alerts.wording import Background, Message, command, lasting, listing, moment, notice, one_line
from loader.journal import Alert, NoticeKind, Phase, Severity
from loader.log import MASK, register_secret
from loader.readings import DAY, HOUR, SECOND
from loader.settings.alerting import Rules

NOW = 1_800_000_000_000_000


def alert(source: str = "src", subject: str = "", rule: str = "failures", **more: Any) -> Alert:
    given = {"count": 3, "since": NOW - 2 * HOUR, "updated": NOW, "detail": "last error: no", **more}
    given = {"severity": Severity.WARNING} | given
    return Alert(source, rule, subject, phase=Phase.ALERTING, **given)


def said(
    *alerts: Alert, kind: NoticeKind = NoticeKind.ALERT, still: tuple[Alert, ...] = (), **of: Background
) -> Any:
    return notice(Message("n1", kind, alerts, still, ("mail",)), NOW, of)


@pytest.mark.parametrize("rule", [*Rules.model_fields, "limit"])
def test_every_rule_names_a_command_that_exists(rule: str) -> None:
    """What the message says to type is understood, with one source and with several."""
    for sources in ((), ("src",), ("a", "b")):
        words = shlex.split(command(rule, sources))
        assert words[0] == "loader"
        found: click.Command | None = cli
        rest = words[1:]
        while isinstance(found, click.Group) and not rest[0].startswith("-"):
            found = found.get_command(click.Context(found), rest.pop(0))
        assert found is not None
        found.make_context(words[1], rest, resilient_parsing=False)


@pytest.mark.parametrize("rule", [*Rules.model_fields, "limit"])
def test_every_rule_has_its_words(rule: str) -> None:
    """No title shows the rule's bare name."""
    title = said(alert(rule=rule)).title
    assert title.startswith("src: ")
    assert "_" not in title


def test_a_message_is_complete() -> None:
    """What, since when, how often, the error, what was lost, what else lasts, where to look."""
    made = said(
        alert(subject="x"),
        still=(alert(subject="y"),),
        src=Background("lost: nothing so far", ()),
    )
    assert made.title == "src: a station keeps failing (x)"
    assert made.lines == (
        "x since 2027-01-15T06:00:00Z (2 h), 3 times in a row: last error: no",
        "still not well: y",
        "lost: nothing so far",
    )
    assert made.command == "loader status --stations --source src"
    assert ("rule", "failures") in made.facts
    assert (made.sources, made.subjects, made.since) == (("src",), ("x",), NOW - 2 * HOUR)


def test_a_recovery_says_how_long_and_what_was_caught_up() -> None:
    """Readings of the runs that ended since it began."""
    gained = ((NOW, 30), (NOW - HOUR, 12), (NOW - 2 * HOUR, 99))
    made = said(alert(count=0), kind=NoticeKind.RECOVERY, src=Background("", gained))
    assert made.lines == (
        "src from 2027-01-15T06:00:00Z, for 2 h",
        "src: 42 new readings were stored since then",
    )


def test_many_subjects_are_cut() -> None:
    """Ten are told, the rest is a number; none is repeated."""
    made = said(*(alert(subject=f"s{i}") for i in range(250)))
    assert made.lines[10] == "and 240 more"
    assert made.title.endswith("(s0, s1, s2 and 247 more)")
    assert len(made.subjects) == 100
    assert listing(["a", "b", "a"], 1) == "a and 1 more"


def test_the_worst_counts() -> None:
    """One critical member makes the message critical."""
    assert said(alert(), alert(subject="x", severity=Severity.CRITICAL)).severity is Severity.CRITICAL


def test_secrets_are_masked_wherever_they_turn_up() -> None:
    """In names, errors and causes, also where the text is cut."""
    register_secret("sesame-sesame-sesame")
    made = said(
        alert("sesame-sesame-sesame", "sesame-sesame-sesame", detail="x" * 290 + " sesame-sesame-sesame")
    )
    for text in (made.title, *made.lines, *made.subjects, *(v for _, v in made.facts), made.command):
        assert "sesame" not in text
    assert MASK in made.title


def test_texts_from_outside_become_one_printable_line() -> None:
    """No line breaks, no escapes, no end."""
    assert one_line("a\n\tb\x1b[0m \ud800") == "a b?[0m ?"
    assert len(one_line("x" * 10_000)) == 300


def test_times_and_spans() -> None:
    """To the second, and in two units."""
    assert moment(NOW + 1) == "2027-01-15T08:00:00Z"
    assert moment(2**62) == "beyond the calendar"
    spans = {5 * SECOND: "5 s", 119 * SECOND: "119 s", 3 * HOUR: "3 h", 50 * HOUR: "2 d 2 h", DAY: "24 h"}
    assert {span: lasting(span) for span in spans} == spans

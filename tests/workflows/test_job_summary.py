"""The Markdown that `loader run --summary` writes, read as a Markdown parser reads it."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from loader import wiring
from loader.__main__ import cli
from loader.commands.context import Context
from loader.commands.output import tenth
from loader.commands.summary import LISTED, TEXT, markdown, page
from loader.readings import HOUR
from loader.records import Counts, Outcome, RunReport
from loader.stores.sqlite import SQLiteStore

PARSER = MarkdownIt("commonmark").enable("table")
DEMO = (
    "sources:\n  demo: {type: simulator, cadence: 1h, flaws: {gaps: 0.1, late: 0.1, clock_errors: 0.05}}\n"
)


def report(**more: object) -> RunReport:
    return RunReport(**{"id": 1, "source": "src", "trigger": "github", "started": 0, **more})  # type: ignore[arg-type]


def tables(text: str) -> list[list[list[str]]]:
    """Every table's rows of cells, as they are read."""
    found: list[list[list[str]]] = []
    for token in PARSER.parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level >= 4:
            found[-1][-1].append(shown(token))
    return found


def shown(token: Token) -> str:
    return "".join(child.content for child in token.children or ())


def headings(text: str) -> list[str]:
    tokens = PARSER.parse(text)
    return [shown(t) for before, t in pairwise(tokens) if before.type == "heading_open"]


def commands(text: str) -> list[str]:
    return re.findall(r"`(loader [^`]+)`", text)


def understood(command: str) -> None:
    """Have the program parse it, without carrying it out."""
    words = shlex.split(command)[1:]
    group: click.Command = cli
    while isinstance(group, click.Group):
        found = group.get_command(click.Context(group), words.pop(0))
        assert found is not None, command
        group = found
    group.make_context("loader", words, obj=Context(None))


def demo(folder: Path) -> Context:
    """A source with flaws, configured in a folder of its own."""
    config = folder / "config.yaml"
    config.write_text(f"store: sqlite:///{folder}/loader.db\n{DEMO}", encoding="utf-8")
    return Context(config)


def test_a_run_is_scored_with_its_components(tmp_path: Path) -> None:
    """Outcome, counts, score, each component with what it is made of, rejected records by rule."""
    from loader.commands.execution import execute, obey
    from loader.pipeline import Order

    with demo(tmp_path) as context:
        (ran,), _ = execute(context, ("demo",), obey(Order(trigger="github")))
        text = page(context, [ran])
    assert headings(text)[:2] == ["Sensor loader: ok", "Score"]
    counts, score, rejected = tables(text)
    by_name = dict(zip(counts[0], counts[1], strict=True))
    assert (by_name["source"], by_name["outcome"]) == ("demo", "ok")
    assert by_name["new"] == f"{ran.counts.new:,}"
    assert by_name["quarantined"] == f"{ran.counts.quarantined:,}"
    shares = dict(zip(score[0], score[1], strict=True))
    assert shares["score"] == by_name["score"] == tenth(ran.quality)
    assert shares["completeness"].endswith(f"({ran.counts.observed:,} of {ran.counts.due:,} due)")
    assert shares["timeliness"].startswith("100.0 %")
    assert ran.counts.quarantined > 0
    assert rejected[0] == ["rule", "records", "reason of the newest"]
    assert [row[0] for row in rejected[1:]] == ["timestamp"]
    assert sum(int(row[1]) for row in rejected[1:]) == ran.counts.quarantined


def test_holes_are_listed_with_what_becomes_of_them(tmp_path: Path) -> None:
    """The newest ones, how many more there are, and which are given up."""
    from loader.readings import Hole, Partition, Progress, Readings, Series, Window
    from loader.records import Batch

    store = SQLiteStore(tmp_path / "loader.db")
    store.migrate()
    lease = store.acquire("src")
    run = store.begin_run(lease, "github", 0)
    series = Series("s", "pm25", "ug/m3", "there", "p|1")
    store.register(lease, [Partition("p|1", "there", (series,))], 0)
    count = LISTED + 3
    holes = tuple(
        Hole(
            Window(2 * i * HOUR, (2 * i + 1) * HOUR), "<b>500</b>", 1, None if i == count - 1 else 99 * HOUR
        )
        for i in range(count)
    )
    progress = (Progress("p|1", holes=holes),)
    none = Readings.empty()
    store.commit(
        lease, Batch(run, 0, "src", 0, (), none, (), (), progress, Counts()), lambda _, r: (r.flag, r.tests)
    )
    text = markdown([report(id=run, outcome=Outcome.PARTIAL)], store)
    store.close()
    assert f"src: {count} holes" in headings(text)
    rows = tables(text)[2][1:]
    assert len(rows) == LISTED
    assert rows[0][0] == "p|1"
    assert rows[0][3:] == ["<b>500</b>", "1", "given up"]
    assert rows[1][5] == "1970-01-05T03:00:00Z"
    assert "3 more: `loader gaps --source src`" in text
    assert f"{count - 1} holes will be tried again" in text
    assert "1 hole given up" in text


@given(st.text(max_size=2 * TEXT))
def test_text_from_outside_stays_text(error: str) -> None:
    """Whatever a source answers, it neither breaks a list or a table nor becomes markup or a link."""
    text = markdown([report(source="a_b-c", outcome=Outcome.FAILED, error="why: " + error)])
    text.encode("utf-8")
    tokens = PARSER.parse(text)
    assert [t.type for t in tokens].count("bullet_list_open") == 2
    inside = {child.type for t in tokens for child in t.children or ()}
    assert inside <= {"text", "text_special", "strong_open", "strong_close", "code_inline"}
    assert not any(t.type.startswith("html") for t in tokens)
    assert all(len(row) == len(table[0]) for table in tables(text) for row in table)
    (said,) = [shown(t) for t in tokens if t.type == "inline" and shown(t).startswith("a_b-c: why:")]
    if error.isascii() and error.isprintable() and len(error) < TEXT - 10:
        assert said == "a_b-c: " + " ".join(f"why: {error}".split())


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_command_it_names_is_one(outcome: Outcome) -> None:
    """What the summary tells people to type is understood by the program."""
    counts = Counts(fetched=5, quarantined=1, due=9, observed=4)
    named = commands(markdown([report(outcome=outcome, counts=counts)]))
    assert len(named) >= 3
    for command in named:
        understood(command)


def test_nothing_to_do_and_nothing_ran() -> None:
    """A good run says that nothing is to be done; no run at all says where to look."""
    good = markdown([report(outcome=Outcome.OK, counts=Counts(fetched=3, new=3, due=3, observed=3))])
    assert good.rstrip().endswith("- Nothing to do.")
    none = markdown([], dry_run=True)
    assert headings(none)[0] == "Sensor loader: nothing could run"
    assert "nothing was written" in none
    assert commands(none) == ["loader check"]


def test_a_store_that_cannot_be_read_costs_only_what_it_knows(tmp_path: Path) -> None:
    """The counts are told even so."""
    context = demo(tmp_path)
    (tmp_path / "loader.db").write_text("no database", encoding="utf-8")
    assert wiring.load_config(context.config_path)
    text = page(context, [report(source="demo", outcome=Outcome.FAILED, error="it broke")])
    assert tables(text)[0][1][:2] == ["demo", "failed"]

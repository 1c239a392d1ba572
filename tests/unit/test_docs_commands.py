"""docs/commands.md and the command line say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from loader.__main__ import COMMANDS, cli

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")

SECTIONS = {
    title.strip(): body
    for title, body in (part.split("\n", 1) for part in re.split(r"^## ", DOCS, flags=re.MULTILINE)[1:])
}
"""Text by the title of its section."""

ROW = re.compile(r"^\| (`-[^|]*?) \| ", re.MULTILINE)


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield " ".join((*path, name)), command


def options(command: click.Command) -> set[str]:
    return {
        text for p in command.params if isinstance(p, click.Option) for text in (*p.opts, *p.secondary_opts)
    }


def documented(section: str) -> set[str]:
    """The options in a section's table."""
    return {name for cell in ROW.findall(SECTIONS[section]) for name in re.findall(r"`(-[-a-z]+)`", cell)}


LEAVES = dict(leaves(cli))


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_is_documented_and_no_other(name: str) -> None:
    """Each command has a section whose table lists just its options."""
    assert name in SECTIONS
    assert documented(name) == options(LEAVES[name])


def test_every_section_is_a_command() -> None:
    """Nothing is described that is not there; the general options are those of the program."""
    assert set(SECTIONS) - {"In general"} == set(LEAVES)
    assert documented("In general") == options(cli) | {"--version", "-h", "--help"}


@pytest.mark.parametrize("name", LEAVES)
def test_every_argument_is_in_the_text(name: str) -> None:
    """Where a command takes arguments, its section shows the call with them."""
    arguments = [p for p in LEAVES[name].params if isinstance(p, click.Argument)]
    if not arguments:
        return
    call = re.search(rf"`loader {name} ([^`]*)`", SECTIONS[name])
    assert call is not None
    for argument in arguments:
        assert (argument.metavar or argument.human_readable_name.upper()) in call[1]


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_says_what_it_and_its_options_do(name: str) -> None:
    """--help has a sentence for the command and for each option."""
    command = LEAVES[name]
    assert (command.help or "").strip()
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.opts[0]}"


def test_the_list_of_commands_says_each_in_a_line() -> None:
    """What `loader --help` shows without importing a command."""
    assert all(text.endswith(".") and len(text) < 60 for text in COMMANDS.values())


def test_links_lead_somewhere() -> None:
    """Every link within the page has its heading."""
    anchors = {
        title.lower().strip().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", DOCS, flags=re.MULTILINE)
    }
    links = set(re.findall(r"\]\(#([^)]*)\)", DOCS))
    assert links
    assert links <= anchors

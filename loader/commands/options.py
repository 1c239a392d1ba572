"""Options and values that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.readings import Window

F = TypeVar("F", bound=Callable[..., Any])

SPOOL = Path("state/spool")
"""Where alerts are kept while the store is away, unless told otherwise."""

LEVELS = ("debug", "info", "warning", "error")


def source_option(*, multiple: bool) -> Callable[[F], F]:
    """`--source NAME`, as `names` (a tuple) or `name`."""
    if multiple:
        return click.option(
            "--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable."
        )
    return click.option("--source", "name", metavar="NAME", help="Only this source.")


def output_option(command: F) -> F:
    """`-o FILE`, as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
        default=Path("-"),
        show_default=True,
        help="Where to; - is standard output. A file appears whole or not at all.",
    )(command)


def spool_option(command: F) -> F:
    """`--spool DIR`."""
    return click.option(
        "--spool",
        type=click.Path(path_type=Path, file_okay=False),
        default=SPOOL,
        show_default=True,
        envvar="LOADER_SPOOL",
        show_envvar=True,
        help="Folder that remembers alerts while the store is away.",
    )(command)


def log_level_option(command: F) -> F:
    """`--log-level`, kept in the context: the configured level is used without it."""

    def keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:  # noqa: ARG001
        ctx.obj.log_level = value

    return click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        callback=keep,
        expose_value=False,
        help="How much to log on stderr (default: the configuration's).",
    )(command)


def detach_option(command: F) -> F:
    """`--detach`, of commands that need a source's lease."""
    return click.option(
        "--detach", is_flag=True, help="Only queue it, for the daemon or the next loader run, and return."
    )(command)


def refuse_both(*, dry_run: bool, detach: bool) -> None:
    """Raise UsageError where --dry-run and --detach are both given."""
    if dry_run and detach:
        raise UsageError("--dry-run does nothing that --detach could queue: give one of them")


def moment(text: str, *, now: int | None = None) -> int:
    """A time on the command line, in microseconds UTC: ISO 8601 (naive = UTC), or a duration
    back from now such as 7d. Raises UsageError."""
    from loader.settings.durations import parse_duration, parse_time
    from loader.wiring import now as clock

    at = clock() if now is None else now
    try:
        return at - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_time(text)
    except ValueError:
        pass
    raise UsageError(f"{text!r} is no time: write 2026-11-20, 2026-11-20T06:00:00Z or 7d (seven days ago)")


def window_of(since: str | None, until: str | None) -> Window | None:
    """The window (since, until] of a command; until now where no end is given. Raises UsageError."""
    from loader.readings import Window
    from loader.wiring import now

    if since is None:
        if until is not None:
            raise UsageError("--until needs --since")
        return None
    at = now()
    window = Window(moment(since, now=at), at if until is None else moment(until, now=at))
    if window.start > at:
        raise UsageError(f"--since {since} lies in the future")
    if not window:
        raise UsageError(f"--since {since} is not before --until {until or 'now'}")
    return window

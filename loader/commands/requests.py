"""`loader requests`: work that was asked of whoever holds a source's lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import (
    Column,
    clean,
    document,
    iso,
    iso_or_none,
    line,
    note,
    table,
)
from loader.commands.selection import chosen_sources, json_option
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.journal import Request

SECOND = 1_000_000


@click.group("requests")
def command() -> None:
    """List, show, follow and cancel requests for work.

    A command that finds its source in the hands of another loader (a daemon, or a run) queues a
    request, which that one works; the next `loader run` works what is left.
    """


@command.command("list")
@click.option("--source", "name", metavar="NAME", help="Only of this source.")
@click.option("--pending", is_flag=True, help="Only those that have not ended.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, the newest."
)
@json_option
@click.pass_context
def list_(ctx: click.Context, name: str | None, pending: bool, limit: int, as_json: bool) -> None:
    """List requests, the oldest first."""
    context: Context = ctx.obj
    if name is not None:
        chosen_sources(context, [name])
    found = context.store().requests(name, final=not pending, limit=limit)
    if as_json:
        document([_item(r) for r in found])
        return
    if not found:
        note("nothing is requested")
        return
    columns = [
        Column("id", right=True),
        *map(Column, ("source", "kind", "state", "queued", "by")),
        Column("progress", prose=True),
    ]
    table(columns, [_row(r) for r in found])


@command.command("show")
@click.argument("number", type=click.IntRange(1))
@json_option
@click.pass_context
def show(ctx: click.Context, number: int, as_json: bool) -> None:
    """Show one request whole."""
    context: Context = ctx.obj
    request = context.store().request(number)
    if request is None:
        raise UsageError(f"there is no request {number}; `loader requests list` shows them")
    if as_json:
        document(_item(request))
        return
    for name, value in _item(request).items():
        line(clean(f"{name + ':':<13}{_text(value) or '-'}"))


@command.command("follow")
@click.argument("number", type=click.IntRange(1))
@click.pass_context
def follow(ctx: click.Context, number: int) -> None:
    """Follow a request until it has ended; Ctrl-C only ends the following.

    The exit code is that of the work.
    """
    from loader.commands.following import follow as following
    from loader.commands.summary import print_reports

    done, code = following(ctx.obj, number)
    print_reports(done.reports, as_json=False)
    ctx.exit(code)


@command.command("cancel")
@click.argument("number", type=click.IntRange(1))
@click.pass_context
def cancel(ctx: click.Context, number: int) -> None:
    """Cancel a request: at once where it waits, after the batch at hand where it is worked.

    What it has done by then stays.
    """
    from loader.commands.following import described
    from loader.wiring import now

    context: Context = ctx.obj
    request = context.store().cancel_request(number, now())
    if request is None:
        raise UsageError(f"there is no request {number}; `loader requests list` shows them")
    line(clean(f"request {number}: {described(request)}"))


def _item(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "source": request.source,
        "kind": request.kind,
        "state": str(request.state),
        "arguments": dict(request.arguments),
        "asked_by": request.asked_by,
        "queued_at": iso(request.queued_at),
        "started": iso_or_none(request.started),
        "finished": iso_or_none(request.finished),
        "progress": request.progress,
        "result": dict(request.result),
        "error": request.error,
        "cancelling": request.cancelling,
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items() if v not in (None, [], False))
    return "" if value is None else str(value)


def _row(request: Request) -> list[str | None]:
    return [
        str(request.id),
        request.source,
        request.kind,
        str(request.state),
        iso(request.queued_at - request.queued_at % SECOND),
        request.asked_by,
        request.error or request.progress or None,
    ]

"""`loader alerts`: what is not well, who was told, and quiet for a while."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loader.commands.options import SPOOL
from loader.commands.output import Column, ago, clean, document, iso, iso_or_none, line, note, table
from loader.commands.selection import check, chosen_sources, json_option
from loader.errors import StoreUnavailable, UsageError
from loader.journalcontracts import WITHDRAWN

if TYPE_CHECKING:
    from loader.alerts.spool import Spool
    from loader.commands.context import Context
    from loader.journal import Alert, Dispatch, Mute

LONGEST_DAYS = 365


@click.group("alerts")
def command() -> None:
    """List alerts and messages, try the channels, and mute a source for a while."""


@command.command("list")
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable.")
@json_option
@click.pass_context
def list_(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Show what is not well: what is failing, and what has become an alert."""
    from loader.wiring import now

    context: Context = ctx.obj
    at, found, mutes = now(), _spool().alerts(), []
    away: StoreUnavailable | None = None
    try:
        chosen = set(chosen_sources(context, names)) if names else None
        found += context.store().alerts()
        mutes = context.store().mutes(at)
    except StoreUnavailable as error:
        away, chosen = error, set(names) if names else None
    found = [a for a in found if chosen is None or a.source in chosen]
    muted = {m.source: m for m in mutes if chosen is None or m.source in chosen}
    if as_json:
        document([_alert(a, muted.get(a.source)) for a in found])
    else:
        _show_alerts(found, muted, at)
    if away is not None:
        raise away


def _show_alerts(found: list[Alert], muted: dict[str, Mute], at: int) -> None:
    if found:
        columns = [
            *map(Column, ("source", "rule", "about", "phase", "severity", "since")),
            Column("lasts", right=True),
            Column("count", right=True),
            Column("value", right=True),
            Column("muted", spare=True),
            Column("detail", prose=True),
        ]
        table(
            columns,
            [
                [
                    a.source or "loader",
                    a.rule,
                    a.subject,
                    a.phase,
                    a.severity,
                    iso(a.since - a.since % 1_000_000),
                    ago(at - a.since),
                    str(a.count),
                    None if a.value is None else f"{a.value:.6g}",
                    "yes" if a.source in muted else "",
                    a.detail,
                ]
                for a in found
            ],
        )
    else:
        note("all is well")
    for m in muted.values():
        until = iso(m.until - m.until % 1_000_000)
        line(clean(f"{m.source}: muted until {until} by {m.by}: {m.reason}"))


@command.command("history")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="How many, the newest first.",
)
@json_option
@click.pass_context
def history(ctx: click.Context, limit: int, as_json: bool) -> None:
    """Show messages, the newest first, and how each channel fared."""
    context: Context = ctx.obj
    found = [*context.store().dispatches(limit), *_spool().dispatches(limit)]
    found = sorted(found, key=lambda d: d.queued_at, reverse=True)[:limit]
    if as_json:
        document([_dispatch(d) for d in found])
        return
    if not found:
        note("no message has been sent yet")
        return
    columns = [
        *map(Column, ("queued", "kind", "severity", "channel", "state")),
        Column("tries", right=True),
        Column("title", prose=True),
        Column("error", prose=True, spare=True),
    ]
    rows = [
        [
            iso(d.queued_at - d.queued_at % 1_000_000),
            d.notice.kind,
            d.notice.severity,
            d.channel,
            _state(d),
            str(d.tries),
            d.notice.title,
            d.error or "",
        ]
        for d in found
    ]
    table(columns, rows)


@command.command("test")
@click.option("--channel", metavar="NAME", help="Only this channel.")
@json_option
@click.pass_context
def test(ctx: click.Context, channel: str | None, as_json: bool) -> None:
    """Send a test message through every channel, or one, and say whether it arrived.

    It is sent at once and once, past the outbox. Exit code 1 where a channel failed.
    """
    from loader import wiring
    from loader.alerts.centre import try_channels

    context: Context = ctx.obj
    channels = wiring.build_channels(context.config())
    if not channels:
        raise UsageError("no channel is configured; `alerts:` in the configuration names them")
    if channel is not None:
        check([channel], channels, "channel")
    results = try_channels(channels, channel, wiring.now)
    if as_json:
        document([{"channel": name, "ok": error is None, "error": error} for name, error in results])
    else:
        columns = [Column("channel"), Column("result"), Column("error", prose=True)]
        table(columns, [[n, "ok" if e is None else "failed", e or ""] for n, e in results])
    if any(error is not None for _, error in results):
        ctx.exit(1)


@command.command("mute")
@click.argument("source")
@click.option("--for", "span", required=True, metavar="DURATION", help="How long, such as 2h or 1d12h.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is shown in the list.")
@json_option
@click.pass_context
def mute(ctx: click.Context, source: str, span: str, reason: str, as_json: bool) -> None:
    """Send no messages about a source for a while.

    Its rules are evaluated all the same: what still lasts at the end of the mute is then told.
    """
    from loader.alerts.wording import one_line
    from loader.journal import Mute
    from loader.readings import DAY
    from loader.settings.durations import parse_duration
    from loader.wiring import now

    context: Context = ctx.obj
    chosen_sources(context, [source])
    try:
        length = parse_duration(span)
    except ValueError as error:
        raise UsageError(f"--for {span} {error}") from None
    if not 0 < length <= LONGEST_DAYS * DAY:
        raise UsageError(f"--for {span} must be longer than nothing and at most {LONGEST_DAYS} days")
    if not reason.strip():
        raise UsageError("--reason is empty; say why, for whoever reads the list")
    at = now()
    made = Mute(source, at + length, one_line(reason), _whoever(), at)
    context.store().mute(made)
    if as_json:
        document(_mute(made))
    else:
        line(clean(f"{source}: muted until {iso(made.until - made.until % 1_000_000)}"))


@command.command("unmute")
@click.argument("source")
@json_option
@click.pass_context
def unmute(ctx: click.Context, source: str, as_json: bool) -> None:
    """End a mute; what is not well is told again from now on."""
    context: Context = ctx.obj
    ended = context.store().unmute(source)
    if not ended:
        # A source that is gone may still be muted, so the name is checked last.
        chosen_sources(context, [source])
    if as_json:
        document({"source": source, "ended": ended})
    else:
        line(clean(f"{source}: {'not muted any more' if ended else 'was not muted'}"))


def _spool() -> Spool:
    from loader.alerts.spool import Spool

    return Spool(Path(os.environ.get("LOADER_SPOOL") or SPOOL))


def _whoever() -> str:
    """Who is at the keyboard, for the record."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:100]


def _state(d: Dispatch) -> str:
    if d.delivered_at is not None:
        return "delivered"
    if d.error == WITHDRAWN:
        return "withdrawn"
    return "given up" if d.next_try is None else "waiting"


def _alert(a: Alert, mute: Mute | None) -> dict[str, Any]:
    return {
        "source": a.source or None,
        "rule": a.rule,
        "subject": a.subject or None,
        "phase": a.phase,
        "severity": a.severity,
        "since": iso(a.since),
        "alerted_at": iso_or_none(a.alerted_at),
        "updated": iso(a.updated),
        "count": a.count,
        "value": a.value,
        "cause": a.cause or None,
        "detail": a.detail,
        "messages": a.sent,
        "last_message": iso_or_none(a.last_sent),
        "muted": mute and _mute(mute),
    }


def _mute(m: Mute) -> dict[str, Any]:
    return {"source": m.source, "until": iso(m.until), "reason": m.reason, "by": m.by, "at": iso(m.at)}


def _dispatch(d: Dispatch) -> dict[str, Any]:
    n = d.notice
    return {
        "id": n.id,
        "kind": n.kind,
        "severity": n.severity,
        "rule": n.rule,
        "sources": list(n.sources),
        "subjects": list(n.subjects),
        "title": n.title,
        "lines": list(n.lines),
        "command": n.command,
        "channel": d.channel,
        "state": _state(d),
        "queued": iso(d.queued_at),
        "tries": d.tries,
        "next_try": None if d.delivered_at is not None else iso_or_none(d.next_try),
        "delivered": iso_or_none(d.delivered_at),
        "error": d.error,
    }

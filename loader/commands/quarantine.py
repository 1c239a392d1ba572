"""`loader quarantine`: records that could not become readings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from loader.commands.options import detach_option
from loader.commands.output import (
    Column,
    clean,
    confirm,
    document,
    iso,
    iso_or_none,
    line,
    note,
    number,
    plural,
    put,
    table,
)
from loader.commands.selection import chosen_sources, json_option, yes_option
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.records import Quarantined

SHORT = 12
"""Digits of a digest that the list shows; any beginning that fits one record will do."""


@click.group("quarantine")
def command() -> None:
    """List, show, replay and drop records that could not become readings.

    They are kept whole, with the rule they broke, so that nothing is lost: once the reason is
    gone, a replay sends them through the same checks again.
    """


@command.command("list")
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable.")
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Only this rule; repeatable.")
@click.option("--pending", is_flag=True, help="Only those not replayed yet.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="How many, the newest first.",
)
@json_option
@click.pass_context
def list_(
    ctx: click.Context,
    names: tuple[str, ...],
    rules: tuple[str, ...],
    pending: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List quarantined records, the newest first."""
    from loader.work import records

    context: Context = ctx.obj

    def fits(q: Quarantined) -> bool:
        return (not rules or q.rule in rules) and not (pending and q.replayed_by is not None)

    found = [q for name in _sources(context, names) for q in records(context.store(), name, fits, limit)]
    found = sorted(found, key=lambda q: -q.last_seen)[:limit]
    if as_json:
        document([_item(q) for q in found])
        return
    if not found:
        note("nothing is quarantined" + (" that fits" if names or rules or pending else ""))
        return
    columns = [
        *map(Column, ("digest", "source", "partition", "rule", "time", "last seen")),
        Column("count", right=True),
        Column("replayed by", right=True),
        Column("reason", prose=True),
    ]
    table(columns, [_row(q) for q in found])


@command.command("show")
@click.argument("digest")
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable.")
@click.option("--raw", is_flag=True, help="Only the payload, byte for byte.")
@json_option
@click.pass_context
def show(ctx: click.Context, digest: str, names: tuple[str, ...], raw: bool, as_json: bool) -> None:
    """Show one record whole. DIGEST may be cut short, as in the list."""
    context: Context = ctx.obj
    found = by_digest(context, names, [digest])
    if raw:
        put(found[0].payload)
        return
    if as_json:
        document([{**_item(q), **_payload(q)} for q in found])
        return
    for q in found:
        for name, value in _item(q).items():
            line(clean(f"{name + ':':<13}{'-' if value is None else value}"))
        payload = _payload(q)
        line(f"payload ({plural(len(q.payload), 'byte')}, {payload['encoding']}):")
        line(*(clean(part) for part in payload["payload"].splitlines()))


@command.command("replay", short_help="Send records through decoding and checks again.")
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only of this source; repeatable.")
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Those of this rule; repeatable.")
@detach_option
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    digests: tuple[str, ...],
    names: tuple[str, ...],
    rules: tuple[str, ...],
    detach: bool,
    as_json: bool,
) -> None:
    """Send records through decoding and checks again: all that are pending, or those of DIGEST.

    What has become a reading is committed like any other, and its record names the run. What is
    still none stays as it was.
    """
    from loader.commands.execution import CONFIG, runnable
    from loader.commands.following import carry_out
    from loader.commands.summary import print_reports
    from loader.work import Replay, records

    context: Context = ctx.obj
    wanted = Replay(rules=rules)
    if digests:
        found = [q for q in by_digest(context, names, digests) if wanted.fits(q)]
    else:
        store = context.store()
        found = [q for name in _sources(context, names) for q in records(store, name, wanted.fits, 1)]
    if not found:
        note("nothing is quarantined that fits")
        print_reports([], as_json=as_json)
        return
    works = {
        source: Replay(digests=_digests(found, source), rules=rules) if digests else wanted
        for source in runnable(context, tuple(dict.fromkeys(q.source for q in found)))
    }
    if not works:
        ctx.exit(CONFIG)
    done, code = carry_out(context, works, detach=detach, as_json=as_json)
    if not detach:
        print_reports([report for one in done for report in one.reports], as_json=as_json)
    ctx.exit(code)


@command.command("drop", short_help="Delete quarantined records for good.")
@click.argument("digests", nargs=-1, metavar="[DIGEST]...")
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only of this source; repeatable.")
@click.option("--rule", "rules", multiple=True, metavar="RULE", help="Those of this rule; repeatable.")
@click.option("--replayed", is_flag=True, help="Those that have become readings by a replay.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@detach_option
@yes_option
@click.pass_context
def drop(
    ctx: click.Context,
    digests: tuple[str, ...],
    names: tuple[str, ...],
    rules: tuple[str, ...],
    replayed: bool,
    everything: bool,
    detach: bool,
    yes: bool,
) -> None:
    """Delete quarantined records for good, by DIGEST or by what they have in common."""
    from loader.commands.following import carry_out
    from loader.wiring import now
    from loader.work import Drop, records

    if not (digests or rules or replayed or everything):
        raise UsageError("say which records to drop: digests, --rule, --replayed or --all")
    context: Context = ctx.obj
    store = context.store()

    wanted = Drop(rules=rules, replayed=replayed, until=now())
    if digests:
        asked = by_digest(context, names, digests)
        found = [q for q in asked if wanted.model_copy(update={"digests": (q.digest,)}).fits(q)]
    else:
        found = [q for name in _sources(context, names) for q in records(store, name, wanted.fits)]
    if not found:
        note("nothing is quarantined that fits")
        return
    for (source, rule), count in sorted(Counter((q.source, q.rule) for q in found).items()):
        line(clean(f"{source}: deletes {plural(count, 'record')} of rule {rule}"))
    lost = sum(q.replayed_by is None for q in found)
    if lost:
        line(f"{number(lost)} of them have not become readings: their content is lost then")
    confirm(yes)
    works = {
        source: wanted.model_copy(update={"digests": _digests(found, source)}) if digests else wanted
        for source in sorted({q.source for q in found})
    }
    done, code = carry_out(context, works, detach=detach)
    if not detach and code == 0:
        line(f"done: {plural(sum(one.result.get('quarantine', 0) for one in done), 'record')} deleted")
    ctx.exit(code)


def _digests(found: Sequence[Quarantined], source: str) -> tuple[str, ...]:
    return tuple(sorted({q.digest for q in found if q.source == source}))


def by_digest(context: Context, names: Sequence[str], asked: Sequence[str]) -> list[Quarantined]:
    """The records whose digests begin as asked. Raises UsageError for a beginning that none has,
    or that several have; one digest in several partitions is one record to whoever asks."""
    from loader.work import records

    store = context.store()
    starts = tuple(text.lower() for text in asked)

    def fits(q: Quarantined) -> bool:
        return q.digest.startswith(starts)

    found = [q for name in _sources(context, names) for q in records(store, name, fits, None)]
    for text, start in zip(asked, starts, strict=True):
        digests = sorted({q.digest for q in found if q.digest.startswith(start)})
        if not digests or not start:
            raise UsageError(
                f"no quarantined record has the digest {text}; `loader quarantine list` shows them"
            )
        if len(digests) > 1:
            raise UsageError(
                f"{text} fits {number(len(digests))} records, such as {digests[0]} and {digests[1]}"
            )
    return found


def _sources(context: Context, names: Sequence[str]) -> list[str]:
    stored = context.store().sources()
    return [name for name in chosen_sources(context, names) if name in stored]


def _item(q: Quarantined) -> dict[str, Any]:
    return {
        "digest": q.digest,
        "source": q.source,
        "partition": q.partition,
        "rule": q.rule,
        "reason": q.reason,
        "time": iso_or_none(q.time),
        "first_run": q.first_run,
        "last_seen": iso(q.last_seen),
        "count": q.count,
        "replayed_by": q.replayed_by,
    }


def _payload(q: Quarantined) -> dict[str, str]:
    try:
        return {"payload": q.payload.decode("utf-8"), "encoding": "utf-8"}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"payload": b64encode(q.payload).decode("ascii"), "encoding": "base64"}


def _row(q: Quarantined) -> list[str | None]:
    return [
        q.digest[:SHORT],
        q.source,
        q.partition,
        q.rule,
        iso_or_none(q.time),
        iso(q.last_seen - q.last_seen % 1_000_000),
        number(q.count),
        None if q.replayed_by is None else str(q.replayed_by),
        q.reason,
    ]

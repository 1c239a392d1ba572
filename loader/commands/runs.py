"""`loader runs`: what the last runs did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loader.commands.output import Column, ago, document, iso, note, number, table, tenth
from loader.commands.selection import NOTHING_LOADED, chosen_sources, json_option

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.records import RunReport

COUNTS = ("new", "revised", "late", "missing", "suspect", "failed", "quarantined", "requests")
"""The counts that the table shows; `--json` has all of them."""


@click.command("runs")
@click.option("--source", "name", metavar="NAME", help="Only this source.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="How many, the newest first.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, name: str | None, limit: int, as_json: bool) -> None:
    """Show what the last runs did, the newest first.

    A run without an end is running now, or its process died: then the next run of that source
    closes it as interrupted, with what it had committed.
    """
    context: Context = ctx.obj
    if name is not None:
        chosen_sources(context, [name])
    found = context.store().runs(name, limit)
    if as_json:
        from loader.commands.summary import as_dict

        document([as_dict(r) for r in found])
        return
    if not found:
        note(f"no run of {name} yet" if name else NOTHING_LOADED)
        return
    columns = [
        Column("id", right=True),
        *map(Column, ("source", "trigger", "started")),
        Column("took", right=True),
        Column("outcome"),
        *(Column(n, right=True, spare=n != "new") for n in COUNTS),
        Column("score", right=True),
        Column("error", prose=True, spare=True),
    ]
    table(columns, [_row(r) for r in found])


def _row(r: RunReport) -> list[str | None]:
    return [
        str(r.id),
        r.source,
        r.trigger,
        iso(r.started - r.started % 1_000_000),
        None if r.finished is None else ago(r.finished - r.started),
        "running" if r.outcome is None else str(r.outcome),
        *(number(getattr(r.counts, n)) for n in COUNTS),
        tenth(r.quality),
        r.error or "",
    ]

"""`loader prune`: delete what retention does not keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from loader.commands.options import detach_option, refuse_both, source_option
from loader.commands.output import Column, document, note, number, table
from loader.commands.selection import check, json_option

if TYPE_CHECKING:
    from loader.commands.context import Context


@click.command("prune")
@source_option(multiple=True)
@click.option("--dry-run", is_flag=True, help="Only say how many rows would go.")
@detach_option
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], dry_run: bool, detach: bool, as_json: bool) -> None:
    """Delete rows that are older than each source's `retention`.

    `loader run` and the daemon do so after their runs. Readings that were deleted are never
    fetched again.
    """
    from loader.commands.following import carry_out
    from loader.wiring import now
    from loader.work import Prune

    refuse_both(dry_run=dry_run, detach=detach)
    context: Context = ctx.obj
    sources = context.config().sources
    check(names, sources, "source")
    cutoffs = {
        name: found
        for name, settings in sources.items()
        if (not names or name in names) and (found := settings.retention.cutoffs(now()))
    }
    for name in names:
        if name not in cutoffs:
            note(f"{name}: has no retention in {context.config_path}: everything is kept")
    if not cutoffs and not names:
        note(f"no source has a retention in {context.config_path}: everything is kept")
    if dry_run:
        store = context.store()
        _print({name: store.prunable(name, cut) for name, cut in cutoffs.items()}, as_json=as_json)
        if cutoffs:
            note("dry run: nothing was deleted")
        return
    works = {name: Prune.of(cut) for name, cut in cutoffs.items()}
    done, code = carry_out(context, works, detach=detach, as_json=as_json)
    if not detach:
        _print({one.source: one.result for one in done if one.result}, as_json=as_json)
    ctx.exit(code)


def _print(rows: Mapping[str, Mapping[str, int]], *, as_json: bool) -> None:
    """Rows by source and table."""
    if as_json:
        document([{"source": source, "rows": dict(counts)} for source, counts in rows.items()])
        return
    cells = [
        [source, name, number(n)] for source, counts in rows.items() for name, n in counts.items() if n
    ]
    if cells:
        table([Column("source"), Column("table"), Column("rows", right=True)], cells)
    elif rows:
        note("nothing is too old")

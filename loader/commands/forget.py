"""`loader forget`: delete a source's readings and everything known about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loader.commands.options import detach_option
from loader.commands.output import Column, clean, confirm, line, note, number, table
from loader.commands.selection import check, yes_option

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Reports

EVERY_RUN = 1_000_000_000


@click.command("forget")
@click.argument("source")
@detach_option
@yes_option
@click.pass_context
def command(ctx: click.Context, source: str, detach: bool, yes: bool) -> None:
    """Delete a source's readings and everything known about it.

    That is: readings with their revisions, series, places, the ledger (partitions, coverage,
    holes), quarantine, runs, limit events, alerts, and requests that are over. A source that is
    still configured and enabled is loaded afresh by the next run; one that has left the
    configuration can be forgotten too.
    """
    from loader.commands.following import carry_out
    from loader.work import Forget

    context: Context = ctx.obj
    store = context.store()
    check([source], store.sources(), "source")
    line(clean(f"forget {source}: deletes from {store.url}"))
    _print(count(store, source))
    settings = context.config().sources.get(source)
    if settings is not None and settings.enabled:
        note(f"{source} is still enabled in {context.config_path}: the next run loads it again")
    confirm(yes)
    done, code = carry_out(context, {source: Forget()}, detach=detach)
    for one in done:
        if one.code == 0:
            line("", "deleted:")
            _print(dict(one.result))
    ctx.exit(code)


def count(reports: Reports, source: str) -> dict[str, int]:
    """Rows of the source by table, as far as a reader sees them: revisions, lateness and batches
    go with their readings, series and runs."""
    states, series = reports.partitions(source), reports.series(source)
    ids = [s.id for s in series]
    return {
        "reading": _readings(reports, ids),
        "series": len(series),
        "place": sum(map(len, reports.places(ids).values())),
        "partition": len(states),
        "coverage": sum(len(s.coverage) for s in states),
        "hole": sum(len(s.holes) for s in states),
        "quarantine": _quarantined(reports, source),
        "run": len(reports.runs(source, EVERY_RUN)),
    }


def _readings(reports: Reports, ids: list[int]) -> int:
    from loader.readings import Window

    return sum(map(len, reports.scan(ids, Window(-(2**62), 2**62))))


def _quarantined(reports: Reports, source: str) -> int:
    return len(reports.quarantined(source, EVERY_RUN))


def _print(rows: dict[str, int]) -> None:
    table([Column("table"), Column("rows", right=True)], [[name, number(n)] for name, n in rows.items()])

"""`loader recheck`: flag stored readings anew after thresholds have changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from loader.commands.options import detach_option, refuse_both
from loader.commands.output import Column, document, line, note, number, table
from loader.commands.selection import Period, check, json_option, period_options

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.work import Recheck


@click.command("recheck")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--station", "stations", multiple=True, metavar="NAME", help="Only this station; repeatable.")
@click.option(
    "--parameter", "parameters", multiple=True, metavar="NAME", help="Only this parameter; repeatable."
)
@period_options
@click.option("--dry-run", is_flag=True, help="Only say which flags would change.")
@detach_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    sources: tuple[str, ...],
    stations: tuple[str, ...],
    parameters: tuple[str, ...],
    when: Period,
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Flag stored readings anew by the thresholds of today, and count what changed.

    Nothing is taken out, whatever a rule's policy; values and revisions stay as they are.
    Interrupted, it is simply given again.
    """
    from loader.commands.following import carry_out
    from loader.work import Recheck

    refuse_both(dry_run=dry_run, detach=detach)
    context: Context = ctx.obj
    configured, store = context.config().sources, context.store()
    check(sources, configured, "source")
    chosen = [name for name in configured if not sources or name in sources]
    of_these = [one for one in store.series(None) if one.source in chosen]
    check(stations, (one.series.station for one in of_these), "station")
    check(parameters, (one.series.parameter for one in of_these), "parameter")
    work = Recheck(stations=stations, parameters=parameters, since=when.since, until=when.until)
    chosen = [name for name in chosen if work.series(store, name)]
    if not chosen:
        note("no readings fit what was asked for")
    if dry_run:
        _print({name: _counted(context, work, name) for name in chosen}, as_json=as_json)
        note("dry run: no flag was changed")
        return
    works = {name: _with_rules(context, work, name) for name in chosen}
    done, code = carry_out(context, works, detach=detach, as_json=as_json)
    if not detach:
        _print({one.source: one.result for one in done if one.result}, as_json=as_json)
    ctx.exit(code)


def _with_rules(context: Context, work: Recheck, source: str) -> Recheck:
    """The work with the fingerprint of the thresholds that are to be applied."""
    from loader.recheck import fingerprint
    from loader.wiring import build_check

    check = build_check(context.config(), source)
    return work.model_copy(update={"rules": fingerprint(check, work.series(context.store(), source))})


def _counted(context: Context, work: Recheck, source: str) -> Mapping[str, int]:
    """What would change, without the lease."""
    from loader.assess.near import recheck_all
    from loader.wiring import build_check

    store = context.store()
    checker = build_check(context.config(), source)
    changes, _ = recheck_all(store, store, None, checker, work.series(store, source), work.window)
    return changes.as_dict()


def _print(found: Mapping[str, Mapping[str, int]], *, as_json: bool) -> None:
    """What changed, by source."""
    if as_json:
        document([{"source": source, **counts} for source, counts in found.items()])
        return
    for source, counts in found.items():
        line(f"{source}: {number(counts['checked'])} readings checked, {number(counts['changed'])} changed")
    rows = [
        [source, what, number(count)]
        for source, counts in found.items()
        for what, count in counts.items()
        if what not in {"checked", "changed"}
    ]
    if rows:
        table([Column("source"), Column("change"), Column("readings", right=True)], rows)

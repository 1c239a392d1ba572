"""`loader backfill`: load a stretch of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loader.commands.options import detach_option, log_level_option, source_option, window_of

if TYPE_CHECKING:
    from loader.commands.context import Context


@click.command("backfill")
@source_option(multiple=True)
@click.option("--since", metavar="TIME", required=True, help="From this time on (ISO 8601, or 90d).")
@click.option("--until", metavar="TIME", help="Up to this time (default: now).")
@click.option(
    "--location", "stations", multiple=True, metavar="STATION", help="Only this station; repeatable."
)
@click.option("--only", "sensors", multiple=True, metavar="SENSOR", help="Only this sensor; repeatable.")
@click.option("--retry-holes", is_flag=True, help="Try holes in the stretch too, those given up included.")
@detach_option
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@log_level_option
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    since: str,
    until: str | None,
    stations: tuple[str, ...],
    sensors: tuple[str, ...],
    retry_holes: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Load a stretch of the past, as far as it is not covered yet.

    Interrupted, it continues where it was when the same command is given again. It leaves a
    fifth of the request limits to ordinary runs. Where another loader works on the source it is
    queued for that one and followed.
    """
    from loader.commands.execution import CONFIG, runnable
    from loader.commands.following import carry_out
    from loader.commands.run import show
    from loader.work import Backfill

    context: Context = ctx.obj
    window = window_of(since, until)
    assert window is not None  # noqa: S101 (--since is required)
    work = Backfill(
        since=window.start, until=window.end, stations=stations, sensors=sensors, retry_holes=retry_holes
    )
    chosen = runnable(context, names)
    if not chosen:
        ctx.exit(CONFIG)
    done, code = carry_out(context, dict.fromkeys(chosen, work), detach=detach, as_json=as_json)
    if not detach:
        show([report for one in done for report in one.reports], as_json=as_json)
    ctx.exit(code)

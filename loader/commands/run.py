"""`loader run`: load what is new, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.commands.options import log_level_option, source_option, spool_option, window_of
from loader.commands.output import note
from loader.errors import LoaderError, StoreError, StoreUnavailable
from loader.records import RunReport

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.herald import Herald


@click.command("run")
@source_option(multiple=True)
@click.option(
    "--location", "stations", multiple=True, metavar="STATION", help="Only this station; repeatable."
)
@click.option("--only", "sensors", multiple=True, metavar="SENSOR", help="Only this sensor; repeatable.")
@click.option("--since", metavar="TIME", help="Read from this time on (ISO 8601, or 7d = seven days ago).")
@click.option("--until", metavar="TIME", help="Read up to this time; needs --since.")
@click.option("--retry-holes", is_flag=True, help="Try every hole now, those given up included.")
@click.option("--dry-run", is_flag=True, help="Fetch and check, but write nothing.")
@click.option(
    "--summary", type=click.Path(path_type=Path, dir_okay=False), help="Append a Markdown summary."
)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LOADER_METRICS_FILE",
    show_envvar=True,
    help="Write figures for Prometheus' textfile collector.",
)
@spool_option
@click.option("--trigger", default="command", show_default=True, help="What to record as the run's cause.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as JSON.")
@log_level_option
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    stations: tuple[str, ...],
    sensors: tuple[str, ...],
    since: str | None,
    until: str | None,
    retry_holes: bool,
    dry_run: bool,
    summary: Path | None,
    metrics_file: Path | None,
    spool: Path,
    trigger: str,
    as_json: bool,
) -> None:
    """Load what is new from every source, once.

    Without options it reads what is new since the last run, looks back for late readings, and
    tries the holes that are due. With --since it reads that stretch again. Afterwards it works
    what was requested meanwhile, and sends the alerts that the configuration asks for.
    """
    from loader.commands.execution import execute, obey
    from loader.pipeline import Order

    context: Context = ctx.obj
    if summary is not None:
        append(summary, "")
    order = Order(
        trigger=trigger,
        stations=stations,
        sensors=sensors,
        window=window_of(since, until),
        retry_holes=retry_holes,
        dry_run=dry_run,
    )
    if dry_run:
        reports, code = execute(context, names, obey(order), trigger)
    else:
        with heralded(context, spool, metrics_file) as herald:
            reports, code = execute(context, names, obey(order), trigger, herald)
    show(reports, as_json=as_json, dry_run=dry_run)
    if not (as_json or dry_run):
        welcome(context, reports)
    if summary is not None:
        from loader.commands.summary import page

        append(summary, page(context, reports, dry_run=dry_run))
    ctx.exit(code)


@contextmanager
def heralded(context: Context, spool: Path, metrics_file: Path | None) -> Iterator[Herald]:
    """Who tells of the runs; the metrics are written at the end, however that comes."""
    from loader import wiring
    from loader.commands.execution import DELIVERY_S
    from loader.herald import Herald

    config = context.config()
    metrics = None
    if metrics_file is not None:
        # Only then: its library takes as long to import as all of a small run.
        from loader.metrics import Metrics

        metrics = Metrics(list(config.sources))
    herald = Herald(wiring.build_audience(config, {}, spool), metrics, list, wiring.now)
    try:
        yield herald
    except (StoreError, StoreUnavailable):
        herald.round(DELIVERY_S, [])
        raise
    finally:
        herald.close()
        if metrics is not None and metrics_file is not None:
            try:
                metrics.write(metrics_file)
            except OSError as error:
                raise LoaderError(f"cannot write {metrics_file}: {error.strerror}") from error


def append(file: Path, text: str) -> None:
    """Write at the end of a file; before the run with nothing, to know that it can be written."""
    try:
        with file.open("a", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise LoaderError(f"cannot write {file}: {error.strerror}; name another place") from error


def welcome(context: Context, reports: list[RunReport]) -> None:
    """Say where the readings are, after the first run that brought some."""
    with suppress(LoaderError):
        store = context.store()
        brought = [r for r in reports if r.counts.new]
        if any(all(o.id == r.id or not o.counts.new for o in store.runs(r.source, 50)) for r in brought):
            note(f"readings are in {store.url}; see: loader status, loader export --help")


def show(reports: list[RunReport], *, as_json: bool, dry_run: bool = False) -> None:
    """Print what the runs did."""
    from loader.commands.summary import print_reports

    print_reports(reports, as_json=as_json, dry_run=dry_run)

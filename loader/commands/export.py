"""`loader export`: readings as CSV, NDJSON or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.commands.options import output_option
from loader.commands.output import FileOutput, StdOutput, note
from loader.commands.selection import (
    NOTHING_LOADED,
    Period,
    Selection,
    chosen_series,
    period_options,
    series_options,
)
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.export import Extra
    from loader.records import StoredSeries

SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json"}


@click.command("export")
@series_options
@period_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson", "json"]),
    help="Default: by the name of the output file, else csv.",
)
@click.option(
    "--layout",
    type=click.Choice(["long", "wide"]),
    default="long",
    show_default=True,
    help="long: a row for each reading; wide: one for each station and time.",
)
@click.option(
    "--zone",
    type=click.Choice(["utc", "station"]),
    default="utc",
    show_default=True,
    help="Times in UTC, or in the station's zone with their offset.",
)
@click.option("--flags", is_flag=True, help="In the wide layout, add a flag column to each parameter.")
@click.option(
    "--with",
    "extras",
    metavar="WHAT",
    default="",
    help="More columns, with commas between: zscore, alert (1 = an anomaly), tests (what objects).",
)
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    asked: Selection,
    when: Period,
    form: str | None,
    layout: str,
    zone: str,
    flags: bool,
    extras: str,
    output: Path,
) -> None:
    """Write readings as CSV, NDJSON or JSON, sorted by source, station and time.

    Missing values are empty or null. In CSV, a text that a spreadsheet would take for a formula
    gets an apostrophe before it; numbers are never touched.
    """
    from loader.export import Form, Layout, Style, export

    context: Context = ctx.obj
    series = chosen_series(context, asked)
    style = Style(
        form=Form(form or SUFFIXES.get(output.suffix.lower(), "csv")),
        layout=Layout(layout),
        local=zone == "station",
        flags=flags,
        extras=_extras(extras),
    )
    if style.local:
        _tell_zones(series)
    pieces = 0
    with StdOutput() if output == Path("-") else FileOutput(output) as out:
        for piece in export(context.store(), series, when.window, style):
            out.write(piece)
            pieces += 1
    if pieces == (0 if style.form is Form.NDJSON else 1):
        note(NOTHING_LOADED if not context.store().sources() else "no readings fit what was asked for")


def _extras(text: str) -> tuple[Extra, ...]:
    """What `--with` asks for, each once. Raises UsageError."""
    from loader.export import Extra

    asked = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    for name in asked:
        if name not in list(Extra):
            raise UsageError(f"--with {name}: there is {', '.join(Extra)}")
    return tuple(map(Extra, asked))


def _tell_zones(series: list[StoredSeries]) -> None:
    """Say which stations stay in UTC: their zone is not known."""
    from loader.zones import zone_of

    known = {(s.source, s.series.station): False for s in series}
    for s in series:
        known[s.source, s.series.station] |= zone_of(s.series.timezone) is not None
    for (_, station), zoned in known.items():
        if not zoned:
            note(f"station {station}: its zone is not known, its times stay in UTC")

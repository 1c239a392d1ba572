"""`loader quality export`: the rules of the configuration for another program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.commands.options import output_option, source_option
from loader.commands.output import FileOutput, StdOutput
from loader.commands.selection import Selection, check, chosen_series, chosen_sources
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.expectations import Ruled
    from loader.readings import Series
    from loader.records import StoredSeries


@click.command("export")
@source_option(multiple=True)
@click.option(
    "--parameter", "parameters", multiple=True, metavar="NAME", help="Only this parameter; repeatable."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["gx"]),
    default="gx",
    show_default=True,
    help="gx: an expectation suite of Great Expectations 1.x, as JSON.",
)
@click.option(
    "--layout",
    type=click.Choice(["long", "wide"]),
    default="long",
    show_default=True,
    help="For tables as loader export writes them in this layout.",
)
@click.option(
    "--columns",
    metavar="A,B,...",
    help="In the wide layout, the columns of values (default: those of the stored series).",
)
@click.option(
    "--keys",
    metavar="A,B,...",
    default="source,station,time",
    show_default=True,
    help="In the wide layout, the columns that name a row; unit,cycle for engines.",
)
@click.option(
    "--mostly",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="The share of values that has to be within its range.",
)
@click.option("--name", "suite_name", default="loader", show_default=True, help="What the suite is called.")
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    parameters: tuple[str, ...],
    form: str,  # noqa: ARG001 - there is one
    layout: str,
    columns: str | None,
    keys: str,
    mostly: float,
    suite_name: str,
    output: Path,
) -> None:
    """Write the rules of the configuration as a Great Expectations suite.

    It has the ranges outside of which a reading fails, units, types, and what names a row. What
    has not been loaded yet has the rules of the configuration all the same.
    """
    from loader.expectations import long_suite, wide_suite

    context: Context = ctx.obj
    if layout == "long":
        if columns is not None or keys != "source,station,time":
            raise UsageError("--columns and --keys are for --layout wide")
        suite = long_suite(suite_name, _ruled(context, _long(context, names, parameters)), mostly)
    else:
        wanted = None if columns is None else _list(columns, "--columns")
        by_column = _wide(context, names, parameters, wanted)
        suite = wide_suite(
            suite_name,
            {column: _ruled(context, members) for column, members in by_column.items()},
            _list(keys, "--keys"),
            mostly,
        )
    text = json.dumps(suite, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    with StdOutput() if output == Path("-") else FileOutput(output) as out:
        out.write(text.encode("utf-8", "backslashreplace"))


Named = tuple[str, "Series"]
"""A series and its source."""


def _list(text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"{option} is a list of different names with commas between, such as s1,s2")
    return names


def _long(context: Context, names: tuple[str, ...], parameters: tuple[str, ...]) -> list[Named]:
    """The stored series that fit; before anything was loaded, one for each parameter and unit that
    the configuration names."""
    if context.store().sources():
        return _named(chosen_series(context, Selection(names, parameters=parameters)))
    sources = chosen_sources(context, names)
    config = context.config()
    configured = {source: config.quality.rules(config.sources[source].quality) for source in sources}
    check(parameters, {name for rules in configured.values() for name in rules}, "parameter")
    return [
        (source, _unstored(parameter, unit))
        for source, rules in configured.items()
        for parameter, rule in rules.items()
        if not parameters or parameter in parameters
        for unit in dict.fromkeys([*((rule.unit,) if rule.unit else ()), *rule.ranges, *rule.units])
    ]


def _wide(
    context: Context, names: tuple[str, ...], parameters: tuple[str, ...], wanted: list[str] | None
) -> dict[str, list[Named]]:
    """The series that stand in each column of values."""
    from loader.export import Form, Layout, Style, export
    from loader.readings import Window

    series = (
        chosen_series(context, Selection(names, parameters=parameters)) if context.store().sources() else []
    )
    if wanted is None:
        # The header that an export of these series has.
        style = Style(form=Form.CSV, layout=Layout.WIDE)
        head = next(iter(export(context.store(), series, Window(0, 0), style))).decode()
        wanted = _cells(head)[3:]
        if not wanted:
            raise UsageError("nothing has been loaded yet: name the columns with --columns")
    sources = chosen_sources(context, names)
    found = {}
    for column in wanted:
        stored = [one for one in series if _stands_in(one, column)]
        found[column] = _named(stored) or [(source, _unstored(column, "")) for source in sources]
    return found


def _stands_in(one: StoredSeries, column: str) -> bool:
    """Whether a series may stand in the column of that name: its parameter, with the unit where
    there are several, and a number where there are several sensors."""
    parameter, unit = one.series.parameter, one.series.unit
    return re.sub(r" #\d+$", "", column) in {_cell(parameter), _cell(f"{parameter} [{unit}]")}


def _unstored(parameter: str, unit: str) -> Series:
    from loader.readings import Series

    return Series("", parameter, unit, station="", partition="")


def _named(series: Iterable[StoredSeries]) -> list[Named]:
    return [(one.source, one.series) for one in series]


def _ruled(context: Context, series: Sequence[Named]) -> list[Ruled]:
    """Each series with its rule, with texts as they stand in the cells of an export."""
    from loader.commands.explain import checks
    from loader.expectations import Ruled

    known = {source: checks(context, source) for source, _ in series}
    found = []
    for source, one in series:
        rule = known[source].rule(one)
        as_written = replace(
            one,
            sensor=_cell(one.sensor),
            station=_cell(one.station),
            parameter=_cell(one.parameter),
            unit=_cell(one.unit),
        )
        found.append(Ruled(_cell(source), as_written, replace(rule, units=tuple(map(_cell, rule.units)))))
    return found


def _cell(text: str) -> str:
    """What a program reads in a cell that an export wrote this text into."""
    from loader.export import cell

    return "".join(_cells(cell(text)))


def _cells(line: str) -> list[str]:
    import csv
    import io

    return next(csv.reader(io.StringIO(line, newline="")), [])

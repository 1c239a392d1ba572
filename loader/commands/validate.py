"""`loader validate`: the checks of loading over files, without loading."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.commands.output import FileOutput, clean, document, note
from loader.commands.validationtext import show
from loader.errors import UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

    from loader.commands.context import Context
    from loader.findings import QualityDay
    from loader.quality.cadence import Episode
    from loader.quality.checks import Checks
    from loader.readings import Int64, Readings, Series
    from loader.settings.quality import QualitySettings, SourceQuality
    from loader.validation.result import Examination


@click.command("validate")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "json", "ndjson", "parquet"]),
    help="Format of the files (default: by their content).",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="WHAT=COLUMN",
    help="Which column, by name or number from 1, is time, value, parameter, unit, station, sensor, date, "
    "clock, latitude or longitude; else WHAT is the parameter that the column has values of. Repeatable.",
)
@click.option("--cycle", metavar="COLUMN", help="The column that counts cycles, instead of times.")
@click.option(
    "--unit",
    "units",
    multiple=True,
    metavar="PARAMETER=UNIT",
    help="The unit of a parameter that the file gives none for. Repeatable.",
)
@click.option(
    "--parameter", "parameters", multiple=True, metavar="NAME", help="Only this parameter; repeatable."
)
@click.option(
    "--source", "source", metavar="NAME", help="Judge by the rules of this source of the configuration."
)
@click.option("--cadence", metavar="DURATION", help="Time between readings, such as 1h (default: learned).")
@click.option(
    "--timezone", default="UTC", show_default=True, metavar="ZONE", help="Zone of times that name none."
)
@click.option(
    "--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of text files."
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Look at about N records of each file, in up to ten blocks.",
)
@click.option(
    "--max-lines",
    type=click.IntRange(min=1),
    default=20_000_000,
    show_default=True,
    metavar="N",
    help="Read at most so many lines of each file.",
)
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="SCORE",
    help="Exit with 1 where the score is below this, or there is none.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a report as one HTML file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    form: str | None,
    columns: tuple[str, ...],
    cycle: str | None,
    units: tuple[str, ...],
    parameters: tuple[str, ...],
    source: str | None,
    cadence: str | None,
    timezone: str,
    encoding: str,
    sample: int | None,
    max_lines: int,
    fail_under: float | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Check readings in files as loading would, without loading them.

    Files are CSV (any separator), JSON, NDJSON or Parquet, also compressed with gzip; together they
    are one data set. No store is needed, and no configuration: without one the shipped rules hold.

    Exit codes: 0 the files were read, whatever the checks say; 1 a file cannot be read to its end or
    understood, or has lines that are no records, or the score is below --fail-under; 2 usage; 78
    configuration.
    """
    from loader.quality.checks import Checks
    from loader.settings.rules import rule_of
    from loader.validation.collect import Collector
    from loader.validation.examine import examine
    from loader.validation.files import Wishes
    from loader.validation.result import document as as_document
    from loader.wiring import now

    if report is not None and report.resolve() in [path.resolve() for path in files]:
        raise UsageError(f"--report {report}: is one of the files to check; name another file")
    quality, its, said = _rules(ctx.obj, source)
    checks = Checks(rule_of(quality, its))
    chosen = _pairs(columns, "--column", "time=date_utc")
    if cycle is not None:
        chosen["cycle"] = cycle
    known = {*quality.rules(its), *its.parameters, *(p for rules in its.stations.values() for p in rules)}
    collector = Collector(
        Wishes(
            format=form,
            columns=chosen,
            units=_pairs(units, "--unit", "o3=ppm"),
            parameters=parameters,
            known=tuple(sorted(known)),
            zone=_zone(timezone),
            encoding=_encoding(encoding),
            sample=sample,
            lines=max_lines,
            earliest=quality.earliest_us,
            latest=now() + quality.future,
        )
    )
    set_s = _duration(cadence)
    for path in files:
        collector.add(path)
    weights = quality.weights.as_weights()
    drawings = None
    if report is not None:
        from loader.validation.report import Drawings, Judgement, page

        drawings = Drawings(checks)
    found = examine(
        collector.done(),
        checks,
        set_cadence=lambda s: set_s or _of_rule(checks, s),
        days_of=days_of,
        weights=weights,
        look=None if drawings is None else drawings.look,
    )
    if report is not None and drawings is not None:
        with FileOutput(report) as out:
            for part in page(found, drawings, Judgement(checks, said, weights), now()):
                out.write(part.encode("utf-8", "replace"))
    if as_json:
        document(as_document(found))
    else:
        show(found)
    for error in found.errors:
        note(f"loader: {clean(error)}")
    _unknown(found, (*parameters, *_pairs(units, "--unit", "o3=ppm")))
    low = fail_under is not None and (found.score is None or found.score.total < fail_under)
    if low:
        what = "there is no score" if found.score is None else f"the score is {found.score.total:.2f}"
        note(f"loader: {what}; --fail-under asks for {fail_under:g}")
    if low or found.malformed:
        ctx.exit(1)


def _rules(context: Context, source: str | None) -> tuple[QualitySettings, SourceQuality, str]:
    """The rules to judge by, and which they are. Without a configuration file, those that are shipped."""
    from loader.config import shipped
    from loader.settings.quality import QualitySettings, SourceQuality

    if source is None and context.config_path == shipped("config.yaml"):
        return QualitySettings(), SourceQuality(), "The rules that are shipped with the loader."
    config = context.config()
    of = f"The rules of {context.config_path.name}"
    if source is None:
        return config.quality, SourceQuality(), f"{of}."
    if source not in config.sources:
        raise UsageError(f"there is no source {source}; there are: {', '.join(config.sources)}")
    return config.quality, config.sources[source].quality, f"{of} for the source {source}."


def _pairs(given: Sequence[str], option: str, example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for one in given:
        name, equals, value = (part.strip() for part in one.partition("="))
        if not (name and equals and value):
            raise UsageError(f"{option} {one}: write it as {option} {example}")
        if name in pairs:
            raise UsageError(f"{option}: {name} is given twice; give it once")
        pairs[name] = value
    return pairs


def _zone(name: str) -> tzinfo:
    from loader.zones import zone_of

    zone = zone_of(name)
    if zone is None:
        raise UsageError(f"--timezone {name}: is no zone; write one such as Europe/Paris or UTC")
    return zone


def _encoding(name: str) -> str:
    try:
        found = codecs.lookup(name).name
        if "\n,".encode(name) == b"\n," and b"\n,".decode(name) == "\n,":
            return found
    except (LookupError, UnicodeError, TypeError, ValueError):
        pass
    raise UsageError(f"--encoding {name}: is not known, or no kind of ASCII; write one such as latin-1")


def _duration(text: str | None) -> float | None:
    from loader.settings.durations import parse_duration

    if text is None:
        return None
    try:
        micros = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--cadence {text}: {error}") from None
    if micros <= 0:
        raise UsageError("--cadence 0: readings have some time between them; write one such as 1h")
    return micros / 1e6


def _of_rule(checks: Checks, series: Series) -> float | None:
    micros = checks.rule(series).cadence
    return micros / 1e6 if micros else None


def _unknown(found: Examination, names: Sequence[str]) -> None:
    """Say which parameters the command line speaks of that no file has."""
    from loader.validation.columns import plain

    there = {plain(t.series.parameter) for t in found.tallies}
    for name in names:
        if plain(name) not in there:
            note(f"loader: no reading of {name} in any of the files")


def days_of(readings: Readings, cadences: Sequence[Episode], moves: Int64) -> Sequence[QualityDay]:
    """The days of one series, as an assessment after a run would count them."""
    import numpy as np

    from loader.assess.columns import Columns
    from loader.assess.days import quality_days
    from loader.findings import day_of
    from loader.quality.score import Weights
    from loader.readings import DAY, Window

    first, last = int(readings.time[0]), int(readings.time[-1])
    span = Window(day_of(first), day_of(last) + DAY)
    its = (readings.time, readings.value, readings.flag, readings.tests)
    kept = Columns(span.start, *its, np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
    return quality_days(
        0,
        span,
        kept,
        known=(first, last),
        episodes=cadences,
        declared_s=cadences[0][1] if cadences else None,
        moves=moves,
        shortcomings={},
        weights=Weights(),
    )

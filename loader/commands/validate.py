"""`loader validate`: the checks of loading over files, without loading."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import Column, FileOutput, document, line, note, number, plural, table
from loader.errors import UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

    from loader.commands.context import Context
    from loader.quality.checks import Checks
    from loader.quality.score import Score
    from loader.qualitysettings import QualitySettings, SourceQuality
    from loader.readings import Series
    from loader.validation.collect import File
    from loader.validation.result import Examination, Tally

SERIES = 40
"""So many series are listed, the worst ones."""

FAILING = 20


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
    from loader.qualityrules import rule_of
    from loader.validation.collect import Collector, Wishes
    from loader.validation.examine import examine
    from loader.validation.result import document as as_document
    from loader.wiring import now

    quality, its = _rules(ctx.obj, source)
    checks = Checks(rule_of(quality, its))
    chosen = _pairs(columns, "--column", "time=date_utc")
    if cycle is not None:
        chosen["cycle"] = cycle
    known = {*quality.parameters, *its.parameters, *(p for rules in its.stations.values() for p in rules)}
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
    found = examine(
        collector.done(), checks, lambda s: set_s or _of_rule(checks, s), quality.weights.as_weights()
    )
    if report is not None:
        from loader.validation.report import page

        with FileOutput(report) as out:
            for part in page(found, now()):
                out.write(part.encode("utf-8", "replace"))
    if as_json:
        document(as_document(found))
    else:
        _print(found)
    for error in found.errors:
        note(f"loader: {error}")
    low = fail_under is not None and (found.score is None or found.score.total < fail_under)
    if low:
        what = "there is no score" if found.score is None else f"the score is {found.score.total:.2f}"
        note(f"loader: {what}; --fail-under asks for {fail_under:g}")
    if not found.tallies and not found.errors:
        note(f"loader: no reading of {', '.join(parameters)} in any of the files")
    if low or found.malformed:
        ctx.exit(1)


def _rules(context: Context, source: str | None) -> tuple[QualitySettings, SourceQuality]:
    """The rules to judge by. Without a configuration file, those that are shipped."""
    from loader.config import shipped
    from loader.qualitysettings import QualitySettings, SourceQuality

    if source is None and context.config_path == shipped("config.yaml"):
        return QualitySettings(), SourceQuality()
    config = context.config()
    if source is None:
        return config.quality, SourceQuality()
    if source not in config.sources:
        raise UsageError(f"there is no source {source}; there are: {', '.join(config.sources)}")
    return config.quality, config.sources[source].quality


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
    from loader.durations import parse_duration

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


def _print(found: Examination) -> None:
    _files(found.files)
    _schemas(found.files)
    if found.tallies:
        _checks(found)
        _series(found.tallies)
        _gaps(found)
    _failing(found)
    if found.sampled:
        line("", "A sample was looked at: whole blocks, and nothing of what lies between them.")
    line("", _verdict(found.score))


def _files(files: Sequence[File]) -> None:
    columns = [
        Column("file"),
        Column("format"),
        Column("form"),
        Column("records", right=True),
        Column("readings", right=True),
        Column("failing", right=True),
        Column("remarks", prose=True),
    ]
    rows = [
        [
            f.path,
            f.format or None,
            None if f.layout is None else "wide" if f.layout.wide else "long",
            number(f.records),
            number(f.readings),
            number(sum(f.failing.values())),
            "; ".join(_remarks(f)),
        ]
        for f in files
    ]
    table(columns, rows)


def _remarks(file: File) -> Iterator[str]:
    if file.error is not None:
        yield "not read (to its end)"
    if file.sampled:
        yield "a sample"
    if file.cut:
        yield "goes on after the last line read (--max-lines)"
    if file.naive:
        yield f"{plural(file.naive, 'times')} without a zone"
    for what in ("absent", "nan", "infinite"):
        if count := getattr(file.values, what):
            yield f"{plural(count, 'values')} {what}"
    for rule, count in sorted(file.failing.items()):
        yield f"{number(count)} {rule}"
    yield from file.notes


def _schemas(files: Sequence[File]) -> None:
    """The columns, once for all files that have the same ones."""
    seen: dict[Any, list[File]] = {}
    for f in files:
        if f.layout is not None:
            seen.setdefault((tuple(f.types), tuple(f.layout.roles().items())), []).append(f)
    for (_, roles), same in seen.items():
        title = "columns" if len(seen) == 1 else f"columns of {same[0].path}"
        if len(seen) > 1 and len(same) > 1:
            title += f" and {plural(len(same) - 1, 'others')}"
        taken: Mapping[str, str] = dict(roles)
        line("")
        rows = [[name, kind, taken.get(name, "not used")] for name, kind in same[0].types.items()]
        table([Column("column"), Column("holds"), Column("taken for")], rows, title)


def _checks(found: Examination) -> None:
    from loader.validation.result import when

    line("")
    cycles = any(t.cycles for t in found.tallies)
    rows = [
        [name, number(seen.count), when(seen.time, cycles), f"{seen.file}:{seen.line}"]
        for name, seen in found.checks.items()
    ]
    columns = [Column("check"), Column("readings", right=True), Column("first"), Column("where")]
    if rows:
        table(columns, rows, "what checks object to")
    else:
        line("no check objects to any reading")
    said = {f.name: getattr(found.repeats, f.name) for f in fields(found.repeats)}
    words = {
        "same": "repeated in one file",
        "other": "repeated in one file with another value",
        "again": "in several files",
        "revised": "in several files with different values",
    }
    told = [f"{plural(said[name], 'readings')} {text}" for name, text in words.items() if said[name]]
    unordered = sum(t.unordered for t in found.tallies)
    if unordered:
        told.append(f"{plural(unordered, 'readings')} out of order")
    line(*told)


def _series(tallies: Sequence[Tally]) -> None:
    line("")
    columns = [
        Column("station"),
        Column("parameter"),
        Column("unit", spare=True),
        Column("readings", right=True),
        Column("cadence", right=True),
        Column("missing", right=True),
        Column("suspect", right=True),
        Column("failed", right=True),
        Column("gaps", right=True),
        Column("complete", right=True),
        Column("score", right=True),
        Column("remarks", prose=True),
    ]
    worst = sorted(tallies, key=lambda t: t.rank)[:SERIES]
    worst.sort(key=lambda t: (t.series.station, t.series.parameter, t.series.unit))
    rows = [
        [
            t.series.station,
            t.series.parameter,
            t.series.unit,
            number(t.counts.revised),
            _cadence(t),
            number(t.counts.missing),
            number(t.counts.suspect),
            number(t.counts.failed),
            number(t.gaps.count),
            None if not t.counts.due else f"{100 * t.counts.observed / t.counts.due:.1f} %",
            None if t.score is None else f"{t.score.total:.1f}",
            _telling(t),
        ]
        for t in worst
    ]
    more = f"; the worst {SERIES}, --json has all" if len(tallies) > SERIES else ""
    table(columns, rows, f"{number(len(tallies))} series{more}")


def _cadence(tally: Tally) -> str | None:
    from loader.durations import format_duration
    from loader.validation.result import cycles

    if not tally.cadences:
        return None
    cadence_s = tally.cadences[-1][1]
    text = cycles(cadence_s) if tally.cycles else format_duration(round(cadence_s * 1e6))
    return text + (" (changed)" if len(tally.cadences) > 1 else "")


def _telling(tally: Tally) -> str:
    told = [f"{name} {number(seen.count)}" for name, seen in tally.checks.items()]
    if tally.unevaluated:
        told.append(f"not evaluated {number(tally.unevaluated)}")
    if tally.code is not None:
        value, count = tally.code
        told.append(f"{value:g} comes {number(count)} times: a code for no value? see quality.sentinels")
    if tally.moved:
        told.append(f"moved {plural(tally.moved, 'times')}")
    return "; ".join(told)


def _gaps(found: Examination) -> None:
    from loader.validation.result import when

    rows = [
        [
            t.series.station,
            t.series.parameter,
            when(window.start, t.cycles),
            when(window.end, t.cycles),
            number(count),
        ]
        for t in found.tallies
        for window, count in t.gaps.longest
    ]
    rows.sort(key=lambda row: -int(str(row[4]).replace(",", "")))
    if not rows:
        return
    line("")
    columns = [
        Column("station"),
        Column("parameter"),
        Column("from"),
        Column("to"),
        Column("missing", right=True),
    ]
    title = f"{plural(found.gaps.count, 'gaps')} with {plural(found.gaps.missing, 'readings')} missing"
    table(columns, rows[:5], title + ("; the longest five" if found.gaps.count > 5 else ""))


def _failing(found: Examination) -> None:
    from loader.commands.output import clean

    if not found.troubles:
        return
    shown = [clean(str(one)) for one in found.troubles[:FAILING]]
    more = len(found.troubles) - len(shown)
    line("", "the first failing lines", *(f"  {one}" for one in shown))
    if more > 0:
        line("  ... --json has more")


def _verdict(score: Score | None) -> str:
    from loader.quality.score import COMPONENT_NAMES

    if score is None:
        return "no score: no cadence is known, so nothing was due (see --cadence)"
    parts = [
        f"{name} {100 * share:.2f} %"
        for name in COMPONENT_NAMES
        if (share := getattr(score.components, name)) is not None
    ]
    return f"score {score.total:.2f}: {', '.join(parts)} (when readings came, a file does not tell)"

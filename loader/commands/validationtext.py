"""The findings of `loader validate` as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from loader.commands.output import Column, clean, line, number, plural, table

if TYPE_CHECKING:
    from loader.quality.score import Score
    from loader.validation.files import File
    from loader.validation.result import Examination, Tally

SERIES = 40
"""So many series are listed, the worst ones."""

FAILING = 20


def show(found: Examination) -> None:
    """Print everything that was found."""
    _files(found.files)
    _schemas(found.files)
    if found.tallies:
        _checks(found)
        _series(found.tallies)
        _gaps(found)
    _failing(found)
    if found.sampled:
        line("", "A sample was looked at: whole blocks, and nothing of what lies between them.")
    line("", _verdict(found.score) if found.tallies else "no score: nothing was read")


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
        yield f"{plural(file.naive, 'time')} without a zone"
    for what in ("absent", "nan", "infinite"):
        if count := getattr(file.values, what):
            yield f"{plural(count, 'value')} {what}"
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
            title += f" and {plural(len(same) - 1, 'other')}"
        taken: Mapping[str, str] = dict(roles)
        line("", clean(title))
        rows = [[name, kind, taken.get(name, "not used")] for name, kind in same[0].types.items()]
        table([Column("column"), Column("holds"), Column("taken for")], rows)


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
        silent = sum(tally.unevaluated for tally in found.tallies)
        unspoken = f"; of {number(silent)} no rule speaks" if silent else ""
        line(f"no check objects to any reading{unspoken}")
    said = {f.name: getattr(found.repeats, f.name) for f in fields(found.repeats)}
    words = {
        "same": "repeated in one file",
        "other": "repeated in one file with another value",
        "again": "in several files",
        "revised": "in several files with different values",
    }
    told = [f"{plural(said[name], 'reading')} {text}" for name, text in words.items() if said[name]]
    unordered = sum(t.unordered for t in found.tallies)
    if unordered:
        told.append(f"{plural(unordered, 'reading')} out of order")
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
    from loader.settings.durations import format_duration
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
        told.append(f"moved {plural(tally.moved, 'time')}")
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
    title = f"{plural(found.gaps.count, 'gap')} with {plural(found.gaps.missing, 'reading')} missing"
    table(columns, rows[:5], title + ("; the longest five" if found.gaps.count > 5 else ""))


def _failing(found: Examination) -> None:
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

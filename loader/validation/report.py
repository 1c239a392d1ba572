"""The findings of a validation as one HTML file that needs nothing else: style and plots inside, no
script, nothing fetched. Readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from loader.durations import format_duration
from loader.quality.score import COMPONENT_NAMES, Score
from loader.readings import SECOND
from loader.validation.plots import completeness, values
from loader.validation.result import Examination, Tally, cycles, when

PLOTS = 60
"""So many series are drawn, the worst ones: a page has to be opened by a browser."""

LISTED = 1000
"""So many series are in the table."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5c6773; --rule: #d7dce2; --paper: #ffffff;
  --line: #2f6fab; --suspect: #b86e00; --fail: #c62828; --came: #3d8b57; --due: #eceff2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7ec; --soft: #98a3af; --rule: #363d46;
  --paper: #14181d; --line: #6db0ee; --suspect: #f0a83c; --fail: #ff6b60;
  --came: #58b579; --due: #2a3038; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin: 2rem 0 .3rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .86rem; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
p.soft, .soft { color: var(--soft); } .bad { color: var(--fail); }
.score { font-size: 2.4rem; font-weight: 600; margin: .2rem 0; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg text.right { text-anchor: end; } svg text.mid { text-anchor: middle; }
.grid { stroke: var(--rule); fill: none; } .line { stroke: var(--line); fill: none; stroke-width: 1.2; }
.suspect { fill: var(--suspect); } .fail { fill: var(--fail); } .none { stroke: var(--soft); }
.due { fill: var(--due); } .came { fill: var(--came); }
@media print { body { max-width: none; } h3 { break-after: avoid; } svg { break-inside: avoid; } }
"""


def page(found: Examination, now: int) -> Iterator[str]:
    """The page in parts. `now` is when it was made, microseconds UTC."""
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Validation of readings</title><style>{_STYLE}</style></head><body>\n"
    )
    made = when(now // 1_000_000 * 1_000_000)
    yield f"<h1>Validation of readings</h1><p class=soft>made {made}; all times are UTC</p>\n"
    yield _verdict(found.score)
    if found.sampled:
        yield "<p>A sample was looked at: whole blocks, and nothing of what lies between them.</p>\n"
    yield from _files(found)
    yield from _checks(found)
    yield from _failing(found)
    drawn = _worst(found.tallies)
    yield from _series(found.tallies, drawn)
    yield from _plots(found, drawn)
    yield "</body></html>\n"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """Cells are HTML already."""

    def line(cells: Sequence[str], tag: str) -> str:
        marked = (f"<{tag}{' class=n' if i in numeric else ''}>{c}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(titles, 'th')}</thead><tbody>\n{body}\n</tbody></table>\n"


def _verdict(score: Score | None) -> str:
    if score is None:
        return "<p class=score>no score</p><p>No cadence is known, so nothing was due.</p>\n"
    shares = [(name, getattr(score.components, name)) for name in COMPONENT_NAMES]
    rows = [
        [name, "not told by a file" if share is None else f"{100 * share:.2f} %"] for name, share in shares
    ]
    return f"<p class=score>{score.total:.1f}</p>\n" + _table(["component", "share"], rows, [1])


def _files(found: Examination) -> Iterator[str]:
    yield "<h2>Files</h2>\n"
    rows = []
    for f in found.files:
        said = [f'<span class="bad">{escape(f.error)}</span>'] if f.error else []
        said += ["a sample"] if f.sampled else []
        said += ["it goes on after the last line read"] if f.cut else []
        said += [f"{f.naive:,} times without a zone"] if f.naive else []
        said += [f"{count:,} {escape(rule)}" for rule, count in sorted(f.failing.items())]
        said += [escape(text) for text in f.notes]
        form = "" if f.layout is None else "wide" if f.layout.wide else "long"
        cells = [escape(f.path), f.format, form, f"{f.records:,}", f"{f.readings:,}", "; ".join(said)]
        rows.append(cells)
    yield _table(["file", "format", "form", "records", "readings", "remarks"], rows, [3, 4])


def _checks(found: Examination) -> Iterator[str]:
    yield "<h2>What checks object to</h2>\n"
    cycles = any(t.cycles for t in found.tallies)
    rows = [
        [name, f"{s.count:,}", when(s.time, cycles), escape(f"{s.file}:{s.line}")]
        for name, s in found.checks.items()
    ]
    if rows:
        yield _table(["check", "readings", "first", "where"], rows, [1])
    else:
        yield "<p>Nothing.</p>\n"
    many = found.repeats
    yield (
        f"<p>{many.same + many.other:,} readings are repeated within one file ({many.other:,} with another"
        f" value), {many.again + many.revised:,} in several files ({many.revised:,} with another value)."
        f" {found.gaps.count:,} gaps with {found.gaps.missing:,} readings missing.</p>\n"
    )


def _failing(found: Examination) -> Iterator[str]:
    if found.troubles:
        yield "<h2>The first failing lines</h2>\n"
        rows = [
            [escape(f"{t.file}:{t.line}"), escape(t.field), escape(t.rule), escape(t.reason)]
            for t in found.troubles
        ]
        yield _table(["line", "field", "kind", "reason"], rows)


def _worst(tallies: Sequence[Tally]) -> list[int]:
    """The series to draw, in the order of the table."""
    order = sorted(range(len(tallies)), key=lambda i: (tallies[i].rank, i))
    return sorted(order[:PLOTS])


def _name(tally: Tally) -> str:
    one = tally.series
    sensor = f" (sensor {one.sensor})" if one.sensor != one.station else ""
    return escape(f"{one.station} {one.parameter} {one.unit}".rstrip() + sensor)


def _series(tallies: Sequence[Tally], drawn: Sequence[int]) -> Iterator[str]:
    yield f"<h2>{len(tallies):,} series</h2>\n"
    shown = set(drawn)
    rows = []
    for i, t in enumerate(tallies[:LISTED]):
        name = f'<a href="#s{i}">{_name(t)}</a>' if i in shown else _name(t)
        complete = f"{100 * t.counts.observed / t.counts.due:.1f} %" if t.counts.due else "-"
        figures = (t.counts.revised, t.counts.missing, t.counts.suspect, t.counts.failed, t.gaps.count)
        score = "-" if t.score is None else f"{t.score.total:.1f}"
        rows.append([name, *(f"{figure:,}" for figure in figures), complete, score])
    titles = ["series", "readings", "missing", "suspect", "failed", "gaps", "complete", "score"]
    yield _table(titles, rows, range(1, 8))
    if len(tallies) > LISTED:
        yield f"<p class=soft>The first {LISTED:,} are listed.</p>\n"
    if len(tallies) > len(drawn):
        yield f"<p class=soft>The {len(drawn)} series with the lowest scores are drawn below.</p>\n"


def _plots(found: Examination, drawn: Sequence[int]) -> Iterator[str]:
    if drawn:
        yield (
            "<p class=soft>Points are readings that are suspect (orange) or fail (red); where the pointer"
            " rests on one, it says why. Ticks below the line are missing readings. Bars show how many"
            " of the readings that were due on a day came.</p>\n"
        )
    for i in drawn:
        t = found.tallies[i]
        readings = found.readings.take(np.arange(t.rows.start, t.rows.stop))
        cadence_s = t.cadences[-1][1] if t.cadences else None
        yield f'<h3 id="s{i}">{_name(t)}</h3>\n<p class=soft>{escape("; ".join(_facts(t)))}</p>\n'
        yield values(readings, t.series.unit, cadence_s=cadence_s, cycles=t.cycles)
        if not t.cycles:
            yield completeness(t.days)
        yield "\n"


def _facts(t: Tally) -> Iterator[str]:
    if t.score is not None:
        yield f"score {t.score.total:.1f}"
    if t.cadences:
        every = t.cadences[-1][1]
        yield f"a reading every {cycles(every) if t.cycles else format_duration(round(every * SECOND))}"
    for name, seen in t.checks.items():
        yield f"{name} {seen.count:,}"
    if t.unevaluated:
        yield f"{t.unevaluated:,} not evaluated: no rule says anything about them"
    if t.gaps.longest:
        window, missing = t.gaps.longest[0]
        yield f"longest gap {missing:,} readings, until {when(window.end, t.cycles)}"
    if t.code is not None:
        yield f"{t.code[0]:g} comes {t.code[1]:,} times: a code for no value?"

"""The findings of a validation as one HTML file that needs nothing else: style and plots inside, no
script, nothing fetched. Readable in light and dark, on a telephone, and on paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop
from itertools import count, islice, takewhile
from pathlib import Path

from loader import __version__
from loader.quality.checks import Checks
from loader.quality.rules import OPEN, Rule
from loader.quality.score import COMPONENT_NAMES, Weights
from loader.readings import SECOND, Readings, UInt32
from loader.records import Counts
from loader.settings.durations import format_duration
from loader.validation.files import File
from loader.validation.html import bar, name, table, text
from loader.validation.plots import completeness, values
from loader.validation.result import Examination, Tally, cycles, when
from loader.validation.ruletext import sentences
from loader.validation.style import STYLE

PLOTS = 60
"""So many series are drawn, the worst ones: a page has to be opened by a browser."""

LISTED = 200
"""So many rows a table has at most."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What readings were judged by: the rules, where these come from in words, and the weights."""

    checks: Checks
    said: str
    weights: Weights


class Drawings:
    """Plots of the worst series: each is looked at as it comes, and what is not among the worst is
    forgotten, so that not all readings have to be held."""

    def __init__(self, checks: Checks) -> None:
        self._checks = checks
        self._numbers = count()
        self._worst: list[tuple[float, int, str]] = []

    def look(self, tally: Tally, readings: Readings, _line: UInt32) -> None:
        """As `loader.validation.examine.Look`."""
        number = next(self._numbers)
        place = (-tally.rank, -number)
        full = len(self._worst) == PLOTS
        if full and place < self._worst[0][:2]:
            return
        rule = self._checks.rule(tally.series)
        fail, suspect = (OPEN, OPEN) if rule.foreign else (rule.fail, rule.suspect)
        drawn = values(tally, readings, fail, suspect)
        if not tally.cycles:
            drawn += completeness(tally.days)
        (heappushpop if full else heappush)(self._worst, (*place, drawn))

    def by_series(self) -> Mapping[int, str]:
        """What is drawn, by the index into `Examination.tallies`, in its order."""
        return {-number: drawn for _, number, drawn in sorted(self._worst, key=lambda one: -one[1])}


def page(found: Examination, drawings: Drawings, judged: Judgement, now: int) -> Iterator[str]:
    """The page in parts. `now` is when it was made, microseconds UTC."""
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Validation of readings</title><style>{STYLE}</style></head><body>\n"
    )
    names = _names(found.files)
    yield from _head(found, now)
    yield from _verdict(found, judged.weights)
    yield from _files(found, names)
    yield from _checks(found, names)
    yield from _failing(found, names)
    drawn = drawings.by_series()
    yield from _series(found.tallies, drawn)
    yield from _plots(found, drawn)
    yield from _rules(found.tallies, judged)
    yield from _columns(found, names)
    yield "</body></html>\n"


def _names(files: Sequence[File]) -> Mapping[str, str]:
    """What files are called here: without the folders that they all lie in."""
    parents = [Path(f.path).parent.parts for f in files]
    same = takewhile(lambda level: len(set(level)) == 1, zip(*parents, strict=False))
    common = sum(1 for _ in same)
    return {f.path: str(Path(*Path(f.path).parts[common:])) for f in files}


def _head(found: Examination, now: int) -> Iterator[str]:
    timed = [t for t in found.tallies if not t.cycles]
    said = [_many(len(found.files), "file"), _many(found.counts.revised, "reading")]
    said.append(_many(len(found.tallies), "series"))
    if timed:
        first, last = min(t.first for t in timed), max(t.last for t in timed)
        said.append(f"{when(first)[:10]} to {when(last)[:10]}")
    made = when(now // SECOND * SECOND)
    yield f"<h1>Validation of readings</h1>\n<p class=lead>{' · '.join(said)}</p>\n"
    yield f"<p class=soft>Made {made} with sensor-loader {__version__}. All times are UTC.</p>\n"
    if found.malformed:
        yield (
            "<p class=bad>Not everything could be read: see the remarks on files and the failing"
            " lines.</p>\n"
        )
    if found.sampled:
        yield (
            "<p class=bad>This is a sample: whole blocks of records, spread evenly over each file."
            " Nothing is known of what lies between them.</p>\n"
        )


def _verdict(found: Examination, weights: Weights) -> Iterator[str]:
    counts, score = found.counts, found.score
    yield "<h2>Score</h2>\n"
    if score is None:
        why = "No cadence is known, so nothing was due" if found.tallies else "Nothing was read"
        yield f"<p class=score>no score</p><p>{why}.</p>\n"
    else:
        yield f"<p class=score>{score.total:.1f}<span> of 100</span></p>\n"
        rows = []
        for component in COMPONENT_NAMES:
            share = getattr(score.components, component)
            figure = "-" if share is None else f"{100 * share:.2f} %"
            weight = "-" if share is None else f"{getattr(weights, component):g}"
            rows.append([component, figure, bar(share), weight, _counted(component, counts)])
        yield table(["component", "share", "", "weight", "what was counted"], rows, [1, 3])
        yield "<p class=soft>The score is the mean of the shares by their weights, times 100.</p>\n"
    silent = sum(t.unevaluated for t in found.tallies)
    good = counts.revised - counts.missing - counts.suspect - counts.failed - silent
    flags = (
        (1, "good", good, "good"),
        (2, "not evaluated", silent, "silent"),
        (3, "suspect", counts.suspect, "suspect"),
        (4, "fail", counts.failed, "fail"),
        (9, "missing", counts.missing, "none"),
    )
    whole = max(counts.revised, 1)
    rows = [
        [str(flag), said, f"{many:,}", f"{100 * many / whole:.2f} %", bar(many / whole, kind)]
        for flag, said, many, kind in flags
    ]
    yield "<h2>Flags</h2>\n" + table(["flag", "", "readings", "share", ""], rows, [2, 3])
    yield "<p class=soft>Flags are those of QARTOD: the worst of what the checks say.</p>\n"


def _counted(component: str, counts: Counts) -> str:
    return {
        "completeness": f"{counts.observed:,} came of {counts.due:,} due",
        "validity": f"{counts.suspect + counts.failed:,} suspect or failed of"
        f" {counts.revised - counts.missing:,} that have a value",
        "timeliness": "a file does not tell when its readings came",
        "uniqueness": f"{counts.duplicate:,} repeated of {counts.fetched:,} read",
        "consistency": f"{counts.inconsistent:,} in another unit, place or rhythm of {counts.fetched:,}",
    }[component]


def _files(found: Examination, names: Mapping[str, str]) -> Iterator[str]:
    yield "<h2>Files</h2>\n"
    rows = []
    worst = sorted(found.files, key=lambda f: (f.error is None, not f.failing))
    for f in islice(worst, LISTED) if len(worst) > LISTED else found.files:
        said = [f'<span class="bad">{text(f.error, 400)}</span>'] if f.error else []
        said += [text(f"a sample: {f.facts['sample']}")] if f.sampled else []
        said += ["it goes on after the last line read"] if f.cut else []
        said += [f"{f.naive:,} times without a zone"] if f.naive else []
        said += [f"{many:,} {text(rule)}" for rule, many in sorted(f.failing.items())]
        said += [text(one) for one in f.notes]
        form = "" if f.layout is None else "wide" if f.layout.wide else "long"
        rows.append(
            [name(names[f.path]), f.format, form, f"{f.records:,}", f"{f.readings:,}", "; ".join(said)]
        )
    yield table(["file", "format", "form", "records", "readings", "remarks"], rows, [3, 4])
    yield _cut(len(found.files), "files, those with errors first")


def _columns(found: Examination, names: Mapping[str, str]) -> Iterator[str]:
    """What columns hold and were taken for, once for all files that have the same ones."""
    seen: dict[object, list[File]] = {}
    for f in found.files:
        if f.layout is not None:
            seen.setdefault((tuple(f.types), tuple(f.layout.roles().items())), []).append(f)
    for same in islice(seen.values(), 5):
        of = "" if len(seen) == 1 else f" of {name(names[same[0].path])}"
        more = f" and {_many(len(same) - 1, 'other')}" if of and len(same) > 1 else ""
        yield f"<h2>Columns{of}{more}</h2>\n"
        assert same[0].layout is not None  # noqa: S101 - only such were taken
        roles = same[0].layout.roles()
        rows = [
            [name(one), kind, text(roles.get(one, "not used"))]
            for one, kind in islice(same[0].types.items(), LISTED)
        ]
        yield table(["column", "holds", "taken for"], rows)
        yield _cut(len(same[0].types), "columns")


def _checks(found: Examination, names: Mapping[str, str]) -> Iterator[str]:
    yield "<h2>What checks object to</h2>\n"
    counted = any(t.cycles for t in found.tallies)
    rows = [
        [check, f"{s.count:,}", name(when(s.time, counted)), f"{name(names[s.file])}, line {s.line:,}"]
        for check, s in found.checks.items()
    ]
    yield table(["check", "readings", "first", "where"], rows, [1]) if rows else "<p>Nothing.</p>\n"
    many = found.repeats
    said = [
        f"{many.same + many.other:,} readings are repeated within one file ({many.other:,} with another"
        f" value), {many.again + many.revised:,} in several files ({many.revised:,} with another value).",
        f"{_many(found.gaps.count, 'gap')}: {found.gaps.missing:,} readings that were due are not there.",
    ]
    yield f"<p>{' '.join(said)}</p>\n"


def _failing(found: Examination, names: Mapping[str, str]) -> Iterator[str]:
    if found.troubles:
        yield "<h2>The first failing lines</h2>\n"
        rows = [
            [name(names[t.file]), f"{t.line:,}", text(t.field), text(t.rule), text(t.reason, 400)]
            for t in islice(found.troubles, LISTED)
        ]
        yield table(["file", "line", "field", "kind", "reason"], rows, [1])
        yield _cut(len(found.troubles), "lines")


def _name(tally: Tally) -> str:
    one = tally.series
    sensor = f" (sensor {name(one.sensor)})" if one.sensor != one.station else ""
    return f"{name(one.station)} {text(one.parameter)} {text(one.unit, 40)}".rstrip() + sensor


def _series(tallies: Sequence[Tally], drawn: Mapping[int, str]) -> Iterator[str]:
    yield f"<h2>{len(tallies):,} series</h2>\n"
    rows = []
    worst = sorted(range(len(tallies)), key=lambda i: (tallies[i].rank, i))[:LISTED]
    for i in sorted(worst):
        t = tallies[i]
        called = f'<a href="#s{i}">{_name(t)}</a>' if i in drawn else _name(t)
        share = t.counts.observed / t.counts.due if t.counts.due else None
        complete = "-" if share is None else f"{100 * share:.1f} %"
        figures = (t.counts.revised, t.counts.missing, t.counts.suspect, t.counts.failed, t.gaps.count)
        score = "-" if t.score is None else f"{t.score.total:.1f}"
        rows.append([called, *(f"{figure:,}" for figure in figures), complete, bar(share), score])
    titles = ["series", "readings", "missing", "suspect", "failed", "gaps", "complete", "", "score"]
    yield table(titles, rows, (1, 2, 3, 4, 5, 6, 8))
    yield _cut(len(tallies), "series, those with the lowest scores")


def _rules(tallies: Sequence[Tally], judged: Judgement) -> Iterator[str]:
    """The rules that were applied, once for all series that have the same one."""
    seen: dict[tuple[str, str, Rule], int] = {}
    for t in tallies:
        key = (t.series.parameter, t.series.unit, judged.checks.rule(t.series))
        seen[key] = seen.get(key, 0) + 1
    rows = []
    for (parameter, unit, rule), many in islice(sorted(seen.items(), key=lambda one: one[0][:2]), LISTED):
        said = "<br>".join(text(one, 400) for one in sentences(rule))
        rows.append([name(parameter), text(unit, 40), f"{many:,}", said or "no rule"])
    if rows:
        yield f"<h2>Rules</h2>\n<p class=soft>{text(judged.said, 400)}</p>\n"
        yield table(["parameter", "unit", "series", "a reading is not good when"], rows, [2])
        yield _cut(len(seen), "rules")


def _plots(found: Examination, drawn: Mapping[int, str]) -> Iterator[str]:
    if not drawn:
        return
    more = f"The {len(drawn)} series with the lowest scores. " if len(drawn) < len(found.tallies) else ""
    yield (
        f"<h2>Plots</h2>\n<p class=soft>{more}"
        '<svg class="key" viewBox="0 0 10 10"><circle class="suspect" cx="5" cy="5" r="3"/></svg> suspect, '
        '<svg class="key" viewBox="0 0 10 10"><path class="fail" d="M2 2l6 6m0-6l-6 6"/></svg> fail '
        "(where many are flagged, some of them are marked; what lies far outside stands at the edge); "
        '<svg class="key" viewBox="0 0 10 10"><rect class="gap" width="10" height="10"/></svg> gap; '
        '<svg class="key" viewBox="0 0 10 10"><path class="none" d="M5 2v6"/></svg> missing value. Dashed:'
        " the range. The strip below shows how many of the readings that were due on a day came.</p>\n"
    )
    for i, plot in drawn.items():
        t = found.tallies[i]
        yield f'<figure id="s{i}"><figcaption><h3>{_name(t)}</h3>\n<p class=soft>'
        yield f"{text('; '.join(_facts(t)), 1000)}</p></figcaption>\n{plot}</figure>\n"


def _facts(t: Tally) -> Iterator[str]:
    if t.score is not None:
        yield f"score {t.score.total:.1f}"
    if t.cadences:
        every = t.cadences[-1][1]
        yield f"a reading every {cycles(every) if t.cycles else format_duration(round(every * SECOND))}"
    for check, seen in t.checks.items():
        yield f"{check} {seen.count:,}"
    if t.unevaluated:
        yield f"{t.unevaluated:,} not evaluated: no rule says anything about them"
    if t.gaps.longest:
        window, missing = t.gaps.longest[0]
        yield f"longest gap {_many(missing, 'reading')}, until {when(window.end, t.cycles)}"
    if t.code is not None:
        yield f"{t.code[0]:g} comes {t.code[1]:,} times: a code for no value?"


def _many(number: int, noun: str) -> str:
    plural = noun if number == 1 or noun == "series" else f"{noun}s"
    return f"{number:,} {plural}"


def _cut(all_of_them: int, what: str) -> str:
    if all_of_them <= LISTED:
        return ""
    return f"<p class=soft>{LISTED} of {all_of_them:,} {what}; <code>--json</code> has all.</p>\n"

"""The checks that loading makes, over readings of files. Pure: no clock, no I/O.

The readings of one series from all files are one series. In a sample each block is a piece by
itself, because what lies between two blocks was not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loader.contracts import Checker
from loader.quality.checks import CHECK_NAMES, check_names
from loader.quality.score import Score, Weights, score
from loader.readings import Bool, Flag, Float64, Int64, Readings, Series
from loader.records import Counts
from loader.validation.expected import DaysOf, Expected, cadences_of
from loader.validation.files import Collected
from loader.validation.result import SHOWN_GAPS, Examination, Gaps, Repeats, Seen, Tally
from loader.validation.trouble import KEPT, Trouble

AT_ONCE = 500_000
"""About so many readings are checked together."""

CODE_REPEATS = 3
"""A value that comes less often is not suspected of being a code."""

SetCadence = Callable[[Series], float | None]
"""The cadence that the user or the configuration sets for a series, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """Readings in the order (piece, time), each once; `origin` is where each stood in the collected
    ones. `begin` and `end` are the rows of each piece, `series` its series."""

    readings: Readings
    origin: Int64
    begin: Int64
    end: Int64
    series: Int64
    repeats: Mapping[int, Repeats]
    contradictions: list[tuple[int, int]]


def examine(
    read: Collected,
    check: Checker,
    *,
    set_cadence: SetCadence,
    days_of: DaysOf,
    weights: Weights | None = None,
) -> Examination:
    """Check, count and score everything that was read."""
    rows = _sorted(read)
    pieces: list[list[int]] = [[] for _ in read.series]
    for piece, index in enumerate(rows.series.tolist()):
        pieces[index].append(piece)
    cycles = [f.layout is not None and f.layout.cycle for f in read.files]
    cadences: list[tuple[tuple[int, float], ...]] = []
    for piece, index in enumerate(rows.series.tolist()):
        times = rows.readings.time[rows.begin[piece] : rows.end[piece]]
        cadences.append(cadences_of(times, set_cadence(read.series[index])))
    readings = _flagged(read, rows, check, cadences)
    file_of = np.array([file for file, _ in read.parts], np.int64)
    file, line = file_of[read.part[rows.origin]], read.line[rows.origin]
    back, forth, moved = _disorder(read), _disorder(read, forth=True), _moved(read, rows)
    tallies: list[Tally] = []
    number = np.zeros(len(readings), np.int32)
    for index, its in enumerate(pieces):
        if not its:
            continue
        begin, end = int(rows.begin[its[0]]), int(rows.end[its[-1]])
        number[begin:end] = len(tallies)
        inside = slice(begin, end)
        mine = readings.take(np.arange(begin, end))
        cycle = cycles[int(file[begin])]
        whole = Expected(days_of)
        # In blocks out of a file that is not in order, what is missing may stand elsewhere.
        told = len(its) == 1 or 10 * min(back[index], forth[index]) <= len(mine)
        for piece in its if told else ():
            part = np.arange(rows.begin[piece], rows.end[piece])
            away = readings.time[part][moved[part]]
            whole.add(readings.take(part), cadences[piece], away)
        repeats = rows.repeats.get(index, Repeats())
        counts = Counts(
            fetched=len(mine) + sum((repeats.same, repeats.other, repeats.again, repeats.revised)),
            # A file does not tell when its readings came: none is new, so that none can be late.
            revised=len(mine),
            duplicate=repeats.same + repeats.other,
            missing=int(np.count_nonzero(mine.flag == Flag.MISSING)),
            suspect=int(np.count_nonzero(mine.flag == Flag.SUSPECT)),
            failed=int(np.count_nonzero(mine.flag == Flag.FAIL)),
            due=sum(due for due, _ in whole.days.values()),
            observed=sum(observed for _, observed in whole.days.values()),
            inconsistent=whole.inconsistent,
        )
        real = mine.value[(mine.flag != Flag.MISSING) & np.isfinite(mine.value)]
        tallies.append(
            Tally(
                series=read.series[index],
                rows=inside,
                first=int(mine.time.min()),
                last=int(mine.time.max()),
                counts=counts,
                score=score(counts, weights),
                cycles=cycle,
                cadences=_joined([cadences[piece] for piece in its]),
                repeats=repeats,
                gaps=whole.gaps(),
                checks=_checks(mine, read, file[inside], line[inside]),
                descending=bool(back[index] > forth[index]),
                unordered=int(min(back[index], forth[index])),
                moved=int(np.count_nonzero(moved[inside])),
                unevaluated=int(np.count_nonzero(mine.flag == Flag.NOT_EVALUATED)),
                lowest=float(real.min()) if len(real) else None,
                highest=float(real.max()) if len(real) else None,
                code=_code(real),
                days=whole.days,
            )
        )
    total = sum((t.counts for t in tallies), Counts())
    return Examination(
        files=read.files,
        tallies=tallies,
        readings=replace(readings, series=number),
        line=line,
        file=file,
        counts=total,
        score=_total(total, tallies, weights),
        checks=_most(t.checks for t in tallies),
        repeats=sum((t.repeats for t in tallies), Repeats()),
        gaps=_all_gaps([t.gaps for t in tallies]),
        troubles=_by_line(read, [*read.troubles, *_failing(read, rows, readings, line)]),
    )


def _total(counts: Counts, tallies: Sequence[Tally], weights: Weights | None) -> Score | None:
    """The score of all series together; what has no score counts for nothing."""
    if all(t.score is None for t in tallies):
        return None
    return score(counts, weights)


def _sorted(read: Collected) -> _Sorted:
    """Sort, and drop what repeats: of several readings with one key the last one counts."""
    n = len(read.readings)
    sampled = np.array([read.files[file].sampled for file, _ in read.parts], bool)
    block = np.where(sampled[read.part], read.part + 1, 0) if n else np.empty(0, np.int64)
    series, time, value = read.readings.series, read.readings.time, read.readings.value
    order = np.lexsort((time, block, series))
    s, b, t, v = series[order], block[order], time[order], value[order]
    new = np.ones(n, bool)
    new[1:] = (s[1:] != s[:-1]) | (b[1:] != b[:-1]) | (t[1:] != t[:-1])
    kept = np.append(new[1:], True)[:n]
    repeats, contradictions = _repeats(read, order, np.flatnonzero(~new), v)
    origin = order[kept]
    s, b = s[kept], b[kept]
    begins = np.ones(len(s), bool)
    begins[1:] = (s[1:] != s[:-1]) | (b[1:] != b[:-1])
    begin = np.flatnonzero(begins)
    return _Sorted(
        readings=read.readings.take(origin),
        origin=origin,
        begin=begin,
        end=np.append(begin[1:], len(s))[: len(begin)],
        series=s[begin].astype(np.int64),
        repeats=repeats,
        contradictions=contradictions,
    )


def _repeats(
    read: Collected, order: Int64, at: Int64, value: Float64
) -> tuple[Mapping[int, Repeats], list[tuple[int, int]]]:
    """By series what was repeated, where `at` are rows of the same key as the row before; and of the
    first ones that contradict the one before, (this, the one before) as collected."""
    now, before = value[at], value[at - 1]
    same = (now == before) | (np.isnan(now) & np.isnan(before))
    file_of = np.array([file for file, _ in read.parts], np.int64)
    near = file_of[read.part[order[at]]] == file_of[read.part[order[at - 1]]]
    found: dict[int, Repeats] = {}
    series = read.readings.series[order[at]]
    for index in np.unique(series).tolist():
        mine = series == index
        kinds = (near & same, near & ~same, ~near & same, ~near & ~same)
        found[index] = Repeats(*(int(np.count_nonzero(mine & kind)) for kind in kinds))
    against = at[~same][:KEPT]
    return found, list(zip(order[against].tolist(), order[against - 1].tolist(), strict=True))


def _joined(pieces: Sequence[tuple[tuple[int, float], ...]]) -> tuple[tuple[int, float], ...]:
    """The cadences of all pieces, each once where it changes."""
    out: list[tuple[int, float]] = []
    for at, cadence_s in (one for piece in pieces for one in piece):
        if not out or out[-1][1] != cadence_s:
            out.append((at, cadence_s))
    return tuple(out)


def _flagged(
    read: Collected, rows: _Sorted, check: Checker, cadences: Sequence[tuple[tuple[int, float], ...]]
) -> Readings:
    """The readings with flags; their `series` become pieces."""
    readings = rows.readings
    flag, tests = readings.flag.copy(), readings.tests.copy()
    piece = np.repeat(np.arange(len(rows.begin)), rows.end - rows.begin)
    for first, last in _groups(rows):
        series = [
            replace(read.series[i], cadence_s=cadences[p][-1][1] if cadences[p] else None)
            for p, i in enumerate(rows.series[first:last].tolist(), start=first)
        ]
        part = slice(int(rows.begin[first]), int(rows.end[last - 1]))
        some = readings.take(np.arange(part.start, part.stop))
        some = replace(some, series=(piece[part] - first).astype(np.int32))
        # None of them is about to be stored, so no policy keeps any out.
        flag[part], tests[part] = check(series, some, np.zeros(len(some), bool))
    return replace(readings, series=piece.astype(np.int32), flag=flag, tests=tests)


def _groups(rows: _Sorted) -> Iterator[tuple[int, int]]:
    """Pieces [first, last) that together have about so many readings as are checked at once."""
    first = 0
    while first < len(rows.begin):
        target = int(rows.begin[first]) + AT_ONCE
        last = max(first + 1, int(np.searchsorted(rows.end, target)))
        yield first, last
        first = last


def _all_gaps(every: Sequence[Gaps]) -> Gaps:
    longest = sorted((one for g in every for one in g.longest), key=lambda g: (-g[1], g[0].start))
    return Gaps(sum(g.count for g in every), sum(g.missing for g in every), tuple(longest[:SHOWN_GAPS]))


def _disorder(read: Collected, *, forth: bool = False) -> Int64:
    """By series how often a reading follows a younger one of its series in its block (`forth`: an
    older one)."""
    readings = read.readings
    order = np.lexsort((readings.series, read.part))
    series, part, time = readings.series[order], read.part[order], readings.time[order]
    together = (series[1:] == series[:-1]) & (part[1:] == part[:-1])
    step = time[1:] - time[:-1]
    wrong = together & ((step > 0) if forth else (step < 0))
    counted: Int64 = np.bincount(series[1:][wrong], minlength=len(read.series))
    return counted


def _moved(read: Collected, rows: _Sorted) -> Bool:
    """Which readings were measured at another place than the reading before."""
    place = read.place[rows.origin]
    moved = np.zeros(len(place), bool)
    moved[1:] = (place[1:] != place[:-1]) & (place[1:] >= 0) & (place[:-1] >= 0)
    moved[rows.begin] = False
    return moved


def _checks(readings: Readings, read: Collected, file: Int64, line: Int64) -> dict[str, Seen]:
    """By check how many readings it objects to, and the first of them."""
    found = {}
    objecting = int(np.bitwise_or.reduce(readings.tests))
    for check, name in CHECK_NAMES.items():
        if not objecting & check:
            continue
        at = np.flatnonzero(readings.tests & np.uint32(check))
        first = at[int(np.argmin(readings.time[at]))]
        path = read.files[int(file[first])].path
        found[name] = Seen(len(at), int(readings.time[first]), path, int(line[first]))
    return found


def _most(every: Iterator[Mapping[str, Seen]]) -> dict[str, Seen]:
    """The same over all series, in the order of the bits."""
    out: dict[str, Seen] = {}
    for checks in every:
        for name, seen in checks.items():
            have = out.get(name)
            first = seen if have is None or seen.time < have.time else have
            out[name] = replace(first, count=seen.count + (have.count if have else 0))
    return {name: out[name] for name in CHECK_NAMES.values() if name in out}


def _code(value: Float64) -> tuple[float, int] | None:
    """A whole number at one end of the values, further from all others than they lie apart, or
    negative where no other is: probably a code for no value that nobody configured."""
    if len(value) < CODE_REPEATS + 2:
        return None
    low, high = float(value.min()), float(value.max())
    for code in (low, high):
        others = value[value != code]
        count = len(value) - len(others)
        if count < CODE_REPEATS or not len(others) or code != round(code) or abs(code) < 9:
            continue
        bottom, top = float(others.min()), float(others.max())
        away = bottom - code if code == low else code - top
        if away > top - bottom or (code <= -9 and bottom >= 0):
            return code, count
    return None


def _by_line(read: Collected, troubles: Sequence[Trouble]) -> list[Trouble]:
    order = {file.path: i for i, file in enumerate(read.files)}
    return sorted(troubles, key=lambda t: (order[t.file], t.line))


def _failing(read: Collected, rows: _Sorted, readings: Readings, line: Int64) -> list[Trouble]:
    """The first readings that fail, and the first that contradict an earlier one, as lines."""
    found = []
    at = np.flatnonzero(readings.flag == Flag.FAIL)
    file_of = [read.files[file].path for file, _ in read.parts]
    places = read.part[rows.origin[at]]
    first = at[np.lexsort((line[at], places))][:KEPT]
    for i in first.tolist():
        series = read.series[int(read.readings.series[rows.origin[i]])]
        names = ", ".join(check_names(int(readings.tests[i]))) or "no check"
        why = f"{readings.value[i]:g} {series.unit}".strip() + f" fails: {names}"
        path = file_of[int(read.part[rows.origin[i]])]
        found.append(Trouble(path, int(line[i]), series.parameter, "failed", why))
    for now, before in rows.contradictions:
        series = read.series[int(read.readings.series[now])]
        value = read.readings.value
        where = f"line {read.line[before]}"
        if file_of[int(read.part[before])] != file_of[int(read.part[now])]:
            where = f"{file_of[int(read.part[before])]}, {where}"
        why = f"{value[now]:g} stands against {value[before]:g} for the same time ({where})"
        path = file_of[int(read.part[now])]
        found.append(Trouble(path, int(read.line[now]), series.parameter, "contradiction", why))
    return found

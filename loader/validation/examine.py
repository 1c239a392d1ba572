"""The checks that loading makes, over readings of files. Pure: no clock, no I/O.

The readings of one series from all files are one series. In a sample each block is a piece by itself,
because what lies between two blocks was not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from loader.quality.cadence import Episode
from loader.quality.checks import CHECK_NAMES, Checks, check_names
from loader.quality.score import Score, Weights, score
from loader.readings import Bool, Check, Flag, Float64, Int32, Int64, Readings, Series, UInt32
from loader.recheck import judged
from loader.records import Counts
from loader.validation.expected import DaysOf, Expected, cadences_of
from loader.validation.files import Collected
from loader.validation.near import Network
from loader.validation.order import Sorted, in_order
from loader.validation.result import SHOWN_GAPS, Examination, Gaps, Repeats, Seen, Tally
from loader.validation.shelf import Portion
from loader.validation.trouble import KEPT, Trouble

Cadences = Sequence[Episode]

AT_ONCE = 250_000
"""So many readings are checked together, and of one series in one go."""

CODE_REPEATS = 3
"""A value that comes less often is not suspected of being a code."""

SetCadence = Callable[[Series], float | None]
"""The cadence that the user or the configuration sets for a series, in seconds."""

Look = Callable[[Tally, Readings, UInt32], None]
"""Is shown each series with its readings in ascending time (in a sample: by piece), each once and
with flags, and their lines."""


def examine(
    read: Collected,
    check: Checks,
    *,
    set_cadence: SetCadence,
    days_of: DaysOf,
    weights: Weights | None = None,
    look: Look | None = None,
) -> Examination:
    """Check, count and score everything that was read, some series at a time."""
    tallies: list[Tally] = []
    troubles = list(read.troubles)
    odd = _at_odds(read, check, set_cadence)
    for portion in read.readings.portions(AT_ONCE):
        rows, cadences = _judged(read, portion, check, set_cadence, odd)
        troubles += [*_failing(read, rows), *rows.contradictions]
        for tally, part in _tallies(read, portion, rows, cadences, days_of, weights):
            tallies.append(tally)
            if look is not None:
                look(tally, _rows(rows.readings, part), rows.line[part])
    total = sum((t.counts for t in tallies), Counts())
    return Examination(
        files=read.files,
        tallies=tallies,
        counts=total,
        score=_total(total, tallies, weights),
        checks=_most(t.checks for t in tallies),
        repeats=sum((t.repeats for t in tallies), Repeats()),
        gaps=_all_gaps([t.gaps for t in tallies]),
        troubles=_by_line(read, troubles),
    )


def _judged(
    read: Collected,
    portion: Portion,
    check: Checks,
    set_cadence: SetCadence,
    odd: Mapping[int, Int64],
) -> tuple[Sorted, list[Cadences]]:
    """The readings in order and with flags, and the cadences of each piece. `odd` are by series the
    times of readings that near stations contradict."""
    rows = in_order(read, portion)
    for index in set(rows.series.tolist()) & odd.keys():
        hit = (rows.readings.series == index) & np.isin(rows.readings.time, odd[index])
        tests = rows.readings.tests | np.where(hit, np.uint32(Check.NEIGHBOURS), np.uint32(0))
        rows = replace(rows, readings=rows.readings.with_flags(rows.readings.flag, tests))
    pieces = zip(rows.begin.tolist(), rows.end.tolist(), rows.series.tolist(), strict=True)
    cadences: list[Cadences] = [
        cadences_of(rows.readings.time[begin:end], set_cadence(read.series[index]))
        for begin, end, index in pieces
    ]
    return replace(rows, readings=_flagged(read, rows, check, cadences)), cadences


def _at_odds(read: Collected, check: Checks, set_cadence: SetCadence) -> Mapping[int, Int64]:
    """By series the times of readings that near stations contradict: for this all readings are gone
    through once more, where a rule asks for it."""
    network = Network.of(check, read.series)
    if not network.kinds:
        return {}
    for portion in read.readings.portions(AT_ONCE):
        rows, _ = _judged(read, portion, check, set_cadence, {})
        for low, high in _of_series(rows):
            part = slice(int(rows.begin[low]), int(rows.end[high - 1]))
            known = rows.place[part][rows.place[part] >= 0]
            place = read.places[int(known[-1])] if len(known) else None
            network.add(int(rows.series[low]), _rows(rows.readings, part), place)
    return network.at_odds()


def _of_series(rows: Sorted) -> Iterator[tuple[int, int]]:
    """The pieces (first, last + 1) of each series."""
    edges = np.flatnonzero(np.append(True, rows.series[1:] != rows.series[:-1])).tolist()
    return pairwise([*edges, len(rows.series)])


def _rows(readings: Readings, part: slice) -> Readings:
    """Neighbouring readings, not copied."""
    one = readings
    return Readings(one.series[part], one.time[part], one.value[part], one.flag[part], one.tests[part])


def _tallies(  # noqa: PLR0917 - all that it needs
    read: Collected,
    portion: Portion,
    rows: Sorted,
    cadences: Sequence[Cadences],
    days_of: DaysOf,
    weights: Weights | None,
) -> Iterator[tuple[Tally, slice]]:
    """What is said of each series, and where its readings stand in `rows`."""
    readings = rows.readings
    back, forth, moved = _disorder(read, portion), _disorder(read, portion, forth=True), _moved(rows)
    for low, high in _of_series(rows):
        index = int(rows.series[low])
        inside = slice(int(rows.begin[low]), int(rows.end[high - 1]))
        mine = _rows(readings, inside)
        layout = read.files[read.parts[int(rows.part[inside.start])][0]].layout
        whole = Expected(days_of)
        # In blocks out of a file that is not in order, what is missing may stand elsewhere.
        told = high - low == 1 or 10 * min(back[index], forth[index]) <= len(mine)
        for piece in range(low, high) if told else ():
            part = slice(int(rows.begin[piece]), int(rows.end[piece]))
            some = _rows(readings, part)
            whole.add(some, cadences[piece], some.time[moved[part]])
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
        pieces = zip(rows.begin[low:high].tolist(), rows.end[low:high].tolist(), strict=True)
        yield (
            Tally(
                series=read.series[index],
                pieces=tuple((int(readings.time[a]), int(readings.time[b - 1])) for a, b in pieces),
                counts=counts,
                score=score(counts, weights),
                cycles=layout is not None and layout.cycle,
                cadences=_joined(cadences[low:high]),
                repeats=repeats,
                gaps=whole.gaps(),
                checks=_checks(mine, read, rows.part[inside], rows.line[inside]),
                descending=bool(back[index] > forth[index]),
                unordered=int(min(back[index], forth[index])),
                moved=int(np.count_nonzero(moved[inside])),
                unevaluated=int(np.count_nonzero(mine.flag == Flag.NOT_EVALUATED)),
                lowest=float(real.min()) if len(real) else None,
                highest=float(real.max()) if len(real) else None,
                code=_code(real),
                days=whole.days,
            ),
            inside,
        )


def _total(counts: Counts, tallies: Sequence[Tally], weights: Weights | None) -> Score | None:
    """The score of all series together; what has no score counts for nothing."""
    if all(t.score is None for t in tallies):
        return None
    return score(counts, weights)


def _joined(pieces: Sequence[Cadences]) -> tuple[tuple[int, float], ...]:
    """The cadences of all pieces, each once where it changes."""
    out: list[tuple[int, float]] = []
    for at, cadence_s in (one for piece in pieces for one in piece):
        if not out or out[-1][1] != cadence_s:
            out.append((at, cadence_s))
    return tuple(out)


def _flagged(read: Collected, rows: Sorted, check: Checks, cadences: Sequence[Cadences]) -> Readings:
    """The readings with flags; their `series` become pieces."""
    series = [
        replace(read.series[index], cadence_s=its[-1][1] if its else None)
        for index, its in zip(rows.series.tolist(), cadences, strict=True)
    ]
    # None of them is about to be stored, so no policy keeps any out.
    if len(rows.readings) <= AT_ONCE:
        piece = np.repeat(np.arange(len(series), dtype=np.int32), rows.end - rows.begin)
        readings = replace(rows.readings, series=piece)
        return readings.with_flags(*check(series, readings, np.zeros(len(readings), bool)))
    parts = []
    for one, begin, end in zip(series, rows.begin.tolist(), rows.end.tolist(), strict=True):
        chunks = (
            _rows(rows.readings, slice(low, min(low + AT_ONCE, end))) for low in range(begin, end, AT_ONCE)
        )
        parts += [(flag, tests) for _, flag, tests in judged(check, one, chunks, check.reach(one))]
    flag, tests = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows.readings.with_flags(flag, tests)


def _all_gaps(every: Sequence[Gaps]) -> Gaps:
    longest = sorted((one for g in every for one in g.longest), key=lambda g: (-g[1], g[0].start))
    return Gaps(sum(g.count for g in every), sum(g.missing for g in every), tuple(longest[:SHOWN_GAPS]))


def _disorder(read: Collected, portion: Portion, *, forth: bool = False) -> Int64:
    """By series how often a reading follows a younger one of its series in its block (`forth`: an
    older one)."""
    series, part, time = portion.readings.series, portion.part, portion.readings.time
    together = (series[1:] == series[:-1]) & (part[1:] == part[:-1])
    step = time[1:] - time[:-1]
    wrong = together & ((step > 0) if forth else (step < 0))
    counted: Int64 = np.bincount(series[1:][wrong], minlength=len(read.series))
    return counted


def _moved(rows: Sorted) -> Bool:
    """Which readings were measured at another place than the reading before."""
    place = rows.place
    moved = np.zeros(len(place), bool)
    moved[1:] = (place[1:] != place[:-1]) & (place[1:] >= 0) & (place[:-1] >= 0)
    moved[rows.begin] = False
    return moved


def _checks(readings: Readings, read: Collected, part: Int32, line: UInt32) -> dict[str, Seen]:
    """By check how many readings it objects to, and the first of them."""
    found = {}
    objecting = int(np.bitwise_or.reduce(readings.tests))
    for check, name in CHECK_NAMES.items():
        if not objecting & check:
            continue
        at = np.flatnonzero(readings.tests & np.uint32(check))
        first = at[int(np.argmin(readings.time[at]))]
        path = read.files[read.parts[int(part[first])][0]].path
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
    """In the order of files and lines, the first of each kind in each file."""
    order = {file.path: i for i, file in enumerate(read.files)}
    many: Counter[str] = Counter()
    found = []
    for one in sorted(troubles, key=lambda t: (order[t.file], t.line)):
        many[one.rule] += one.rule in ("failed", "contradiction")
        if many[one.rule] <= KEPT:
            found.append(one)
    return found


def _failing(read: Collected, rows: Sorted) -> list[Trouble]:
    """The first readings that fail, as lines."""
    found = []
    readings = rows.readings
    at = np.flatnonzero(readings.flag == Flag.FAIL)
    for i in at[np.lexsort((rows.line[at], rows.part[at]))][:KEPT].tolist():
        piece = int(np.searchsorted(rows.begin, i, side="right")) - 1
        series = read.series[int(rows.series[piece])]
        names = ", ".join(check_names(int(readings.tests[i]))) or "no check"
        why = f"{readings.value[i]:g} {series.unit}".strip() + f" fails: {names}"
        path = read.files[read.parts[int(rows.part[i])][0]].path
        found.append(Trouble(path, int(rows.line[i]), series.parameter, "failed", why))
    return found

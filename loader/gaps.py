"""What is missing of a series, and why. Pure.

A gap is a stretch of expected readings that are not stored. Two stored stamps further apart than
one and a half cadences have a gap between them, with as many readings missing as cadences fit;
before the first stamp and after the last one, the grid they lie on is continued to the ends of
the window asked about. Where nothing is stored in the window, the grid goes through the
watermark, or lies at whole multiples of the cadence since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loader.ledger import union
from loader.readings import SECOND, Bool, Hole, Int64, Window

SOURCE_HAD_NOTHING = "source had nothing"
FETCH_FAILED = "fetch failed"
QUARANTINED = "quarantined"
NOT_YET_DUE = "not yet due"
EXPIRED = "expired"
NOT_ASKED_FOR = "not asked for"

_WANDER = 10
"""Stamps may wander by a tenth of the cadence: at the window's start, no less is a gap."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`missing` readings expected in `window` every `cadence_s` seconds, all absent for one `cause`.

    The window ends with the last one's stamp and starts one cadence before the first one's (or
    where the window asked about starts). A failed fetch is followed by what failed:
    `fetch failed: HTTP 500`.
    """

    window: Window
    missing: int
    cause: str
    cadence_s: float


def find(
    times: npt.ArrayLike,
    cadence_s: float | None,
    window: Window,
    *,
    coverage: Sequence[Window] = (),
    holes: Sequence[Hole] = (),
    quarantined: npt.ArrayLike = (),
    watermark: int | None = None,
    expired_to: int | None = None,
) -> list[Gap]:
    """The gaps of one series inside `window`, ascending and disjoint, neighbours of one cause
    joined.

    `times` are the stored stamps (microseconds UTC, ascending; those outside the window are
    ignored), `quarantined` those of rejected records, in any order. `coverage`, `holes`,
    `watermark` and `expired_to` are the partition's. The causes, the first that fits:

      expired              not after `expired_to`: pruned
      quarantined          a rejected record has the stamp (within half a cadence)
      fetch failed: ...    in a hole
      source had nothing   in the coverage
      not yet due          after the watermark
      not asked for        the rest

    A series of unknown cadence (None) has no gaps that anyone could know of. Where the cadence
    changes, this is asked for each stretch of one cadence, cut at stored stamps.
    """
    step = round((cadence_s or 0) * SECOND)
    if step <= 0 or not window:
        return []
    stamps = np.asarray(times, np.int64)
    stamps = stamps[(stamps > window.start) & (stamps <= window.end)]
    anchor, count = _stretches(stamps, step, window, watermark or 0)
    if len(anchor) == 0:
        return []
    last = anchor + count * step
    rejected = _rejected(np.asarray(quarantined, np.int64), anchor, count, step)

    edges = [anchor, last, rejected - 1, rejected]
    covered, failed = union(coverage), sorted(holes, key=lambda h: h.window)
    for windows in (covered, [h.window for h in failed]):
        edges.append(np.array([edge for w in windows for edge in (w.start, w.end)], np.int64))
    edges.append(np.array([t for t in (watermark, expired_to) if t is not None], np.int64))
    cuts = np.unique(np.concatenate(edges))
    low, high = cuts[:-1], cuts[1:]
    stretch = np.searchsorted(anchor, high, side="left") - 1
    inside = (stretch >= 0) & (high <= last[stretch])
    low, high, stretch = low[inside], high[inside], stretch[inside]
    before, through = (low - anchor[stretch]) // step, (high - anchor[stretch]) // step
    kept = through > before
    high, stretch, before, through = high[kept], stretch[kept], before[kept], through[kept]

    names = [NOT_ASKED_FOR, NOT_YET_DUE, SOURCE_HAD_NOTHING, QUARANTINED, EXPIRED]
    labels = sorted({_failed(h) for h in failed})
    cause = np.zeros(len(high), np.int64)
    if watermark is not None:
        cause[high > watermark] = 1
    cause[_member(covered, high)[1]] = 2
    if failed:
        at, in_hole = _member([h.window for h in failed], high)
        code = np.array([len(names) + labels.index(_failed(h)) for h in failed])
        cause[in_hole] = code[at[in_hole]]
    cause[np.isin(high, rejected)] = 3
    if expired_to is not None:
        cause[high <= expired_to] = 4
    names += labels

    new = np.ones(len(high), bool)
    new[1:] = (stretch[1:] != stretch[:-1]) | (cause[1:] != cause[:-1])
    first = np.flatnonzero(new)
    final = np.append(first[1:], len(high)) - 1
    return [
        Gap(Window(max(start, window.start), end), missing, names[why], step / SECOND)
        for start, end, missing, why in zip(
            (anchor[stretch[first]] + before[first] * step).tolist(),
            (anchor[stretch[first]] + through[final] * step).tolist(),
            (through[final] - before[first]).tolist(),
            cause[first].tolist(),
            strict=True,
        )
    ]


def _failed(hole: Hole) -> str:
    """`fetch failed: HTTP 500`, whether the hole's own cause begins so or not."""
    return f"{FETCH_FAILED}: {hole.cause.removeprefix(f'{FETCH_FAILED}: ')}"


def curable(gap: Gap, *, now: int, settled: int) -> Gap | None:
    """What of a gap another read may fill: the source may have what it had not, a failed fetch may
    succeed, and what nobody asked for may be there.

    What the source did not have up to `settled` it is not expected to get any more. A record in
    quarantine is there already; what retention has deleted is never fetched again.
    """
    start = gap.window.start
    if gap.cause == SOURCE_HAD_NOTHING:
        start = max(start, settled)
    elif gap.cause != NOT_ASKED_FOR and not gap.cause.startswith(FETCH_FAILED):
        return None
    window = Window(start, min(gap.window.end, now))
    if not window:
        return None
    if window == gap.window:
        return gap
    step = round(gap.cadence_s * SECOND)
    # The stamps that are missing lie at whole cadences before the gap's end.
    first, last = (gap.window.end - window.end + step - 1) // step, (gap.window.end - start - 1) // step
    missing = min(last - first + 1, gap.missing)
    return replace(gap, window=window, missing=missing) if missing > 0 else None


def windows(gaps: Iterable[Gap], join: Callable[[Window, Window], bool]) -> tuple[Window, ...]:
    """What to read to fill these gaps of one partition, ascending and disjoint: half a cadence more
    than each, since stamps wander. `join` says whether two windows are better read as one."""
    wider = union(
        Window(gap.window.start, gap.window.end + round(gap.cadence_s * SECOND) // 2) for gap in gaps
    )
    joined: list[Window] = []
    for window in wider:
        if joined and join(joined[-1], window):
            joined[-1] = Window(joined[-1].start, window.end)
        else:
            joined.append(window)
    return tuple(joined)


def _stretches(stamps: Int64, step: int, window: Window, phase: int) -> tuple[Int64, Int64]:
    """(anchor, count): the missing stamps are anchor + j * step, j = 1 .. count."""
    begin = window.start + step // _WANDER
    if len(stamps) == 0:
        before = begin - (begin - phase) % step
        missing = (window.end - before) // step
        return (np.array([before]), np.array([missing])) if missing > 0 else (stamps, stamps)
    first, last = int(stamps[0]), int(stamps[-1])
    lead = max(0, -((begin - first) // step) - 1)
    distance = np.diff(stamps)
    apart = np.flatnonzero(2 * distance > 3 * step)
    anchor = np.concatenate(([first - (lead + 1) * step], stamps[apart], [last]))
    count = np.concatenate(
        ([lead], (2 * distance[apart] + step) // (2 * step) - 1, [(window.end - last) // step])
    )
    return anchor[count > 0], count[count > 0]


def _rejected(times: Int64, anchor: Int64, count: Int64, step: int) -> Int64:
    """The missing stamps that rejected records lie nearest to, ascending."""
    nearest = np.searchsorted(anchor + step // 2, times, side="right") - 1
    times, nearest = times[nearest >= 0], nearest[nearest >= 0]
    j = (2 * (times - anchor[nearest]) + step) // (2 * step)
    hit = (j >= 1) & (j <= count[nearest])
    return np.unique(anchor[nearest][hit] + j[hit] * step)


def _member(windows: Sequence[Window], times: Int64) -> tuple[Int64, Bool]:
    """(which window, whether any) for each time; the windows are sorted and disjoint."""
    if not windows:
        return np.zeros(len(times), np.int64), np.zeros(len(times), bool)
    starts = np.array([w.start for w in windows], np.int64)
    ends = np.array([w.end for w in windows], np.int64)
    at = np.searchsorted(starts, times, side="left") - 1
    return np.maximum(at, 0), (at >= 0) & (times <= ends[np.maximum(at, 0)])

"""Arithmetic on windows: sorted, disjoint lists of (start, end]. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loader.readings import Hole, Window


def union(windows: Iterable[Window]) -> tuple[Window, ...]:
    """The same time as few windows as possible: sorted, disjoint, touching ones joined."""
    out: list[Window] = []
    for window in sorted(w for w in windows if w):
        if out and window.start <= out[-1].end:
            if window.end > out[-1].end:
                out[-1] = Window(out[-1].start, window.end)
        else:
            out.append(window)
    return tuple(out)


def subtract(windows: Iterable[Window], cut: Iterable[Window]) -> tuple[Window, ...]:
    """The time of `windows` that lies in none of `cut`."""
    cuts = union(cut)
    out: list[Window] = []
    for window in union(windows):
        start = window.start
        for c in cuts:
            if c.end <= start:
                continue
            if c.start >= window.end:
                break
            if c.start > start:
                out.append(Window(start, c.start))
            start = max(start, c.end)
        if start < window.end:
            out.append(Window(start, window.end))
    return tuple(out)


def intersect(windows: Iterable[Window], others: Iterable[Window]) -> tuple[Window, ...]:
    """The time that lies in both."""
    right = union(others)
    return union(part for w in union(windows) for o in right if (part := w.clip(o)))


def length(windows: Iterable[Window]) -> int:
    """Microseconds in all."""
    return sum(w.end - w.start for w in union(windows))


def settle_holes(stored: Sequence[Hole], read: Sequence[Window], found: Sequence[Hole]) -> tuple[Hole, ...]:
    """The holes after a batch: what was read is cut out of the stored ones, then what was found
    replaces whatever it overlaps. A stored hole that is cut keeps its cause and its tries."""
    found_windows = [h.window for h in found]
    kept = [
        Hole(part, h.cause, h.tries, h.next_try, h.isolated)
        for h in stored
        for part in subtract([h.window], [*read, *found_windows])
    ]
    return tuple(sorted([*kept, *found], key=lambda h: h.window))

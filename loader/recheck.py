"""Flags of stored readings made anew, after thresholds have changed. Nothing else is touched.

A series is gone through in the store's chunks. A reading is judged once everything in its reach has
been seen, so the flags do not depend on where chunks end. Policies do not apply: what is stored stays.
What near stations say of a reading is left as it is: `loader.assess.near` looks at that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from loader.contracts import Checker, Lease, Reports, Store
from loader.quality.checks import CHECK_NAMES, Checks
from loader.readings import HOUR, Check, Flag, Reach, Readings, Series, UInt8, UInt32, Window
from loader.records import StoredSeries

NAMES = {flag: flag.name.lower().replace("_", " ") for flag in Flag}
"""Flags in words."""


@dataclass(slots=True)
class Changes:
    """What a recheck found: how many readings it looked at, how many have another flag now (by
    flag before and after) or other tests under the same flag, and for each check at how many of
    these it objects now and did not, or did and does not."""

    checked: int = 0
    flags: Counter[tuple[Flag, Flag]] = field(default_factory=Counter)
    tests: int = 0
    begun: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    at_odds: set[int] = field(default_factory=set)
    """The series, by id, with readings that were at odds with near stations."""

    @property
    def changed(self) -> int:
        return self.flags.total() + self.tests

    def add(self, before: Readings, flag: UInt8, tests: UInt32) -> None:
        """Count readings that differ from their new flags."""
        pairs, counts = np.unique(np.stack([before.flag, flag]), axis=1, return_counts=True)
        for (old, new), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            if old == new:
                self.tests += count
            else:
                self.flags[Flag(old), Flag(new)] += count
        for total, bits in ((self.begun, tests & ~before.tests), (self.ended, before.tests & ~tests)):
            for mask, name in CHECK_NAMES.items():
                if count := np.count_nonzero(bits & np.uint32(mask)):
                    total[name] += int(count)

    def as_dict(self) -> dict[str, int]:
        """Figures by name: they can be added up over several goes."""
        found = {"checked": self.checked, "changed": self.changed}
        for (old, new), count in sorted(self.flags.items()):
            found[f"{NAMES[old]} -> {NAMES[new]}"] = count
        if self.tests:
            found["same flag, other tests"] = self.tests
        found |= {f"{name}: now objects": count for name, count in sorted(self.begun.items())}
        return found | {f"{name}: objects no more": count for name, count in sorted(self.ended.items())}


def fingerprint(check: Checker, series: Iterable[StoredSeries]) -> str:
    """The same for the same rules of the same series, in whichever process."""
    assert isinstance(check, Checks)  # noqa: S101 - what wiring builds
    rules = {repr((one.series.key, one.series.cadence_s, check.rule(one.series))) for one in series}
    return sha256("\n".join(sorted(rules)).encode()).hexdigest()


def recheck(  # noqa: PLR0917 - all that it needs
    reports: Reports,
    store: Store,
    lease: Lease | None,
    check: Checker,
    series: Iterable[StoredSeries],
    window: Window,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Changes, bool]:
    """Flag the stored readings of `series` in `window` anew; with a lease the flags are written,
    without one only counted. Also says whether it came to its end: False where `stopped` said so.

    Each chunk's flags are one transaction; interrupted, it is simply done again. Raises what the
    store raises.
    """
    changes = Changes()
    for one in series:
        for readings, flag, tests in rejudged(reports, check, one, window):
            changes.checked += len(readings)
            if (readings.tests & np.uint32(Check.NEIGHBOURS)).any():
                changes.at_odds.add(one.id)
            differs = (flag != readings.flag) | (tests != readings.tests)
            if differs.any():
                changes.add(readings.take(differs), flag[differs], tests[differs])
                if lease is not None:
                    store.put_flags(lease, one.id, readings.time[differs], flag[differs], tests[differs])
            if stopped():
                return changes, False
    return changes, True


def rejudged(
    reports: Reports, check: Checker, one: StoredSeries, window: Window
) -> Iterator[tuple[Readings, UInt8, UInt32]]:
    """The stored readings of one series in `window` with their new flags, in order."""
    if one.first_time is None or one.last_time is None:
        return
    whole = Window(one.first_time - 1, one.last_time)
    window = window.clip(whole)
    if not window:
        return
    reach = check.reach(one.series)
    start = begin(reports, one, window.start + 1, reach)
    chunks = reports.scan([one.id], Window(start, whole.end))
    for readings, flag, tests in judged(check, one.series, chunks, reach):
        inside = (readings.time > window.start) & (readings.time <= window.end)
        if inside.any():
            yield readings.take(inside), flag[inside], tests[inside]
        if readings.time[-1] > window.end:
            return


def judged(
    check: Checker, series: Series, chunks: Iterable[Readings], reach: Reach
) -> Iterator[tuple[Readings, UInt8, UInt32]]:
    """Readings of one series, in order and in chunks of any size, with the flags they have with
    everything around them. What comes before the first chunk is taken not to be there."""
    held, done = Readings.empty(), 0
    for chunk in chunks:
        held = Readings.concat([held, chunk])
        # A reading yet to come is younger than the last one held.
        known = int(np.searchsorted(held.time, held.time[-1] - reach.after, side="right"))
        known = min(known, len(held) - reach.rows)
        # What is held as context is looked at again: not before as much is new.
        if known - done > done:
            yield _judge(check, series, held, done, known)
            following = held.time[min(known, len(held) - 1)]
            kept = int(np.searchsorted(held.time, following - reach.before, side="left"))
            kept = max(0, min(kept, known - reach.rows))
            held, done = held.take(np.arange(kept, len(held))), known - kept
    if len(held) > done:
        yield _judge(check, series, held, done, len(held))


def _judge(
    check: Checker, series: Series, held: Readings, first: int, last: int
) -> tuple[Readings, UInt8, UInt32]:
    """The readings from `first` to before `last` among those held."""
    lone = Readings(np.zeros(len(held), np.int32), held.time, held.value, held.flag, held.tests)
    flag, tests = check([series], lone, np.zeros(len(held), bool))
    part = slice(first, last)
    return held.take(np.arange(first, last)), flag[part], tests[part]


def begin(reports: Reports, one: StoredSeries, time: int, reach: Reach) -> int:
    """From when on (exclusive) a series has to be read to hold what is in reach before `time`."""
    assert one.first_time is not None  # noqa: S101 - it has readings
    start, first = time - reach.before - 1, one.first_time - 1
    width = max(reach.before, HOUR) * 2
    while start > first:
        older: list[int] = []
        for part in reports.scan([one.id], Window(start, time - 1)):
            older = [*older, *part.time[-reach.rows :].tolist()][-reach.rows :] if reach.rows else []
        if len(older) >= reach.rows:
            return min([time - reach.before, *older]) - 1
        start, width = time - 1 - width, width * 4
    return first


def end(reports: Reports, one: StoredSeries, time: int, reach: Reach) -> int:
    """Up to when (inclusive) a series has to be read to hold what is in reach after `time`."""
    assert one.last_time is not None  # noqa: S101 - it has readings
    stop = time + reach.after
    if reach.rows and stop < one.last_time:
        younger = 0
        for part in reports.scan([one.id], Window(time, one.last_time)):
            if younger + len(part) >= reach.rows:
                return max(stop, int(part.time[reach.rows - younger - 1]))
            younger += len(part)
        return one.last_time
    return min(stop, one.last_time)

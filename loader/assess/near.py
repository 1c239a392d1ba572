"""Readings at odds with near stations. Looked for after a run, since it takes other series: one that
comes late to its own station changes what is said of the others, too.

The flag of a reading is made by the checker, as in a commit; all that is found here is the bit
NEIGHBOURS. What is compared are values that no check of their own series objects to, so it does not
matter which series is looked at first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loader.contracts import Checker, Database, Lease, Reports, Store
from loader.findings import Pending
from loader.quality.checks import Checks
from loader.quality.neighbours import NeighbourRule, bounds, near, objects, sentence, usable
from loader.readings import Bool, Check, Float64, Int64, Readings, UInt8, UInt32, Window, plain_unit
from loader.recheck import Changes, begin, end, judged, recheck
from loader.records import StoredSeries

BIT = np.uint32(Check.NEIGHBOURS)


@dataclass(frozen=True, slots=True)
class Network:
    """A source's series with a rule for neighbours or near to one that has: who is near to whom by
    that rule, and the other way round. Empty where no parameter has such a rule."""

    series: Mapping[int, StoredSeries]
    rules: Mapping[int, NeighbourRule]
    near: Mapping[int, tuple[int, ...]]

    @classmethod
    def of(cls, check: Checks, series: Sequence[StoredSeries]) -> Network:
        """By the places that the series have now."""
        kinds: dict[tuple[str, str], list[StoredSeries]] = {}
        rules = {}
        for one in series:
            if (rule := check.rule(one.series).neighbours) is not None:
                rules[one.id] = rule
            kinds.setdefault((one.series.parameter, plain_unit(one.series.unit)), []).append(one)
        found: dict[int, tuple[int, ...]] = {}
        for members in kinds.values():
            ruled = [one.id for one in members if one.id in rules]
            places = {
                one.id: (one.latitude, one.longitude)
                for one in members
                if one.latitude is not None and one.longitude is not None
            }
            stations = {one.id: one.series.station for one in members}
            for within in {rules[number].within_km for number in ruled}:
                of_all = near(places, stations, within)
                mine = (n for n in ruled if rules[n].within_km == within)
                found |= {n: of_all[n] for n in mine if of_all.get(n)}
        return cls({one.id: one for one in series}, rules, found)

    def touched(self, number: int) -> list[int]:
        """The series whose verdicts can change when this one's readings do."""
        return sorted(
            {number} & self.near.keys() | {n for n, others in self.near.items() if number in others}
        )


def compare(  # noqa: PLR0917 - all that it needs
    store: Database,
    lease: Lease,
    check: Checks,
    network: Network,
    pending: Pending,
    looked_at: Callable[[int], None],
) -> int:
    """Look again at all that a changed stretch of one series can say about itself and the series
    near to it, and write the flags that change; how many did. Done twice, nothing changes."""
    changed = 0
    for number in network.touched(pending.series_id):
        apart = network.rules[number].apart
        stretch = pending.window
        if number != pending.series_id:
            stretch = Window(stretch.start - apart, stretch.end + apart)
        for was, flag, tests in _verdicts(store, check, network, number, stretch, looked_at):
            changed += store.put_flags(lease, number, was.time, flag, tests)
    return changed


def recheck_all(  # noqa: PLR0917 - all that it needs
    reports: Reports,
    store: Store,
    lease: Lease | None,
    check: Checker,
    series: Sequence[StoredSeries],
    window: Window,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Changes, bool]:
    """As `recheck`, for series of one source, and then what near stations say by the rules of today:
    where a series has no such rule any more, nothing. Without a lease near stations are compared by
    the flags that are stored."""
    changes, ended = recheck(reports, store, lease, check, series, window, stopped)
    if not ended or not series:
        return changes, ended
    assert isinstance(check, Checks)  # noqa: S101 - what wiring builds
    network = Network.of(check, reports.series(series[0].source))
    for one in series:
        if one.id not in network.rules and one.id not in changes.at_odds:
            continue
        for was, flag, tests in _verdicts(reports, check, network, one.id, window, lambda _: None):
            changes.add(was, flag, tests)
            if lease is not None:
                store.put_flags(lease, one.id, was.time, flag, tests)
            if stopped():
                return changes, False
    return changes, True


def told(reports: Reports, check: Checks, one: StoredSeries, reading: Readings) -> str | None:
    """Why this one reading is at odds with near stations, with the figures; None where today's rule
    and readings do not say so."""
    network = Network.of(check, reports.series(one.source))
    if one.id not in network.near or not usable(reading).all():
        return None
    rule = network.rules[one.id]
    others = _others(reports, network, one.id, reading.time, lambda _: None)
    if not objects(rule, reading.time, reading.value, others)[0]:
        return None
    low, high, count = bounds(rule, reading.time, others)
    value = float(reading.value[0])
    return sentence(value, float(low[0]), float(high[0]), int(count[0]), one.series.unit)


def _verdicts(  # noqa: PLR0917 - all that it needs
    reports: Reports,
    check: Checks,
    network: Network,
    number: int,
    window: Window,
    looked_at: Callable[[int], None],
) -> Iterator[tuple[Readings, UInt8, UInt32]]:
    """The stored readings in a window whose bit is to change, with their new flags and tests."""
    one = network.series[number]
    if one.first_time is None or one.last_time is None:
        return
    window = window.clip(Window(one.first_time - 1, one.last_time))
    if not window:
        return
    reach = check.reach(one.series)
    moved: list[Int64] = []

    def chunks() -> Iterator[Readings]:
        around = Window(begin(reports, one, window.start + 1, reach), end(reports, one, window.end, reach))
        for chunk in reports.scan([number], around):
            looked_at(len(chunk))
            inside = (chunk.time > window.start) & (chunk.time <= window.end)
            wanted = _at_odds(reports, network, number, chunk, inside, looked_at)
            differs = inside & (wanted != (chunk.tests & BIT != 0))
            moved.append(chunk.time[differs])
            yield replace(chunk, tests=np.where(differs, chunk.tests ^ BIT, chunk.tests))

    for readings, flag, tests in judged(check, one.series, chunks(), reach):
        chosen = np.isin(readings.time, np.concatenate(moved))
        if chosen.any():
            was = readings.take(chosen)
            yield replace(was, tests=was.tests ^ BIT), flag[chosen], tests[chosen]


def _at_odds(  # noqa: PLR0917 - all that it needs
    reports: Reports,
    network: Network,
    number: int,
    chunk: Readings,
    inside: Bool,
    looked_at: Callable[[int], None],
) -> Bool:
    found = np.zeros(len(chunk), bool)
    at = np.flatnonzero(inside & usable(chunk))
    if len(at) and number in network.near:
        time = chunk.time[at]
        others = _others(reports, network, number, time, looked_at)
        found[at] = objects(network.rules[number], time, chunk.value[at], others)
    return found


def _others(
    reports: Reports, network: Network, number: int, time: Int64, looked_at: Callable[[int], None]
) -> list[tuple[Int64, Float64]]:
    """What the near stations measured around these ascending times: times and values by series."""
    apart = network.rules[number].apart
    columns: dict[int, list[Readings]] = {}
    for part in reports.scan(network.near[number], Window(int(time[0]) - apart - 1, int(time[-1]) + apart)):
        looked_at(len(part))
        kept = part.take(usable(part))
        for other in np.unique(kept.series).tolist():
            columns.setdefault(other, []).append(kept.take(kept.series == other))
    whole = [Readings.concat(parts) for parts in columns.values()]
    return [(one.time, one.value) for one in whole]

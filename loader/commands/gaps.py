"""`loader gaps`: what is missing, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import clean, documents, iso, line, note, plural, span
from loader.commands.selection import (
    NOTHING_LOADED,
    Period,
    chosen_series,
    json_option,
    period,
    period_options,
    series_options,
)

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Reports
    from loader.gaps import Gap
    from loader.readings import Int64, PartitionState, Window
    from loader.records import StoredSeries

QUARANTINED = 5_000
"""So many of a source's rejected records, the newest, are looked at for causes."""


@click.command("gaps")
@series_options
@period_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    stations: tuple[str, ...],
    parameters: tuple[str, ...],
    sensors: tuple[str, ...],
    since: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """Show which expected readings are missing, and why.

    Expected are readings in the usual distance of their series, from where its loading began
    until now. The causes: source had nothing, fetch failed (with what failed), quarantined, not
    yet due, expired (pruned), not asked for.
    """
    context: Context = ctx.obj
    when = period(since, until)
    series = chosen_series(context, names, stations, parameters, sensors)
    found = find(context.store(), series, when)
    if as_json:
        documents(_item(s, gap) for s, gap in found)
        return
    unknown = sum(not s.series.cadence_s for s in series)
    totals = _print(found)
    if unknown:
        note(f"{plural(unknown, 'series')} of unknown cadence: nobody knows what is missing there")
    if not series and not context.store().sources():
        note(NOTHING_LOADED)
    elif not totals:
        note("no gaps")


def find(
    reports: Reports, series: Sequence[StoredSeries], when: Period
) -> Iterator[tuple[StoredSeries, Gap]]:
    """The gaps of each series, by source, station, parameter and time."""
    ordered = sorted(
        series,
        key=lambda s: (s.source, s.series.station, s.series.parameter, s.series.unit, s.series.sensor),
    )
    source: str | None = None
    for s in ordered:
        if s.source != source:
            source = s.source
            states = {state.name: state for state in reports.partitions(source)}
            rejected: dict[str, list[int]] = {}
            for q in reports.quarantined(source, QUARANTINED):
                if q.time is not None and q.replayed_by is None:
                    rejected.setdefault(q.partition, []).append(q.time)
            everything = reports.series(source)
        if s.series.cadence_s and (state := states.get(s.series.partition)):
            for gap in of_series(reports, s, state, rejected.get(state.name, ()), everything, when):
                yield s, gap


def of_series(
    reports: Reports,
    s: StoredSeries,
    state: PartitionState,
    rejected: Sequence[int],
    siblings: Sequence[StoredSeries],
    when: Period,
) -> Iterator[Gap]:
    """The gaps of one series, its stamps read a piece at a time.

    `rejected` are the times of quarantined records of its partition, `siblings` every series of
    its source: a sensor that another one continues is expected until that one's first reading,
    and the other from then on.
    """
    import numpy as np

    from loader import gaps
    from loader.readings import Window

    whole = _expected(s, state, siblings, when)
    if not whole:
        return
    start, before = whole.start, np.empty(0, np.int64)
    pieces: Iterable[Int64 | None] = chain((part.time for part in reports.scan([s.id], whole)), [None])
    for times in pieces:
        # A piece begins and ends with a stored stamp, so that no gap lies in two.
        stamps = before if times is None else np.concatenate([before, times])
        end = whole.end if times is None else int(stamps[-1])
        yield from gaps.find(
            stamps,
            s.series.cadence_s,
            Window(start, end),
            coverage=state.coverage,
            holes=state.holes,
            quarantined=rejected,
            watermark=state.watermark,
            expired_to=state.expired_to,
        )
        if times is not None:
            before, start = stamps[-1:], end - 1


def _expected(
    s: StoredSeries, state: PartitionState, siblings: Sequence[StoredSeries], when: Period
) -> Window:
    """The window in which readings of the series may be expected; falsy where there is none."""
    from loader.readings import Window

    def continued(old: StoredSeries, new: StoredSeries) -> bool:
        return (
            new.series.replaces == old.series.sensor
            and new.series.parameter == old.series.parameter
            and new.first_time is not None
        )

    begins = [w.start for w in state.coverage] + [h.window.start for h in state.holes]
    if s.first_time is not None:
        begins.append(s.first_time - 1)
    begin = min(begins, default=state.discovered_at) if when.since is None else when.since
    ends = [t.first_time - 1 for t in siblings if t.first_time is not None and continued(s, t)]
    until = when.now if when.until is None else when.until
    if s.first_time is not None and any(
        continued(old, s) for old in siblings if old.first_time is not None
    ):
        begin = max(begin, s.first_time - 1)
    return Window(begin, min([until, *ends]))


def _print(found: Iterable[tuple[StoredSeries, Gap]]) -> Counter[str]:
    """Print gaps series by series, as they come; returns the readings missing by cause."""
    totals: Counter[str] = Counter()
    stretches = 0
    shown: StoredSeries | None = None
    for s, gap in found:
        if s is not shown:
            shown = s
            what = f"{s.series.parameter} {s.series.unit}".rstrip()
            line(clean(f"{s.source}  {s.series.station}  {what}  (sensor {s.series.sensor})"))
        stretches += 1
        totals[gap.cause] += gap.missing
        line(clean(f"  {iso(gap.window.start)} .. {iso(gap.window.end)}  {gap.missing:>8,}  {gap.cause}"))
    if totals:
        causes = "; ".join(f"{count:,} {cause}" for cause, count in totals.most_common())
        line(clean(f"{plural(totals.total(), 'reading')} missing in {plural(stretches, 'gap')}: {causes}"))
    return totals


def _item(s: StoredSeries, gap: Gap) -> dict[str, Any]:
    return {
        "source": s.source,
        "station": s.series.station,
        "sensor": s.series.sensor,
        "parameter": s.series.parameter,
        "unit": s.series.unit,
        **span(gap.window),
        "missing": gap.missing,
        "cause": gap.cause,
    }

"""`loader drift`: which series have slowly become another, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import Column, document, iso, iso_or_none, note, number, table
from loader.commands.selection import (
    NOTHING_LOADED,
    Selection,
    chosen_series,
    json_option,
    period,
    series_options,
)

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.findings import FoundDrift, Standing
    from loader.records import StoredSeries

EFFECTS = ("ks", "psi", "shift", "scale")

DETECTOR = "drift"
"""The name under which a series stands with it."""


@click.command("drift")
@series_options
@click.option(
    "--since", metavar="TIME", help="Only comparisons that ended after this time (default: the start)."
)
@click.option("--history", is_flag=True, help="Every comparison, not just each series' newest.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    asked: Selection,
    since: str | None,
    history: bool,
    as_json: bool,
) -> None:
    """Show how the latest weeks of each series compare with their reference.

    Once a day a series' last two weeks are compared with its first ones, or with the same season a
    year before. What is found three times in a row alerts.
    """
    context: Context = ctx.obj
    start = period(since, None).since
    store = context.store()
    series = {s.id: s for s in chosen_series(context, asked)}
    found: list[FoundDrift] = []
    standing: dict[int, Standing] = {}
    for source in sorted({s.source for s in series.values()}):
        found += store.drifts(source, -(2**62) if start is None else start)
        standing |= {s.series_id: s for s in store.standings(source) if s.detector == DETECTOR}
    found = [one for one in found if one.series_id in series]
    if not history:
        found = newest(found)
    found.sort(key=lambda d: (_names(series[d.series_id]), d.time, d.against))
    if as_json:
        document([_item(series[d.series_id], d, standing.get(d.series_id)) for d in found])
    elif found:
        _print(series, found, standing)
    else:
        note(NOTHING_LOADED if not store.sources() else "no series was compared yet")


def newest(found: Iterable[FoundDrift]) -> list[FoundDrift]:
    """Of each series and reference the last comparison."""
    last: dict[tuple[int, str], FoundDrift] = {}
    for one in sorted(found, key=lambda d: d.time):
        last[one.series_id, one.against] = one
    return list(last.values())


def _names(s: StoredSeries) -> tuple[str, ...]:
    return (s.source, s.series.station, s.series.sensor, s.series.parameter, s.series.unit)


def _item(s: StoredSeries, found: FoundDrift, standing: Standing | None) -> dict[str, Any]:
    alerting = standing is not None and standing.alerting
    return {
        **dict(zip(("source", "station", "sensor", "parameter", "unit"), _names(s), strict=True)),
        "time": iso(found.time),
        "against": found.against,
        "reference": found.reference,
        "current": found.current,
        **{name: getattr(found, name) for name in EFFECTS},
        "drifting": found.drifting,
        "alerting": alerting,
        "alerting_since": iso_or_none(standing.since if standing and alerting else None),
    }


def _print(
    series: Mapping[int, StoredSeries], found: Sequence[FoundDrift], standing: Mapping[int, Standing]
) -> None:
    columns = [
        *map(Column, ("source", "station", "sensor", "parameter", "unit", "up to", "against")),
        *(Column(name, right=True) for name in ("reference", "current", *EFFECTS)),
        Column("drift"),
        Column("alerting since"),
    ]
    rows: list[list[str | None]] = []
    for one in found:
        stands = standing.get(one.series_id)
        rows.append(
            [
                *_names(series[one.series_id]),
                iso(one.time - one.time % 1_000_000),
                one.against,
                number(one.reference),
                number(one.current),
                f"{one.ks:.2f}",
                f"{one.psi:.2f}",
                f"{one.shift:+.2f}",
                f"{one.scale:.2f}",
                "yes" if one.drifting else "no",
                iso(stands.since - stands.since % 1_000_000) if stands and stands.alerting else None,
            ]
        )
    table(columns, rows)

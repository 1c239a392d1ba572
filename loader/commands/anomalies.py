"""`loader anomalies`: readings that do not fit what was usual before them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import Column, document, iso, note, table
from loader.commands.selection import (
    NOTHING_LOADED,
    Period,
    Selection,
    chosen_series,
    json_option,
    period_options,
    series_options,
)
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Reports
    from loader.quality.anomaly import Detector
    from loader.readings import Window
    from loader.records import StoredSeries

DETECTORS = ("robust_zscore", "unit_scale", "zscore", "isolation_forest")

STORED_ONLY = "isolation_forest"
"""It looks at all sensors of a station, by a model that a run has fitted."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one series has to do with it; None for what is not known."""

    series: StoredSeries
    value: float | None
    expected: float | None
    distance: float | None


@dataclass(frozen=True, slots=True)
class Odd:
    """An anomaly as it is shown. `parts` has the worst sensor first."""

    series: StoredSeries
    time: int
    detector: str
    version: str
    score: float
    distance: str
    parts: tuple[Part, ...]


@click.command("anomalies")
@series_options
@period_options
@click.option("--detector", type=click.Choice(DETECTORS), help="Only those that this one found.")
@click.option(
    "--scan", "scan", is_flag=True, help="Judge what is stored now, as configured; nothing is kept of it."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="How many, the newest first.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    asked: Selection,
    when: Period,
    detector: str | None,
    scan: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show readings that do not fit what was usual before them, the newest first.

    Runs judge what is new; --scan judges what is stored already, with the detectors of the
    configuration.
    """
    context: Context = ctx.obj
    series = chosen_series(context, asked)
    if scan:
        found = _scanned(context.store(), series, when.window, _detectors(context, detector, when))
    else:
        found = _stored(context.store(), series, when.window, detector)
    newest = nlargest(limit + 1, found, key=lambda odd: (odd.time, -odd.series.id, odd.detector))
    shown = newest[:limit]
    if as_json:
        document([_item(odd) for odd in shown])
        return
    if shown:
        _print(shown)
        if len(newest) > limit:
            note(f"the newest {limit:,}; --limit shows more")
    else:
        note(NOTHING_LOADED if not context.store().sources() else "no anomalies")


def _detectors(context: Context, name: str | None, when: Period) -> Sequence[Detector]:
    """Those that --scan judges by. Raises UsageError."""
    from loader.quality import anomaly

    if when.since is None:
        raise UsageError("--scan reads and judges everything since a time: give --since, such as 30d")
    if name == STORED_ONLY:
        raise UsageError(f"--scan judges single series: {STORED_ONLY} looks at stations, after each run")
    if name is not None:
        return [anomaly.DETECTORS[name]]
    return context.config().anomalies.chosen or anomaly.CORE


def _scanned(
    reports: Reports, series: Iterable[StoredSeries], window: Window, detectors: Sequence[Detector]
) -> Iterator[Odd]:
    from loader.scores import anomalies

    units = {d.name: d.distance for d in detectors}
    for one in series:
        for found in anomalies(reports, one, window, detectors):
            parts = tuple(Part(one, _finite(p.value), _finite(p.expected), p.distance) for p in found.parts)
            unit = units[found.detector]
            yield Odd(one, found.time, found.detector, found.version, found.score, unit, parts)


def _stored(
    reports: Reports, series: Sequence[StoredSeries], window: Window, detector: str | None
) -> Iterator[Odd]:
    """Those that runs have found, source by source in order of time."""
    chosen = {one.id: one for one in series}
    for source in sorted({one.source for one in series}):
        every = {one.id: one for one in reports.series(source)}
        for found in reports.anomalies(source, window.start, window.end):
            if found.series_id in chosen and detector in (None, found.detector):
                told = json.loads(found.explanation)
                yield Odd(
                    chosen[found.series_id],
                    found.time,
                    found.detector,
                    found.version,
                    found.score,
                    told["distance"],
                    tuple(
                        Part(every[p["series_id"]], p["value"], p["expected"], p["distance"])
                        for p in told["parts"]
                        if p["series_id"] in every
                    ),
                )


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _named(s: StoredSeries) -> dict[str, str]:
    return {
        "source": s.source,
        "station": s.series.station,
        "sensor": s.series.sensor,
        "parameter": s.series.parameter,
        "unit": s.series.unit,
    }


def _item(odd: Odd) -> Mapping[str, Any]:
    return {
        **_named(odd.series),
        "time": iso(odd.time),
        "detector": odd.detector,
        "version": odd.version,
        "score": odd.score,
        "distance_in": odd.distance,
        "parts": [
            {
                "sensor": part.series.series.sensor,
                "parameter": part.series.series.parameter,
                "unit": part.series.series.unit,
                "value": part.value,
                "expected": part.expected,
                "distance": part.distance,
            }
            for part in odd.parts
        ],
    }


def _print(shown: Sequence[Odd]) -> None:
    columns = [
        *map(Column, ("time", "source", "station", "sensor", "parameter", "unit")),
        *(Column(title, right=True) for title in ("value", "expected", "distance", "score")),
        Column("detector"),
    ]
    rows: list[list[str | None]] = []
    for odd in shown:
        worst = odd.parts[0] if odd.parts else Part(odd.series, None, None, None)
        figures = (worst.value, worst.expected, worst.distance)
        rows.append(
            [
                iso(odd.time),
                *_named(odd.series).values(),
                *(None if figure is None else f"{figure:.5g}" for figure in figures),
                f"{odd.score:.4g}",
                odd.detector,
            ]
        )
    table(columns, rows)

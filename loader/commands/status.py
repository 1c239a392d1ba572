"""`loader status`: how fresh and how complete every source is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import (
    Column,
    ago,
    clean,
    document,
    iso_or_none,
    line,
    note,
    number,
    table,
    tenth,
)
from loader.commands.selection import NOTHING_LOADED, SHOWN, chosen_sources, json_option

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.readings import Hole, PartitionState
    from loader.records import RunReport, StoredSeries

NEXT = 5
"""How many of a source's next runs are told."""

CADENCES = 3
"""A station is silent when this many readings in a row, and the maximum lookback, have passed."""


@dataclass(frozen=True, slots=True)
class Station:
    """How a station fares; times in microseconds UTC, spans in microseconds."""

    name: str
    series: int
    partitions: int
    watermark: int | None
    newest: int | None
    age: int | None
    expected_within: int
    holes: tuple[Hole, ...]
    failing: int
    last_error: str | None
    """Of the partition that has failed most often in a row."""

    @property
    def silent(self) -> bool:
        return self.age is None or self.age > self.expected_within


@click.command("status")
@click.option("--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable.")
@click.option("--stations", "detailed", is_flag=True, help="Show every station too.")
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], detailed: bool, as_json: bool) -> None:
    """Show how fresh and how complete every source is.

    A station is silent when its newest reading is older than three of its cadences plus the
    source's maximum lookback: by then even late readings should have come.
    """
    from loader.quality.cadence import as_reported
    from loader.schedule import coming
    from loader.settings.models import Lookback
    from loader.wiring import now

    context: Context = ctx.obj
    store, configured, at = context.store(), context.config().sources, now()
    rows: list[dict[str, Any]] = []
    for name in chosen_sources(context, names):
        settings = configured.get(name)
        lookback = (settings.lookback if settings else Lookback()).max
        series = as_reported(store.series(name), store.cadences(name))
        stations = stations_of(store.partitions(name), series, at, lookback)
        last = next(iter(store.runs(name, 1)), None)
        state = "not configured" if settings is None else "enabled" if settings.enabled else "disabled"
        due = coming(settings.schedule.timetable, at, NEXT) if settings and settings.enabled else []
        rows.append(_source(name, state, stations, last, due, at))
    if as_json:
        for row in () if detailed else rows:
            row["stations"] = len(row["stations"])
        document(rows)
        return
    if not any(row["partitions"] or row["last_run"] for row in rows):
        note(NOTHING_LOADED)
        return
    _sources_table(rows)
    for row in rows if detailed else ():
        _stations_table(row)


def stations_of(
    states: Sequence[PartitionState], series: Sequence[StoredSeries], now: int, lookback: int
) -> list[Station]:
    """Every station of a source, by name. `lookback` is the source's maximum, in microseconds."""
    from loader.alerts.freshness import USUAL_CADENCE_S

    out = []
    of: dict[str, tuple[list[PartitionState], list[StoredSeries]]] = {}
    for state in states:
        of.setdefault(state.station, ([], []))[0].append(state)
    for one in series:
        of.setdefault(one.series.station, ([], []))[1].append(one)
    for name, (its_states, its_series) in sorted(of.items()):
        newest = max((s.last_time for s in its_series if s.last_time is not None), default=None)
        known = [s.series.cadence_s for s in its_series if s.series.cadence_s]
        cadence = min(known, default=USUAL_CADENCE_S)
        troubled = max(its_states, key=lambda s: s.failures, default=None)
        out.append(
            Station(
                name=name,
                series=len(its_series),
                partitions=len(its_states),
                watermark=max((s.watermark for s in its_states if s.watermark is not None), default=None),
                newest=newest,
                age=None if newest is None else now - newest,
                expected_within=round(CADENCES * cadence * 1_000_000) + lookback,
                holes=tuple(h for s in its_states for h in s.holes),
                failing=sum(s.failures > 0 for s in its_states),
                last_error=troubled.last_error if troubled else None,
            )
        )
    return out


def _source(
    name: str, state: str, stations: list[Station], last: RunReport | None, due: list[int], now: int
) -> dict[str, Any]:
    newest = max((s.newest for s in stations if s.newest is not None), default=None)
    watermark = max((s.watermark for s in stations if s.watermark is not None), default=None)
    return {
        "source": name,
        "state": state,
        "stations": [_station(s) for s in stations],
        "partitions": sum(s.partitions for s in stations),
        "watermark": iso_or_none(watermark),
        "newest": iso_or_none(newest),
        "age_s": None if newest is None else (now - newest) / 1_000_000,
        "silent_stations": [s.name for s in stations if s.silent],
        "holes": _holes([h for s in stations for h in s.holes]),
        "failing_partitions": sum(s.failing for s in stations),
        "score": last.quality if last else None,
        "last_run": last
        and {
            "id": last.id,
            "trigger": last.trigger,
            "started": iso_or_none(last.started),
            "finished": iso_or_none(last.finished),
            "age_s": (now - last.started) / 1_000_000,
            "outcome": last.outcome,
            "new": last.counts.new,
            "error": last.error,
        },
        "next_runs": [iso_or_none(at) for at in due],
    }


def _station(s: Station) -> dict[str, Any]:
    return {
        "station": s.name,
        "series": s.series,
        "watermark": iso_or_none(s.watermark),
        "newest": iso_or_none(s.newest),
        "age_s": None if s.age is None else s.age / 1_000_000,
        "expected_within_s": s.expected_within / 1_000_000,
        "silent": s.silent,
        "holes": _holes(s.holes),
        "failing_partitions": s.failing,
        "last_error": s.last_error,
    }


def _holes(holes: Sequence[Hole]) -> dict[str, int]:
    given_up = sum(h.next_try is None for h in holes)
    return {"open": len(holes) - given_up, "given_up": given_up}


def _sources_table(rows: list[dict[str, Any]]) -> None:
    columns = [
        *map(Column, ("source", "newest reading")),
        *(Column(title, right=True) for title in ("age", "stations", "holes")),
        Column("last run"),
        *(Column(title, right=True) for title in ("new", "score")),
    ]
    table(columns, [_source_row(row) for row in rows])
    for row in rows:
        if silent := row["silent_stations"]:
            more = f" and {len(silent) - SHOWN} more" if len(silent) > SHOWN else ""
            line(clean(f"{row['source']}: silent: {', '.join(silent[:SHOWN])}{more}"))
        if row["last_run"] and row["last_run"]["error"]:
            line(clean(f"{row['source']}: last run: {row['last_run']['error']}"))
        if row["next_runs"]:
            line(f"{row['source']}: next runs: {', '.join(row['next_runs'])}")


def _source_row(row: dict[str, Any]) -> list[str | None]:
    last = row["last_run"]
    return [
        row["source"] + ("" if row["state"] == "enabled" else f" ({row['state']})"),
        _minute(row["newest"]),
        _age(row["age_s"]),
        number(len(row["stations"])) + _aside(len(row["silent_stations"]), "silent"),
        _hole_count(row["holes"]),
        f"{last['outcome'] or 'running'} {_age(last['age_s'])} ago" if last else None,
        number(last["new"]) if last else None,
        tenth(row["score"]),
    ]


def _stations_table(row: dict[str, Any]) -> None:
    columns = [
        *map(Column, (f"station of {row['source']}", "newest reading")),
        *(Column(title, right=True) for title in ("age", "series", "holes")),
        Column("state"),
        Column("last error", prose=True),
    ]
    if not row["stations"]:
        return
    line("")
    table(
        columns,
        [
            [
                s["station"],
                _minute(s["newest"]),
                _age(s["age_s"]),
                number(s["series"]),
                _hole_count(s["holes"]),
                "silent" if s["silent"] else "failing" if s["failing_partitions"] else "ok",
                s["last_error"] or "",
            ]
            for s in row["stations"]
        ],
    )


def _minute(time: str | None) -> str | None:
    """A time as far as its minutes."""
    return time and time[: len("2024-01-31T06:00")] + "Z"


def _aside(count: int, what: str) -> str:
    return f" ({number(count)} {what})" if count else ""


def _hole_count(holes: dict[str, int]) -> str:
    return number(sum(holes.values())) + _aside(holes["given_up"], "given up")


def _age(seconds: float | None) -> str:
    return ago(None if seconds is None else round(seconds * 1_000_000))

"""`loader quality`: how good what was loaded is, and by what parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import Column, bar, document, iso, note, number, plural, table, tenth
from loader.commands.selection import (
    NOTHING_LOADED,
    Period,
    Selection,
    chosen_series,
    chosen_sources,
    json_option,
    period_options,
    series_options,
)
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Database, Reports
    from loader.quality.score import Components, Weights
    from loader.records import RunReport, StoredSeries

Key = tuple[str, ...]

GROUPS = ("source", "station", "parameter", "series", "day", "run")

COUNTS = (
    "due",
    "observed",
    "good",
    "unevaluated",
    "suspect",
    "failed",
    "missing",
    "late",
    "duplicate",
    "inconsistent",
)
"""The counts of a `QualityDay`."""

FLAGS = ("good", "unevaluated", "suspect", "failed", "missing")

LABELS: Mapping[str, tuple[str, ...]] = {
    "source": ("source",),
    "station": ("source", "station"),
    "parameter": ("source", "parameter"),
    "series": ("source", "station", "sensor", "parameter", "unit"),
    "day": ("source", "day"),
    "run": ("source", "run", "started"),
}
"""What a row is called by, for each way of grouping."""

RUNS = 10_000
"""So many runs of a source, the newest, are looked at."""


@dataclass(slots=True)
class Row:
    """What is known of one group: counts by name, the score made of them, and how many readings the
    source itself flagged (None: not counted)."""

    counts: dict[str, int | None]
    score: float | None
    components: Components
    upstream: int | None = None
    pending: int | None = None


@dataclass(slots=True)
class _Sum:
    """A group on its way."""

    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    upstream: int = 0
    pending: int = 0


class Group(click.Group):
    """Its one subcommand is imported only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return ["export"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = import_module("loader.commands.qualityexport").command
        return found


@click.group("quality", cls=Group, invoke_without_command=True)
@series_options
@period_options
@click.option(
    "--by",
    type=click.Choice(GROUPS),
    default="source",
    show_default=True,
    help="A row for each of these.",
)
@click.option(
    "--upstream",
    is_flag=True,
    help="Count the readings that the source itself flagged; reads all of them.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    asked: Selection,
    when: Period,
    by: str,
    upstream: bool,
    as_json: bool,
) -> None:
    """Show how good what was loaded is, from 0 to 100, and the parts that this is made of.

    Days are whole days UTC; those in which --since and --until lie are counted. Where nothing was
    due there is no score.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return
    context: Context = ctx.obj
    if by == "run":
        if asked.stations or asked.parameters or asked.sensors or upstream:
            raise UsageError("--by run is about whole runs: give --source, --since and --until only")
        chosen = chosen_sources(context, asked.sources)
        rows = dict(_of_runs(context.store(), chosen, when))
        waiting = 0
    else:
        series = chosen_series(context, asked)
        weights = context.config().quality.weights.as_weights()
        rows, waiting = _of_days(context.store(), series, when, by, weights, upstream)
    if as_json:
        document([_item(by, key, row) for key, row in rows.items()])
        return
    if rows:
        _print(by, rows, upstream)
    if waiting:
        note(f"{plural(waiting, 'series')} with readings that the next run will assess")
    if not rows:
        note(NOTHING_LOADED if not context.store().sources() else "nothing was assessed in this time")


def _refuse_options(ctx: click.Context) -> None:
    """Options before a subcommand would be of no effect."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if source is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"{parameter.opts[0]} stands before {ctx.invoked_subcommand}: put it after it")


def _of_days(
    store: Database,
    series: Sequence[StoredSeries],
    when: Period,
    by: str,
    weights: Weights,
    upstream: bool,
) -> tuple[dict[Key, Row], int]:
    """Rows by their labels, sorted; and how many of the series are still to be assessed."""
    from loader.findings import QualityDay
    from loader.quality.score import day_score, of_day
    from loader.readings import DAY

    since = -(2**62) if when.since is None else when.since // DAY * DAY
    until = 2**62 if when.until is None else -(-when.until // DAY) * DAY
    chosen = {one.id: one for one in series}
    key_of = _keys(by)
    sums: dict[Key, _Sum] = {}
    counts = attrgetter(*COUNTS)
    waiting = 0
    for source in sorted({one.source for one in series}):
        for day in store.quality(source, since, until):
            if day.series_id in chosen:
                into = sums.setdefault(key_of(chosen[day.series_id], day.day), _Sum())
                into.counts = [a + b for a, b in zip(into.counts, counts(day), strict=True)]
        for one in store.pending(source):
            if one.series_id in chosen:
                waiting += 1
                if by != "day":
                    sums.setdefault(key_of(chosen[one.series_id], 0), _Sum()).pending += 1
    if upstream:
        for series_id, day_, found in _flagged_upstream(store, sorted(chosen), since, until):
            sums.setdefault(key_of(chosen[series_id], day_), _Sum()).upstream += found
    rows = {}
    for key in sorted(sums):
        made = sums[key]
        whole = QualityDay(0, 0, **dict(zip(COUNTS, made.counts, strict=True)))
        rows[key] = Row(
            dict(zip(COUNTS, made.counts, strict=True)),
            day_score(whole, weights),
            of_day(whole),
            made.upstream if upstream else None,
            None if by == "day" else made.pending,
        )
    return rows, waiting


def _keys(by: str) -> Callable[[StoredSeries, int], Key]:
    """What a series' day is counted to."""
    if by == "day":
        return lambda one, day: (one.source, iso(day)[:10])
    names = [name for name in LABELS[by] if name != "source"]
    return lambda one, _: (one.source, *(getattr(one.series, name) for name in names))


def _flagged_upstream(
    reports: Reports, ids: Sequence[int], since: int, until: int
) -> Iterator[tuple[int, int, int]]:
    """(series id, day, readings that the source flagged), as they are read."""
    import numpy as np

    from loader.readings import DAY, Check, Window
    from loader.scores import by_series

    for part in reports.scan(ids, Window(since, until)) if ids else ():
        flagged = part.take((part.tests & Check.UPSTREAM) > 0)
        for series_id, its in by_series(flagged):
            days, counts = np.unique((its.time - 1) // DAY * DAY, return_counts=True)
            for day, count in zip(days.tolist(), counts.tolist(), strict=True):
                yield series_id, day, count


def _of_runs(reports: Reports, sources: Iterable[str], when: Period) -> Iterator[tuple[Key, Row]]:
    """The runs that began in the time asked for, the newest first."""
    from loader.quality.score import components

    found = [run for name in sources for run in reports.runs(name, RUNS) if run.took_place]
    for run in sorted(found, key=lambda r: r.id, reverse=True):
        if (when.since is None or run.started > when.since) and (
            when.until is None or run.started <= when.until
        ):
            key = (run.source, str(run.id), iso(run.started - run.started % 1_000_000))
            yield key, Row(_counts(run), run.quality, components(run.counts))


def _counts(run: RunReport) -> dict[str, int | None]:
    """A run's counts by the names that a day has for them; it does not count what is well."""
    return {name: getattr(run.counts, name, None) for name in COUNTS}


def _readings(by: str, row: Row) -> int | None:
    parts = [row.counts[name] for name in FLAGS]
    return None if by == "run" else sum(part or 0 for part in parts)


def _item(by: str, key: Key, row: Row) -> dict[str, Any]:
    from dataclasses import asdict

    labels: dict[str, Any] = dict(zip(LABELS[by], key, strict=True))
    if by == "run":
        labels["run"] = int(labels["run"])
    return {
        **labels,
        "score": row.score,
        "components": asdict(row.components),
        "counts": {"readings": _readings(by, row), **row.counts},
        "upstream": row.upstream,
        "pending": row.pending,
    }


def _print(by: str, rows: Mapping[Key, Row], upstream: bool) -> None:
    from loader.quality.score import COMPONENT_NAMES

    flags = FLAGS if by != "run" else FLAGS[2:]
    columns = [
        *(Column(name, right=name == "run") for name in LABELS[by]),
        *([] if by == "run" else [Column("readings", right=True)]),
        Column("score", right=True),
        *(Column(name, right=True) for name in COMPONENT_NAMES),
        *(
            Column("not evaluated" if n == "unevaluated" else n, right=True, spare=n != "good")
            for n in flags
        ),
        *([Column("upstream", right=True)] if upstream else []),
    ]
    table(
        columns,
        [
            [
                *key,
                *([] if by == "run" else [number(_readings(by, row))]),
                _figure(row.score, 8),
                *(_figure(_percent(getattr(row.components, name)), 4) for name in COMPONENT_NAMES),
                *(number(row.counts[name]) for name in flags),
                *([number(row.upstream)] if upstream else []),
            ]
            for key, row in rows.items()
        ],
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _figure(percent: float | None, width: int) -> str:
    """The figure and a bar."""
    return "-" + " " * (width + 1) if percent is None else f"{tenth(percent)} {bar(percent / 100, width)}"

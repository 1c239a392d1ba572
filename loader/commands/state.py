"""`loader state`: how far each partition has been read, and setting it back or on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loader.commands.options import detach_option
from loader.commands.output import (
    Column,
    clean,
    confirm,
    document,
    iso,
    iso_or_none,
    line,
    note,
    number,
    plural,
    span,
    table,
)
from loader.commands.selection import NOTHING_LOADED, check, chosen_sources, json_option, yes_option
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.readings import PartitionState


@click.group("state")
def command() -> None:
    """Show or change how far a source has been read."""


@command.command("show")
@click.argument("source", required=False)
@click.option(
    "--partition", "partitions", multiple=True, metavar="NAME", help="Only this partition; repeatable."
)
@json_option
@click.pass_context
def show(ctx: click.Context, source: str | None, partitions: tuple[str, ...], as_json: bool) -> None:
    """Show watermark, coverage and holes of every partition.

    The coverage is what has been read: (from, to], the start not in it, the end in it. A hole is
    what could not be read; one without a next try has been given up.
    """
    context: Context = ctx.obj
    sources = chosen_sources(context, [source] if source else [])
    states = [(name, state) for name in sources for state in context.store().partitions(name)]
    check(partitions, (state.name for _, state in states), "partition")
    if partitions:
        states = [(name, state) for name, state in states if state.name in partitions]
    if as_json:
        document([_item(name, state) for name, state in states])
        return
    if not states:
        note(f"{source}: {NOTHING_LOADED}" if source else NOTHING_LOADED)
        return
    _print(states, every_window=bool(partitions))


@command.command("set", short_help="Set the watermark of a partition.")
@click.argument("source")
@click.argument("partition")
@click.argument("watermark", metavar="TIME")
@detach_option
@yes_option
@click.pass_context
def set_(ctx: click.Context, source: str, partition: str, watermark: str, detach: bool, yes: bool) -> None:
    """Set a partition's watermark to TIME (ISO 8601, or 7d = seven days ago).

    Readings stay. Coverage and holes after TIME are forgotten, so the next run reads on from
    there, less the lookback; what is stored already is then found equal and not stored twice. A
    TIME after the present watermark leaves out what lies between.
    """
    from loader.commands.options import moment
    from loader.wiring import now

    context: Context = ctx.obj
    state = _one(context, source, partition)
    time = moment(watermark)
    if time > now():
        raise UsageError(f"{watermark} is in the future: a watermark is the time of a reading")
    old = state.watermark
    line(
        clean(f"{source}, partition {partition}: watermark {_or_none(old)} -> {iso(time)}"),
        f"  forgets {_after(state, time)}; readings stay",
    )
    if old is None or time > old:
        line(f"  leaves out what lies after {_or_none(old)} and up to {iso(time)} (a backfill reads it)")
    confirm(yes)
    _reset(ctx, source, partition, time, detach=detach)


@command.command("reset", short_help="Forget watermark, coverage and holes: read all again.")
@click.argument("source")
@click.option("--partition", metavar="NAME", help="Only this partition.")
@detach_option
@yes_option
@click.pass_context
def reset(ctx: click.Context, source: str, partition: str | None, detach: bool, yes: bool) -> None:
    """Forget watermark, coverage and holes of a source, so that it is read from its start again.

    Readings stay, and none is stored twice.
    """
    context: Context = ctx.obj
    if partition is not None:
        states = [_one(context, source, partition)]
    else:
        check([source], context.store().sources(), "source")
        states = context.store().partitions(source)
    windows = sum(len(s.coverage) for s in states)
    holes = sum(len(s.holes) for s in states)
    line(
        clean(f"{source}: forgets the watermarks of {plural(len(states), 'partition')}, with"),
        f"  {plural(windows, 'window')} of coverage and {plural(holes, 'hole')}; readings stay",
    )
    confirm(yes)
    _reset(ctx, source, partition, None, detach=detach)


def _reset(
    ctx: click.Context, source: str, partition: str | None, watermark: int | None, *, detach: bool
) -> None:
    from loader.commands.following import carry_out
    from loader.work import Reset

    work = Reset(partition=partition, watermark=watermark)
    done, code = carry_out(ctx.obj, {source: work}, detach=detach)
    for one in done:
        if one.code == 0:
            line(f"done: {plural(one.result.get('partition', 0), 'partition')} changed")
    ctx.exit(code)


def _one(context: Context, source: str, partition: str) -> PartitionState:
    check([source], context.store().sources(), "source")
    states = {s.name: s for s in context.store().partitions(source)}
    check([partition], states, "partition")
    return states[partition]


def _after(state: PartitionState, time: int) -> str:
    windows = sum(w.end > time for w in state.coverage)
    holes = sum(h.window.end > time for h in state.holes)
    return f"{plural(windows, 'window')} of coverage and {plural(holes, 'hole')}, or their part after it"


def _or_none(time: int | None) -> str:
    return "none" if time is None else iso(time)


def _item(source: str, state: PartitionState) -> dict[str, Any]:
    return {
        "source": source,
        "partition": state.name,
        "station": state.station,
        "watermark": iso_or_none(state.watermark),
        "discovered_at": iso(state.discovered_at),
        "listed_at": iso(state.listed_at),
        "swept_at": iso_or_none(state.swept_at),
        "expired_to": iso_or_none(state.expired_to),
        "failures": state.failures,
        "last_error": state.last_error,
        "coverage": [span(w) for w in state.coverage],
        "holes": [
            {
                **span(h.window),
                "cause": h.cause,
                "tries": h.tries,
                "next_try": iso_or_none(h.next_try),
                "isolated": h.isolated,
            }
            for h in state.holes
        ],
    }


def _print(states: list[tuple[str, PartitionState]], *, every_window: bool) -> None:
    columns = [
        *map(Column, ("source", "partition", "station", "watermark", "covered from", "to")),
        *(Column(title, right=True) for title in ("windows", "holes", "failures")),
    ]
    table(columns, [_row(name, state) for name, state in states])
    if every_window:
        windows = [[n, s.name, iso(w.start), iso(w.end)] for n, s in states for w in s.coverage]
        if windows:
            line("")
            table([Column(t) for t in ("source", "partition", "covered from", "to")], windows)
    holes = [
        [
            name,
            state.name,
            iso(h.window.start),
            iso(h.window.end),
            number(h.tries),
            "given up" if h.next_try is None else iso(h.next_try),
            h.cause,
        ]
        for name, state in states
        for h in state.holes
    ]
    if holes:
        line("")
        titles = ("source", "partition", "hole from", "to", "tries", "next try", "cause")
        table([Column(t, right=t == "tries", prose=t == "cause") for t in titles], holes)


def _row(name: str, state: PartitionState) -> list[str | None]:
    return [
        name,
        state.name,
        state.station,
        iso_or_none(state.watermark),
        iso(state.coverage[0].start) if state.coverage else None,
        iso(state.coverage[-1].end) if state.coverage else None,
        number(len(state.coverage)),
        number(len(state.holes)),
        number(state.failures),
    ]

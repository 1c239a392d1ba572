"""`loader plan`: what a run would read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click

from loader.commands.options import source_option, window_of
from loader.commands.output import document, iso, line

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.readings import PartitionState, Task


@click.command("plan")
@source_option(multiple=True)
@click.option("--since", metavar="TIME", help="Plan a backfill from this time on.")
@click.option("--until", metavar="TIME", help="Plan a backfill up to this time.")
@click.option("--retry-holes", is_flag=True, help="Count every hole as due.")
@click.option("--tasks", "every", is_flag=True, help="List every task.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    since: str | None,
    until: str | None,
    retry_holes: bool,
    every: bool,
    as_json: bool,
) -> None:
    """Show what a run would read, without asking any source.

    As nothing is asked, every partition is taken to have news: it is the most a run would read.
    """
    from loader import wiring
    from loader.commands.progress import Estimate, Lines, duration
    from loader.contracts import Survey
    from loader.pipeline import Order

    context: Context = ctx.obj
    config, store = context.config(), context.store()
    window = window_of(since, until)
    order = Order(window=window, backfill=window is not None, retry_holes=retry_holes)
    paces = wiring.paces(config)
    run, skipped = wiring.chosen(config, names)
    plans = []
    for name in run:
        pipeline = wiring.build_pipeline(config, name, store, threading.Event(), Lines(paces))
        try:
            states = store.partitions(name)
            tasks = pipeline.tasks(order, states, Survey((), frozenset(), {}, {}), wiring.now())
            requests = sum(map(pipeline.source.requests, tasks))
        finally:
            pipeline.source.close()
        seconds = Estimate(requests, paces.get(name)).at_first()
        plans.append((name, states, tasks, requests, seconds))
    if as_json:
        whole = {
            "sources": [
                {
                    "source": name,
                    "partitions": len(states),
                    "tasks": [_task(t) for t in tasks],
                    "holes": sum(len(s.holes) for s in states),
                    "requests": requests,
                    "seconds": seconds,
                }
                for name, states, tasks, requests, seconds in plans
            ],
            "skipped": skipped,
        }
        document(whole)
        return
    for name, reason in skipped.items():
        line(f"{name}: skipped: {reason}")
    for name, states, tasks, requests, seconds in plans:
        time = f", about {duration(seconds)} within the limits" if seconds else ""
        line(f"{name}: {len(tasks)} tasks, {requests} requests{time}; {_holes(states)}")
        if not states:
            line("  nothing is known of it yet: the first run discovers its stations")
        for task in tasks if every else ():
            kind = "sweep" if task.sweep else str(task.kind)
            line(f"  {task.partition}  {kind}  {iso(task.window.start)} .. {iso(task.window.end)}")


def _task(task: Task) -> dict[str, object]:
    return {
        "partition": task.partition,
        "kind": str(task.kind),
        "sweep": task.sweep,
        "from": iso(task.window.start),
        "to": iso(task.window.end),
    }


def _holes(states: list[PartitionState]) -> str:
    holes = [h for s in states for h in s.holes]
    given_up = sum(h.next_try is None for h in holes)
    return f"{len(holes)} holes" + (f", {given_up} given up" if given_up else "")

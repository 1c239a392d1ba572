"""`loader gaps`: what is missing, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from loader.commands.options import detach_option, log_level_option, refuse_both
from loader.commands.output import clean, document, documents, iso, line, note, number, plural, span
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
    from loader.commands.following import Carried
    from loader.gaps import Gap
    from loader.healing import Plan, SetCadence
    from loader.readings import Series
    from loader.records import StoredSeries
    from loader.work import Heal


@click.command("gaps")
@series_options
@period_options
@click.option("--heal", "heals", is_flag=True, help="Read once more what another read may fill.")
@click.option("--dry-run", is_flag=True, help="With --heal: only say what would be read.")
@detach_option
@json_option
@log_level_option
@click.pass_context
def command(
    ctx: click.Context,
    asked: Selection,
    when: Period,
    heals: bool,
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Show which expected readings are missing, and why.

    Expected are readings in the usual distance of their series, from where its loading began
    until now. The causes: source had nothing, fetch failed (with what failed), quarantined, not
    yet due, expired (pruned), not asked for.

    With --heal gaps are read once more where the source may have what is missing: where a fetch
    failed, where nobody asked, and what it did not have as far back as runs look for late
    readings. Where another loader works on the source it is queued for that one and followed.
    """
    from loader import healing

    if not heals and (dry_run or detach):
        raise UsageError("--dry-run and --detach need --heal")
    refuse_both(dry_run=dry_run, detach=detach)
    context: Context = ctx.obj
    series = chosen_series(context, asked)
    end = when.now if when.until is None else when.until
    if heals:
        from loader.commands.execution import CONFIG, runnable
        from loader.work import Heal

        sources = tuple(dict.fromkeys(s.source for s in series))
        chosen = runnable(context, sources) if sources else []
        work = Heal(
            since=when.since,
            until=end,
            stations=asked.stations,
            parameters=asked.parameters,
            sensors=asked.sensors,
        )
        if not sources:
            note(NOTHING_LOADED)
            if as_json:
                document([])
        elif not chosen:
            ctx.exit(CONFIG)
        elif dry_run:
            _plan(context, dict.fromkeys(chosen, work), as_json=as_json)
        else:
            ctx.exit(_heal(context, dict.fromkeys(chosen, work), detach=detach, as_json=as_json))
        return
    set_cadence = _set_cadence(context)
    found = healing.find(context.store(), series, set_cadence, since=when.since, until=end)
    if as_json:
        documents(_item(s, gap) for s, gap in found)
        return
    totals = _print(found)
    learned = context.store().cadences(None)
    unknown = sum(
        not s.series.cadence_s and s.id not in learned and not set_cadence(s.source)(s.series)
        for s in series
    )
    if unknown:
        note(f"{plural(unknown, 'series')} of unknown cadence: nobody knows what is missing there")
    if not (asked.parameters or asked.sensors):
        _note_unread(context, asked)
    if not series and not context.store().sources():
        note(NOTHING_LOADED)
    elif not totals:
        note("no gaps")


def _note_unread(context: Context, asked: Selection) -> None:
    """Name the partitions of which nothing was read before they failed: nothing is expected there."""
    for source in asked.sources or context.store().sources():
        unread = [
            state
            for state in context.store().partitions(source)
            if state.failures
            and not (state.coverage or state.holes)
            and (not asked.stations or state.station in asked.stations)
        ]
        if unread:
            names = ", ".join(state.name for state in unread[:3]) + (", ..." if len(unread) > 3 else "")
            told = f"{source}: nothing was read yet of {plural(len(unread), 'partition')} ({names})"
            note(clean(f"{told}; the last error: {unread[0].last_error}"))


def _set_cadence(context: Context) -> SetCadence:
    """What the configuration sets; nothing for a source that is only in the store any more."""
    from loader.wiring import build_cadence

    config = context.config()

    def of(source: str) -> Callable[[Series], float | None]:
        return build_cadence(config, source) if source in config.sources else lambda _: None

    return of


def _heal(context: Context, works: Mapping[str, Heal], *, detach: bool, as_json: bool) -> int:
    """Refetch; returns the exit code."""
    from loader.commands.following import carry_out
    from loader.commands.summary import print_reports

    done, code = carry_out(context, works, detach=detach, as_json=as_json)
    if detach:
        return code
    if as_json:
        document([_outcome(one) for one in done])
        return code
    reports = [report for one in done for report in one.reports]
    if reports:
        print_reports(reports, as_json=False)
    for one in done:
        if "healed" in one.result:
            healed, left = int(one.result["healed"]), int(one.result["left"])
            line(clean(f"{one.source}: {_healed(healed, left)}"))
    return code


def _outcome(one: Carried) -> dict[str, Any]:
    errors = [report.error for report in one.reports if report.error]
    # A request keeps as text what is not to be added up over its runs.
    figures = {name: int(value) if name == "left" else value for name, value in one.result.items()}
    return {"source": one.source, **figures, **({"error": errors[-1]} if errors else {})}


def _healed(healed: int, left: int) -> str:
    if not healed + left:
        return "no gap is worth another read"
    missing = plural(healed + left, "missing reading")
    return f"{number(healed)} of {missing} found, {number(left)} still missing"


def _plan(context: Context, works: Mapping[str, Heal], *, as_json: bool) -> None:
    """What a refetch would read, without asking any source."""
    import threading

    from loader import healing, wiring
    from loader.commands.progress import Estimate, Lines, duration

    config, store = context.config(), context.store()
    paces = wiring.paces(config)
    plans: list[tuple[str, healing.Plan]] = []
    for name, work in works.items():
        pipeline = wiring.build_pipeline(config, name, store, threading.Event(), Lines(paces))
        try:
            series = work.series(store, name)
            plans.append((name, healing.plan(pipeline, series, since=work.since, until=work.until)))
        finally:
            pipeline.source.close()
    if as_json:
        document([_planned(name, plan) for name, plan in plans])
        return
    for name, plan in plans:
        if not plan.windows:
            line(clean(f"{name}: {_healed(0, 0)}"))
            continue
        seconds = Estimate(plan.requests, paces.get(name)).at_first()
        time = f", about {duration(seconds)} within the limits" if seconds else ""
        count = sum(map(len, plan.windows.values()))
        missing, requests = plural(plan.missing, "missing reading"), plural(plan.requests, "request")
        line(clean(f"{name}: {missing} to look for in {plural(count, 'window')}, {requests}{time}"))
        for partition, windows in plan.windows.items():
            for window in windows:
                line(clean(f"  {partition}  {iso(window.start)} .. {iso(window.end)}"))
    note("dry run: nothing was asked for")


def _planned(name: str, plan: Plan) -> dict[str, Any]:
    return {
        "source": name,
        "missing": plan.missing,
        "requests": plan.requests,
        "windows": [
            {"partition": partition, **span(window)}
            for partition, windows in plan.windows.items()
            for window in windows
        ],
    }


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
        "cadence_s": gap.cadence_s,
    }

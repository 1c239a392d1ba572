"""`loader check`: is everything in place?"""

from __future__ import annotations

import os
import platform
import shutil
import threading
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.commands.options import source_option
from loader.commands.output import clean, document, iso, line
from loader.contracts import Finding
from loader.errors import ConfigError, LoaderError
from loader.readings import HOUR
from loader.schedule import coming
from loader.settings.durations import format_duration

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.config import Config
    from loader.quality.checks import Checks
    from loader.readings import PartitionState
    from loader.records import StoredSeries
    from loader.settings.scheduling import Schedule

MIN_FREE = 100 * 2**20
"""Free bytes below which the disk counts as full."""

NEXT = 5
"""How many of a source's next runs are shown."""

LIBRARIES = ("numpy", "requests", "psycopg2-binary", "pydantic", "msgspec")


@click.command("check")
@source_option(multiple=True)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Look at configuration, store, each source's connection and key, clock, disk and versions."""
    findings = list(look(ctx.obj, names))
    if as_json:
        document([{"subject": f.subject, "ok": f.ok, "detail": f.detail} for f in findings])
    else:
        width = max(len(f.subject) for f in findings)
        for f in findings:
            line(clean(f"{'ok' if f.ok else 'FAIL':<4}  {f.subject:<{width}}  {f.detail}"))
    bad = [f for f in findings if not f.ok]
    ctx.exit(78 if any(f.subject == "config" for f in bad) else int(bool(bad)))


def look(context: Context, names: tuple[str, ...]) -> Iterator[Finding]:
    """Every finding; nothing that is found wrong is raised."""
    from loader import __version__, wiring

    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    yield Finding(
        "versions", True, f"loader {__version__}, Python {platform.python_version()}, {libraries}"
    )
    try:
        config = context.config()
        for name in config.sources:
            # Raises where what is asked for needs what is not installed.
            wiring.build_assessor(config, name)
    except ConfigError as error:
        yield Finding("config", False, str(error))
        return
    count = len(config.sources)
    yield Finding("config", True, f"{context.config_path}: {count} source{'s' if count != 1 else ''}")
    yield from _disk(config)
    try:
        store = context.store()
        facts = store.facts()
        said = ", ".join(f"{k} {v}" for k, v in facts.items())
        yield Finding("store", facts.get("writable") != "no", f"{store.url}: {said}")
    except LoaderError as error:
        yield Finding("store", False, str(error))
        return
    run, skipped = wiring.chosen(config, names)
    for name, reason in skipped.items():
        yield Finding(name, True, f"skipped: {reason}")
    for name in run:
        yield Finding(f"{name}: schedule", True, _schedule(config.sources[name].schedule, wiring.now()))
        yield from _ledger(name, store.partitions(name), wiring.now())
        yield from _untried(name, wiring.build_check(config, name), store.series(name))
        source = wiring.build_source(config, name, store, threading.Event())
        try:
            for finding in source.check():
                yield Finding(f"{name}: {finding.subject}", finding.ok, finding.detail)
        finally:
            source.close()


def _schedule(schedule: Schedule, now: int) -> str:
    """How it is written, and what that means."""
    if schedule.cron is None:
        said = f"every {format_duration(schedule.every)}"
    else:
        said = f"cron {schedule.cron} ({schedule.timezone})"
    return f"{said}: next {', '.join(iso(at) for at in coming(schedule.timetable, now, NEXT))}"


def _ledger(name: str, states: Sequence[PartitionState], now: int) -> Iterator[Finding]:
    """Watermarks ahead of the clock: until it has caught up, nothing new is read there."""
    ahead = [s.watermark for s in states if s.watermark is not None and s.watermark > now + HOUR]
    if ahead:
        yield Finding(
            f"{name}: watermarks",
            False,
            f"{len(ahead)} of {len(states)} lie in the future, up to {iso(max(ahead))}: the clock is or "
            f"was wrong; once it is right, `loader state reset {name}` has them read again",
        )


def _untried(name: str, check: Checks, stored: Sequence[StoredSeries]) -> Iterator[Finding]:
    """Thresholds of flat lines that are not tried on what is stored: how many series they are, by
    parameter and cadence, and what helps."""
    from collections import Counter

    from loader.quality.rules import MOST_STEPS, cadence_of

    found: Counter[tuple[str, int, tuple[int, ...]]] = Counter()
    for one in (known.series for known in stored):
        rule = check.rule(one)
        cadence = cadence_of(rule, one)
        if rule.flat is not None and (left := rule.flat.beyond(cadence)):
            found[one.parameter, cadence, left] += 1
    for (parameter, cadence, left), count in sorted(found.items()):
        which = f"{count} series of {parameter}"
        spans = " and ".join(map(format_duration, left))
        if cadence:
            why = f"every {format_duration(cadence)}: {spans} is more than {MOST_STEPS} readings"
            remedy = f"set quality.parameters.{parameter}.flat_line to less"
        else:
            why = f"at no known cadence: {spans} cannot be counted"
            remedy = f"set quality.parameters.{parameter}.cadence"
        yield Finding(f"{name}: flat_line", True, f"not tried on {which} {why}; {remedy}")


def _disk(config: Config) -> Iterator[Finding]:
    """Free space and write permission where SQLite keeps its file."""
    if not config.store.raw.startswith("sqlite:///"):
        return
    folder = Path(config.store.raw.removeprefix("sqlite:///")).absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Finding("disk", free >= MIN_FREE, f"{free / 2**30:.1f} GiB free in {folder}")
    if not os.access(folder, os.W_OK):
        yield Finding("folder", False, f"{folder} is not writable: change its owner or the store's path")

"""Which series a command is about: `--source`, `--station`, `--parameter`, `--sensor`, and from
when to when. What is not there is refused, with the names that are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Reports
    from loader.readings import Window
    from loader.records import StoredSeries

F = TypeVar("F", bound=Callable[..., Any])

SHOWN = 12
"""Names listed in an error, at most."""

NOTHING_LOADED = "nothing has been loaded yet: `loader run` loads what the configuration asks for"


@dataclass(frozen=True, slots=True)
class Selection:
    """What --source, --station, --parameter and --sensor ask for; without any of one kind, all."""

    sources: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()


def series_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose series, as one `Selection` called `asked`."""

    @wraps(command)
    def chosen(
        *args: Any,
        names: tuple[str, ...],
        stations: tuple[str, ...],
        parameters: tuple[str, ...],
        sensors: tuple[str, ...],
        **rest: Any,
    ) -> None:
        command(*args, asked=Selection(names, stations, parameters, sensors), **rest)

    for option in reversed(
        (
            click.option(
                "--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable."
            ),
            click.option(
                "--station",
                "stations",
                multiple=True,
                metavar="NAME",
                help="Only this station; repeatable.",
            ),
            click.option(
                "--parameter",
                "parameters",
                multiple=True,
                metavar="NAME",
                help="Only this parameter; repeatable.",
            ),
            click.option(
                "--sensor", "sensors", multiple=True, metavar="NAME", help="Only this sensor; repeatable."
            ),
        )
    ):
        chosen = option(chosen)
    return chosen


def period_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--since` and `--until`, as one `Period` called `when`."""

    @wraps(command)
    def bounded(*args: Any, since: str | None, until: str | None, **rest: Any) -> None:
        command(*args, when=period(since, until), **rest)

    for option in (
        click.option("--until", metavar="TIME", help="Up to and with this time (default: no end)."),
        click.option(
            "--since",
            metavar="TIME",
            help="After this time: ISO 8601, or 7d = seven days ago (default: the start).",
        ),
    ):
        bounded = option(bounded)
    return bounded


def json_option(command: F) -> F:
    """`--json`, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def yes_option(command: F) -> F:
    """`--yes`, without which a destructive command only says what it would do."""
    return click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")(
        command
    )


@dataclass(frozen=True, slots=True)
class Period:
    """(since, until] in microseconds UTC; None where it is open."""

    since: int | None
    until: int | None
    now: int

    @property
    def window(self) -> Window:
        """The same; an open end is as far away as can be."""
        from loader.readings import Window

        return Window(
            -(2**62) if self.since is None else self.since, 2**62 if self.until is None else self.until
        )


def period(since: str | None, until: str | None) -> Period:
    """The stretch of time a command is about. Raises UsageError where it is empty or unreadable."""
    from loader.commands.options import moment
    from loader.wiring import now

    at = now()
    start = None if since is None else moment(since, now=at)
    end = None if until is None else moment(until, now=at)
    if start is not None and end is not None and start >= end:
        raise UsageError(f"--since {since} is not before --until {until}")
    return Period(start, end, at)


def known_sources(context: Context) -> list[str]:
    """Every source of the configuration, in its order, then those only the store still has."""
    configured = list(context.config().sources)
    return configured + [name for name in context.store().sources() if name not in configured]


def chosen_sources(context: Context, names: Sequence[str]) -> list[str]:
    """The sources asked for, all where none is named. Raises UsageError for one that is nowhere."""
    known = known_sources(context)
    check(names, known, "source")
    return [name for name in known if name in names] if names else known


def chosen_series(context: Context, asked: Selection) -> list[StoredSeries]:
    """The stored series that fit all that was asked for, by id.

    Raises UsageError for a name that nothing has; what exists but does not fit the rest selects
    nothing.
    """
    reports: Reports = context.store()
    names = asked.sources
    if names:
        chosen_sources(context, names)
    series = [
        s for s in reports.series(names[0] if len(names) == 1 else None) if not names or s.source in names
    ]
    check(asked.stations, (s.series.station for s in series), "station")
    check(asked.parameters, (s.series.parameter for s in series), "parameter")
    check(asked.sensors, (s.series.sensor for s in series), "sensor")
    return [s for s in series if s.fits(asked.stations, asked.parameters, asked.sensors)]


def check(asked: Iterable[str], known: Iterable[str], noun: str) -> None:
    """Raise UsageError, naming what there is, where something asked for is not known."""
    there = list(dict.fromkeys(known))
    for name in asked:
        if name in there:
            continue
        if not there:
            raise UsageError(f"there is no {noun} {name}: {NOTHING_LOADED}")
        near = get_close_matches(name, there, n=1, cutoff=0.75) if len(there) > SHOWN else []
        names = [*near, *(n for n in sorted(there) if n not in near)]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UsageError(f"there is no {noun} {name}; there are: {', '.join(names[:SHOWN])}{more}")

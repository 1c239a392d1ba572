"""`loader health`: is the daemon of this machine alive? Reads one small file and nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path

import click

from loader import heartbeat
from loader.commands.output import line, note
from loader.errors import UsageError

_PLAIN = re.compile(r"([0-9]{1,6})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@click.command("health")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=heartbeat.PLACE,
    show_default=True,
    envvar="LOADER_HEARTBEAT",
    show_envvar=True,
    help="The daemon's heartbeat.",
)
@click.option(
    "--max-age", default="60s", show_default=True, metavar="DURATION", help="The oldest beat that will do."
)
@click.pass_context
def command(ctx: click.Context, path: Path, max_age: str) -> None:
    """Exit with 0 when the daemon is alive and able to work, else with 1 and the reason.

    It says nothing about the sources' servers: a daemon is healthy while one of them is down.
    """
    wrong = trouble(path, _micros(max_age), time.time_ns() // 1000)
    if wrong is None:
        line("healthy")
        return
    note(f"unhealthy: {wrong}")
    ctx.exit(1)


def trouble(path: Path, oldest: int, now: int) -> str | None:
    """Why the daemon is not healthy; `oldest` is a span in microseconds."""
    try:
        beat = heartbeat.read(path)
    except FileNotFoundError:
        return f"{path} is not there: no daemon is running, or it writes elsewhere (LOADER_HEARTBEAT)"
    except (OSError, ValueError) as error:
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
    age = now - beat.at
    if abs(age) > oldest:
        when = "ago" if age > 0 else "ahead of this clock"
        return f"process {beat.pid} gave its last sign of life {abs(age) // 1_000_000} s {when}"
    if beat.state != heartbeat.READY:
        return beat.state
    return None


def _micros(text: str) -> int:
    if plain := _PLAIN.fullmatch(text):
        return int(plain[1]) * _SECONDS[plain[2]] * 1_000_000
    # Costs four times as much to import as all the rest of this command.
    from loader.settings.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--max-age {text!r} {error}") from None

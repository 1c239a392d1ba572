"""`loader daemon`: load on schedule until told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader import heartbeat
from loader.commands.options import log_level_option, source_option, spool_option
from loader.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.daemon import Plan
    from loader.settings.scheduling import Schedule

LISTEN = "127.0.0.1:8080"


@click.command("daemon")
@source_option(multiple=True)
@click.option("--every", metavar="DURATION", help="Load every so often, such as 30m, not as configured.")
@click.option("--cron", metavar="LINE", help="Load as a crontab line says, UTC, not as configured.")
@click.option(
    "--listen",
    default=LISTEN,
    show_default=True,
    envvar="LOADER_LISTEN",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Where /livez, /readyz and /metrics are served; off = nowhere.",
)
@click.option(
    "--heartbeat",
    "heartbeat_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=heartbeat.PLACE,
    show_default=True,
    envvar="LOADER_HEARTBEAT",
    show_envvar=True,
    help="File that shows that it is alive; see loader health.",
)
@spool_option
@click.option(
    "--await-config",
    is_flag=True,
    envvar="LOADER_AWAIT_CONFIG",
    show_envvar=True,
    help="With a bad configuration stay up, not ready, until it is mended.",
)
@log_level_option
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    every: str | None,
    cron: str | None,
    listen: str,
    heartbeat_file: Path,
    spool: Path,
    await_config: bool,
) -> None:
    """Load every source on its schedule until told to stop.

    SIGTERM ends it: the batch at hand is finished or rolled back, exit code 0. SIGHUP reads the
    configuration again and refuses a bad one. Two daemons on one store share the work: one leads
    a source, the other stands by.
    """
    from loader import wiring
    from loader.daemon import Daemon

    context: Context = ctx.obj
    schedule = _schedule(every, cron)

    def rebuild() -> Plan:
        plan = wiring.build_plan(context.reload(), names, schedule, spool)
        if not plan.jobs:
            why = "; ".join(f"{name}: {reason}" for name, reason in plan.skipped.items())
            raise ConfigError(f"{context.config_path}: no source can run: {why or 'none is enabled'}")
        return plan

    code = Daemon(
        rebuild,
        config=context.config_path,
        listen=listen,
        heartbeat_file=heartbeat_file,
        await_config=await_config,
        clock=wiring.now,
    ).run()
    ctx.exit(code)


def _schedule(every: str | None, cron: str | None) -> Schedule | None:
    """The schedule that the command line asks for. Raises UsageError."""
    from pydantic import ValidationError

    from loader.settings.scheduling import Schedule

    if every is None and cron is None:
        return None
    if every is not None and cron is not None:
        raise UsageError("--every and --cron exclude each other: give one of them")
    given = {"every": every} if every is not None else {"cron": cron}
    try:
        return Schedule.model_validate(given)
    except ValidationError as error:
        name, text = ("--every", every) if every is not None else ("--cron", cron)
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise UsageError(f"{name} {text!r}: {said}") from None

"""The command line: `loader COMMAND`, or `python -m loader COMMAND`."""

from __future__ import annotations

from loader.start import quiet_interrupts, usual_interrupts

if __name__ == "__main__":
    quiet_interrupts()

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

from loader import __version__
from loader.errors import ConfigError, LeaseHeld, LoaderError, UsageError

COMMANDS = {
    "run": "Load what is new, once.",
    "daemon": "Load what is new on schedule, until told to stop.",
    "backfill": "Load a stretch of the past, as far as it is not there yet.",
    "plan": "Show what a run would read, without reading it.",
    "health": "Whether the daemon is alive, by exit code.",
    "check": "Look at configuration, store, sources, clock and disk.",
    "status": "How fresh and how complete every source is.",
    "runs": "What the last runs did.",
    "gaps": "What is missing, and why.",
    "quality": "How good what was loaded is, and why.",
    "anomalies": "Readings that do not fit what was usual.",
    "drift": "Series that slowly become another.",
    "state": "Show or change how far a source has been read.",
    "quarantine": "Records that could not become readings.",
    "alerts": "What is not well, who was told, and quiet for a while.",
    "requests": "Work asked of whoever works on a source.",
    "prune": "Delete what retention does not keep.",
    "explain": "Why a reading has its flag.",
    "validate": "Check readings in files as loading would.",
    "recheck": "Flag stored readings anew by today's thresholds.",
    "thresholds": "Learn thresholds from stored readings.",
    "export": "Write readings as CSV, NDJSON or JSON.",
    "locations": "Find OpenAQ stations to load.",
    "forget": "Delete a source's readings and state.",
    "init": "Put a commented config.yaml into a folder.",
    "schema": "Print the JSON Schema of config.yaml.",
}
"""Every command with its one line, so that `--help` need not import any of them."""

EXIT_FAILED, EXIT_USAGE, EXIT_LOCKED, EXIT_CONFIG = 1, 2, 75, 78


class Commands(click.Group):
    """Imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"loader.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 partial, 70 stuck, 75 locked by another loader, "
    "78 configuration, 130/143 interrupted.",
)
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LOADER_CONFIG",
    help="Configuration file (default: config.yaml here, else the shipped one).",
)
@click.version_option(__version__, prog_name="loader")
@click.pass_context
def cli(ctx: click.Context, config_path: Path | None) -> None:
    """Load sensor readings incrementally: nothing lost, nothing doubled, every gap explained."""
    from loader.commands.context import Context

    ctx.obj = ctx.with_resource(Context(config_path))


def main() -> None:
    """Run the command line; every error we know of ends in one line and its exit code."""
    usual_interrupts()
    open_streams()
    # NumPy's thread pool buys nothing here and costs memory and start-up time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Pydantic looks for plugins in every installed package; there are none for us.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Pages are decoded into thousands of small objects without cycles: looking for some every 700
    # of them is time lost, at the start as well.
    gc.set_threshold(20_000, 20, 20)
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        code = EXIT_USAGE
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        code = 130
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        code = 0
    except SystemExit as leaving:
        # Click leaves so, with 1, when it meets a broken pipe; a signal ends an export with its own.
        code = 0 if leaving.code == 1 else leaving.code
    except LoaderError as error:
        # A ConfigError begins with file, line and column, where editors look for them.
        _say(str(error) if isinstance(error, ConfigError) else f"loader: {error}")
        code = exit_code(error)
    except OSError as error:
        # A file the user named: full disk, no permission, no such folder.
        _say(f"loader: {error.filename or 'standard output'}: {error.strerror or error}")
        code = EXIT_FAILED
    sys.exit(_flushed(code if isinstance(code, int) else 0))


def _flushed(code: int) -> int:
    """The exit code, once everything is printed. What cannot be is let go: the interpreter would try
    again at its end, and exit with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and code == 0 and not isinstance(error, BrokenPipeError):
                _say(f"loader: cannot write to standard output: {error}")
                code = EXIT_FAILED
    return code


def _say(text: str) -> None:
    with suppress(OSError):
        click.echo(text, err=True)


def open_streams() -> None:
    """Let a closed standard stream lead nowhere: the next file opened would get its number, and
    what is printed would go into it."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def exit_code(error: LoaderError) -> int:
    """The documented exit code of an error."""
    if isinstance(error, ConfigError):
        return EXIT_CONFIG
    if isinstance(error, LeaseHeld):
        return EXIT_LOCKED
    if isinstance(error, UsageError):
        return EXIT_USAGE
    return EXIT_FAILED


if __name__ == "__main__":
    main()

"""`loader init`: everything that a folder needs to load into it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from loader.commands.output import line
from loader.errors import LoaderError, UsageError


@click.command(short_help="Put a commented config.yaml into a folder.")
@click.argument("directory", default=".", type=click.Path(file_okay=False, path_type=Path))
def command(directory: Path) -> None:
    """Write config.yaml, its schema, .env.example and state/ into DIRECTORY (default: here).

    Nothing that is there already is overwritten.
    """
    from loader import config, wiring

    texts = {
        name: config.shipped(name).read_text(encoding="utf-8") for name in ("config.yaml", ".env.example")
    }
    texts["config.schema.json"] = (
        json.dumps(config.schema(wiring.TYPES), indent=2, ensure_ascii=False) + "\n"
    )
    there = [name for name in texts if (directory / name).exists()]
    if there:
        raise UsageError(
            f"{directory} holds {' and '.join(there)} already; move them away, or name another folder"
        )
    try:
        (directory / "state").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with (directory / name).open("x", encoding="utf-8") as f:
                f.write(text)
    except OSError as e:
        raise LoaderError(f"{e.filename or directory}: cannot be written: {e.strerror}") from None
    here = "" if directory == Path() else f"cd {directory} && "
    line(
        *(f"wrote {directory / name}" for name in texts),
        f"Next: {here}loader run      (then put your own stations and key into config.yaml and .env)",
    )

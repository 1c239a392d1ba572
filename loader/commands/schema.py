"""`loader schema`: the JSON Schema of the configuration."""

from __future__ import annotations

import click

from loader.commands.output import document


@click.command(short_help="Print the JSON Schema of config.yaml.")
def command() -> None:
    """Print the JSON Schema of config.yaml, for editors that check it while you type.

    The first line of config.yaml names the file that they look for:

        loader schema > config.schema.json
    """
    from loader import config, wiring

    document(config.schema(wiring.TYPES))

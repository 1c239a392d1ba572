"""`loader locations`: find OpenAQ stations to load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import Column, document, iso, iso_or_none, line, note, table
from loader.commands.selection import json_option
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.sources.openaq.api import Location

MOST_NAMES = 10
"""Names in the comment behind the ids; more would hide them."""


@click.command("locations")
@click.option("--near", metavar="LAT,LON", help="Around this place; needs --radius.")
@click.option("--radius", metavar="DISTANCE", help="How far around: 10km, 500m; at most 25km.")
@click.option("--bbox", metavar="W,S,E,N", help="In this box, in degrees.")
@click.option("--country", metavar="CC", help="In this country: two letters, such as IN.")
@click.option("--parameter", metavar="NAME", help="Only those that measure this, such as pm25.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Show so many."
)
@click.option("--source", "name", metavar="NAME", help="Ask with this source's address and key.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    near: str | None,
    radius: str | None,
    bbox: str | None,
    country: str | None,
    parameter: str | None,
    limit: int,
    name: str | None,
    as_json: bool,
) -> None:
    """Find OpenAQ stations, and print the lines to paste into config.yaml.

    The nearest come first with --near, else those with the newest readings.
    """
    from loader import wiring

    if near is None and bbox is None and country is None:
        raise UsageError("say where: --near LAT,LON --radius 10km, --bbox W,S,E,N or --country CC")
    context: Context = ctx.obj
    place = {"near": near, "radius": radius, "bbox": bbox, "country": country.upper() if country else None}
    wanted = parameter.lower() if parameter else None
    found, total = wiring.find_locations(context.config(), name, place, wanted, limit)
    if as_json:
        document([_as_dict(one) for one in found])
        return
    if not found:
        note("no station found there" + (f" that measures {parameter}" if parameter else ""))
        return
    columns = [Column("id", right=True), *map(Column, ("name", "parameters", "last reading", "licence"))]
    if near is not None:
        columns.append(Column("distance", right=True))
    table(columns, [_row(one)[: len(columns)] for one in found])
    if total > len(found):
        note(f"{total - len(found):,} more; --limit {total} shows them")
    line("", *snippet(found))


def snippet(found: list[Location]) -> list[str]:
    """The lines of YAML that load these locations, their names in a comment."""
    names = [one.name or "?" for one in found[:MOST_NAMES]]
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    ids = ", ".join(str(one.id) for one in found)
    return [
        "sources:",
        "  openaq:",
        "    type: openaq",
        "    api_key: ${OPENAQ_API_KEY}",
        f"    locations: [{ids}]  # {', '.join(names)}{more}",
    ]


def _row(one: Location) -> list[str | None]:
    return [
        str(one.id),
        one.name,
        " ".join(one.parameters),
        None if one.last is None else iso(one.last),
        ", ".join(one.licences) or None,
        None if one.distance is None else f"{one.distance / 1000:.1f} km",
    ]


def _as_dict(one: Location) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "timezone": one.timezone,
        "parameters": list(one.parameters),
        "last": iso_or_none(one.last),
        "licences": list(one.licences),
        "latitude": one.latitude,
        "longitude": one.longitude,
        "distance_m": one.distance,
    }

"""Finding locations for people: by place, box or country, with what they measure."""

from __future__ import annotations

from dataclasses import replace

from loader.errors import AccessDenied
from loader.http import Http
from loader.sources.openaq import api
from loader.sources.openaq.api import Location
from loader.sources.openaq.settings import KEY_REMEDY, Choice


def find(http: Http, where: Choice, parameter: str | None, limit: int) -> tuple[list[Location], int]:
    """The locations that `where` finds and that measure `parameter` (None: anything), the nearest
    or else the one with the newest reading first; `limit` of them, and how many there are.

    Raises as `Http.get` does; AccessDenied says how to get a key.
    """
    found: dict[int, Location] = {}
    try:
        for query in where.queries():
            for one in api.search(http, query):
                if parameter is None or parameter in one.parameters:
                    known = found.get(one.id)
                    distance = one.distance if known is None or known.distance is None else known.distance
                    found[one.id] = replace(one, distance=distance)
    except AccessDenied as error:
        raise AccessDenied(f"OPENAQ_API_KEY is refused ({error}); {KEY_REMEDY}") from None
    ordered = sorted(found.values(), key=_order)
    return ordered[:limit], len(ordered)


def _order(one: Location) -> tuple[float, int, int]:
    return (one.distance if one.distance is not None else float("inf"), -(one.last or 0), one.id)

"""From a request to an answer: what the world holds, with the faults in the content."""

from __future__ import annotations

from collections.abc import Callable

from tests.openaq_server import render
from tests.openaq_server.faults import Faults, Strike
from tests.openaq_server.render import Json, dumps
from tests.openaq_server.request import (
    Answer,
    Query,
    Refused,
    Request,
    absolute,
    detail,
    internal_error,
    invalid_text,
    location_filter,
)
from tests.openaq_server.world import PARAMETERS, SECOND, Row, Sensor, World


class Api:
    """Answers requests about one world, with the content faults that strike them."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world, self.faults = world, faults

    def window(self, request: Request) -> tuple[int | None, int | None]:
        """The time range a request asks for, for faults that are bound to one."""
        if request.kind != "measurements":
            return None, None
        sensor = self.world.sensors.get(request.number)
        zone = self.world.locations[sensor.location].timezone if sensor else "UTC"
        return request.query.window(zone)

    def answer(self, request: Request, strikes: list[Strike]) -> Answer:
        routes: dict[str, Callable[[], Answer]] = {
            "measurements": lambda: self._measurements(request, strikes),
            "latest": lambda: self._latest(request, strikes),
            "parameter-latest": lambda: self._latest(request, strikes),
            "locations": lambda: self._locations(request.query),
            "location": lambda: self._location(request.number),
            "sensors": lambda: self._sensors(request.number),
            "sensor": lambda: self._sensor(request.number),
            "parameter": lambda: self._parameter(request.number),
            "parameters": lambda: self._parameters(request.query),
            "countries": lambda: self._countries(request.query),
        }
        try:
            return routes[request.kind]()
        except Refused as refused:
            return refused.answer

    @staticmethod
    def _page(results: list[Json], query: Query | None = None) -> Answer:
        page, limit = query.page() if query else (1, 100)
        if query:
            results = results[(page - 1) * limit : page * limit]
        return Answer(200, render.envelope([dumps(r) for r in results], page, limit))

    def _measurements(self, request: Request, strikes: list[Strike]) -> Answer:
        page, limit = request.query.page()
        sensor = self.world.sensors.get(request.number)
        if sensor is None or not self.world.listed(sensor):
            request.query.window("UTC")
            return Answer(200, render.envelope([], page, limit))
        zone = self.world.locations[sensor.location].timezone
        start, end = request.query.window(zone)
        rows = self.world.served(sensor, start, end)
        offset = (page - 1) * limit
        for strike in strikes:
            if strike.kind == "overlap":
                n = strike.option("rows", 1)
                if offset:
                    offset = max(0, offset - n)
                elif start is not None:
                    rows = self.world.served(sensor, None, start)[-n:] + rows
        rows = rows[offset : offset + limit]
        if self.faults.poisoned(sensor.id, [r.time for r in rows]):
            return internal_error()
        for strike in strikes:
            rows = self._disturb(rows, strike, sensor)
        body = render.envelope((render.measurement(sensor, zone, r) for r in rows[:limit]), page, limit)
        return Answer(200, body)

    def _disturb(self, rows: list[Row], strike: Strike, sensor: Sensor) -> list[Row]:
        rows = list(rows)
        if not rows:
            return rows
        i = int(strike.dice * len(rows))
        match strike.kind:
            case "duplicate":
                many = max(1, round(strike.option("share", 0.0) * len(rows)))
                for k in sorted({(i + k * 7) % len(rows) for k in range(many)}, reverse=True):
                    rows.insert(k, rows[k])
            case "null":
                rows[i] = Row(rows[i].time, None, flagged=True)
            case "spoil":
                how = strike.option("how", render.SPOILS[i % len(render.SPOILS)])
                rows[i] = Row(rows[i].time, rows[i].value, spoil=how)
            case "future":
                ahead = self.world.now + strike.option("ahead", 7200) * SECOND
                step = sensor.cadence_s * SECOND
                rows.append(Row(ahead // step * step + step, rows[-1].value))
        return rows

    def _latest(self, request: Request, strikes: list[Strike]) -> Answer:
        least = request.query.moment("datetime_min")
        chosen = []
        if request.kind == "latest":
            location = self.world.locations.get(request.number)
            if location is None or not self.world.listed(location):
                return detail(404, "Location not found")
            chosen = self.world.sensors_of(location.id)
        else:
            chosen = [s for s in self.world.sensors.values() if s.parameter.id == request.number]
            chosen = [s for s in chosen if self.world.listed(s)]
        results = []
        for sensor in chosen:
            row, home = self.world.newest(sensor), self.world.locations[sensor.location]
            after = absolute(least, home.timezone)
            if row is not None and (after is None or row.time > after):
                results.append((home, sensor.id, row.time, row.value))
        for strike in strikes:
            if not results:
                break
            i = int(strike.dice * len(results))
            home, number, at, value = results[i]
            if strike.kind == "missing-latest":
                del results[i]
            elif strike.kind == "unknown-latest":
                results.append((home, strike.option("number", 987_654), at, value))
            elif strike.kind == "future-latest":
                ahead = strike.option("ahead", 7200) * SECOND
                results[i] = (home, number, self.world.now + ahead, value)
        return self._page([render.latest_object(*r) for r in results], request.query)

    def _location(self, number: int) -> Answer:
        location = self.world.locations.get(number)
        if location is None or not self.world.listed(location):
            return detail(404, "Location not found")
        return self._page([render.location_object(self.world, location)])

    def _sensor(self, number: int) -> Answer:
        sensor = self.world.sensors.get(number)
        if sensor is None or not self.world.listed(sensor):
            return detail(404, "Sensor not found")
        return self._page([render.sensor_object(self.world, sensor)])

    def _sensors(self, location: int) -> Answer:
        return self._page([render.sensor_object(self.world, s) for s in self.world.sensors_of(location)])

    def _parameter(self, number: int) -> Answer:
        found = PARAMETERS.get(number)
        if found is None:
            return detail(404, "Parameter not found")
        return self._page([render.parameter_object(found, full=True)])

    def _parameters(self, query: Query) -> Answer:
        return self._page([render.parameter_object(p, full=True) for p in PARAMETERS.values()], query)

    def _countries(self, query: Query) -> Answer:
        results = []
        homes = [x for x in self.world.locations.values() if self.world.listed(x)]
        for country in sorted({x.country for x in homes}):
            sensors = [s for x in homes if x.country == country for s in self.world.sensors_of(x.id)]
            times = [r.time for s in sensors if (r := self.world.newest(s))]
            firsts = [s.times[0] for s in sensors if s.times]
            named = {s.parameter.id: render.parameter_object(s.parameter, named=False) for s in sensors}
            results.append(
                {
                    "id": country[0],
                    "code": country[1],
                    "name": country[2],
                    "datetimeFirst": render.utc_text(min(firsts)) if firsts else None,
                    "datetimeLast": render.utc_text(max(times)) if times else None,
                    "parameters": list(named.values()),
                }
            )
        return self._page(results, query)

    def _locations(self, query: Query) -> Answer:
        page, limit = query.page()
        order = query.values.get("sort_order", "asc")
        if order.lower() not in ("asc", "desc"):
            msg, ctx = "Input should be 'asc' or 'desc'", {"expected": "'asc' or 'desc'"}
            loc = ("query", "sort_order")
            raise invalid_text({"type": "enum", "loc": loc, "msg": msg, "input": order, "ctx": ctx})
        chosen = []
        keep = location_filter(query)
        for location in sorted(self.world.locations.values(), key=lambda x: x.id, reverse=order != "asc"):
            wanted, away = keep(location, self.world.sensors_of(location.id))
            if wanted and self.world.listed(location):
                chosen.append((location, away))
        chosen = chosen[(page - 1) * limit : page * limit]
        objects = [render.location_object(self.world, x, away) for x, away in chosen]
        return Answer(200, render.envelope([dumps(o) for o in objects], page, limit))

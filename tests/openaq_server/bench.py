"""A world for measuring: many sensors, full-size objects, pages made by joining prepared pieces,
so that the server costs as little as it can."""

from __future__ import annotations

from bisect import bisect_right
from random import Random

from tests.openaq_server.api import Api
from tests.openaq_server.faults import Faults, Strike
from tests.openaq_server.render import dumps, measurement_parts, meta
from tests.openaq_server.request import Answer, Refused, Request
from tests.openaq_server.world import DAY, HOUR, PARAMETERS, SECOND, Location, World, micros

ZONE = "America/New_York"
CADENCE_S = 3600
START = micros("2024-01-01T00:00:00Z")
PARAMETER_CYCLE = (2, 1, 10, 7)
POOL = 997
"""Distinct values; a prime, so that no sensor repeats another's series."""


class BenchWorld:
    """`sensors` sensors with `rows` rows each, a share `duplicates` of which repeat a time with the
    same value, every `cadence_s` from 2024-01-01 on; then a share `fresh` of new rows, hidden until the
    world's clock passes `released`.

    `answers` goes to `OpenAQServer(world=bench.world, answers=bench.answers)`. Sensors are numbered
    from 1, four to a location, locations from 1.
    """

    def __init__(
        self,
        sensors: int = 100,
        rows: int = 10_000,
        *,
        duplicates: float = 0.05,
        fresh: float = 0.01,
        seed: int = 1,
        cadence_s: int = CADENCE_S,
    ) -> None:
        random = Random(seed)
        self.sensors, self.rows, self.cadence_s = sensors, rows, cadence_s
        repeated = round(rows * duplicates)
        distinct = rows - repeated
        self.fresh = round(rows * fresh)
        order = sorted([*range(distinct), *random.choices(range(distinct), k=repeated)])
        order += range(distinct, distinct + self.fresh)
        self.order = order
        """Row -> index of its distinct time; ascending."""
        self.times = [START + (k + 1) * cadence_s * SECOND for k in range(distinct + self.fresh)]
        self.distinct = distinct
        self.row_times = [self.times[k] for k in order]
        self.released = self.times[-1] + DAY
        pool = [random.gauss(20, 6) for _ in range(POOL)]
        self.pool = [round(v, 1) for v in pool]
        self._values = [b'{"value":%s' % str(v).encode() for v in self.pool]
        tails = {
            p: [
                measurement_parts(PARAMETERS[p], cadence_s, t, ZONE, flagged=False).encode() + b","
                for t in self.times
            ]
            for p in sorted({self.parameter(s) for s in range(1, sensors + 1)})
        }
        self._row_tails = {p: [t[k] for k in order] for p, t in tails.items()}
        self._kept: dict[int, list[bytes]] = {}
        self.world = self._world()
        self.answers = BenchAnswers(self)

    @staticmethod
    def parameter(sensor: int) -> int:
        return PARAMETER_CYCLE[(sensor - 1) % len(PARAMETER_CYCLE)]

    @property
    def end(self) -> int:
        """The newest time of the first load."""
        return self.times[self.distinct - 1]

    def value(self, sensor: int, index: int) -> float:
        return self.pool[(index * 7 + sensor * 131 + index // POOL * sensor) % POOL]

    def truth(self, sensor: int, *, fresh: bool = False) -> tuple[list[int], list[float]]:
        """(times, values) of the distinct readings, with the fresh ones if wanted."""
        n = self.distinct + (self.fresh if fresh else 0)
        return self.times[:n], [self.value(sensor, k) for k in range(n)]

    def visible_rows(self) -> int:
        return self.rows + (self.fresh if self.world.now >= self.released else 0)

    def page(self, sensor: int, first: int, last: int) -> list[bytes]:
        """The pieces of rows first..last, each row two pieces, the last one with a comma too many."""
        pieces: list[bytes] = [b""] * (2 * (last - first))
        pieces[0::2] = self._row_values(sensor)[first:last]
        pieces[1::2] = self._row_tails[self.parameter(sensor)][first:last]
        return pieces

    def _row_values(self, sensor: int) -> list[bytes]:
        """The first piece of every row; kept, since a list of references costs little."""
        kept = self._kept.get(sensor)
        if kept is None:
            values, shift = self._values, sensor * 131
            kept = [values[(k * 7 + shift + k // POOL * sensor) % POOL] for k in self.order]
            self._kept[sensor] = kept
        return kept

    def _world(self) -> World:
        """Locations and sensors; of the readings only the newest, for `latest` and the like."""
        world = World()
        for number in range(1, -(-self.sensors // 4) + 1):
            home = (40 + number / 100, -73.9)
            world.add_location(Location(number, f"Bench {number}", ZONE, *home))
        for s in range(1, self.sensors + 1):
            world.add_sensor(s, (s - 1) // 4 + 1, self.parameter(s), self.cadence_s)
            last = self.distinct - 1
            world.add(s, self.times[0], self.value(s, 0), 0)
            world.add(s, self.times[last], self.value(s, last), 0)
            for k in range(self.distinct, len(self.times)):
                world.add(s, self.times[k], self.value(s, k), self.released)
        world.now = self.end + HOUR
        return world


class BenchAnswers(Api):
    """As the API answers, but with measurements from the bench's prepared pieces."""

    def __init__(self, bench: BenchWorld) -> None:
        super().__init__(bench.world, Faults())
        self.bench = bench

    def answer(self, request: Request, strikes: list[Strike]) -> Answer:
        if request.kind != "measurements" or request.number > self.bench.sensors:
            return super().answer(request, strikes)
        try:
            page, limit = request.query.page()
            start, end = request.query.window(ZONE)
        except Refused as refused:
            return refused.answer
        times, most = self.bench.row_times, self.bench.visible_rows()
        first = 0 if start is None else bisect_right(times, start, 0, most)
        last = most if end is None else bisect_right(times, end, 0, most)
        first = min(last, first + (page - 1) * limit)
        last = min(last, first + limit)
        pieces = self.bench.page(request.number, first, last)
        if pieces:
            pieces[-1] = pieces[-1][:-1]
        head = b'{"meta":%b,"results":[' % dumps(meta(page, limit, last - first))
        return Answer(200, b"".join((head, *pieces, b"]}")))

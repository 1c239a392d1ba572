"""Which sensors there are and which of them have news, at about one request a location.

A location's sensors are listed when it is new, once a day, and whenever one shows up that was not
there. In between one request tells the newest readings: `/latest`, or, where only some parameters
are wanted, `/sensors`. That one says what each sensor measures, so an unwanted one is told from
a new one without keeping a list of the unwanted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread

from loader.contracts import Survey
from loader.errors import AccessDenied, Interrupted, LoaderError, NotFound, SourceUnavailable
from loader.http import Http
from loader.log import get_logger
from loader.readings import DAY, Partition, PartitionState, Series
from loader.sources.openaq import api
from loader.sources.openaq.settings import OpenAQSettings

NOTHING_YET = 0
"""The newest time of a sensor of which the source says that it has no readings at all."""


@dataclass(slots=True)
class Surveyed:
    """What became of one location."""

    partitions: list[Partition] = field(default_factory=list)
    listed: bool = False
    latest: dict[str, int] = field(default_factory=dict)
    location: api.Location | None = None
    failed: str | None = None


class Surveyor:
    """Surveys the locations that `settings` choose, a few at a time."""

    def __init__(self, name: str, settings: OpenAQSettings, http: Http) -> None:
        self._name = name
        self._settings = settings
        self._http = http
        self._wanted = frozenset(settings.parameters)

    def survey(self, known: Sequence[PartitionState], now: int) -> tuple[Survey, dict[str, api.Location]]:
        """As `contracts.Source.survey`; also the locations that were described, by station."""
        by_station: dict[str, list[PartitionState]] = {}
        for state in known:
            by_station.setdefault(state.station, []).append(state)
        failed: dict[str, str] = {}
        chosen: dict[str, api.Location | None] = {str(n): None for n in self._settings.locations}
        self._search(chosen, by_station, failed)
        results = self._all(chosen, by_station, now)
        failed.update({s: r.failed for s, r in results.items() if r.failed is not None})
        if chosen and all(r.failed is not None for r in results.values()):
            raise SourceUnavailable(f"no location could be asked: {next(iter(failed.values()))}")
        survey = Survey(
            partitions=tuple(p for r in results.values() for p in r.partitions),
            listed=frozenset(p.name for r in results.values() if r.listed for p in r.partitions),
            latest={name: at for r in results.values() for name, at in r.latest.items()},
            failed=failed,
        )
        return survey, {s: r.location for s, r in results.items() if r.location is not None}

    def _search(
        self,
        chosen: dict[str, api.Location | None],
        by_station: Mapping[str, object],
        failed: dict[str, str],
    ) -> None:
        """Add what the configured searches find; where one fails, what earlier ones found."""
        for query in self._settings.queries():
            hits = 0
            try:
                for found in api.search(self._http, query):
                    if not self._wanted or self._wanted.intersection(found.parameters):
                        chosen[str(found.id)] = found
                        hits += 1
                if not hits:
                    failed[f"search by {query[0][0]}"] = "it finds no location that measures what is wanted"
            except (AccessDenied, Interrupted, SourceUnavailable):
                raise
            except LoaderError as error:
                if not by_station:
                    raise SourceUnavailable(f"the search for locations failed: {error}") from error
                failed[f"search by {query[0][0]}"] = str(error)
                for station in by_station:
                    chosen.setdefault(station, None)

    def _all(
        self,
        chosen: Mapping[str, api.Location | None],
        by_station: Mapping[str, Sequence[PartitionState]],
        now: int,
    ) -> dict[str, Surveyed]:
        todo = deque(chosen.items())
        results: SimpleQueue[tuple[str, Surveyed | BaseException]] = SimpleQueue()

        def work() -> None:
            while todo:
                try:
                    station, found = todo.popleft()
                except IndexError:
                    return
                try:
                    results.put((station, self._one(station, found, by_station.get(station, ()), now)))
                except BaseException as error:
                    results.put((station, error))

        # Daemons: the program may end while one of them still waits for an answer.
        for i in range(min(self._settings.concurrency, len(chosen))):
            Thread(target=work, name=f"survey-{i}", daemon=True).start()
        out: dict[str, Surveyed] = {}
        while len(out) < len(chosen):
            station, result = results.get()
            if isinstance(result, BaseException):
                # What the user must put right, or a source that is down, ends the survey at once.
                todo.clear()
                raise result
            out[station] = result
        return {station: out[station] for station in chosen}

    def _one(
        self, station: str, found: api.Location | None, states: Sequence[PartitionState], now: int
    ) -> Surveyed:
        try:
            return self._ask(station, found, states, now)
        except (AccessDenied, Interrupted, SourceUnavailable):
            raise
        except NotFound as error:
            if not states and int(station) in self._settings.locations:
                raise NotFound(
                    f"sources.{self._name}.locations: {station} does not exist at the source; "
                    "correct it or take it out (`loader locations` finds ids)"
                ) from error
            return self._unasked(states, "it does not exist any more")
        except LoaderError as error:
            return self._unasked(states, str(error))

    def _unasked(self, states: Sequence[PartitionState], reason: str) -> Surveyed:
        """What is left to say of a location that could not be asked: what was known of it."""
        return Surveyed([_partition(s) for s in _current(states) if self._wants(s)], failed=reason)

    def _ask(
        self, station: str, found: api.Location | None, states: Sequence[PartitionState], now: int
    ) -> Surveyed:
        number = int(station)
        current = _current(states)
        fresh = bool(current) and now - current[0].listed_at < DAY
        if fresh and not self._wanted:
            latest = {str(k): at for k, at in api.latest(self._http, number).items()}
            if latest.keys() <= {s.name for s in current}:
                # A sensor without readings is not in the answer; sweeps look whether that is still so.
                silent = {s.name: NOTHING_YET for s in current if s.watermark is None}
                return Surveyed([_partition(s) for s in current], latest=silent | latest)
        sensors: list[api.Sensor] | None = None
        if fresh:
            sensors = api.sensors(self._http, number)
            kept = [s for s in current if self._wants(s)]
            if _same(kept, [s for s in sensors if self._wanted and s.parameter in self._wanted]):
                return Surveyed([_partition(s) for s in kept], latest=_latest(sensors))
        described = found or api.location(self._http, number)
        if sensors is None:
            sensors = api.sensors(self._http, number)
        partitions = self._list(described, sensors, states)
        if not partitions:
            get_logger().warning("station.nothing_wanted", source=self._name, station=station)
        return Surveyed(partitions, listed=True, latest=_latest(sensors), location=described)

    def _wants(self, state: PartitionState) -> bool:
        return not self._wanted or any(s.parameter in self._wanted for s in state.series)

    def _list(
        self, place: api.Location, sensors: Sequence[api.Sensor], states: Sequence[PartitionState]
    ) -> list[Partition]:
        """The location's wanted sensors as partitions."""
        replaced = predecessors(sensors, states)
        by_name = {s.name: s for s in states}
        out = []
        for sensor in sensors:
            if self._wanted and sensor.parameter not in self._wanted:
                continue
            name = str(sensor.id)
            series = Series(
                sensor=name,
                parameter=sensor.parameter,
                unit=sensor.unit,
                station=str(place.id),
                partition=name,
                name=place.name,
                timezone=place.timezone,
                cadence_s=sensor.cadence_s,
                replaces=replaced.get(name),
            )
            others = [s for s in by_name[name].series if s.key != series.key] if name in by_name else []
            out.append(Partition(name, str(place.id), (series, *others)))
        return out


def predecessors(sensors: Sequence[api.Sensor], states: Sequence[PartitionState]) -> dict[str, str]:
    """Which sensor each one continues, by name: the last one of the same parameter id at the same
    location whose readings end before its own begin, or that is not listed any more.

    What was found once is kept. A sensor is continued by one other at most.
    """
    out = {s.sensor: s.replaces for state in states for s in state.series if s.replaces}
    listed = {str(s.id) for s in sensors}
    gone = [s for s in states if s.name not in listed]
    for sensor in sorted(sensors, key=lambda s: (s.first is None, s.first, s.id)):
        name = str(sensor.id)
        if name in out:
            continue
        taken = set(out.values())
        ended = [
            (other.last, str(other.id))
            for other in sensors
            if other.id != sensor.id
            and other.parameter_id == sensor.parameter_id
            and other.last is not None
            and sensor.first is not None
            and other.last <= sensor.first
        ]
        ended += [
            (state.watermark or 0, state.name)
            for state in gone
            if any((s.parameter, s.unit) == (sensor.parameter, sensor.unit) for s in state.series)
        ]
        free = [one for one in ended if one[1] not in taken]
        if free:
            out[name] = max(free)[1]
    return out


def _current(states: Sequence[PartitionState]) -> list[PartitionState]:
    """Those that the last listing of the location named; they are registered together."""
    last = max((s.listed_at for s in states), default=0)
    return [s for s in states if s.listed_at == last]


def _same(current: Sequence[PartitionState], sensors: Sequence[api.Sensor]) -> bool:
    """Whether a listing says what is known already."""
    listed = {str(s.id): (s.parameter, s.unit) for s in sensors}
    return listed.keys() == {s.name for s in current} and all(
        listed[state.name] in {(s.parameter, s.unit) for s in state.series} for state in current
    )


def _partition(state: PartitionState) -> Partition:
    return Partition(state.name, state.station, state.series)


def _latest(sensors: Sequence[api.Sensor]) -> dict[str, int]:
    return {str(s.id): NOTHING_YET if s.last is None else s.last for s in sensors}

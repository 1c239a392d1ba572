"""The simulated source: which readings there are, when they show up, and what is wrong with them.

Every reading is a function of the seed, the sensor and its stamp, and of the time at which it is
asked for: what was late or has been revised looks different before and after. Nothing is kept,
so any window can be read in any order, by any number of threads and processes, with one result.

With all flaws off it is the source one would wish for. Each flaw is the share of readings that it
strikes; `Simulator.truth` says what should be stored at a given time whatever the flaws.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from loader.contracts import Clock, Finding, Survey, Usage
from loader.errors import NotFound
from loader.ledger import subtract
from loader.readings import (
    DAY,
    SECOND,
    Bool,
    Float64,
    Int64,
    Page,
    Partition,
    PartitionState,
    Place,
    Readings,
    Reject,
    Series,
    Task,
    Window,
)
from loader.settings.durations import format_duration
from loader.sources.simulator.settings import (
    FLAT,
    LATEST_LATE,
    LATEST_REVISED,
    OUTAGE,
    SENTINEL,
    SimulatorSettings,
)
from loader.sources.simulator.signals import CITIES, UNITS, City, key_of, signal, uniform

PAGE = 1000
"""Stamps in a page; repeated rows come on top."""

_LOOK_BACK = 20_000
"""Stamps that `survey` looks back for the newest reading."""


class _Record(msgspec.Struct):
    """A reading as the simulator would send it; what quarantine keeps of a rejected one."""

    sensor: str
    parameter: str
    unit: str
    time: str
    value: float | None


# Made once, at import: threads that make one at the same time crash the interpreter.
_RECORD = msgspec.json.Decoder(_Record)


@dataclass(frozen=True, slots=True)
class _Sensor:
    """One sensor: its series, where it stands, and the keys of its random draws: those of its
    own, and those of the weather that it shares with its station."""

    series: Series
    city: City
    key: int
    weather: int


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What the source shows at some time, in the order of `time`. `stamp` is what the record
    bears, `time` when it was measured; they differ where the clock was wrong."""

    time: Int64
    stamp: Int64
    value: Float64
    twice: Bool


class Simulator:
    """See `loader.contracts.Source`. `earliest` (microseconds UTC) is when its sensors began to
    report; a stamp more than `future` microseconds ahead of the clock is rejected."""

    def __init__(
        self, name: str, settings: SimulatorSettings, clock: Clock, earliest: int, future: int
    ) -> None:
        self.name = name
        self.concurrency = settings.concurrency
        self.settings = settings
        self.clock = clock
        self.earliest = earliest
        self.future = future
        self._closed = threading.Event()
        self._sensors = {
            sensor.series.partition: sensor
            for number in range(settings.stations)
            for sensor in self._station(number)
        }

    def _station(self, number: int) -> Iterator[_Sensor]:
        city, weather = CITIES[number % len(CITIES)], key_of(self.settings.seed, number)
        station = f"{self.name}-{number + 1}"
        for ordinal, (parameter, unit) in enumerate(UNITS[self.settings.kind].items()):
            sensor = f"{station}/{parameter}"
            series = Series(
                sensor=sensor,
                parameter=parameter,
                unit=unit,
                station=station,
                partition=sensor,
                name=f"{city.name} (simulated)",
                timezone=city.zone,
                cadence_s=self.settings.step / SECOND,
            )
            yield _Sensor(series, city, key_of(self.settings.seed, number, ordinal), weather)

    def survey(self, known: Sequence[PartitionState], now: int) -> Survey:
        """All sensors, each with the time of its newest reading. Described afresh are those that
        are new, changed, or were not for a day."""
        before = {state.name: state for state in known}
        partitions = tuple(
            Partition(name, sensor.series.station, (sensor.series,))
            for name, sensor in self._sensors.items()
        )
        listed = frozenset(
            p.name
            for p in partitions
            if (state := before.get(p.name)) is None
            or p.series[0] not in state.series
            or now - state.listed_at >= DAY
        )
        latest = {name: at for name in self._sensors if (at := self._latest(name, now)) is not None}
        return Survey(partitions, listed, latest, {})

    def read(self, task: Task) -> Iterator[Page]:
        """Pages of a thousand stamps, shown as they are at the clock's time when reading begins."""
        sensor = self._sensor(task.partition)
        now = self.clock()
        windows = subtract([task.window], task.skip)
        series, end = (sensor.series,), task.window.end
        places: tuple[Place, ...] = (Place(0, self.earliest, sensor.city.latitude, sensor.city.longitude),)
        covered_to = None
        for times in self._pages(task.window):
            if self.settings.latency:
                self._closed.wait(self.settings.latency / SECOND)
            asked = np.zeros(len(times), bool)
            for w in windows:
                asked |= (times > w.start) & (times <= w.end)
            rows = self._rows(sensor, times[asked], now)
            right = rows.stamp == rows.time
            again = np.repeat(np.flatnonzero(right), 1 + rows.twice[right])
            wrong = np.flatnonzero(~right)
            rejects = tuple(self._reject(sensor, int(rows.stamp[i]), float(rows.value[i])) for i in wrong)
            covered_to = int(times[-1])
            if covered_to + self.settings.step > end:
                covered_to = end
            readings = Readings.of(np.zeros(len(again)), rows.time[again], rows.value[again])
            fetched = len(again) + len(rejects)
            yield Page(readings, series, covered_to, fetched, rejects, places if len(again) else ())
            if len(again):
                places = ()
        if covered_to != end:
            yield Page(Readings.empty(), series, end, 0)

    def decode(self, partition: PartitionState, payload: bytes) -> Page:
        """Decode one record as `read` makes them. Its series is the stored one where there is one."""
        try:
            record = _RECORD.decode(payload)
            time = _parse(record.time)
        except (ValueError, RecursionError) as error:
            return _rejected(partition.name, "schema", str(error), payload)
        if time - self.clock() > self.future:
            return _rejected(
                partition.name, "timestamp", f"{record.time} lies in the future", payload, time
            )
        if time < self.earliest:
            reason = f"{record.time} is before {_iso(self.earliest)}, the earliest time accepted"
            return _rejected(partition.name, "timestamp", reason, payload, time)
        known = [*partition.series]
        if (sensor := self._sensors.get(partition.name)) is not None:
            known.append(sensor.series)
        for series in known:
            if series.key == (record.sensor, record.parameter, record.unit):
                value = np.nan if record.value is None else record.value
                return Page(Readings.of([0], [time], [value]), (series,), time, 1)
        reason = f"{record.sensor[:80]!r} in {record.unit[:20]!r} is not what {partition.name} reports"
        return _rejected(partition.name, "sensor", reason, payload, time)

    def truth(self, partition: str, window: Window, now: int) -> Readings:
        """What a loader that misses nothing has stored of the window at `now`: ascending, each
        time once, the values as they were last shown."""
        sensor = self._sensor(partition)
        parts = [self._rows(sensor, times, now) for times in self._pages(window)]
        right = [rows.stamp == rows.time for rows in parts]
        return Readings.concat(
            [
                Readings.of(np.zeros(np.count_nonzero(ok)), rows.time[ok], rows.value[ok])
                for rows, ok in zip(parts, right, strict=True)
            ]
        )

    def requests(self, task: Task) -> int:  # noqa: ARG002 - the contract's shape
        """None: nothing is asked of anybody."""
        return 0

    def usage(self) -> Usage:
        """Nothing, ever."""
        return Usage()

    def check(self) -> list[Finding]:
        """One line on what is simulated."""
        every = format_duration(self.settings.step)
        detail = (
            f"{len(self._sensors)} sensors at {self.settings.stations} stations, a reading every {every}"
        )
        return [Finding("simulator", True, detail)]

    def close(self) -> None:
        """Ends waiting for pages that take their time."""
        self._closed.set()

    def _sensor(self, partition: str) -> _Sensor:
        try:
            return self._sensors[partition]
        except KeyError:
            raise NotFound(
                f"source {self.name}: no sensor {partition!r} with {self.settings.stations} stations"
                f" of kind {self.settings.kind}; raise `stations`, or forget the source's readings"
            ) from None

    def _pages(self, window: Window) -> Iterator[Int64]:
        """The stamps in the window, a page at a time, ascending."""
        step = self.settings.step
        first = max(window.start // step + 1, -(-self.earliest // step))
        last = window.end // step
        for k in range(first, last + 1, PAGE):
            yield np.arange(k, min(k + PAGE, last + 1), dtype=np.int64) * step

    def _latest(self, partition: str, now: int) -> int | None:
        sensor, step = self._sensors[partition], self.settings.step
        end, size = now // step, 64
        oldest = max(-(-self.earliest // step), end - _LOOK_BACK)
        while end >= oldest:
            start = max(oldest, end - size + 1)
            rows = self._rows(sensor, np.arange(start, end + 1, dtype=np.int64) * step, now)
            right = rows.time[rows.stamp == rows.time]
            if len(right):
                return int(right[-1])
            end, size = start - 1, size * 8
        return None

    def _rows(self, sensor: _Sensor, times: Int64, now: int) -> _Rows:
        """What is shown at `now` of the stamps `times`."""
        flaws, step = self.settings.flaws, self.settings.step

        def draw(salt: int, at: Int64 = times) -> Float64:
            return uniform(sensor.key, salt, at)

        shown = times.copy()
        late = draw(1) < flaws.late
        shown[late] += (step * (1 + (LATEST_LATE - 1) * draw(2)[late])).astype(np.int64)
        there = (shown <= now) & (draw(3, times // (OUTAGE * step)) >= flaws.gaps)

        held = times // (FLAT * step) * (FLAT * step)
        base = np.where(draw(4, held) < flaws.flat, held, times)
        parameter, keys = sensor.series.parameter, (sensor.key, sensor.weather)
        digits, value = signal(self.settings.kind, parameter, sensor.city, keys, base)
        value += (draw(5) < flaws.spikes) * (5 * np.abs(value) + 50)
        first = value.copy()
        first[draw(6) < flaws.sentinels] = SENTINEL
        revised_at = shown + (step * (1 + (LATEST_REVISED - 1) * draw(8))).astype(np.int64)
        revised = (draw(7) < flaws.revised) & (revised_at <= now)
        # At least one unit of the last digit, so that a revision is always another value.
        second = value + (1 + np.floor(20 * draw(9))) / 10.0**digits
        wrong = draw(10) < flaws.clock_errors
        value = np.where(revised & ~wrong, second, first).round(digits)
        ahead = (DAY * np.floor(365.0 * (20 + 20 * draw(11)))).astype(np.int64)
        return _Rows(
            times[there],
            np.where(wrong, times + ahead, times)[there],
            value[there],
            (draw(12) < flaws.duplicates)[there],
        )

    def _reject(self, sensor: _Sensor, stamp: int, value: float) -> Reject:
        s = sensor.series
        payload = msgspec.json.encode(_Record(s.sensor, s.parameter, s.unit, _iso(stamp), value))
        return Reject(s.partition, "timestamp", f"{_iso(stamp)} lies in the future", payload, stamp)


def _rejected(partition: str, rule: str, reason: str, payload: bytes, time: int | None = None) -> Page:
    reject = Reject(partition, rule, reason, payload, time)
    return Page(Readings.empty(), (), 0 if time is None else time, 1, (reject,))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _iso(time: int) -> str:
    return (_EPOCH + timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def _parse(text: str) -> int:
    """Microseconds UTC of an ISO 8601 stamp with an offset; ValueError without one."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"the time {text[:40]!r} is not ISO 8601") from None
    if at.tzinfo is None:
        raise ValueError(f"the time {text[:40]!r} has no offset from UTC")
    return (at - _EPOCH) // timedelta(microseconds=1)

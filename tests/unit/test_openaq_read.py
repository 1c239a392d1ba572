"""Reading windows of the OpenAQ source, against a server that speaks the API."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from openaq_site import EARLIEST, LAST, NOW, O3_MASS, PM25, Site, joined, site, task
from scripted import Answer, Scripted

from loader.errors import AccessDenied, PageFailed, SourceUnavailable
from loader.readings import DAY, HOUR, SECOND, Check, Page, Series, Task, TaskKind, Window
from tests.openaq_server import Location, World, micros


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as made:
        yield made


def contiguous(pages: list[Page], window: Window) -> bool:
    """Whether what the pages cover goes on and ends at the window's end."""
    edges = [window.start, *(p.covered_to for p in pages)]
    return edges == sorted(edges) and edges[-1] == window.end


def long_world(hours: int) -> World:
    """One sensor with so many hours of readings."""
    world = World()
    world.now = NOW
    world.add_location(Location(1, "Long", "America/Toronto", 43.7, -79.4))
    world.add_sensor(11, 1, PM25)
    world.extend(11, ((LAST - h * HOUR, float(h), LAST - h * HOUR) for h in range(hours)))
    return world


def measurement(at: str, value: object = 1.0, **more: object) -> dict[str, object]:
    return {
        "value": value,
        "flagInfo": {"hasFlags": False},
        "parameter": {"id": 2, "name": "pm25", "units": "µg/m³", "displayName": None},
        "period": {"label": "raw", "interval": "01:00:00", "datetimeTo": {"utc": at, "local": at}},
        "coordinates": None,
        **more,
    }


def envelope(*results: object, limit: int = 1000) -> dict[str, object]:
    meta = {"name": "openaq-api", "website": "/", "page": 1, "limit": limit, "found": len(results)}
    return {"meta": meta, "results": list(results)}


SERIES = Series("11", "pm25", "µg/m³", "1", "11", cadence_s=3600)


def scripted_source(server: Scripted, **changes: object) -> object:
    """A source on a scripted server, which need not be asked for stations."""
    import threading

    from loader.budget import Unlimited
    from loader.sources.openaq import OpenAQSettings, connect
    from loader.sources.openaq.source import OpenAQ

    given = {"base_url": server.url, "api_key": "k", "locations": [1], "tries": 2, "backoff": "100ms"}
    settings = OpenAQSettings.model_validate(given | changes)
    stop = threading.Event()
    http = connect(settings, budget=Unlimited(stop), clock=lambda: NOW, stop=stop)
    return OpenAQ("openaq", settings, http, lambda: NOW, earliest=EARLIEST, future=5 * SECOND)


def read(server: Scripted, start: int = LAST - DAY, end: int = NOW, **more: object) -> list[Page]:
    source = scripted_source(server)
    return list(source.read(Task("11", Window(start, end), TaskKind.LIVE, series=(SERIES,), **more)))


def test_window_is_read_from_after_its_start_to_its_end(there: Site) -> None:
    """The window's start is not in it, its end is; asked in UTC with a Z, on one page."""
    source = there.source()
    one = task(source, "11", LAST - 3 * HOUR, LAST)
    there.asked()
    pages = list(source.read(one))
    assert joined(pages).time.tolist() == [LAST - 2 * HOUR, LAST - HOUR, LAST]
    assert joined(pages).value.tolist() == [11002.0, 11001.0, 11000.0]
    assert pages[0].series == one.series
    assert pages[-1].covered_to == LAST
    (url,) = there.asked()
    query = parse_qs(urlsplit(url).query)
    assert query["datetime_from"] == ["2026-11-20T07:00:00Z"]
    assert query["datetime_to"] == ["2026-11-20T10:00:00Z"]
    assert query["limit"] == ["1000"]


def test_windows_keep_their_microseconds(there: Site) -> None:
    """A window that begins or ends between two seconds is asked for as it is."""
    source = there.source()
    one = task(source, "11", LAST - HOUR, NOW)
    there.asked()
    assert list(source.read(one))[-1].covered_to == NOW
    assert "datetime_to=2026-11-20T10:20:30.123456Z" in there.asked()[0]


@pytest.mark.parametrize("hours", [999, 1000, 1001, 2500, 3000])
def test_pages_follow_the_last_stamp(hours: int) -> None:
    """Long windows come in pages that begin where the last one ended, whatever number of rows."""
    with site(long_world(hours)) as there:
        source = there.source(locations=[1])
        one = task(source, "11", LAST - 4000 * HOUR, NOW)
        there.asked()
        pages = list(source.read(one))
        assert joined(pages).time.tolist() == [LAST - h * HOUR for h in reversed(range(hours))]
        assert contiguous(pages, one.window)
        assert [p.covered_to for p in pages[:-1]] == [int(p.readings.time[-1]) for p in pages[:-1]]
        asked = there.asked()
        assert len(asked) == hours // 1000 + 1
        assert all("page=" not in url for url in asked)
        assert source.requests(one) >= len(asked)


def test_full_page_that_ends_the_window_is_the_last() -> None:
    """A full page whose last row is the window's end needs no further request."""
    with site(long_world(1000)) as there:
        source = there.source(locations=[1])
        one = task(source, "11", LAST - 1000 * HOUR, LAST)
        there.asked()
        assert len(list(source.read(one))) == 1
        assert len(there.asked()) == 1


def test_rows_that_come_between_two_pages_shift_nothing() -> None:
    """A row inserted behind the first page does not make another be skipped or come twice."""
    world = long_world(1500)
    with site(world) as there:
        source = there.source(locations=[1])
        pages = source.read(task(source, "11", LAST - 2000 * HOUR, NOW))
        first = next(pages)
        world.add(11, LAST - 1499 * HOUR + HOUR // 2, 5.0)
        rest = list(pages)
    times = joined([first, *rest]).time.tolist()
    assert times == [LAST - h * HOUR for h in reversed(range(1500))]


def test_server_that_serves_smaller_pages() -> None:
    """Where the server cuts pages shorter than was asked for, nothing is lost."""
    stamps = [LAST - h * HOUR for h in reversed(range(25))]

    def script(asked: object) -> Answer:
        start = micros(asked.query["datetime_from"])
        rows = [measurement(iso(t)) for t in stamps if t > start][:10]
        return Answer.json(envelope(*rows, limit=10))

    with Scripted(script) as server:
        pages = read(server, LAST - 30 * HOUR)
    assert joined(pages).time.tolist() == stamps


def iso(at: int) -> str:
    from loader.sources.openaq.times import stamp

    return stamp(at)


@pytest.mark.parametrize(
    "stamps",
    [
        [LAST - DAY] * 1000,
        [LAST - 40 * DAY - h * HOUR for h in reversed(range(1000))],
        [LAST + 90 * DAY] * 1000,
    ],
    ids=["the window's start", "before the window", "after the window"],
)
def test_full_page_that_does_not_advance_fails(stamps: list[int]) -> None:
    """A server that sends the same full page for ever is a failure, not an endless loop."""
    page = Answer.json(envelope(*(measurement(iso(t)) for t in stamps)))
    with Scripted([page]) as server:
        with pytest.raises(PageFailed, match="nothing of the window") as caught:
            read(server)
        assert len(server.asked) == 1
    assert (caught.value.after, caught.value.until) == (LAST - DAY, NOW)


def test_full_history_for_every_request_ends() -> None:
    """A server that ignores the window is given up at the first page that brings nothing new."""
    page = Answer.json(envelope(*(measurement(iso(LAST - h * HOUR)) for h in reversed(range(5, 1005)))))
    with Scripted([page]) as server:
        with pytest.raises(PageFailed, match="nothing of the window"):
            read(server, LAST - 2000 * HOUR)
        assert len(server.asked) == 2


def test_skipped_windows_are_not_asked_for(there: Site) -> None:
    """The read goes around the windows to skip, and still says that it came to the end."""
    source = there.source()
    skip = (Window(LAST - 20 * HOUR, LAST - 18 * HOUR), Window(LAST - 10 * HOUR, LAST - 9 * HOUR))
    one = task(source, "11", LAST - 24 * HOUR, LAST, skip=skip)
    there.asked()
    pages = list(source.read(one))
    expected = [
        t for t in range(LAST - 23 * HOUR, LAST + 1, HOUR) if not any(w.start < t <= w.end for w in skip)
    ]
    assert joined(pages).time.tolist() == expected
    assert contiguous(pages, one.window)
    windows = [parse_qs(urlsplit(url).query) for url in there.asked()]
    assert [(w["datetime_from"][0], w["datetime_to"][0]) for w in windows] == [
        (iso(LAST - 24 * HOUR), iso(LAST - 20 * HOUR)),
        (iso(LAST - 18 * HOUR), iso(LAST - 10 * HOUR)),
        (iso(LAST - 9 * HOUR), iso(LAST)),
    ]
    assert source.requests(one) == 3


def test_window_to_skip_entirely_takes_no_request(there: Site) -> None:
    """Where all of the window is to be skipped, one empty page says that it was passed."""
    source = there.source()
    one = task(source, "11", LAST - DAY, LAST, skip=(Window(LAST - 2 * DAY, LAST + DAY),))
    there.asked()
    (page,) = source.read(one)
    assert (len(page.readings), page.covered_to, there.asked()) == (0, LAST, [])


def test_nulls_sentinels_and_flags_keep_what_was_sent(there: Site) -> None:
    """A null is NaN, -999 stays, a flagged reading bears the bit; the quality checks do the rest."""
    there.world.add_sensor(14, 1, PM25)
    for h, value in enumerate((5.0, None, -999.0, -1.5)):
        there.world.add(14, LAST - h * HOUR, value)
    there.world.sensors[14].flagged.add(LAST - 3 * HOUR)
    source = there.source()
    readings = joined(list(source.read(task(source, "14", LAST - DAY, NOW))))
    assert np.array_equal(readings.value, [-1.5, -999.0, np.nan, 5.0], equal_nan=True)
    assert readings.tests.tolist() == [Check.UPSTREAM, 0, 0, 0]


@pytest.mark.parametrize("how", ["value-text", "value-infinite", "period-null", "time-words", "time-nul",
                                 "time-surrogate", "record-null", "record-text", "period-missing",
                                 "value-object", "time-number"])  # fmt: skip
def test_broken_record_costs_only_itself(there: Site, how: str) -> None:
    """A record that is no measurement is rejected with its raw text; the rest of the page loads."""
    there.world.spoil(11, LAST - 5 * HOUR, how)
    source = there.source()
    pages = list(source.read(task(source, "11", LAST - DAY, NOW)))
    readings = joined(pages)
    assert len(readings) == 23
    assert LAST - 5 * HOUR not in readings.time
    (reject,) = pages[0].rejects
    assert (reject.rule, reject.partition) == ("schema", "11")
    field = {"value": "value", "period": "period", "time": "period.datetimeTo.utc", "record": ""}[
        how.split("-", maxsplit=1)[0]
    ]
    assert reject.reason.startswith(field) or how == "time-surrogate"
    assert (b"pm25" in reject.payload) or how.startswith("record")
    assert pages[0].fetched == 24
    if how.startswith("value"):
        assert reject.time == LAST - 5 * HOUR


def test_stamps_that_cannot_be_are_rejected() -> None:
    """Readings from the far future or the deep past are quarantined with their raw record."""
    rows = [
        measurement("1970-01-01T00:00:00Z", 1.0),
        measurement(iso(LAST), 2.0),
        measurement(iso(NOW + 6 * SECOND), 3.0),
        measurement(iso(NOW + 5 * SECOND), 4.0),
        measurement("2126-11-20T00:00:00Z", 5.0),
    ]
    with Scripted([Answer.json(envelope(*rows))]) as server:
        (page,) = read(server)
    assert page.readings.value.tolist() == [2.0, 4.0]
    assert [(r.rule, r.reason.split(": ")[1][:9]) for r in page.rejects] == [
        ("timestamp", "before th"),
        ("timestamp", "in the fu"),
        ("timestamp", "in the fu"),
    ]
    assert b'"value": 5.0' in page.rejects[-1].payload
    assert page.fetched == 5


def test_another_unit_is_another_series() -> None:
    """A record in another unit makes a series of its own instead of mixing two scales."""
    rows = [
        measurement(iso(LAST - HOUR)),
        measurement(iso(LAST), parameter={"id": 9, "name": "pm25", "units": "ppm"}),
    ]
    with Scripted([Answer.json(envelope(*rows))]) as server:
        (page,) = read(server)
    assert [s.key for s in page.series] == [("11", "pm25", "µg/m³"), ("11", "pm25", "ppm")]
    assert page.readings.series.tolist() == [0, 1]


def test_units_belong_to_the_parameter_id(there: Site) -> None:
    """Ozone in ppm and ozone by mass at one station stay two series with their own units."""
    there.world.add_sensor(15, 1, O3_MASS)
    there.world.add(15, LAST, 40.0)
    source = there.source()
    units = {p.series[0].sensor: p.series[0].unit for p in source.survey([], NOW).partitions}
    assert (units["12"], units["15"]) == ("ppm", "µg/m³")


def test_station_in_a_quarter_hour_zone(there: Site) -> None:
    """Kathmandu's readings at +05:45 are stored at their UTC times."""
    source = there.source()
    readings = joined(list(source.read(task(source, "21", LAST - 3 * HOUR, NOW))))
    assert [t % HOUR for t in readings.time.tolist()] == [45 * 60 * SECOND] * 3


def test_night_of_the_fall_back(there: Site) -> None:
    """The hour that a clock shows twice at the end of summer time is two readings."""
    source = there.source()
    there.world.extend(11, ((micros(f"2026-11-01T0{h}:00:00Z"), float(h), 0) for h in range(3, 10)))
    one = task(source, "11", micros("2026-11-01T03:00:00Z"), micros("2026-11-01T09:00:00Z"))
    readings = joined(list(source.read(one)))
    assert np.diff(readings.time).tolist() == [HOUR] * 5
    assert readings.value.tolist() == [4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


def test_places_come_from_the_station_and_from_what_moves(there: Site) -> None:
    """A station's place comes once, with its first reading; a moving sensor's at each move."""
    source = there.source()
    pages = list(source.read(task(source, "11", LAST - 3 * HOUR, NOW)))
    assert [(p.time, p.latitude, p.longitude) for p in pages[0].places] == [
        (LAST - 2 * HOUR, 40.85, -73.93)
    ]
    rows = [
        measurement(iso(LAST - h * HOUR), coordinates={"latitude": lat, "longitude": 1.0})
        for h, lat in ((4, 50.0), (3, 50.0), (2, 51.0), (1, 200.0), (0, None))
    ]
    with Scripted([Answer.json(envelope(*rows))]) as server:
        (page,) = read(server)
    assert [(p.time, p.latitude) for p in page.places] == [(LAST - 4 * HOUR, 50.0), (LAST - 2 * HOUR, 51.0)]


@pytest.mark.parametrize(
    ("kind", "bisect"),
    [("500", True), ("408", True), ("502", False), ("503", False), ("rubbish", True), ("html", True),
     ("reset", False), ("truncated", True), ("empty", True), ("bomb", True), ("redirect-cross", False)],
)  # fmt: skip
def test_page_that_cannot_be_had(there: Site, kind: str, bisect: bool) -> None:
    """A page that fails every time says from where to where, and whether less of it may succeed."""
    source = there.source()
    one = task(source, "11", LAST - 9 * DAY, NOW)
    there.faults.add(kind, route="measurements")
    there.asked()
    with pytest.raises(PageFailed) as caught:
        list(source.read(one))
    assert caught.value.bisect is bisect
    assert (caught.value.after, caught.value.until) == (one.window.start, NOW)
    assert len(there.asked()) == (1 if kind in ("bomb", "redirect-cross") else 2)


@pytest.mark.parametrize(
    "kind", ["500", "408", "502", "503", "429", "rubbish", "html", "reset", "truncated"]
)
def test_page_that_fails_once_is_retried(there: Site, kind: str) -> None:
    """Whatever passes is got over within the read."""
    source = there.source()
    one = task(source, "11", LAST - DAY, NOW)
    there.faults.add(kind, route="measurements", times=1)
    assert len(joined(list(source.read(one)))) == 24


def test_probe_tries_once(there: Site) -> None:
    """A probe of a bisection sends one request."""
    source = there.source()
    there.faults.add("500", route="measurements")
    one = task(source, "11", LAST - DAY, NOW, probe=True)
    there.asked()
    with pytest.raises(PageFailed):
        list(source.read(one))
    assert len(there.asked()) == 1


def test_bisection_starts_with_what_a_page_can_hold() -> None:
    """A page that fails in a long window reaches a thousand readings far, and what came before it
    stands."""
    with site(long_world(3000)) as there:
        source = there.source(locations=[1])
        there.faults.poison(11, LAST - 1500 * HOUR, LAST - 1499 * HOUR)
        one = task(source, "11", LAST - 3000 * HOUR, NOW)
        pages = source.read(one)
        first = next(pages)
        with pytest.raises(PageFailed) as caught:
            next(pages)
        assert caught.value.after == first.covered_to == LAST - 2000 * HOUR
        assert caught.value.until == LAST - 1000 * HOUR


def test_key_that_stops_being_good(there: Site) -> None:
    """A refused key names the variable to set and where to get one, and never the key."""
    good = there.source()
    one = task(good, "11", LAST - DAY, NOW)
    source = there.source(api_key="sesame-open-9")
    with pytest.raises(AccessDenied, match=r"OPENAQ_API_KEY.*401.*explore\.openaq\.org") as caught:
        list(source.read(one))
    assert "sesame" not in str(caught.value)


def test_server_that_is_gone(there: Site) -> None:
    """When nobody answers any more, the whole source is unavailable."""
    source = there.source()
    one = task(source, "11", LAST - DAY, NOW)
    there.server.stop()
    with pytest.raises(SourceUnavailable):
        list(source.read(one))


def test_iterator_may_be_closed_early() -> None:
    """Closing the iterator after a page leaves the source usable."""
    with site(long_world(2500)) as there:
        source = there.source(locations=[1])
        one = task(source, "11", LAST - 3000 * HOUR, NOW)
        pages = source.read(one)
        next(pages)
        pages.close()
        assert len(joined(list(source.read(one)))) == 2500


def test_replay_decodes_a_record_again(there: Site) -> None:
    """A quarantined record becomes a reading where it can now, else a reject again."""
    from loader.readings import PartitionState

    source = there.source()
    known = PartitionState("11", "1", 0, 0, series=(SERIES,))
    there.world.spoil(11, LAST, "value-text")
    (page,) = source.read(task(source, "11", LAST - HOUR, NOW))
    again = source.decode(known, page.rejects[0].payload)
    assert (len(again.readings), again.rejects[0].rule, again.fetched) == (0, "schema", 1)
    import json

    good = source.decode(known, json.dumps(measurement(iso(LAST), 7.5)).encode())
    assert (good.readings.value.tolist(), good.readings.time.tolist(), good.series) == (
        [7.5],
        [LAST],
        (SERIES,),
    )
    assert source.decode(known, b"\xff{").rejects[0].rule == "schema"


def test_any_cut_of_a_window_brings_the_same() -> None:
    """However a stretch is cut into windows, the readings are the same, each once."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    with site(long_world(1200)) as there:
        source = there.source(locations=[1])
        start = LAST - 1300 * HOUR
        cuts = sorted({start, NOW, *(rng.randrange(start, NOW) for _ in range(6))})
        whole = joined(list(source.read(task(source, "11", start, NOW))))
        parts = [
            page
            for a, b in itertools.pairwise(cuts)
            for page in source.read(Task("11", Window(a, b), TaskKind.LIVE, series=(SERIES,)))
        ]
    assert joined(parts).time.tolist() == whole.time.tolist(), f"seed {seed}"


def test_usage_counts_requests(there: Site) -> None:
    """What was used is known at any time."""
    source = there.source()
    source.survey([], NOW)
    used = source.usage()
    assert used.requests == len(there.asked()) == 4
    assert used.bytes > 0
    assert used.slowest_s > 0

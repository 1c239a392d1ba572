"""Which sensors there are and which have news: requests, rediscovery, replaced sensors."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from openaq_site import LAST, NOW, O3, O3_MASS, PM25, TEMPERATURE, Site, registered, site
from pydantic import SecretStr
from scripted import Answer, Scripted

from loader.budget import Unlimited
from loader.contracts import Survey
from loader.errors import AccessDenied, NotFound, SourceUnavailable
from loader.readings import DAY, HOUR, PartitionState
from loader.sources.openaq import OpenAQSettings, connect
from loader.sources.openaq.source import OpenAQ
from tests.openaq_server import Location


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as made:
        yield made


def known_to(source: OpenAQ, there: Site, now: int = NOW) -> list[PartitionState]:
    """What a store holds after a first survey; what that asked for is forgotten."""
    states = registered(source.survey([], now), [], now)
    there.asked()
    return states


def names(survey: Survey) -> list[str]:
    return sorted(p.name for p in survey.partitions)


def test_first_survey_describes_every_sensor(there: Site) -> None:
    """The first time, two requests a location tell all that is stored of its sensors."""
    survey = there.source().survey([], NOW)
    assert sorted(there.asked()) == [
        "/v3/locations/1",
        "/v3/locations/1/sensors",
        "/v3/locations/2",
        "/v3/locations/2/sensors",
    ]
    assert names(survey) == ["11", "12", "13", "21"]
    assert survey.listed == {"11", "12", "13", "21"}
    assert survey.latest == {"11": LAST, "12": LAST, "13": LAST, "21": LAST - HOUR // 4}
    assert survey.failed == {}
    by_name = {p.name: p for p in survey.partitions}
    (series,) = by_name["21"].series
    assert (series.sensor, series.parameter, series.unit) == ("21", "pm25", "µg/m³")
    assert (series.station, series.partition, series.name) == ("2", "21", "Ratnapark")
    assert (series.timezone, series.cadence_s, series.replaces) == ("Asia/Kathmandu", 3600.0, None)
    assert by_name["12"].series[0].unit == "ppm"


@pytest.mark.parametrize("parameters", [[], ["pm25"], ["pm25", "no2"]])
def test_nothing_new_costs_one_request_a_location(there: Site, parameters: list[str]) -> None:
    """With nothing new each later survey sends one request a location, also where some of its
    sensors are not wanted."""
    source = there.source(parameters=parameters)
    states = known_to(source, there)
    for run in range(1, 4):
        survey = source.survey(states, NOW + run * HOUR)
        assert len(there.asked()) == 2
        assert survey.listed == frozenset()
        assert names(survey) == (["11", "21"] if parameters else ["11", "12", "13", "21"])
        assert {n: survey.latest[n] for n in ("11", "21")} == {"11": LAST, "21": LAST - HOUR // 4}


def test_only_wanted_parameters_become_partitions(there: Site) -> None:
    """Sensors of other parameters are left out."""
    survey = there.source(parameters=["o3", "temperature"]).survey([], NOW)
    assert names(survey) == ["12", "13"]


@pytest.mark.parametrize("parameters", [[], ["pm25"]])
def test_new_sensor_is_found_at_once(there: Site, parameters: list[str]) -> None:
    """A sensor that shows up is listed in the same survey, with its whole location."""
    source = there.source(parameters=parameters)
    states = known_to(source, there)
    there.world.add_sensor(14, 1, PM25)
    there.world.add(14, LAST, 1.0)
    survey = source.survey(states, NOW + HOUR)
    assert "14" in names(survey)
    assert survey.listed == ({"11", "14"} if parameters else {"11", "12", "13", "14"})
    states = registered(survey, states, NOW + HOUR)
    there.asked()
    assert source.survey(states, NOW + 2 * HOUR).listed == frozenset()
    assert len(there.asked()) == 2


def test_new_sensor_that_is_not_wanted_costs_nothing(there: Site) -> None:
    """A new sensor of another parameter does not make the location be listed again and again."""
    source = there.source(parameters=["pm25"])
    states = known_to(source, there)
    there.world.add_sensor(14, 1, O3_MASS)
    there.world.add(14, LAST, 1.0)
    assert source.survey(states, NOW + HOUR).listed == frozenset()
    assert len(there.asked()) == 2


def test_rumour_of_a_sensor_costs_three_requests_at_most(there: Site) -> None:
    """A sensor that `latest` names and nobody lists makes one look a run, not more."""
    source = there.source()
    states = known_to(source, there)
    there.faults.add("unknown-latest", route="latest", sensor=999)
    survey = source.survey(states, NOW + HOUR)
    assert names(survey) == ["11", "12", "13", "21"]
    assert len(there.asked()) <= 2 * 3


def test_sensors_are_listed_daily(there: Site) -> None:
    """After a day everything is described again, and what has changed comes with it."""
    source = there.source()
    states = known_to(source, there)
    there.world.locations[1].name = "Harlem River"
    assert source.survey(states, NOW + DAY - 1).listed == frozenset()
    survey = source.survey(states, NOW + DAY)
    assert survey.listed == {"11", "12", "13", "21"}
    assert {p.series[0].name for p in survey.partitions if p.station == "1"} == {"Harlem River"}


def test_parameters_may_change(there: Site) -> None:
    """A parameter added to the configuration is loaded from the next run on, one taken out is not."""
    states = known_to(there.source(parameters=["pm25"]), there)
    more = there.source(parameters=["pm25", "o3"]).survey(states, NOW + HOUR)
    assert names(more) == ["11", "12", "21"]
    states = registered(more, states, NOW + HOUR)
    less = there.source(parameters=["o3"]).survey(states, NOW + 2 * HOUR)
    assert names(less) == ["12"]
    every = there.source().survey(states, NOW + 3 * HOUR)
    assert names(every) == ["11", "12", "13", "21"]


def test_sensor_without_readings(there: Site) -> None:
    """A sensor that never measured anything is a partition without news."""
    there.world.add_sensor(14, 1, PM25)
    survey = there.source(parameters=["pm25"]).survey([], NOW)
    assert "14" in names(survey)
    assert survey.latest["14"] == 0


def test_sensor_that_latest_forgets_has_to_be_read(there: Site) -> None:
    """Of a sensor that `latest` leaves out nothing is said, unless it never had a reading."""
    source = there.source(locations=[2])
    states = known_to(source, there)
    there.faults.add("missing-latest", route="latest")
    for mark, said in ((LAST, {}), (None, {"21": 0})):
        survey = source.survey([replace(s, watermark=mark) for s in states], NOW + HOUR)
        assert names(survey) == ["21"]
        assert survey.latest == said


def test_new_id_replaces_the_old(there: Site) -> None:
    """A sensor that goes on where another of the same parameter at the same place ended says so;
    one that runs beside it does not."""
    there.world.add_sensor(17, 1, PM25)
    there.world.add(17, LAST + HOUR, 1.0)
    there.world.add_sensor(18, 1, O3)
    there.world.add(18, LAST - HOUR, 1.0)
    there.world.add_sensor(19, 1, O3_MASS)
    there.world.add(19, LAST + HOUR, 1.0)
    there.world.now = NOW + HOUR
    survey = there.source().survey([], NOW + HOUR)
    replaced = {p.name: p.series[0].replaces for p in survey.partitions if p.series[0].replaces}
    assert replaced == {"17": "11"}


def test_chain_of_replaced_sensors(there: Site) -> None:
    """Of three sensors one after the other each continues the one just before it."""
    there.world.now = LAST + 10 * DAY
    for number, after in ((17, 1), (18, 5)):
        there.world.add_sensor(number, 1, PM25)
        for h in range(3):
            there.world.add(number, LAST + after * DAY + h * HOUR, 1.0)
    survey = there.source(parameters=["pm25"], locations=[1]).survey([], NOW)
    assert {p.name: p.series[0].replaces for p in survey.partitions} == {"11": None, "17": "11", "18": "17"}


def test_sensor_that_is_gone_is_replaced(there: Site) -> None:
    """A listed sensor replaces one of the same parameter that is not listed any more; the old one is
    no longer named, and the link stays."""
    source = there.source(parameters=["pm25"])
    states = [replace(s, watermark=LAST) for s in known_to(source, there)]
    del there.world.sensors[11]
    there.world.add_sensor(17, 1, PM25)
    there.world.add(17, LAST - 2 * HOUR, 1.0)
    survey = source.survey(states, NOW + HOUR)
    assert names(survey) == ["17", "21"]
    assert next(p for p in survey.partitions if p.name == "17").series[0].replaces == "11"
    states = registered(survey, states, NOW + HOUR)
    there.asked()
    again = source.survey(states, NOW + 2 * HOUR)
    assert (names(again), again.listed, len(there.asked())) == (["17", "21"], frozenset(), 2)
    daily = source.survey(states, NOW + 2 * DAY)
    assert next(p for p in daily.partitions if p.name == "17").series[0].replaces == "11"


def test_series_in_other_units_stay_known(there: Site) -> None:
    """What a partition measured in another unit before is still part of it after a listing."""
    source = there.source(locations=[2])
    (known,) = known_to(source, there)
    other = replace(known.series[0], unit="ppm")
    states = [replace(known, series=(other, *known.series))]
    assert source.survey(states, NOW + HOUR).listed == frozenset()
    (partition,) = source.survey(states, NOW + 2 * DAY).partitions
    assert [s.unit for s in partition.series] == ["µg/m³", "ppm"]


@pytest.mark.parametrize("parameters", [[], ["pm25"]])
def test_location_that_never_existed(there: Site, parameters: list[str]) -> None:
    """An unknown location is an error that names it and where it stands, at once."""
    source = there.source(locations=[1, 404404], parameters=parameters)
    with pytest.raises(NotFound, match=r"sources\.openaq\.locations: 404404 does not exist"):
        source.survey([], NOW)


def test_location_that_vanished(there: Site) -> None:
    """A location that was there before does not stop the others when it is gone."""
    source = there.source()
    states = known_to(source, there)
    there.world.locations[2].listed_from = NOW * 2
    survey = source.survey(states, NOW + 2 * DAY)
    assert survey.failed == {"2": "it does not exist any more"}
    assert names(survey) == ["11", "12", "13", "21"]
    assert "21" not in survey.latest


def test_refused_key(there: Site) -> None:
    """A bad key ends the survey at once, with the name of the variable and where to get a key."""
    source = there.source(api_key="sesame-open-9")
    with pytest.raises(AccessDenied, match=r"OPENAQ_API_KEY.*401.*explore\.openaq\.org") as caught:
        source.survey([], NOW)
    assert "sesame" not in str(caught.value)
    assert len(there.asked()) <= 2 * 4


def test_location_that_cannot_be_asked(there: Site) -> None:
    """A location that answers 500 is told with the reason; what was known of it is read anyway."""
    source = there.source(parameters=["pm25"], concurrency=1)
    states = known_to(source, there)
    there.faults.add("500", route="sensors", times=2)
    survey = source.survey(states, NOW + HOUR)
    assert list(survey.failed) == ["1"]
    assert "500" in survey.failed["1"]
    assert names(survey) == ["11", "21"]
    assert "11" not in survey.latest


def test_source_where_every_location_fails(there: Site) -> None:
    """When no location can be asked, the source is unavailable."""
    there.faults.add("500")
    with pytest.raises(SourceUnavailable, match="no location could be asked"):
        there.source().survey([], NOW)


def test_server_that_is_gone(there: Site) -> None:
    """A server that is not there ends the survey."""
    source = there.source()
    there.server.stop()
    with pytest.raises(SourceUnavailable):
        source.survey([], NOW)


def test_listing_that_is_no_listing_fails_the_location(there: Site) -> None:
    """A rubbish listing is not taken for a location without sensors."""
    source = there.source(parameters=["pm25"])
    states = known_to(source, there)
    there.faults.add("html", route="sensors")
    with pytest.raises(SourceUnavailable, match="no page of the API"):
        source.survey(states, NOW + HOUR)


@pytest.mark.parametrize(
    ("way", "found"),
    [
        ({"bbox": [-80, 40, -70, 42]}, ["11", "12", "13"]),
        ({"country": "NP"}, ["21"]),
        ({"near": [40.8, -73.9], "radius": "25km"}, ["11", "12", "13"]),
        ({"near": [40.8, -73.9], "radius": "25km", "country": "NP"}, ["11", "12", "13", "21"]),
        ({"country": "NP", "locations": [1]}, ["11", "12", "13", "21"]),
        ({"bbox": [-180, -90, 180, 90], "parameters": ["temperature"]}, ["13"]),
    ],
)
def test_locations_by_search(there: Site, way: dict[str, object], found: list[str]) -> None:
    """Locations are found by box, country and distance, and all that are found are loaded; a search
    costs one request more."""
    source = there.source(**way)
    states = known_to(source, there)
    assert sorted(s.name for s in states) == found
    survey = source.survey(states, NOW + HOUR)
    assert names(survey) == found
    searches = [url for url in there.asked() if url.startswith("/v3/locations?")]
    assert len(searches) == len({"bbox", "country", "near"} & way.keys())


def test_search_follows_the_configuration(there: Site) -> None:
    """A changed box counts from the next run on, whatever the store knows."""
    states = known_to(there.source(country="NP"), there)
    survey = there.source(country="US").survey(states, NOW + HOUR)
    assert names(survey) == ["11", "12", "13"]


def test_search_goes_through_all_pages(there: Site) -> None:
    """More locations than fit a page are all found."""
    for number in range(1000, 2100):
        there.world.add_location(Location(number, f"Station {number}", "UTC", 0.0, 10.0))
    there.world.add_sensor(77, 2099, TEMPERATURE)
    there.world.add(77, LAST, 1.0)
    assert names(there.source(bbox=[9, -1, 11, 1], parameters=["temperature"]).survey([], NOW)) == ["77"]


def test_search_that_fails_leaves_what_was_found_before(there: Site) -> None:
    """When the search fails, the stations known from before are read, and the failure is told."""
    source = there.source(country="NP")
    states = known_to(source, there)
    there.faults.add("500", route="locations")
    survey = source.survey(states, NOW + HOUR)
    assert names(survey) == ["21"]
    assert list(survey.failed) == ["search by iso"]
    with pytest.raises(SourceUnavailable, match="the search for locations failed"):
        source.survey([], NOW)


def test_search_that_finds_nothing_is_told(there: Site) -> None:
    """A box without stations is not taken for success."""
    survey = there.source(bbox=[1, 1, 2, 2]).survey([], NOW)
    assert survey.partitions == ()
    assert survey.failed == {"search by bbox": "it finds no location that measures what is wanted"}


def test_locations_are_asked_at_the_same_time(there: Site) -> None:
    """As many locations are asked at once as is configured."""
    for number in range(3, 11):
        there.world.add_location(Location(number, f"Station {number}", "UTC", 0.0, 0.0))
    there.faults.add("latency", seconds=0.05)
    there.source(locations=range(1, 11), concurrency=4).survey([], NOW)
    assert 2 <= there.server.most_at_once <= 4


def test_check_finds_everything_in_place(there: Site) -> None:
    """A look at a working source tells of connection, key, limit, clock and stations."""
    there.world.now = None
    findings = {f.subject: f for f in there.source().check()}
    assert set(findings) == {"connection", "key", "request limit", "clock", "stations"}
    assert all(f.ok for f in findings.values())
    assert len(there.asked()) == 1


@pytest.mark.parametrize(
    ("changes", "bad", "says"),
    [
        ({"api_key": "sesame-open-9"}, "key", "explore.openaq.org"),
        ({"locations": [404404]}, "stations", "404"),
    ],
)
def test_check_finds_what_is_wrong(there: Site, changes: dict[str, object], bad: str, says: str) -> None:
    """A look never raises; it says what is wrong and what to do."""
    (finding,) = [f for f in there.source(**changes).check() if not f.ok]
    assert finding.subject == bad
    assert says in finding.detail
    assert "sesame" not in finding.detail


def test_check_of_a_server_that_is_gone(there: Site) -> None:
    """A look at a server that is not there is a finding."""
    source = there.source()
    there.server.stop()
    (finding,) = source.check()
    assert (finding.subject, finding.ok) == ("connection", False)


def test_check_sees_a_wrong_clock() -> None:
    """A clock that is hours off the server's is a finding that says which way."""
    body = {"meta": {"limit": 100}, "results": [{"id": 1}]}
    with Scripted([Answer.json(body)]) as server:
        stop = threading.Event()
        settings = OpenAQSettings(base_url=server.url, api_key=SecretStr("k"), locations=(1,))

        def late() -> int:
            return time.time_ns() // 1000 - 2 * HOUR

        http = connect(settings, budget=Unlimited(stop), clock=late, stop=stop)
        source = OpenAQ("openaq", settings, http, late, earliest=0, future=0)
        (clock,) = [f for f in source.check() if f.subject == "clock"]
    assert not clock.ok
    assert re.match(r"(7200|7199|7201) s behind the server's", clock.detail)

"""The configuration of an OpenAQ source: what is refused, and in which words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loader.config import load
from loader.errors import UsageError
from loader.readings import SECOND
from loader.sources.openaq.settings import OpenAQSettings, choice, parse_radius

FIXED = """
sources:
  openaq:
    type: openaq
    base_url: https://api.openaq.org
    api_key: ${OPENAQ_API_KEY}
    locations: [3459, 6093549]
    parameters: [pm25, pm10, o3, no2]
    initial: 7d
    lookback: {min: 2h, max: 3d, sweep: 6h}
    concurrency: 4
    limits: {per_minute: 60, per_hour: 2000}
"""


def written(tmp_path: Path, text: str, **environ: str) -> OpenAQSettings:
    (tmp_path / "config.yaml").write_text(text)
    settings = load(tmp_path / "config.yaml", {"openaq": OpenAQSettings}, environ).sources["openaq"]
    assert isinstance(settings, OpenAQSettings)
    return settings


def made(**given: Any) -> OpenAQSettings:
    return OpenAQSettings.model_validate(given)


def test_block_from_the_manual(tmp_path: Path) -> None:
    """The block as the manual shows it is read, and the key is not shown anywhere."""
    settings = written(tmp_path, FIXED, OPENAQ_API_KEY="sesame-open-9")
    assert settings.locations == (3459, 6093549)
    assert settings.parameters == ("pm25", "pm10", "o3", "no2")
    assert settings.request_limits() == {60: 60, 3600: 2000}
    assert settings.key == "sesame-open-9"
    assert settings.unusable() is None
    assert "sesame" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("key", ["", "  "])
def test_without_a_key_it_says_how_to_get_one(tmp_path: Path, key: str) -> None:
    """An empty key makes the source unusable, with one line that says where to register."""
    reason = written(tmp_path, FIXED, OPENAQ_API_KEY=key).unusable()
    assert reason is not None
    assert "https://explore.openaq.org" in reason
    assert "OPENAQ_API_KEY" in reason
    assert "\n" not in reason


def test_key_with_a_line_end_is_trimmed() -> None:
    """The line break that comes with a key from a file is no part of it."""
    assert made(locations=[1], api_key="abc\n").key == "abc"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "names no stations"),
        ({"parameters": ["pm25"]}, "names no stations"),
        ({"near": [1, 2]}, "near and radius go together"),
        ({"radius": "1km"}, "near and radius go together"),
        ({"near": [1, 2], "radius": "26km"}, "at most 25km"),
        ({"near": [1, 2], "radius": "0m"}, "at most 25km"),
        ({"near": [1, 2], "radius": "5 miles"}, "is no radius"),
        ({"near": [1, 2], "radius": True}, "is no radius"),
        ({"near": [91, 2], "radius": "1km"}, "less than or equal to 90"),
        ({"near": "here", "radius": "1km"}, "near"),
        ({"bbox": [2, 1, 1, 2]}, "west < east"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"country": "Norway"}, "country"),
        ({"locations": [0]}, "greater than or equal to 1"),
        ({"locations": ["Berlin"]}, "valid integer"),
        ({"locations": [1], "parameters": ["PM2.5"]}, "did you mean pm25"),
        ({"locations": [1], "base_url": "api.openaq.org"}, "must be an address"),
        ({"locations": [1], "base_url": "http://sensors.example"}, "insecure: true"),
        ({"locations": [1], "base_url": "https://u:pw@sensors.example"}, "no user"),
        ({"locations": [1], "limits": {"per_minute": 0}}, "greater than or equal to 1"),
        ({"locations": [1], "timeouts": {"read": 0}}, "timeouts"),
        ({"locations": [1], "tries": 0}, "greater than or equal to 1"),
        ({"locations": [1], "location": 2}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], says: str) -> None:
    """Every setting that cannot work is refused in words that say what to write."""
    with pytest.raises(ValidationError, match=says):
        made(**given)


def test_key_that_no_header_can_carry_is_refused_unseen() -> None:
    """A key with odd characters is refused, and not repeated."""
    with pytest.raises(ValidationError, match="copy it again") as caught:
        made(locations=[1], api_key="abc\ndef9")
    assert "def9" not in caught.value.errors()[0]["msg"]


def test_ways_to_choose_stations_add_up() -> None:
    """Box, country and distance become one query each; numbers may come as text."""
    settings = made(bbox="-80,40,-70,42", country="US", near="40.85123,-73.9", radius=1500)
    assert settings.queries() == [
        [("bbox", "-80.0000,40.0000,-70.0000,42.0000")],
        [("iso", "US")],
        [("coordinates", "40.8512,-73.9000"), ("radius", 1500)],
    ]
    assert made(locations=[3, 3, 1]).locations == (3, 1)


@pytest.mark.parametrize(
    ("text", "metres"), [("10km", 10_000), ("0.5 km", 500), ("500m", 500), (25_000, 25_000)]
)
def test_radius(text: object, metres: int) -> None:
    """A radius is written in kilometres or metres."""
    assert parse_radius(text) == metres


def test_choice_from_the_command_line() -> None:
    """The same words from a command line are errors for a user."""
    assert choice(near="1,2", radius="1km").queries() == [
        [("coordinates", "1.0000,2.0000"), ("radius", 1000)]
    ]
    with pytest.raises(UsageError, match="--radius far is no radius"):
        choice(near="1,2", radius="far")


def test_plain_http_is_for_loopback_or_on_request() -> None:
    """Plain http needs no permission on this machine, and one beyond."""
    made(locations=[1], base_url="http://127.0.0.1:8000")
    assert made(locations=[1], base_url="http://sensors.example/", insecure=True).base_url.endswith(
        "example"
    )


def test_timeouts_are_durations(tmp_path: Path) -> None:
    """Timeouts are written like every duration."""
    text = FIXED + "    timeouts: {connect: 5s, read: 500ms}\n    backoff: 200ms\n"
    settings = written(tmp_path, text, OPENAQ_API_KEY="k")
    assert (settings.timeouts.connect, settings.timeouts.read) == (5 * SECOND, SECOND // 2)
    assert settings.backoff == SECOND // 5


def test_the_schema_knows_how_places_are_written() -> None:
    """What editors check while one types lets radius, near and bbox be texts, as the loader does."""
    fields = OpenAQSettings.model_json_schema()["properties"]
    for name, fit, unfit in (
        ("radius", "10km", "ten"),
        ("near", "43.65,-79.38", "Toronto"),
        ("bbox", "-79.7, 43.5, -79.1, 43.9", "west"),
    ):
        patterns = [one["pattern"] for one in fields[name]["anyOf"] if one.get("type") == "string"]
        assert patterns, f"{name} may be no text"
        assert re.search(patterns[0], fit)
        assert not re.search(patterns[0], unfit)

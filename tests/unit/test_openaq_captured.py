"""Answers of a running server, captured, go through the source as they are."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from openaq_site import EARLIEST, FUTURE
from scripted import Answer, Scripted

from loader.budget import Unlimited
from loader.errors import AccessDenied, LoaderError, NotFound, Permanent, SourceUnavailable
from loader.http import Http, Limits
from loader.readings import Series
from loader.sources.openaq import api
from loader.sources.openaq.decode import Sanity, decode_page
from loader.sources.openaq.envelope import raw_records
from loader.transport import Unanswered
from tests.openaq_server import micros

FOLDER = Path(__file__).resolve().parents[2] / ".." / "shared" / "openaq"
CAPTURED = sorted((FOLDER / "captured").glob("*.json"))
RECORDED = sorted((FOLDER / "recorded_v3").glob("*.yml"))
NOW = micros("2026-11-21T01:00:00Z")
SERIES = (Series("1", "pm25", "µg/m³", "2", "1"),)

pytestmark = pytest.mark.skipif(not CAPTURED, reason="the captured answers are not beside the project")


def load(path: Path) -> dict[str, Any]:
    """Request, status, headers and body; one file is a bare body."""
    answer = json.loads(path.read_text("utf-8"))
    if "status" in answer:
        return answer
    return {"request": {"path": "/v3/sensors/1/measurements"}, "status": 200, "headers": {}, "body": answer}


def named(kind: str, status: int = 200) -> list[Any]:
    """The captured answers to requests whose path ends so."""
    out = []
    for path in CAPTURED:
        if path.stem == "openapi":
            continue
        answer = load(path)
        if answer["request"]["path"].partition("?")[0].endswith(kind) and answer["status"] == status:
            out.append(pytest.param(answer, id=path.stem))
    return out


def body_of(answer: dict[str, Any]) -> bytes:
    body = answer["body"]
    if isinstance(body, str) and "json" not in answer["headers"].get("content-type", "json"):
        return body.encode()
    return json.dumps(body, ensure_ascii=False).encode()


def session(server: Scripted) -> Http:
    stop = threading.Event()
    return Http(
        server.url,
        budget=Unlimited(stop),
        stop=stop,
        clock=lambda: NOW,
        limits=Limits(tries=2, backoff_s=0.01),
    )


def plainly(rows: list[dict[str, Any]]) -> list[tuple[int, float | None, bool]]:
    """What a page says, taken apart in the slow and simple way."""
    out = []
    for row in rows:
        at = datetime.fromisoformat(row["period"]["datetimeTo"]["utc"])
        flagged = bool((row.get("flagInfo") or {}).get("hasFlags"))
        out.append((int(at.timestamp()) * 1_000_000, row["value"], flagged))
    return out


def check_page(body: bytes) -> int:
    decoded = decode_page(body, SERIES, Sanity(EARLIEST, NOW + FUTURE))
    expected = plainly(json.loads(body)["results"])
    assert decoded.rejects == ()
    assert decoded.count == len(expected)
    assert decoded.readings.time.tolist() == [at for at, _, _ in expected]
    values = [np.nan if v is None else v for _, v, _ in expected]
    assert np.array_equal(decoded.readings.value, np.array(values, float), equal_nan=True)
    assert decoded.readings.tests.tolist() == [int(flagged) for _, _, flagged in expected]
    assert decoded.stamps.tolist() == decoded.readings.time.tolist()
    return len(expected)


@pytest.mark.parametrize("answer", named("/measurements"))
def test_measurements(answer: dict[str, Any]) -> None:
    """Every captured page of measurements becomes the readings that it shows."""
    check_page(body_of(answer))


def test_captured_pages_were_not_all_empty() -> None:
    """The pages above hold readings enough to mean something."""
    assert sum(check_page(body_of(p.values[0])) for p in named("/measurements")) > 1500


@pytest.mark.parametrize("answer", [*named("/hours"), *named("/measurements/hourly")])
def test_hours_have_the_same_shape(answer: dict[str, Any]) -> None:
    """Hourly means come in the shape of measurements."""
    check_page(body_of(answer))


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_recorded_elsewhere(path: Path) -> None:
    """Answers that another client recorded are understood too."""
    string = yaml.safe_load(path.read_text("utf-8"))["http_interactions"][0]["response"]["body"]["string"]
    body = string.encode()
    kind = path.stem
    if "sensor_measurements" in kind:
        assert check_page(body) > 0
    with Scripted([Answer(body=body)]) as server:
        http = session(server)
        if kind == "list_location_sensors_3":
            (sensor,) = api.sensors(http, 3)
            assert (sensor.id, sensor.parameter, sensor.unit, sensor.cadence_s) == (
                3,
                "pm25",
                "µg/m³",
                1800.0,
            )
        elif "location_latest" in kind:
            assert all(at > EARLIEST for at in api.latest(http, 1).values())
        elif kind == "get_location_1":
            assert api.location(http, 1).timezone
        elif kind == "list_locations":
            assert list(api.search(http, []))
        else:
            assert raw_records(body)[1]


@pytest.mark.parametrize("answer", named("/sensors"))
def test_sensors(answer: dict[str, Any]) -> None:
    """Sensor listings give ids, parameters, units, spans and cadences."""
    with Scripted([Answer(body=body_of(answer))]) as server:
        found = api.sensors(session(server), 1)
    rows = answer["body"]["results"]
    assert [(s.id, s.parameter, s.unit) for s in found] == [
        (r["id"], r["parameter"]["name"], r["parameter"]["units"]) for r in rows
    ]
    assert [s.last for s in found] == [
        micros(r["datetimeLast"]["utc"]) if r["datetimeLast"] else None for r in rows
    ]
    assert [s.cadence_s for s in found] == [3600.0 if r["coverage"] else None for r in rows]


@pytest.mark.parametrize("answer", named("/latest"))
def test_latest(answer: dict[str, Any]) -> None:
    """`latest` gives the newest time of each sensor."""
    with Scripted([Answer(body=body_of(answer))]) as server:
        found = api.latest(session(server), 1)
    assert found == {r["sensorsId"]: micros(r["datetime"]["utc"]) for r in answer["body"]["results"]}


@pytest.mark.parametrize("answer", named("/v3/locations"))
def test_searches(answer: dict[str, Any]) -> None:
    """Location searches give what is needed to choose a station."""
    with Scripted([Answer(body=body_of(answer))]) as server:
        found = list(api.search(session(server), []))
    rows = answer["body"]["results"]
    assert [(x.id, x.name, x.timezone) for x in found] == [
        (r["id"], r["name"], r["timezone"]) for r in rows
    ]
    assert [x.parameters for x in found] == [
        tuple(sorted({s["parameter"]["name"] for s in r["sensors"]})) for r in rows
    ]
    assert all(len(x.licences) == len(r["licenses"] or []) for x, r in zip(found, rows, strict=True))


REFUSALS: dict[int, type[LoaderError]] = {
    401: AccessDenied,
    404: NotFound,
    405: Permanent,
    408: Unanswered,
    410: NotFound,
    422: Permanent,
    429: SourceUnavailable,
    500: Unanswered,
}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(load(p), id=p.stem)
        for p in CAPTURED
        if p.stem != "openapi" and load(p)["status"] >= 400
    ],
)
def test_errors(answer: dict[str, Any]) -> None:
    """Every captured error becomes the kind of error that it is, with what the server said."""
    status = answer["status"]
    hop = ("content-encoding", "transfer-encoding", "content-length", "date", "server")
    headers = {k: v for k, v in answer["headers"].items() if k.lower() not in hop}
    with (
        Scripted([Answer(status, body_of(answer), headers)]) as server,
        pytest.raises(LoaderError) as caught,
    ):
        session(server).get(answer["request"]["path"], parse=lambda reply: reply.body)
    assert type(caught.value) is REFUSALS[status]
    text = str(caught.value)
    assert f": {status} " in text
    assert len(text) < 300
    assert "?" not in text.partition(":")[0]
    detail = answer["body"].get("detail") if isinstance(answer["body"], dict) else answer["body"]
    if isinstance(detail, str):
        assert " ".join(detail.split())[:100] in text

"""Records of the simulated source that were rejected, decoded once more."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.readings import SECOND, PartitionState
from loader.sources.simulator import Simulator, SimulatorSettings

EARLIEST = 631_152_000 * SECOND
NOW = 1_750_000_000 * SECOND
SENSOR = "demo-1/pm25"
SOURCE = Simulator(
    "demo", SimulatorSettings(type="simulator", stations=1), lambda: NOW, EARLIEST, 300 * SECOND
)
(STATE, *_) = (
    PartitionState(p.name, p.station, NOW, NOW, series=p.series) for p in SOURCE.survey([], NOW).partitions
)
RECORD = {
    "sensor": SENSOR,
    "parameter": "pm25",
    "unit": "µg/m³",
    "time": "2024-05-01T12:00:00Z",
    "value": 5,
}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"value": "5"}, "schema"),
        ({"value": True}, "schema"),
        ({"time": "yesterday"}, "schema"),
        ({"time": "2024-05-01T12:00:00"}, "schema"),
        ({"time": 5}, "schema"),
        ({"time": "2150-01-01T00:00:00Z"}, "timestamp"),
        ({"time": "1970-01-01T00:00:00Z"}, "timestamp"),
        ({"time": "0001-01-01T00:00:00+23:59"}, "timestamp"),
        ({"sensor": "demo-2/pm25"}, "sensor"),
        ({"unit": "ppm"}, "sensor"),
        ({"unit": "\x00"}, "sensor"),
    ],
)
def test_a_record_that_is_wrong_is_rejected_by_name(change: dict[str, Any], rule: str) -> None:
    """Each fault has its rule, and the record is kept as it came."""
    payload = json.dumps(RECORD | change).encode()
    page = SOURCE.decode(STATE, payload)
    (reject,) = page.rejects
    assert (reject.rule, reject.payload, reject.partition) == (rule, payload, SENSOR)
    assert reject.reason
    assert len(page.readings) == 0


@pytest.mark.parametrize("value", [5, 5.5, -999, None])
def test_a_record_that_is_right_becomes_a_reading(value: float | None) -> None:
    """A number is a value, null is a missing one."""
    page = SOURCE.decode(STATE, json.dumps(RECORD | {"value": value}).encode())
    np.testing.assert_array_equal(page.readings.value, [np.nan if value is None else value])
    assert page.readings.time.tolist() == [1_714_564_800 * SECOND]


@given(st.binary(max_size=200) | st.sampled_from([b"", b"{}", b"null", b"[]", b'{"value": 1e999}']))
def test_no_payload_makes_decoding_raise(payload: bytes) -> None:
    """Whatever bytes are replayed, a reading or a reject comes back."""
    known = PartitionState("demo-1/pm25", "demo-1", NOW, NOW)
    page = SOURCE.decode(known, payload)
    assert len(page.readings) + len(page.rejects) == 1

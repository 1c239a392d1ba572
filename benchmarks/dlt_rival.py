"""The same load with dlt, run by dlt's own environment: `dlt_rival.py KIND API DATABASE SENSORS`.

KIND is `generator` (rows as dicts, the way its tutorials go) or `arrow` (a table for each page).
Both merge on (sensor, time), keep the newest time as an incremental cursor and look back three
days behind it, as the loader does. They are told the sensors, so they spare themselves the
discovery; they parse a page with the fastest reader that dlt itself brings. The pipeline's state
lies in the folder that DLT_DATA_DIR names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import dlt
import orjson
import requests

FIRST = "2024-01-01T00:00:00Z"
LOOKBACK_S = 3 * 86_400
PAGE = 1000
KEY = "bench-key"
KEYS = ("sensor", "time")


def pages(api: str, sensors: int, since: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """(sensor, measurements) page by page, after `since`."""
    with requests.Session() as session:
        session.headers["X-API-Key"] = KEY
        for sensor in range(1, sensors + 1):
            after, more = since, True
            while more:
                url = f"{api}/v3/sensors/{sensor}/measurements?limit={PAGE}&datetime_from={quote(after)}"
                reply = session.get(url, timeout=60)
                reply.raise_for_status()
                found = orjson.loads(reply.content)["results"]
                if found:
                    yield sensor, found
                    after = found[-1]["period"]["datetimeTo"]["utc"]
                more = len(found) == PAGE


def as_rows(api: str, sensors: int) -> Any:
    columns: Any = {"time": {"data_type": "timestamp"}}
    cursor: Any = dlt.sources.incremental("time", initial_value=FIRST, lag=LOOKBACK_S, primary_key=())

    @dlt.resource(name="reading", write_disposition="merge", primary_key=KEYS, columns=columns)
    def reading(time: Any = cursor) -> Iterator[list[dict[str, Any]]]:
        for sensor, found in pages(api, sensors, str(time.start_value)):
            yield [
                {"sensor": sensor, "time": m["period"]["datetimeTo"]["utc"], "value": m["value"]}
                for m in found
            ]

    return reading


def as_tables(api: str, sensors: int) -> Any:
    import pyarrow as pa
    from pendulum import parse

    cursor = dlt.sources.incremental("time", initial_value=parse(FIRST), lag=LOOKBACK_S, primary_key=())

    @dlt.resource(name="reading", write_disposition="merge", primary_key=KEYS)
    def reading(time: Any = cursor) -> Iterator[pa.Table]:
        since = time.start_value.strftime("%Y-%m-%dT%H:%M:%SZ")
        for sensor, found in pages(api, sensors, since):
            stamps = pa.array([m["period"]["datetimeTo"]["utc"] for m in found])
            yield pa.table(
                {
                    "sensor": pa.array([sensor] * len(found), pa.int64()),
                    "time": stamps.cast(pa.timestamp("us", "UTC")),
                    "value": pa.array([m["value"] for m in found], pa.float64()),
                }
            )

    return reading


def main() -> None:
    kind, api, database, sensors = sys.argv[1:]
    build = {"generator": as_rows, "arrow": as_tables}[kind]
    pipeline = dlt.pipeline(
        pipeline_name=f"bench_{kind}",
        destination=dlt.destinations.postgres(credentials=database),
        dataset_name="sensors",
    )
    # CSV goes in by COPY, which is the fastest way that dlt has into PostgreSQL.
    info = pipeline.run(build(api, int(sensors)), loader_file_format="csv")
    info.raise_on_failed_jobs()


if __name__ == "__main__":
    main()

"""The binary COPY format, against a real server."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection

from loader.stores.postgres import copy
from tests import postgres

KINDS = (np.int16, np.int32, np.int64, np.float64, np.float64)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A connection with an empty table of every kind of column."""
    if reason := postgres.missing():
        pytest.skip(reason)
    server = postgres.server(postgres.majors()[0])
    url = server.create()
    made = psycopg2.connect(url)
    with made.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE t (a smallint, b integer, c bigint, d float8, e float8)")
    yield made
    made.close()
    server.drop(url)


floats = st.floats(width=64) | st.just(math.nan)
rows = st.lists(
    st.tuples(
        st.integers(-(2**15), 2**15 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
        floats,
        floats,
    ),
    max_size=30,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows, cut=st.integers(1, 50))
def test_what_is_encoded_comes_back(
    connection: Connection, rows: list[tuple[int, int, int, float, float]], cut: int
) -> None:
    """Every pattern of NULLs is stored as it was meant, and read again however the stream is cut."""
    columns = [np.array([row[i] for row in rows], kind) for i, kind in enumerate(KINDS)]
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE t")
        cursor.copy_expert("COPY t FROM STDIN (FORMAT binary)", copy.encode(columns))
        cursor.execute("SELECT * FROM t")
        told = sorted(cursor.fetchall(), key=repr)
        nulls = [tuple(None if math.isnan(v) else v for v in row) for row in rows]
        assert told == sorted(nulls, key=repr)
        whole = io.BytesIO()
        query = "SELECT a, b, c, coalesce(d, 'NaN'), coalesce(e, 'NaN') FROM t"
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", whole)
    data = whole.getvalue()
    taken: list[list[npt.NDArray[Any]]] = []
    decoder = copy.Decoder(KINDS, taken.append, limit=cut * 7)
    # The server never cuts the header.
    decoder.write(data[:19])
    for at in range(19, len(data), cut):
        decoder.write(data[at : at + cut])
    taken.append(decoder.rest())
    read = [np.concatenate(parts) for parts in zip(*taken, strict=True)]
    assert [column.dtype for column in read] == [np.dtype(kind) for kind in KINDS]
    back = [
        tuple(None if math.isnan(v) else v for v in row)
        for row in zip(*(c.tolist() for c in read), strict=True)
    ]
    assert sorted(back, key=repr) == sorted(nulls, key=repr)


def test_a_stream_of_another_layout_is_refused() -> None:
    """Other columns, something else entirely, and a stream that breaks off are errors."""
    stream = copy.encode([np.arange(3, dtype=np.int32), np.arange(3, dtype=np.int64)]).getvalue()
    for data, kinds in (
        (stream, (np.int64, np.int32)),
        (stream, (np.int32,)),
        (stream[:-3], (np.int32, np.int64)),
        (b"time,value\n1,2\n", (np.int32, np.int64)),
    ):
        decoder = copy.Decoder(kinds)
        decoder.write(data)
        with pytest.raises(ValueError, match="COPY"):
            decoder.rest()

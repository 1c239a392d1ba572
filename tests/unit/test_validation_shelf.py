"""How readings are held between reading and checking."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loader.readings import Readings
from loader.validation import shelf
from loader.validation.shelf import Shelf


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=7), max_size=6),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_readings_come_out_by_series_and_as_they_came(
    tables: list[list[int]], size: int, chunk: int
) -> None:
    """Each once, in whatever portions; a series is never cut, and portions are as large as asked."""
    held, came = Shelf(), []
    before, shelf.CHUNK = shelf.CHUNK, chunk
    try:
        for part, series in enumerate(tables):
            n = len(series)
            lines = np.arange(len(came), len(came) + n)
            held.put(
                np.array(series), lines * 10, lines / 2, np.zeros(n), lines, part, np.full(n, part % 2)
            )
            came += [(s, line, part) for s, line in zip(series, lines.tolist(), strict=True)]
        portions = list(held.portions(size))
    finally:
        shelf.CHUNK = before
    assert len(held) == len(came)
    out = []
    for one in portions:
        index: list[int] = one.readings.series.tolist()
        assert len(set(index)) == 1 or len(index) <= size
        out += list(zip(index, one.line.tolist(), one.part.tolist(), strict=True))
        assert one.readings.time.tolist() == (one.line * 10).tolist()
        assert one.readings.value.tolist() == (one.line / 2).tolist()
        assert one.place.tolist() == (one.part % 2).tolist()
    assert out == sorted(came, key=lambda c: (c[0], c[1]))
    seen = [s for one in portions for s in sorted(set(one.readings.series.tolist()))]
    assert len(seen) == len(set(seen))
    assert Readings.concat([one.readings for one in portions]).tests.sum() == 0


def test_a_reading_takes_twenty_bytes() -> None:
    """Time, value and line; what is the same for all of them is held once."""
    tracemalloc.start()
    try:
        held = Shelf()
        for table in range(50):
            lines = np.arange(table * 4000, table * 4000 + 4000)
            held.put(
                np.arange(4000) % 7, lines * 10, lines / 2, np.zeros(4000), lines, 3, np.full(4000, -1)
            )
        bytes_held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 20 <= bytes_held / len(held) < 21

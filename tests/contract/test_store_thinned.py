"""What a store picks of dense series."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from builders import Loading, series
from stores import AnyStore

from loader.assess.columns import thinned
from loader.readings import HOUR, Bool, Flag, Readings, Series, UInt8, UInt32, Window
from tests.checks import Checks

S1 = series("s1")


@pytest.mark.parametrize("cell", [HOUR, 6 * HOUR, 7_000_000])
def test_the_last_usable_reading_of_each_cell(store: AnyStore, cell: int) -> None:
    """What the store picks is what thinning all readings picks: before 1970 and after, at edges of cells
    and of the window, where values or flags are of no use and where there is nothing."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    chance = np.random.default_rng(seed)
    steps = chance.choice([1, 1_000_000, 600_000_000, HOUR, 5 * HOUR], 300)
    time = np.unique(np.concatenate((-10 * HOUR + np.cumsum(steps), np.arange(-3, 4) * cell)))
    value = chance.choice([1.5, np.nan, np.inf, -np.inf, 1e308, -np.finfo(float).max], len(time))
    flag = np.where(np.isnan(value), Flag.MISSING, chance.choice([1, 1, 2, 3, 4], len(time)))

    def check(listed: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        del listed, written
        return flag.astype(np.uint8), readings.tests

    loading = Loading(store)
    made = replace(loading.batch(listed=[S1]), readings=Readings.of(np.zeros(len(time)), time, value))
    loading.write(made, Checks(check))
    (number,) = (one.id for one in store.series("src"))
    windows = [(-20 * HOUR, int(time[-1]) + HOUR), (int(time[50]), int(time[-50])), (-cell, cell), (0, 0)]
    for window in (Window(*ends) for ends in windows):
        picked = store.thinned(number, window, cell)
        usual = thinned(Readings.concat(list(store.scan([number], window))), cell)
        assert picked.time.tolist() == usual.time.tolist()
        assert picked.value.tolist() == usual.value.tolist()
        assert set(picked.series.tolist()) <= {number}
    assert len(store.thinned(number + 1, Window(0, HOUR), cell)) == 0

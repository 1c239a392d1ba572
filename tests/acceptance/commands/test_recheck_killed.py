"""A recheck that is killed midway, and given again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from builders import Loading, at, partition, series
from shell import Shell

from loader.readings import Flag, Readings, Window
from loader.stores.sqlite import SQLiteStore
from loader.wiring import build_check, load_config

SERIES, HOURS = 100, 2000
ALWAYS = Window(-(2**62), 2**62)
DEADLINE_S = 60.0


def stored(store: SQLiteStore) -> Readings:
    return Readings.concat(list(store.scan([one.id for one in store.series("src")], ALWAYS)))


@pytest.mark.slow
def test_a_recheck_that_was_killed_is_given_again(shell: Shell, store: SQLiteStore) -> None:
    """Killed in the middle it leaves whole transactions; the next one ends with every flag right."""
    draw = np.random.default_rng(1)
    loading = Loading(store)
    check = build_check(load_config(shell.folder / "config.yaml"), "src")
    for number in range(SERIES):
        one = series(str(number), cadence_s=3600.0)
        store.register(loading.lease, [partition(one)], at(0))
        values = draw.normal(50, 10, HOURS).tolist()
        loading.commit([(one, hour, value) for hour, value in enumerate(values)], check=check)
    loading.finish()
    loading.lease.release()
    before = stored(store)
    config = shell.folder / "config.yaml"
    config.write_text(config.read_text() + "quality: {parameters: {pm25: {range: [0, 50]}}}\n")

    process = subprocess.Popen([sys.executable, "-m", "loader", "recheck"], cwd=shell.folder)
    deadline = time.monotonic() + DEADLINE_S
    first = store.series("src")[0].id
    while not any(np.any(part.flag == Flag.FAIL) for part in store.scan([first], ALWAYS)):
        assert time.monotonic() < deadline, "nothing was rechecked"
        assert process.poll() is None, "it ended before anything was seen"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    some = stored(store)
    failed = some.value > 50
    assert 0 < np.count_nonzero(some.flag == Flag.FAIL) < np.count_nonzero(failed)
    done = {int(number) for number in some.series[some.flag == Flag.FAIL]}
    for number in done:
        mine = some.series == number
        # What a chunk holds back for want of neighbours is a row or two.
        assert np.count_nonzero((some.flag == Flag.FAIL)[mine] != failed[mine]) <= 2

    (found,) = shell.json("recheck")
    after = stored(store)
    assert np.array_equal(after.flag == Flag.FAIL, failed)
    assert np.array_equal(after.value, before.value)
    assert found["changed"] == np.count_nonzero((after.flag != some.flag) | (after.tests != some.tests))
    assert shell.json("recheck")[0]["changed"] == 0

"""A loader process for the fencing tests to put to sleep: `fencing_loader URL BEAT STALE WHERE`.

It commits two batches and says `ready` where it should be: `between` two batches, or `inside` the
transaction of the third. When it reads a line it goes on, retries like a run does, and says how
that ended. With `months` it commits one batch of ten years of the source that stands for BEAT.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np

from loader.errors import LoaderError, StoreUnavailable
from loader.readings import DAY, HOUR, Bool, Progress, Readings, Series, UInt8, UInt32, Window
from loader.records import Batch, Counts
from loader.stores.postgres import PostgresStore
from tests.checks import Checks, good

ZERO = 1_706_659_200_000_000
"""2024-01-31T00:00:00Z."""

SERIES = Series("s1", "pm25", "ug/m3", "st1", "p1")
HOURS = 100
"""Readings in a batch."""


def batch(
    run: int, seq: int, number: int, value: float, *, source: str = "src", every: int = HOUR
) -> Batch:
    """The `number`th stretch of HOURS readings, all of one value."""
    start = ZERO + number * HOURS * every
    times = start + np.arange(1, HOURS + 1, dtype=np.int64) * every
    window = Window(start, int(times[-1]))
    return Batch(
        run_id=run,
        seq=seq,
        source=source,
        read_at=window.end,
        series=(SERIES,),
        readings=Readings.of(np.zeros(HOURS), times, np.full(HOURS, value)),
        places=(),
        rejects=(),
        progress=(Progress("p1", read=(window,), cover=(window,), watermark=window.end, ended=True),),
        counts=Counts(fetched=HOURS),
    )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def sleeper(url: str, beat_s: str, stale_s: str, where: str) -> None:
    store = PostgresStore(url, beat_s=float(beat_s), stale_s=float(stale_s))
    lease = store.acquire("src")
    run = store.begin_run(lease, "test", ZERO)
    for number in range(2):
        store.commit(lease, batch(run, number, number, 1.0), good)
    waited = False

    def check(series: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        nonlocal waited
        if where == "inside" and not waited:
            waited = True
            say("ready")
            sys.stdin.readline()
        return good(series, readings, written)

    if where == "between":
        say("ready")
        sys.stdin.readline()
    deadline = time.monotonic() + 60
    while True:
        try:
            store.commit(lease, batch(run, 2, 2, 1.0), Checks(check))
            say("committed")
            return
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        except LoaderError as error:
            say(type(error).__name__)
            return


def months(url: str, source: str) -> None:
    store = PostgresStore(url)
    lease = store.acquire(source)
    run = store.begin_run(lease, "test", ZERO)
    say("ready")
    sys.stdin.readline()
    for number in range(5):
        store.commit(lease, batch(run, number, number, 1.0, source=source, every=10 * DAY), good)
    say("committed")


if __name__ == "__main__":
    if sys.argv[-1] == "months":
        months(sys.argv[1], sys.argv[2])
    else:
        sleeper(*sys.argv[1:])

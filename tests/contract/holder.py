"""A loader process for the tests to kill: `holder.py STORE ADDRESS SOURCE commits|inside`.

It takes the lease, begins a run and commits one batch; with `inside` it then stays inside the
transaction of a second one. When it is where it should be it says `ready` and waits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from builders import Loading, series, span
from stores import by_name

from loader.readings import Bool, Progress, Readings, Series, UInt8, UInt32
from tests.checks import Checks, present


def main(name: str, address: str, source: str, where: str) -> None:
    loading = Loading(by_name(name).open(address), source)
    first = series("s1")

    def wait() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()

    def stay(listed: Sequence[Series], readings: Readings, written: Bool) -> tuple[UInt8, UInt32]:
        wait()
        return present(listed, readings, written)

    loading.commit([(first, 1, 1.0), (first, 2, 2.0)], Progress(first.partition, cover=(span(0, 2),)))
    if where == "inside":
        loading.commit(
            [(first, 2, 2.5), (first, 3, 3.0)],
            Progress(first.partition, read=(span(1, 3),), cover=(span(1, 3),), watermark=span(1, 3).end),
            check=Checks(stay),
        )
    wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

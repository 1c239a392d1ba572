"""How late readings come: a histogram of delays per series, and the lookback learned from it.

Bucket i holds delays up to `EDGES[i]` seconds; the edges grow by the square root of two from one
minute, so that a quantile read from them is at most 41 % too long and never too short. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from loader.readings import SECOND, Int64

BUCKETS = 48
EDGES = 60.0 * np.sqrt(2.0) ** np.arange(BUCKETS)
"""Upper edges in seconds: one minute to 22 years."""

ENOUGH = 200
"""Fewer samples than this teach nothing."""


def histogram(delays: Int64) -> Int64:
    """Count delays (microseconds) by bucket; an array of BUCKETS int64."""
    bucket = np.searchsorted(EDGES, delays / SECOND, side="left")
    return np.bincount(np.minimum(bucket, BUCKETS - 1), minlength=BUCKETS).astype(np.int64)


def add(histograms: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The sum of histograms; those of another length are padded with zeros."""
    total = [0] * BUCKETS
    for h in histograms:
        for i, n in enumerate(h):
            total[i] += n
    return tuple(total)


def quantile(counts: Sequence[int], q: float = 0.99) -> int | None:
    """The delay (microseconds) that a share `q` of the samples does not exceed: the upper edge
    of its bucket. None below ENOUGH samples."""
    total = sum(counts)
    if total < ENOUGH:
        return None
    seen = 0
    for i, n in enumerate(counts):
        seen += n
        if seen >= q * total:
            return int(EDGES[i] * SECOND)
    raise AssertionError("unreachable: the counts sum to their total")

"""Which part of a file is read: all of it up to a limit, or a sample in whole blocks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MOST = 10
SMALLEST = 100
"""A sample has so many blocks at most, of so many rows at least."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Ranges of row or line numbers, ascending and disjoint; `always` is read besides (a header)."""

    ranges: tuple[range, ...]
    sampled: bool = False
    total: int = 0

    @property
    def said(self) -> dict[str, str]:
        """How much a sample looks at, as a fact of the file; nothing where it is none."""
        if not self.sampled:
            return {}
        return {
            "sample": f"{len(self.ranges)} blocks of {len(self.ranges[0]):,} out of {self.total:,} records"
        }

    @property
    def end(self) -> int:
        """The last number in any of them."""
        return self.ranges[-1].stop - 1

    def within(self, numbers: range) -> Iterator[tuple[int, range]]:
        """(block, the part of it that lies in `numbers`)."""
        for block, one in enumerate(self.ranges):
            part = range(max(one.start, numbers.start), min(one.stop, numbers.stop))
            if part:
                yield block, part


def whole(first: int, most: int) -> Blocks:
    """Everything from number `first` on, `most` at most."""
    return Blocks((range(first, first + most),))


def sample(first: int, last: int, wanted: int) -> Blocks:
    """About `wanted` numbers of first .. last, in blocks evenly spread from the beginning to the
    end: the same ones every time. Everything where there are not more."""
    total = last - first + 1
    if total <= wanted:
        return whole(first, max(total, 1))
    many = max(1, min(MOST, wanted // SMALLEST))
    size = wanted // many
    starts = [first + i * (total - size) // max(many - 1, 1) for i in range(many)]
    return Blocks(tuple(range(s, s + size) for s in starts), sampled=True, total=total)

"""A store against a model in plain Python: any sequence of commits, failures and interruptions ends
in the tables one would write by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import pytest
from builders import Loading, at, series, span, values
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stores import AnyStore, StoreCase

from loader.readings import Hole, Progress, Series, Window
from loader.records import Batch, Counts, Outcome
from tests.checks import Checks, good

SETTINGS = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HOURS = 6
PARTITIONS = {
    "p": (series("a", partition="p"), series("b", partition="p")),
    "q": (series("c", partition="q"),),
}
VALUES = st.sampled_from([1.0, 2.0, None])
SOURCES = count()
"""A source of its own for each example: cheaper than a store of its own."""

Truth = dict[tuple[str, int], float | None]
Plan = tuple[list[int], list[tuple[int, int]]]

windows = st.tuples(st.integers(0, HOURS - 1), st.integers(1, 5)).map(lambda w: (w[0], min(HOURS, sum(w))))


def cells(stored: tuple[Window, ...]) -> set[int]:
    """The hours (n, n + 1] that sorted, disjoint, unconnected windows consist of."""
    for left, right in pairwise(stored):
        assert left.end < right.start
    return {n for n in range(HOURS) for w in stored if w.start <= at(n) and at(n + 1) <= w.end}


def joined(numbers: set[int]) -> tuple[Window, ...]:
    """The windows that these hours make."""
    starts = sorted(n for n in numbers if n - 1 not in numbers)
    ends = sorted(n + 1 for n in numbers if n + 1 not in numbers)
    return tuple(span(a, b) for a, b in zip(starts, ends, strict=True))


class Model(RuleBasedStateMachine):
    """What the tables must hold, kept as dictionaries of hours."""

    reopen: Callable[[], AnyStore]

    @initialize()
    def start(self) -> None:
        self.source = f"model{next(SOURCES)}"
        self.loading = Loading(type(self).reopen(), self.source)
        self.forgotten()

    def forgotten(self) -> None:
        self.readings: dict[tuple[str, int], float | None] = {}
        self.covered: dict[str, set[int]] = {p: set() for p in PARTITIONS}
        self.holes: dict[str, dict[int, str]] = {p: {} for p in PARTITIONS}
        self.watermark: dict[str, int | None] = dict.fromkeys(PARTITIONS)
        self.revisions = 0
        self.total = Counts()
        self.last: tuple[Batch, Counts] | None = None

    @rule(
        name=st.sampled_from(sorted(PARTITIONS)),
        window=windows,
        served=st.dictionaries(
            st.tuples(st.sampled_from("abc"), st.integers(1, HOURS)), VALUES, max_size=12
        ),
        cover=st.booleans(),
    )
    def read(
        self, name: str, window: tuple[int, int], served: dict[tuple[str, int], float | None], cover: bool
    ) -> None:
        start, end = window
        inside = {
            (s.sensor, hour): value
            for s in PARTITIONS[name]
            for (sensor, hour), value in served.items()
            if s.sensor == sensor and start < hour <= end
        }
        by_sensor = {s.sensor: s for s in PARTITIONS[name]}
        newest = max((hour for _, hour in inside), default=None)
        batch = self.loading.batch(
            [(by_sensor[sensor], hour, value) for (sensor, hour), value in inside.items()],
            Progress(
                name,
                read=(span(*window),),
                cover=(span(*window),) if cover else (),
                watermark=None if newest is None else at(newest),
                ended=True,
            ),
            listed=PARTITIONS[name],
        )
        expected = self.expected(name, window, inside)
        counts = self.loading.write(batch).counts
        self.readings.update(inside)
        self.revisions += counts.revised
        hours = set(range(start, end))
        self.covered[name] |= hours if cover else set()
        self.holes[name] = {n: cause for n, cause in self.holes[name].items() if n not in hours}
        if newest is not None:
            self.watermark[name] = max(newest, self.watermark[name] or 0)
        self.total += counts
        self.last = (batch, counts)
        assert counts == expected

    def expected(
        self, name: str, window: tuple[int, int], inside: dict[tuple[str, int], float | None]
    ) -> Counts:
        kinds = Counter(
            "new" if key not in self.readings else "refetched" if self.readings[key] == value else "revised"
            for key, value in inside.items()
        )
        written = [k for k, v in inside.items() if k not in self.readings or self.readings[k] != v]
        stored = [
            (s.sensor, hour)
            for s in PARTITIONS[name]
            for hour in range(window[0] + 1, window[1] + 1)
            if (s.sensor, hour) in self.readings
        ]
        return Counts(
            fetched=len(inside),
            new=kinds["new"],
            refetched=kinds["refetched"],
            revised=kinds["revised"],
            late=sum(k not in self.readings and k[1] - 1 in self.covered[name] for k in inside),
            missing=sum(inside[k] is None for k in written),
            vanished=sum(key not in inside for key in stored),
        )

    @rule(
        name=st.sampled_from(sorted(PARTITIONS)), window=windows, cause=st.sampled_from(["500", "timeout"])
    )
    def fail(self, name: str, window: tuple[int, int], cause: str) -> None:
        found = Hole(span(*window), cause, 1, at(50))
        self.total += self.loading.commit([], Progress(name, holes=(found,), ended=True, error=cause))
        self.holes[name].update(dict.fromkeys(range(*window), cause))

    @precondition(lambda self: self.last is not None)
    @rule()
    def repeat_the_last(self) -> None:
        assert self.last is not None
        batch, counts = self.last
        done = self.loading.write(batch)
        assert (done.replayed, done.counts) == (True, counts)

    @rule(name=st.sampled_from(sorted(PARTITIONS)), value=VALUES)
    def break_off(self, name: str, value: float | None) -> None:
        def fails(*_: object) -> Any:
            raise ZeroDivisionError

        rows = [(s, hour + 0.5, value) for s in PARTITIONS[name] for hour in range(3)]
        batch = self.loading.batch(rows, Progress(name, read=(span(0, HOURS),), cover=(span(0, HOURS),)))
        with pytest.raises(ZeroDivisionError):
            self.loading.write(batch, Checks(fails))

    @rule(name=st.sampled_from([None, *sorted(PARTITIONS)]), to=st.none() | st.integers(0, HOURS))
    def reset(self, name: str | None, to: int | None) -> None:
        known = {p.name for p in self.loading.store.partitions(self.source)}
        changed = self.loading.store.reset(self.loading.lease, name, None if to is None else at(to))
        assert changed <= len(known)
        for each in known if name is None else known & {name}:
            self.watermark[each] = to
            limit = 0 if to is None else to
            self.covered[each] = {n for n in self.covered[each] if n < limit}
            self.holes[each] = {n: c for n, c in self.holes[each].items() if n < limit}

    @rule(proper=st.booleans())
    def next_run(self, proper: bool) -> None:
        if proper:
            self.loading.finish()
        store = self.loading.store
        store.close()
        self.loading = Loading(type(self).reopen(), self.source)
        self.last = None

    @rule(sure=st.integers(0, 9))
    def forget(self, sure: int) -> None:
        if sure == 0:
            self.loading.store.forget(self.loading.lease)
            self.forgotten()
            self.loading.begin()

    @invariant()
    def the_tables_agree(self) -> None:
        if not hasattr(self, "loading"):
            return
        assert values(self.loading.store, self.source) == self.readings
        for state in self.loading.store.partitions(self.source):
            hours = self.covered[state.name]
            assert state.coverage == joined(hours)
            assert cells(state.coverage) == hours
            assert self.causes(state.holes) == self.holes[state.name]
            mark = self.watermark[state.name]
            assert state.watermark == (None if mark is None else at(mark))

    def causes(self, stored: tuple[Hole, ...]) -> dict[int, str]:
        found = {n: h.cause for h in stored for n in cells((h.window,))}
        assert len(found) == sum(len(cells((h.window,))) for h in stored), "holes overlap"
        return found

    def teardown(self) -> None:
        if not hasattr(self, "loading"):
            return
        self.loading.lease.release()
        lease = self.loading.store.acquire(self.source)
        runs = self.loading.store.runs(self.source, 1000)
        lease.release()
        self.loading.store.close()
        assert all(r.outcome in {Outcome.OK, Outcome.INTERRUPTED} for r in runs)
        assert sum((r.counts for r in runs), Counts()) == self.total
        assert self.total.new == len(self.readings)
        assert self.total.revised == self.revisions


@pytest.mark.slow
def test_any_sequence_of_events_keeps_to_the_model(reopen: Callable[[], AnyStore]) -> None:
    """Reads, failures, repeats, broken commits, resets, restarts and forgetting, in any order."""
    machine = type("Machine", (Model,), {"reopen": staticmethod(reopen)})
    run_state_machine_as_test(machine, settings=SETTINGS)


@SETTINGS
@given(
    truth=st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(1, HOURS)), VALUES, max_size=20),
    plans=st.lists(
        st.tuples(st.lists(st.integers(0, HOURS), max_size=4), st.lists(windows, max_size=3)),
        min_size=2,
        max_size=2,
    ),
    order=st.randoms(use_true_random=False),
)
def test_any_split_in_any_order_ends_in_the_same_tables(
    case: StoreCase, address: str, truth: Truth, plans: list[Plan], order: Any
) -> None:
    """The same readings, cut into batches anywhere, some read twice, committed in any order."""
    one, other = series("a"), series("b")
    store = case.open(address)
    try:
        tables = []
        for cut, more in plans:
            edges = sorted({0, HOURS, *cut})
            tasks = [(s, w) for s in (one, other) for w in [*pairwise(edges), *more]]
            order.shuffle(tasks)
            note(str([(s.sensor, w) for s, w in tasks]))
            loading = Loading(store, f"split{next(SOURCES)}")
            total = sum((load_window(loading, s, w, truth) for s, w in tasks), Counts())
            assert total.new == len(truth)
            assert total.revised == total.vanished == 0
            coverage = {p.name: p.coverage for p in store.partitions(loading.source)}
            tables.append((loading.readings(), coverage))
            loading.lease.release()
        assert tables[0] == tables[1]
        assert values(store, loading.source) == truth
        assert coverage == {"p-a": (span(0, HOURS),), "p-b": (span(0, HOURS),)}
    finally:
        store.close()


def load_window(loading: Loading, one: Series, window: tuple[int, int], truth: Truth) -> Counts:
    rows = [
        (one, h, v)
        for (sensor, h), v in truth.items()
        if sensor == one.sensor and window[0] < h <= window[1]
    ]
    progress = Progress(one.partition, read=(span(*window),), cover=(span(*window),))
    return loading.commit(rows, progress, listed=[one], check=good)

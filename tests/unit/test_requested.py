"""Requests for work: done, interrupted and continued, cancelled, poisoned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import requested, wiring
from loader.contracts import Usage
from loader.journal import Cutoffs, Request, RequestState
from loader.readings import DAY, Task, Window
from loader.records import Counts, Outcome
from loader.work import Backfill, Prune
from tests import postgres

NOW = wiring.now()


@dataclass
class Watching:
    """An observer that calls back once the tasks are known."""

    on_plan: Callable[[], object] = lambda: None
    warnings: list[str] = field(default_factory=list)

    def planned(self, source: str, tasks: Sequence[Task], requests: int) -> None:  # noqa: ARG002
        self.on_plan()

    def advanced(self, source: str, task: Task, window: Window | None, ended: bool) -> None: ...

    def committed(self, source: str, counts: Counts, used: Usage) -> None: ...

    def warned(self, source: str, message: str) -> None:  # noqa: ARG002
        self.warnings.append(message)


class Bench:
    """A simulated source, its store, and a lease on it."""

    def __init__(self, folder: Path, url: str) -> None:
        file = folder / "config.yaml"
        file.write_text(
            f"store: {url}\n"
            "sources: {src: {type: simulator, stations: 1, latency: 50ms, concurrency: 1, initial: 1d}}\n"
        )
        config = wiring.load_config(file)
        self.store = wiring.open_store(config)
        self.lease = self.store.acquire("src")
        self.make = partial(wiring.build_pipeline, config, "src", self.store)
        self.stop = threading.Event()

    def close(self) -> None:
        self.lease.release()
        self.store.close()

    def queue(self, kind: str, **arguments: Any) -> int:
        return self.store.queue("src", kind, arguments, "somebody", NOW)

    def backfill(self, days: int) -> int:
        work = Backfill(since=NOW - days * DAY, until=NOW - DAY)
        return self.queue(work.kind, **work.model_dump(mode="json"))

    def work(self, on_plan: Callable[[], object] = lambda: None, make: Any = None) -> Any:
        return requested.work_next(
            "src", self.store, make or self.make, self.lease, self.stop, Watching(on_plan), wiring.now
        )

    def the(self, number: int) -> Request:
        found = self.store.request(number)
        assert found is not None
        return found


@pytest.fixture(params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    server = None
    url = f"sqlite:///{tmp_path}/loader.db"
    if request.param == "postgres":
        if reason := postgres.missing():
            pytest.skip(reason)
        server = postgres.server(max(postgres.majors()))
        url = server.migrated()
    made = Bench(tmp_path, url)
    yield made
    made.close()
    if server is not None:
        server.drop(url)


def test_nothing_asked_is_nothing_done(bench: Bench) -> None:
    """Without a request there is no run."""
    assert bench.work() is None
    assert bench.store.runs("src", 10) == []


def test_a_backfill_is_worked_under_the_lease(bench: Bench) -> None:
    """It ends as done, with the run and its counts as the result."""
    number = bench.backfill(days=5)
    report = bench.work()
    ended = bench.the(number)
    assert (report.outcome, report.trigger) == (Outcome.OK, "backfill")
    assert (ended.state, ended.error) == (RequestState.DONE, None)
    assert ended.result["runs"] == [report.id]
    assert ended.result["new"] == report.counts.new > 0
    assert "100% read" in ended.progress
    assert bench.work() is None


@pytest.mark.slow
def test_a_backfill_that_makes_way_is_continued(bench: Bench) -> None:
    """Stopped midway it goes back into the queue; the next go reads only what is left."""
    number = bench.backfill(days=300)
    first = bench.work(bench.stop.set)
    assert first.outcome is Outcome.INTERRUPTED
    waiting = bench.the(number)
    assert (waiting.state, waiting.finished) == (RequestState.QUEUED, None)
    bench.stop.clear()
    second = bench.work()
    ended = bench.the(number)
    assert ended.state is RequestState.DONE
    assert ended.result["runs"] == [first.id, second.id]
    assert ended.result["new"] == first.counts.new + second.counts.new == 299 * 24 * 6
    assert second.counts.refetched == 0
    assert ended.started == waiting.started


def test_a_cancelled_request_ends_at_the_next_batch(bench: Bench) -> None:
    """What it has read by then stays, and it is not begun again."""
    number = bench.backfill(days=2000)
    report = bench.work(lambda: bench.store.cancel_request(number, NOW))
    assert report.outcome is Outcome.INTERRUPTED
    assert bench.the(number).state is RequestState.CANCELLED
    assert bench.work() is None


def test_a_request_whose_worker_died_is_worked_again(bench: Bench) -> None:
    """It still stands as running, and nobody holds the lease; unless it was to be cancelled."""
    first, second = bench.backfill(days=3), bench.backfill(days=4)
    for number in (first, second):
        bench.store.note_request(number, NOW, state=RequestState.RUNNING)
    bench.store.cancel_request(second, NOW)
    assert bench.work().outcome is Outcome.OK
    assert bench.work() is None
    assert (bench.the(first).state, bench.the(second).state) == (RequestState.DONE, RequestState.CANCELLED)


@pytest.mark.parametrize(
    ("kind", "arguments", "why"),
    [
        ("paint", {}, "the kind 'paint' is unknown here"),
        ("backfill", {"until": 5}, "since: Field required"),
        ("backfill", {"since": "x", "until": 5}, "since: "),
        ("forget", {"colour": "red"}, "colour: "),
        ("backfill", {"since": 0, "until": DAY, "stations": ["nowhere"]}, "no station or sensor nowhere"),
    ],
)
def test_a_poisoned_request_fails_once(bench: Bench, kind: str, arguments: Any, why: str) -> None:
    """It says why, and the next one has its turn."""
    number, after = bench.queue(kind, **arguments), bench.queue("reset")
    bench.work()
    failed = bench.the(number)
    assert failed.state is RequestState.FAILED
    assert why in (failed.error or "")
    bench.work()
    assert bench.the(after).state is RequestState.DONE
    assert bench.work() is None


def test_a_bug_fails_the_request_and_not_its_worker(bench: Bench) -> None:
    """An exception that nobody expects is told in the request, which is not worked again."""

    def broken(*_: object) -> Any:
        raise ZeroDivisionError("a bug")

    number = bench.backfill(days=3)
    assert bench.work(make=broken) is None
    assert bench.the(number).state is RequestState.FAILED
    assert bench.the(number).error == "ZeroDivisionError: a bug"
    assert bench.work() is None


def test_every_kind_is_done(bench: Bench) -> None:
    """Prune, reset and forget answer with their rows by table."""
    bench.backfill(days=40)
    bench.work()
    before = sum(map(len, bench.store.scan([s.id for s in bench.store.series("src")], Window(0, NOW))))
    prune = Prune.of(Cutoffs(readings=NOW - 10 * DAY))
    assert prune.cutoffs == Cutoffs(readings=NOW - 10 * DAY)
    numbers = [
        bench.queue("prune", **prune.model_dump(mode="json")),
        bench.queue("replay"),
        bench.queue("drop", until=NOW),
        bench.queue("reset", partition=bench.store.partitions("src")[0].name),
        bench.queue("forget"),
    ]
    done = []
    for number in numbers:  # each read at once: forgetting deletes those before it
        bench.work()
        done.append(bench.the(number))
    pruned, replayed, dropped, reset, forgotten = done
    assert {r.state for r in (pruned, replayed, dropped, reset, forgotten)} == {RequestState.DONE}
    assert 0 < pruned.result["reading"] < before
    assert forgotten.result["reading"] == before - pruned.result["reading"]
    assert (replayed.result["records"], dropped.result["quarantine"], reset.result["partition"]) == (
        0,
        0,
        1,
    )
    assert bench.store.partitions("src") == []
    assert [r.kind for r in bench.store.requests("src")] == ["forget"]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=5))
def test_results_of_several_goes_add_up(news: list[int]) -> None:
    """Counts are summed, runs are listed, and the last outcome counts."""
    total: dict[str, Any] = {}
    for run, new in enumerate(news):
        total = requested.added(total, {"runs": [run], "new": new, "outcome": f"after {run}"})
    assert total == {
        "runs": list(range(len(news))),
        "new": sum(news),
        "outcome": f"after {len(news) - 1}",
    }

"""What every source promises, run on each that is registered in `sources.py`."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sources import NOW, SOURCES, WINDOW, SourceCase, Stage

from loader.contracts import Source
from loader.errors import AccessDenied, NotFound, Retryable
from loader.readings import (
    DAY,
    HOUR,
    Check,
    Flag,
    Page,
    Partition,
    PartitionState,
    Task,
    TaskKind,
    Window,
)


@pytest.fixture(params=SOURCES, ids=lambda case: case.name)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """One kind of source, set up with its world."""
    case: SourceCase = request.param
    with case.stage(tmp_path) as made:
        yield made


@pytest.fixture
def open_source(stage: Stage) -> Iterator[Callable[[], Source]]:
    """Builds sources over the same world; closed at the end."""
    opened: list[Source] = []

    def build() -> Source:
        opened.append(stage.open())
        return opened[-1]

    yield build
    for source in opened:
        source.close()


@pytest.fixture
def source(open_source: Callable[[], Source]) -> Source:
    return open_source()


@pytest.fixture
def partitions(source: Source) -> tuple[Partition, ...]:
    """What the source lists when nothing is known."""
    return source.survey([], NOW).partitions


def state(partition: Partition) -> PartitionState:
    """The partition as a store has it once it was registered."""
    return PartitionState(partition.name, partition.station, NOW, NOW, series=partition.series)


def task(partition: Partition, window: Window = WINDOW, **more: Any) -> Task:
    return Task(partition.name, window, TaskKind.LIVE, series=partition.series, **more)


def rows(pages: list[Page]) -> list[tuple[str, int, float | None]]:
    """(sensor, time, value or None) of every reading, in the order they came."""
    return [
        (page.series[s].sensor, t, None if np.isnan(v) else v)
        for page in pages
        for s, t, v in zip(
            page.readings.series.tolist(),
            page.readings.time.tolist(),
            page.readings.value.tolist(),
            strict=True,
        )
    ]


def values(pages: list[Page]) -> dict[int, float | None]:
    """Time -> value; of a repeated time the last, as a batch takes it."""
    return {time: value for _, time, value in rows(pages)}


def rejected(pages: list[Page]) -> set[bytes]:
    return {reject.payload for page in pages for reject in page.rejects}


def test_a_survey_describes_every_partition(source: Source) -> None:
    """Names are unique, every series names its partition and station, all are listed at first."""
    survey = source.survey([], NOW)
    names = [p.name for p in survey.partitions]
    assert len(names) > 1
    assert len(set(names)) == len(names)
    assert survey.listed == set(names)
    assert survey.latest.keys() <= set(names)
    assert survey.failed == {}
    keys = [s.key for p in survey.partitions for s in p.series]
    assert len(set(keys)) == len(keys)
    for partition in survey.partitions:
        assert partition.station
        for series in partition.series:
            assert (series.partition, series.station) == (partition.name, partition.station)
            assert series.sensor
            assert series.parameter
            assert series.unit


def test_a_survey_can_be_repeated(source: Source, open_source: Callable[[], Source]) -> None:
    """Asking twice, or another source object, gives the same partitions and news."""
    first, again, other = (s.survey([], NOW) for s in (source, source, open_source()))
    assert first.partitions == again.partitions == other.partitions
    assert dict(first.latest) == dict(again.latest) == dict(other.latest)


def test_a_survey_accepts_what_is_known(source: Source, open_source: Callable[[], Source]) -> None:
    """What the store remembers is taken up: no partition is lost, and a later survey agrees."""
    first = source.survey([], NOW)
    known = [state(p) for p in first.partitions]
    for later in (source.survey(known, NOW), open_source().survey(known, NOW)):
        assert {p.name for p in later.partitions} == {p.name for p in first.partitions}
        assert {k: v for k, v in later.latest.items() if k in first.latest} == dict(first.latest)
        assert later.listed <= {p.name for p in later.partitions}


def test_latest_is_the_newest_reading(source: Source) -> None:
    """A partition's latest is the time of a reading that a read then brings, and of none before it."""
    survey = source.survey([], NOW)
    assert survey.latest
    for partition in survey.partitions:
        if partition.name in survey.latest:
            assert survey.latest[partition.name] == max(values([*source.read(task(partition))]))


def test_a_read_brings_the_truth(source: Source, stage: Stage, partitions: tuple[Partition, ...]) -> None:
    """Every reading of the window comes, with its value, and none that is not there."""
    for partition in partitions:
        truth = stage.truth(partition.name)
        assert len(truth) > 1000
        assert values([*source.read(task(partition))]) == truth


def test_pages_cover_the_window_in_order(source: Source, partitions: tuple[Partition, ...]) -> None:
    """`covered_to` ascends from page to page and ends at the window's end; no reading lies beyond."""
    for partition in partitions:
        pages = [*source.read(task(partition))]
        assert len(pages) > 1
        reached = [WINDOW.start, *(page.covered_to for page in pages)]
        assert reached == sorted(reached)
        assert reached[-1] == WINDOW.end
        for page in pages:
            assert (page.readings.time > WINDOW.start).all()
            assert (page.readings.time <= page.covered_to).all()
            assert page.fetched >= len(page.readings) + len(page.rejects)


def test_columns_are_what_they_should_be(source: Source, partitions: tuple[Partition, ...]) -> None:
    """Types, series numbers, flags not yet given, no infinities; NaN only where nothing was sent."""
    for partition in partitions:
        for page in source.read(task(partition)):
            readings = page.readings
            assert [
                c.dtype.name
                for c in (readings.series, readings.time, readings.value, readings.flag, readings.tests)
            ] == ["int32", "int64", "float64", "uint8", "uint32"]
            assert ((readings.series >= 0) & (readings.series < len(page.series))).all()
            assert not np.isinf(readings.value).any()
            assert (readings.flag == Flag.NOT_EVALUATED).all()
            assert not (readings.tests & ~np.uint32(Check.UPSTREAM)).any()
            assert all(series.partition == partition.name for series in page.series)
            for place in page.places:
                assert 0 <= place.series < len(page.series)
                assert -90 <= place.latitude <= 90
                assert -180 <= place.longitude <= 180


def test_any_cut_of_a_window_gives_the_same(source: Source, partitions: tuple[Partition, ...]) -> None:
    """Read in pieces, at stamps and between them, the window yields the same readings and rejects."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    dice = random.Random(seed)
    for partition in partitions:
        whole = [*source.read(task(partition))]
        stamps = sorted(values(whole))
        cuts = {dice.randrange(WINDOW.start, WINDOW.end) for _ in range(3)} | {*dice.sample(stamps, 2)}
        edges = [WINDOW.start, *sorted(cuts), WINDOW.end]
        parts = [
            page
            for start, end in pairwise(edges)
            for page in source.read(task(partition, Window(start, end)))
        ]
        assert values(parts) == values(whole)
        assert rejected(parts) == rejected(whole)


def test_windows_are_half_open(source: Source, partitions: tuple[Partition, ...]) -> None:
    """A reading at a window's start is not in it, one at its end is."""
    stamps = sorted(values([*source.read(task(partitions[0]))]))
    first, last = stamps[10], stamps[15]
    found = values([*source.read(task(partitions[0], Window(first, last)))])
    assert sorted(found) == stamps[11:16]
    assert sorted(values([*source.read(task(partitions[0], Window(last - 1, last)))])) == [last]


def test_a_window_without_readings_is_covered(source: Source, partitions: tuple[Partition, ...]) -> None:
    """Where there is nothing, the read says so by reaching the window's end."""
    stamp = min(values([*source.read(task(partitions[0]))]))
    window = Window(stamp, stamp + HOUR // 2)
    pages = [*source.read(task(partitions[0], window))]
    assert rows(pages) == []
    assert pages[-1].covered_to == window.end


def test_windows_to_skip_are_left_out(source: Source, partitions: tuple[Partition, ...]) -> None:
    """What lies in a hole that must wait is not read; the rest is, and the end is reached."""
    skip = (Window(NOW - 20 * DAY, NOW - 19 * DAY), Window(NOW - 5 * DAY, NOW - 4 * DAY - HOUR // 2))
    pages = [*source.read(task(partitions[0], skip=skip))]
    every = values([*source.read(task(partitions[0]))])
    outside = {t: v for t, v in every.items() if not any(w.start < t <= w.end for w in skip)}
    assert len(outside) < len(every)
    assert values(pages) == outside
    assert pages[-1].covered_to == WINDOW.end


def test_a_read_can_be_broken_off(source: Source, partitions: tuple[Partition, ...]) -> None:
    """Closing after the first page does no harm: the next read brings everything."""
    for partition in partitions:
        pages = iter(source.read(task(partition)))
        first = next(pages)
        assert len(first.readings)
        close = getattr(pages, "close", None)
        assert close is not None
        close()
        assert next(pages, None) is None
    whole = values([*source.read(task(partitions[0]))])
    assert values([first_page(source, partitions[0])]).items() <= whole.items()


def first_page(source: Source, partition: Partition) -> Page:
    return next(iter(source.read(task(partition))))


def test_threads_may_read_at_once(source: Source, partitions: tuple[Partition, ...]) -> None:
    """As many partitions as `concurrency` allows, read at the same time, come as they do alone."""
    alone = {p.name: rows([*source.read(task(p))]) for p in partitions}
    assert source.concurrency >= 1
    with ThreadPoolExecutor(source.concurrency) as pool:
        for _ in range(2):
            together = pool.map(lambda p: (p.name, rows([*source.read(task(p))])), partitions)
            assert dict(together) == alone


def test_rejects_can_be_decoded_again(source: Source, partitions: tuple[Partition, ...]) -> None:
    """Each rejected record says why, and comes back from `decode` as a reading or a reject."""
    count = 0
    for partition in partitions:
        for page in source.read(task(partition)):
            for reject in page.rejects:
                count += 1
                assert reject.partition == partition.name
                assert reject.rule
                assert reject.reason
                assert reject.payload
                again = source.decode(state(partition), reject.payload)
                assert len(again.readings) + len(again.rejects) == 1
                assert [r.payload for r in again.rejects] in ([], [reject.payload])
    assert count > 0


DEEP = b'{"value": ' + b"[" * 60_000
RUBBISH = [
    b"", b"null", b"{}", b"[]", b'"text"', b"\xff\xfe\x00", b"{" * 60_000, DEEP, b'{"x": ' + DEEP,
    b"1e999", b'{"value": 1e999}', b'{"value": "\\ud800"}', b"<html></html>", b"9" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("payload", RUBBISH, ids=lambda payload: repr(payload[:16]))
def test_rubbish_is_rejected_not_raised(
    source: Source, partitions: tuple[Partition, ...], payload: bytes
) -> None:
    """Whatever bytes `decode` is handed, they come back as a reject with a reason."""
    page = source.decode(state(partitions[0]), payload)
    (reject,) = page.rejects
    assert reject.payload == payload
    assert reject.rule
    assert reject.reason
    assert len(reject.reason) < 1000
    assert len(page.readings) == 0


def test_usage_only_grows_and_was_foreseen(source: Source, partitions: tuple[Partition, ...]) -> None:
    """Counters never fall, and a task takes no more requests than estimated, nor far fewer."""
    for partition in partitions:
        work = task(partition)
        before, estimate = source.usage(), source.requests(work)
        for _ in source.read(work):
            pass
        after = source.usage()
        assert after.requests >= before.requests
        assert after.bytes >= before.bytes
        assert after.slowest_s >= before.slowest_s
        spent = after.requests - before.requests
        assert spent <= estimate <= 3 * spent + 3


def test_a_probe_tries_once(source: Source, stage: Stage, partitions: tuple[Partition, ...]) -> None:
    """A page that cannot be had fails a probe at its first request, another read at a later one."""
    if stage.fail is None:
        pytest.skip("this source cannot fail")
    stage.fail()
    spent = {}
    for probe in (True, False):
        before = source.usage().requests
        with pytest.raises(Retryable):
            list(source.read(task(partitions[0], probe=probe)))
        spent[probe] = source.usage().requests - before
    assert spent[True] == 1
    assert spent[False] > 1


def test_a_wrong_key_is_told_at_once(stage: Stage) -> None:
    """A key that is refused ends the survey without a second try, and the message keeps it secret."""
    if stage.refused is None:
        pytest.skip("this source has no key")
    source = stage.refused()
    with pytest.raises(AccessDenied) as caught:
        source.survey([], NOW)
    assert "not-the-key" not in str(caught.value)
    assert source.usage().requests <= source.concurrency
    source.close()


def test_a_station_that_does_not_exist_is_told_at_once(stage: Stage) -> None:
    """A wrong station id ends the survey with a message that names it."""
    if stage.astray is None:
        pytest.skip("this source finds its own stations")
    source = stage.astray()
    with pytest.raises(NotFound, match="999999"):
        source.survey([], NOW)
    source.close()


def test_a_check_says_what_it_saw(source: Source, stage: Stage) -> None:
    """`check` finds a working source well, and one with a wrong key not, without raising."""
    # The suite's clock stands still, which a source may notice.
    findings = [finding for finding in source.check() if finding.subject != "clock"]
    assert findings
    assert all(finding.ok for finding in findings), findings
    assert all(finding.subject and finding.detail for finding in findings)
    if stage.refused is not None:
        refused = stage.refused()
        assert not all(finding.ok for finding in refused.check() if finding.subject != "clock")
        refused.close()


def test_closing_twice_is_harmless(open_source: Callable[[], Source]) -> None:
    """A source can be closed before it was used, and again after."""
    source = open_source()
    source.close()
    source.close()
    used = open_source()
    partition = used.survey([], NOW).partitions[0]
    list(used.read(task(partition, Window(NOW - DAY, NOW))))
    used.close()
    used.close()

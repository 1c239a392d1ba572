"""Case folders of the simulator: a configuration, a time to read at, and what must come of it.

A case is `config.yaml`, `case.json` (now, start and end, ISO 8601) and `expected.csv`: one line a
record in the order of the source, with its flag and test bits; rejected ones have a rule instead.
What is written there must stay as it is: a new release must not change what was stored.
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loader.config import load, parse_time
from loader.readings import Page, Task, TaskKind, Window
from loader.sources.simulator import Simulator, SimulatorSettings
from loader.wiring import build_check

CASES = sorted(p.parent for p in Path(__file__).parent.glob("*/case.json"))
HEADER = ["sensor", "time", "value", "flag", "tests", "rule"]


def iso(time: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).isoformat()


def lines(folder: Path) -> list[list[str]]:
    """What the case's source brings, as lines of `expected.csv`."""
    config = load(folder / "config.yaml", {"simulator": SimulatorSettings}, environ={})
    case = {name: parse_time(text) for name, text in json.loads((folder / "case.json").read_text()).items()}
    ((name, settings),) = config.sources.items()
    assert isinstance(settings, SimulatorSettings)
    check = build_check(config, name)
    quality = config.quality
    source = Simulator(name, settings, lambda: case["now"], quality.earliest_us, quality.future)
    out = [HEADER]
    for partition in source.survey([], case["now"]).partitions:
        task = Task(partition.name, Window(case["start"], case["end"]), TaskKind.LIVE)
        for page in source.read(task):
            flag, tests = check.alone(page.series, page.readings)
            out += [
                [page.series[s].sensor, iso(t), repr(v), str(f), str(bits), ""]
                for s, t, v, f, bits in zip(
                    page.readings.series, page.readings.time.tolist(), page.readings.value.tolist(),
                    flag.tolist(), tests.tolist(), strict=True,
                )
            ]  # fmt: skip
            out += rejected(page)
    return out


def rejected(page: Page) -> list[list[str]]:
    return [
        [r.partition, iso(r.time) if r.time is not None else "", r.payload.decode(), "", "", r.rule]
        for r in page.rejects
    ]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_case_comes_out_as_it_always_did(folder: Path) -> None:
    """The configured source brings exactly the expected records, flagged by the shipped rules."""
    with (folder / "expected.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.reader(file))
    assert len(expected) > 50
    assert lines(folder) == expected


def test_there_are_cases() -> None:
    """Each kind of station, and one with every flaw, has its case."""
    assert [folder.name for folder in CASES] == ["air", "flawed", "rig"]

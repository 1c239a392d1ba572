"""Case folders of the OpenAQ source: a configuration, the server's answers, and what must come of it.

A case is `config.yaml`, `case.json` (now, start and end, ISO 8601), `responses.json` (answers by
path, given in their order, the last for ever) and `expected.csv`: one line a series with what
describes it, then one line a record in the order of the source, with its flag and test bits;
rejected ones have rule and reason instead.
"""

from __future__ import annotations

import csv
import json
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from loader.config import load, parse_time
from loader.readings import Page, Series, Task, TaskKind, Window
from loader.settings.durations import parse_duration
from loader.sources.openaq import OpenAQSettings, connect
from loader.sources.openaq.source import OpenAQ
from loader.sources.openaq.times import stamp
from loader.wiring import build_check

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "unit"))

from scripted import Answer, Asked, Scripted

from loader.budget import Unlimited

CASES = sorted(p.parent for p in Path(__file__).parent.glob("*/case.json"))


def script(folder: Path) -> Any:
    """The answers of `responses.json`, for `Scripted`."""
    answers: dict[str, list[Answer]] = defaultdict(list)
    for one in json.loads((folder / "responses.json").read_text("utf-8")):
        body = one["body"] if isinstance(one["body"], str) else json.dumps(one["body"])
        answers[one["path"]].append(Answer(one["status"], body.encode(), one.get("headers", {})))

    def answer(asked: Asked) -> Answer:
        left = answers[asked.path]
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def lines(folder: Path) -> list[list[str]]:
    """What the case's source brings, as lines of `expected.csv`."""
    case = {name: parse_time(text) for name, text in json.loads((folder / "case.json").read_text()).items()}
    with Scripted(script(folder)) as server:
        environ = {"OPENAQ_API_KEY": "key", "SERVER": server.url}
        config = load(folder / "config.yaml", {"openaq": OpenAQSettings}, environ)
        ((name, settings),) = config.sources.items()
        assert isinstance(settings, OpenAQSettings)
        settings = settings.model_copy(update={"backoff": parse_duration("10ms")})
        check, quality, stop = build_check(config, name), config.quality, threading.Event()

        def clock() -> int:
            return case["now"]

        http = connect(settings, budget=Unlimited(stop), clock=clock, stop=stop)
        source = OpenAQ(name, settings, http, clock, earliest=quality.earliest_us, future=quality.future)
        partitions = source.survey([], case["now"]).partitions
        out = [described(s) for p in partitions for s in p.series]
        for partition in partitions:
            window = Window(case["start"], case["end"])
            for page in source.read(Task(partition.name, window, TaskKind.LIVE, series=partition.series)):
                out += brought(page, check)
        return out


def described(s: Series) -> list[str]:
    return [
        "series",
        s.sensor,
        s.parameter,
        s.unit,
        s.station,
        s.name,
        s.timezone,
        str(s.cadence_s),
        s.replaces or "",
    ]


def brought(page: Page, check: Any) -> list[list[str]]:
    flag, tests = check.alone(page.series, page.readings)
    r = page.readings
    out = [
        ["reading", page.series[s].sensor, page.series[s].unit, stamp(t), repr(v), str(f), str(t_)]
        for s, t, v, f, t_ in zip(
            r.series.tolist(),
            r.time.tolist(),
            r.value.tolist(),
            flag.tolist(),
            (tests | r.tests).tolist(),
            strict=True,
        )
    ]
    out += [
        ["reject", x.partition, x.rule, "" if x.time is None else stamp(x.time), x.reason]
        for x in page.rejects
    ]
    out += [
        ["place", page.series[p.series].sensor, stamp(p.time), repr(p.latitude), repr(p.longitude)]
        for p in page.places
    ]
    return out


@pytest.mark.parametrize("folder", CASES, ids=lambda p: p.name)
def test_case(folder: Path) -> None:
    """The source brings exactly what the case expects."""
    with (folder / "expected.csv").open(encoding="utf-8", newline="") as file:
        expected = list(csv.reader(file))
    assert lines(folder) == expected


def test_there_are_cases() -> None:
    """The folders above were found."""
    assert len(CASES) >= 4

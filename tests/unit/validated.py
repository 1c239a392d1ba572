"""Files validated by the shipped rules, and the real data that tests may look at."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loader.commands.validate import days_of
from loader.quality.checks import Checks
from loader.readings import Readings, UInt32
from loader.settings.durations import parse_time
from loader.settings.quality import QualitySettings, SourceQuality
from loader.settings.rules import rule_of
from loader.validation.collect import Collector
from loader.validation.examine import examine
from loader.validation.files import Wishes
from loader.validation.report import Drawings, Judgement, page
from loader.validation.result import Examination, Tally

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
NOW = parse_time("2026-01-01T00:00:00Z")


def data(pattern: str) -> list[Path]:
    """The files of that name."""
    found = sorted(DATA.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} at {DATA.resolve()}")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Found(Examination):
    """What was found, with the readings by series (an index into `tallies`) and time, the line of each,
    and the report."""

    readings: Readings
    line: UInt32
    html: str


def validated(
    *paths: Path,
    quality: QualitySettings | None = None,
    cadence_s: float | None = None,
    draws: bool = False,
    **wishes: Any,
) -> Found:
    """What a validation finds in these files; with `draws` also the report."""
    quality = quality or QualitySettings()
    known = tuple(sorted(quality.rules(SourceQuality())))
    asked = {"known": known, "earliest": quality.earliest_us, "latest": NOW} | wishes
    collector = Collector(Wishes(**asked))
    for path in paths:
        collector.add(path)
    checks = Checks(rule_of(quality, SourceQuality()))
    weights = quality.weights.as_weights()
    seen: list[Readings] = []
    lines: list[UInt32] = []
    drawings = Drawings(checks)

    def look(tally: Tally, readings: Readings, line: UInt32) -> None:
        if draws:
            drawings.look(tally, readings, line)
        seen.append(replace(readings, series=np.full(len(readings), len(seen), np.int32)))
        lines.append(line)

    found = examine(
        collector.done(),
        checks,
        set_cadence=lambda _: cadence_s,
        days_of=days_of,
        weights=weights,
        look=look,
    )
    line = np.concatenate([np.empty(0, np.uint32), *lines])
    judged = Judgement(checks, "The rules of the test.", weights)
    html = "".join(page(found, drawings, judged, NOW)) if draws else ""
    parts = {f.name: getattr(found, f.name) for f in fields(Examination)}
    return Found(**parts, readings=Readings.concat(seen), line=line, html=html)


def only(found: Examination) -> Tally:
    """The one series."""
    (tally,) = found.tallies
    return tally


def told(found: Examination) -> list[str]:
    """The failing lines, without the folder."""
    return [str(t).removeprefix(str(Path(t.file).parent) + "/") for t in found.troubles]


LONG = "time,station,parameter,unit,value\n"


def rows(count: int, start: int = 0) -> str:
    """So many hourly readings in the long form, without a header."""
    stamps = (f"2024-01-{1 + h // 24:02}T{h % 24:02}:00:00Z" for h in range(start, start + count))
    return "".join(f"{stamp},here,pm25,µg/m³,{10 + i % 7}\n" for i, stamp in enumerate(stamps))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path

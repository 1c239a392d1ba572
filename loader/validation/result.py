"""What a validation found, and the same as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from loader.quality.score import COMPONENT_NAMES, Score
from loader.readings import SECOND, Series, Window
from loader.records import Counts
from loader.validation.files import File
from loader.validation.stamps import CYCLE
from loader.validation.trouble import NO_RECORD, Trouble
from loader.zones import stamps

SHOWN_GAPS = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """How often a check objected, and to which reading first (by time)."""

    count: int
    time: int
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """Records of a series and time that had been read before: in the same file, or in an earlier
    one; with the same value, or with another one. The last one counts."""

    same: int = 0
    other: int = 0
    again: int = 0
    revised: int = 0

    def __add__(self, more: Repeats) -> Repeats:
        return Repeats(*(getattr(self, f.name) + getattr(more, f.name) for f in fields(Repeats)))


@dataclass(frozen=True, slots=True)
class Gaps:
    """Stretches without expected readings: how many, how many readings are missing in all, and the
    longest ones, each with its number of readings."""

    count: int = 0
    missing: int = 0
    longest: tuple[tuple[Window, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """One series.

    pieces      times of the first and the last reading; in a sample those of each block
    cadences    (from when, seconds), what was set or learned; empty where it is not known
    unordered   readings that came after a younger one (or, where most are that way round, before)
    moved       readings from another place than the one before
    unevaluated  readings that no rule says anything about
    code        a value that looks like a code for "no value" that nobody configured, and how often
    days        by 00:00 UTC: readings (due, observed)
    """

    series: Series
    pieces: tuple[tuple[int, int], ...]
    counts: Counts
    score: Score | None
    cycles: bool = False
    cadences: tuple[tuple[int, float], ...] = ()
    repeats: Repeats = Repeats()
    gaps: Gaps = Gaps()
    checks: Mapping[str, Seen] = field(default_factory=dict)
    descending: bool = False
    unordered: int = 0
    moved: int = 0
    unevaluated: int = 0
    lowest: float | None = None
    highest: float | None = None
    code: tuple[float, int] | None = None
    days: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return min(first for first, _ in self.pieces)

    @property
    def last(self) -> int:
        return max(last for _, last in self.pieces)

    @property
    def rank(self) -> float:
        """By which the worst series are found: the score; where there is none, how much of it no
        check objects to."""
        if self.score is not None:
            return self.score.total
        return 100.0 * (1 - (self.counts.suspect + self.counts.failed) / max(self.counts.revised, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """Everything that was found."""

    files: Sequence[File]
    tallies: Sequence[Tally]
    counts: Counts
    score: Score | None
    checks: Mapping[str, Seen]
    repeats: Repeats
    gaps: Gaps
    troubles: Sequence[Trouble]

    @property
    def sampled(self) -> bool:
        return any(f.sampled for f in self.files)

    @property
    def malformed(self) -> bool:
        """Whether a file could not be read, or has lines that are no records, or nothing was read."""
        lines = any(f.failing.keys() & NO_RECORD for f in self.files)
        return lines or bool(self.errors) or not self.tallies

    @property
    def errors(self) -> list[str]:
        """Why files could not be read."""
        return [f.error for f in self.files if f.error is not None]


def when(time: int, cycles: bool = False) -> str:
    """A time in ISO 8601, or the number of a cycle."""
    return f"cycle {time // CYCLE}" if cycles else stamps(np.array([time]))[0]


def cycles(cadence_s: float) -> str:
    """A cadence in cycles."""
    number = cadence_s * SECOND / CYCLE
    return "cycle" if number == 1 else f"{number:g} cycles"


def document(found: Examination) -> dict[str, Any]:
    """The JSON document of `--json`."""
    return {
        "score": _points(found.score),
        "components": _components(found.score),
        "sampled": found.sampled,
        "counts": _counts(found.counts),
        "repeats": _fields(found.repeats),
        "gaps": _gaps(found.gaps, False),
        "checks": _seen(found.checks, any(t.cycles for t in found.tallies)),
        "files": [_file(one) for one in found.files],
        "series": [_tally(one) for one in found.tallies],
        "failing": [
            {"file": t.file, "line": t.line, "field": t.field, "rule": t.rule, "reason": t.reason}
            for t in found.troubles
        ],
    }


def _points(score: Score | None) -> float | None:
    return None if score is None else round(score.total, 2)


def _components(score: Score | None) -> dict[str, float | None]:
    parts = None if score is None else score.components
    shares = {name: None if parts is None else getattr(parts, name) for name in COMPONENT_NAMES}
    return {name: None if share is None else round(share, 4) for name, share in shares.items()}


def _counts(counts: Counts) -> dict[str, int]:
    names = ("due", "observed", "missing", "suspect", "failed", "duplicate", "inconsistent")
    return {"records": counts.fetched, "readings": counts.revised} | {n: getattr(counts, n) for n in names}


def _fields(one: Any) -> dict[str, Any]:
    return {f.name: getattr(one, f.name) for f in fields(one)}


def _gaps(gaps: Gaps, cycles: bool) -> dict[str, Any]:
    longest = [
        {"from": when(w.start, cycles), "to": when(w.end, cycles), "missing": n} for w, n in gaps.longest
    ]
    return {"count": gaps.count, "missing": gaps.missing, "longest": longest}


def _seen(checks: Mapping[str, Seen], cycles: bool) -> dict[str, Any]:
    return {
        name: {"count": s.count, "first": when(s.time, cycles), "file": s.file, "line": s.line}
        for name, s in checks.items()
    }


def _file(file: File) -> dict[str, Any]:
    roles = {} if file.layout is None else file.layout.roles()
    return {
        "file": file.path,
        "error": file.error,
        "format": file.format or None,
        **file.facts,
        "header": file.header,
        "form": None if file.layout is None else "wide" if file.layout.wide else "long",
        "sampled": file.sampled,
        "cut": file.cut,
        "records": file.records,
        "readings": file.readings,
        "columns": [
            {"name": name, "holds": kind, "taken_for": roles.get(name)} for name, kind in file.types.items()
        ],
        "without_zone": file.naive,
        "values": _fields(file.values),
        "failing": file.failing,
        "notes": file.notes,
    }


def _tally(one: Tally) -> dict[str, Any]:
    return {
        "station": one.series.station,
        "sensor": one.series.sensor,
        "parameter": one.series.parameter,
        "unit": one.series.unit,
        "first": when(one.first, one.cycles),
        "last": when(one.last, one.cycles),
        "score": _points(one.score),
        "components": _components(one.score),
        "counts": _counts(one.counts),
        "cadences": [{"from": when(at, one.cycles), "cadence_s": s} for at, s in one.cadences],
        "repeats": _fields(one.repeats),
        "gaps": _gaps(one.gaps, one.cycles),
        "checks": _seen(one.checks, one.cycles),
        "descending": one.descending,
        "unordered": one.unordered,
        "moved": one.moved,
        "not_evaluated": one.unevaluated,
        "lowest": one.lowest,
        "highest": one.highest,
        "suspected_code": None if one.code is None else {"value": one.code[0], "count": one.code[1]},
    }

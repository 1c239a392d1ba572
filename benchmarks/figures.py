"""What was measured, and what it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """One measured way of doing something. `rows` were written or asked for; seconds, CPU seconds
    and bytes are medians over `times` runs, `span` the fastest and the slowest wall time."""

    name: str
    rows: int
    wall_s: float
    span: tuple[float, float]
    cpu_s: float | None
    peak: int | None
    times: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its bound. `at_least` says on which side of it the figure should be."""

    name: str
    figure: float
    bound: float
    at_least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound


@dataclass(slots=True)
class Report:
    """Everything that one run of the benchmark found out."""

    about: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)

    def line(
        self,
        name: str,
        rows: int,
        walls: Iterable[float],
        *,
        cpus: Iterable[float] = (),
        peaks: Iterable[int] = (),
        note: str = "",
    ) -> Line:
        """Add a line of medians; returns it."""
        walls, cpus, peaks = list(walls), list(cpus), list(peaks)
        found = Line(
            name,
            rows,
            statistics.median(walls),
            (min(walls), max(walls)),
            statistics.median(cpus) if cpus else None,
            max(peaks) if peaks else None,
            len(walls),
            note,
        )
        self.lines.append(found)
        return found

    def target(
        self, name: str, figure: float, side: Literal[">=", "<="], bound: float, unit: str = ""
    ) -> None:
        self.targets.append(Target(name, figure, bound, side == ">=", unit))

    def fact(self, name: str, text: str) -> None:
        self.facts.append((name, text))

    def markdown(self) -> str:
        """The whole report as Markdown, readable as it is on a terminal too."""
        parts = [
            table(("setting", "value"), self.about),
            table(
                ("what", "rows", "seconds", "fastest to slowest", "rows/s", "CPU s", "peak MB", "runs"),
                [_cells(one) for one in self.lines],
                right=range(1, 8),
            ),
            table(("figure", "value"), self.facts),
            table(
                ("target", "reached", "wanted", ""),
                [
                    (
                        t.name,
                        f"{t.figure:.3g}{t.unit}",
                        f"{'>=' if t.at_least else '<='} {t.bound:g}{t.unit}",
                        "met" if t.met else f"short by {_short(t):.0%}",
                    )
                    for t in self.targets
                ],
                right=(1, 2),
            ),
        ]
        return "\n\n".join(parts) + "\n"


def _short(target: Target) -> float:
    if target.at_least:
        return 1 - target.figure / target.bound
    return target.figure / target.bound - 1


def _cells(one: Line) -> tuple[str, ...]:
    def or_dash(value: float | None, show: Callable[[float], str]) -> str:
        return "-" if value is None else show(value)

    return (
        f"{one.name} ({one.note})" if one.note else one.name,
        f"{one.rows:,}",
        f"{one.wall_s:.2f}",
        f"{one.span[0]:.2f} - {one.span[1]:.2f}" if one.times > 1 else "-",
        f"{one.rows / one.wall_s:,.0f}" if one.rows else "-",
        or_dash(one.cpu_s, lambda v: f"{v:.2f}"),
        or_dash(one.peak, lambda v: f"{v / MB:.0f}"),
        str(one.times),
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], right: Iterable[int] = ()) -> str:
    """A Markdown table with columns of even width; those in `right` are aligned to the right."""
    rows, right = list(rows), set(right)
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def drawn(row: tuple[str, ...]) -> str:
        cells = (
            c.rjust(w) if i in right else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join(cells) + " |"

    rule = "|".join("-" * (w + 1) + (":" if i in right else "-") for i, w in enumerate(widths))
    return "\n".join([drawn(head), f"|{rule}|", *map(drawn, rows)])

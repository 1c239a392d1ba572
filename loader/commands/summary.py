"""What runs did, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from loader.commands.output import Column, clean, document, iso, line, note, table
from loader.commands.progress import duration
from loader.readings import RunReport

SHOWN = ("new", "revised", "late", "missing", "suspect", "failed", "quarantined", "vanished", "requests")
"""The counts that a summary shows; `--json` has all of them."""


def as_dict(report: RunReport) -> dict[str, object]:
    """A report with stable keys; times ISO 8601 UTC, the score's components as shares."""
    from loader.quality.score import components

    out = asdict(report)
    out["components"] = asdict(components(report.counts))
    out["started"] = iso(report.started)
    out["finished"] = None if report.finished is None else iso(report.finished)
    return out


def print_reports(reports: Sequence[RunReport], *, as_json: bool, dry_run: bool = False) -> None:
    """Print the reports on stdout: a table, or JSON."""
    if as_json:
        document([as_dict(r) for r in reports])
        return
    if not reports:
        return
    numbers = [Column(title, right=True, spare=title != "new") for title in (*SHOWN, "score", "took")]
    table([Column("source"), Column("outcome"), *numbers], [[r.source, *_cells(r)] for r in reports])
    line(*(clean(f"{r.source}: {r.error}") for r in reports if r.error))
    if dry_run:
        note("dry run: nothing was written")


def _cells(report: RunReport) -> list[str]:
    took = (report.finished or report.started) - report.started
    return [
        str(report.outcome or "open"),
        *(f"{getattr(report.counts, name):,}" for name in SHOWN),
        "-" if report.quality is None else f"{report.quality:.1f}",
        duration(took / 1e6),
    ]


def markdown(reports: Sequence[RunReport]) -> str:
    """The same as a Markdown table, for a job summary."""
    heads = ["source", "outcome", *SHOWN, "score", "took"]
    lines = ["## Sensor loader", "", "| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join([r.source, *_cells(r)]) + " |" for r in reports]
    lines += ["", *(f"- **{r.source}**: {_escaped(r.error)}" for r in reports if r.error)]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")

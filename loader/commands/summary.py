"""What runs did, for people and for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from loader.commands.output import Column, clean, document, iso, line, note, number, plural, table, tenth
from loader.commands.progress import duration
from loader.errors import LoaderError
from loader.readings import Hole
from loader.records import Outcome, Quarantined, RunReport

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Reports

SHOWN = ("new", "revised", "late", "missing", "suspect", "failed", "quarantined", "vanished", "requests")
"""The counts that a summary shows; `--json` has all of them."""

LISTED = 10
"""Holes of one source, and rules of quarantined records, that a Markdown summary lists."""

LOOKED_AT = 1000
"""Quarantined records that are read for a Markdown summary: each may be 64 kB."""

TEXT = 300
"""Characters of a text from outside in a Markdown summary: a job's page takes 1 MiB in all."""

_MARKUP = re.compile(r"[\\`*_\[\]<>&|~#!$@:.]")


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
        tenth(report.quality),
        duration(took / 1e6),
    ]


def page(context: Context, reports: Sequence[RunReport], *, dry_run: bool = False) -> str:
    """Markdown with what the store knows of the runs' sources; without that where it cannot be read."""
    with suppress(LoaderError):
        return markdown(reports, context.store(), dry_run=dry_run)
    return markdown(reports, dry_run=dry_run)


def markdown(reports: Sequence[RunReport], store: Reports | None = None, *, dry_run: bool = False) -> str:
    """The same in Markdown, for a job's page: outcome and counts, the score and what it is made of,
    holes, quarantined records by rule, and what to do next.

    Without a store neither holes nor rules are known. Raises what reading the store raises.
    """
    outcomes = dict.fromkeys(str(r.outcome or "open") for r in reports)
    parts = [f"## Sensor loader: {', '.join(outcomes) or 'nothing could run'}"]
    if dry_run:
        parts.append("A dry run: nothing was written.")
    if reports:
        parts.append(_grid(["source", "outcome", *SHOWN, "score", "took"], _counted(reports)))
        parts += [f"- **{_plain(r.source)}**: {_plain(r.error)}" for r in reports if r.error]
        parts += ["### Score", _grid(_SCORE_HEADS, map(_scored, reports))]
    steps: list[str] = []
    for report in reports:
        holes = [] if store is None else _holes(store, report.source)
        rejected = [] if store is None or dry_run else _rejected(store, report)
        parts += _holes_part(report.source, holes) + _rejected_part(report, rejected)
        steps += _next_steps(report, [hole for _, hole in holes])
    if not reports:
        steps = ["`loader check` says why."]
    parts += ["### Next", "\n".join(f"- {step}" for step in steps or ["Nothing to do."])]
    return "\n\n".join(parts) + "\n\n"


_SCORE_HEADS = ["source", "score", "completeness", "validity", "timeliness", "uniqueness", "consistency"]


def _counted(reports: Sequence[RunReport]) -> Iterator[list[str]]:
    for report in reports:
        yield [_plain(report.source), *_cells(report)]


def _scored(report: RunReport) -> list[str]:
    """Each component as a share, with the counts that it is made of."""
    from loader.quality.score import components

    counts, shares = report.counts, components(report.counts)
    said = (
        (shares.completeness, f"{counts.observed:,} of {counts.due:,} due"),
        (shares.validity, f"{counts.suspect + counts.failed:,} flagged"),
        (shares.timeliness, f"{counts.late:,} late"),
        (shares.uniqueness, f"{counts.duplicate:,} repeated"),
        (
            shares.consistency,
            f"{counts.inconsistent:,} in another unit, off the cadence or from another place",
        ),
    )
    cells = ["-" if share is None else f"{tenth(100 * share)} % ({why})" for share, why in said]
    return [_plain(report.source), tenth(report.quality), *cells]


def _holes(store: Reports, source: str) -> list[tuple[str, Hole]]:
    """(partition, hole), the newest first."""
    found = [(state.name, hole) for state in store.partitions(source) for hole in state.holes]
    return sorted(found, key=lambda one: one[1].window.end, reverse=True)


def _holes_part(source: str, holes: Sequence[tuple[str, Hole]]) -> list[str]:
    if not holes:
        return []
    rows = [
        [
            _plain(partition),
            iso(hole.window.start),
            iso(hole.window.end),
            _plain(hole.cause),
            number(hole.tries),
            "given up" if hole.next_try is None else iso(hole.next_try),
        ]
        for partition, hole in holes[:LISTED]
    ]
    return [
        f"### {_plain(source)}: {plural(len(holes), 'hole')}",
        _grid(["partition", "from", "to", "cause", "tries", "next try"], rows),
        *_more(len(holes), f"loader gaps --source {source}"),
    ]


def _rejected(store: Reports, report: RunReport) -> list[Quarantined]:
    """What the run quarantined, the newest first; at most LOOKED_AT records."""
    if not report.counts.quarantined:
        return []
    return [q for q in store.quarantined(report.source, LOOKED_AT) if q.last_seen >= report.started]


def _rejected_part(report: RunReport, rejected: Sequence[Quarantined]) -> list[str]:
    if not rejected:
        return []
    rules: dict[str, list[Quarantined]] = {}
    for record in rejected:
        rules.setdefault(record.rule, []).append(record)
    largest = sorted(rules.items(), key=lambda one: -len(one[1]))
    rows = [[_plain(rule), number(len(of)), _plain(of[0].reason)] for rule, of in largest[:LISTED]]
    newest = f" (of the newest {LOOKED_AT:,})" if len(rejected) == LOOKED_AT else ""
    return [
        f"### {_plain(report.source)}: quarantined, by rule{newest}",
        _grid(["rule", "records", "reason of the newest"], rows),
        *_more(len(largest), f"loader quarantine list --source {report.source}"),
    ]


def _more(count: int, command: str) -> list[str]:
    return [f"{count - LISTED:,} more: `{command}`"] if count > LISTED else []


def _next_steps(report: RunReport, holes: Sequence[Hole]) -> Iterator[str]:
    source, counts = report.source, report.counts
    given_up = sum(hole.next_try is None for hole in holes)
    if report.outcome is Outcome.FAILED:
        yield f"`loader check --source {source}` looks at its connection, its key and the store."
    elif report.outcome is Outcome.SKIPPED:
        yield f"{_plain(source)}: another loader was at work; the next run reads what is left."
    elif report.outcome is Outcome.INTERRUPTED:
        yield f"{_plain(source)}: nothing is lost; the next run continues."
    if len(holes) > given_up:
        yield (
            f"{_plain(source)}: {plural(len(holes) - given_up, 'hole')} will be tried again without your "
            f"doing; `loader run --source {source} --retry-holes` tries now."
        )
    if given_up:
        yield (
            f"{_plain(source)}: {plural(given_up, 'hole')} given up; `loader gaps --source {source}` says "
            f"why, and `loader run --source {source} --retry-holes` tries again once that is mended."
        )
    if counts.quarantined:
        yield (
            f"`loader quarantine list --source {source}` shows the rejected records; "
            f"`loader quarantine replay --source {source}` tries them again, after an update or a change "
            "of the configuration."
        )
    if counts.observed < counts.due:
        yield f"`loader gaps --source {source} --since 7d` says of each missing reading why."


def _grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """Text from outside as it will be read: on one line, of bounded length, without markup or links."""
    text = clean(" ".join(text.split()))
    if len(text) > TEXT:
        text = text[: TEXT - 1] + "…"
    return _MARKUP.sub(r"\\\g<0>", text)

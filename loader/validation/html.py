"""Text and tables of a page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

LONGEST = 160
"""Names from files may have so many letters on a page."""

SHORT = 48
"""Names that have no more letters stand on one line."""


def text(anything: str, most: int = LONGEST) -> str:
    """Text from anywhere, safe in HTML: what is too long is cut, and characters that would move or
    turn round what stands beside them are replaced."""
    if len(anything) > most:
        anything = anything[: most - 1] + "…"
    if not anything.isprintable():
        anything = "".join(c if c.isprintable() else "\ufffd" for c in anything)
    return escape(anything)


def name(anything: str) -> str:
    """A name, which may be written from right to left without disturbing what stands beside it."""
    return f"<bdi{' class=s' * (len(anything) <= SHORT)}>{text(anything)}</bdi>"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """Cells are HTML already; those in columns `numeric` stand on the right."""

    def line(cells: Sequence[str], tag: str, scope: str = "") -> str:
        marked = (f"<{tag}{scope}{' class=n' * (i in numeric)}>{c}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    head = line(titles, "th", " scope=col")
    return (
        f"<div class=wide tabindex=0><table><thead>{head}</thead><tbody>\n{body}\n</tbody></table></div>\n"
    )


def bar(share: float | None, kind: str = "came") -> str:
    """A small bar that is filled so far."""
    if share is None:
        return ""
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="due" width="100" height="8"/>'
        f'<rect class="{kind}" width="{100 * min(max(share, 0.0), 1.0):.1f}" height="8"/></svg>'
    )

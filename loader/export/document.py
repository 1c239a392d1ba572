"""Readings as one text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from loader.contracts import Reports
from loader.export.cells import cell
from loader.export.extras import Extras
from loader.export.layout import Long, Wide, order_of
from loader.export.order import ordered
from loader.export.style import Form, Layout, Style
from loader.readings import Window
from loader.records import StoredSeries


def export(
    reports: Reports, series: Sequence[StoredSeries], window: Window, style: Style
) -> Iterator[bytes]:
    """UTF-8 text of the readings of `series` in `window` (start, end], in pieces of bounded size.

    CSV has a header row, CRLF line ends and is quoted as RFC 4180 asks; JSON is one array, NDJSON
    an object a line. Missing values are an empty cell or null. Whatever the store raises passes.
    Scores are made on the way: the same reading has the same one however the window is cut.
    """
    filled = sorted((s for s in series if s.first_time is not None), key=order_of)
    csv = style.form is Form.CSV
    layout = Wide(filled, style) if style.layout is Layout.WIDE else Long(style)
    if csv:
        yield (",".join(map(cell, layout.header)) + "\r\n").encode()
    opening = "[\n"
    end = "\r\n" if csv else "\n"
    for _, members in groupby(filled, key=lambda s: (s.source, s.series.station)):
        station = list(members)
        extras = Extras(reports, station, window, style)
        places = reports.places([s.id for s in station]) if layout.placed else {}
        for block in ordered(reports, station, window, layout.rows):
            rows = layout.write(station, places, block, extras.columns(block))
            if style.form is Form.JSON:
                yield (opening + ",\n".join(rows)).encode()
                opening = ",\n"
            else:
                yield (end.join(rows) + end).encode()
    if style.form is Form.JSON:
        yield b"[]\n" if opening == "[\n" else b"\n]\n"

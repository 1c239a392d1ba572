"""What is told of each reading beside its value and flag, as texts of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from loader.contracts import Reports
from loader.export.cells import cell, numbers, quoted
from loader.export.style import Extra, Form, Style
from loader.readings import Float64, Readings, Window
from loader.records import StoredSeries

if TYPE_CHECKING:
    from loader.scores import Track


class Extras:
    """The extra columns of one station's readings, block by block in order of time.

    A reading that was not judged (it is missing or flagged, or there is too little to judge it by)
    has neither score nor alert.
    """

    def __init__(
        self, reports: Reports, station: Sequence[StoredSeries], window: Window, style: Style
    ) -> None:
        self._reports = reports
        self._station = station
        self._start = window.start
        self._style = style
        self._tracks: Mapping[int, Track] = {}

    def columns(self, block: Readings) -> list[list[str]]:
        """For each of `style.extras` a text for each reading."""
        csv = self._style.form is Form.CSV
        empty, yes, no = ("", "1", "0") if csv else ("null", "true", "false")
        texts: dict[Extra, list[str]] = {}
        if {Extra.ZSCORE, Extra.ALERT} & set(self._style.extras):
            from loader.quality.anomaly import DETECTORS, anomalous

            detector = DETECTORS["robust_zscore"]
            scores = self._scores(block)
            texts[Extra.ZSCORE] = numbers(scores.tolist(), empty)
            said = np.where(np.isnan(scores), empty, np.where(anomalous(detector, scores), yes, no))
            texts[Extra.ALERT] = said.tolist()
        if Extra.TESTS in self._style.extras:
            tests, which = np.unique(block.tests, return_inverse=True)
            known = [_names(int(bits), csv) for bits in tests]
            texts[Extra.TESTS] = [known[i] for i in which.tolist()]
        return [texts[extra] for extra in self._style.extras]

    def _scores(self, block: Readings) -> Float64:
        from loader.quality.anomaly import DETECTORS
        from loader.scores import tracks

        if not self._tracks:
            start = max(self._start, int(block.time[0]) - 1)
            self._tracks = tracks(self._reports, self._station, start, DETECTORS["robust_zscore"])
        scores = np.empty(len(block))
        for position in np.unique(block.series).tolist():
            here = block.series == position
            its = block.take(here)
            track = self._tracks[self._station[position].id]
            scores[here] = track.judge(its.time, its.value, its.flag).score
        return scores


def _names(tests: int, csv: bool) -> str:
    from loader.quality.checks import check_names

    names = check_names(tests)
    return cell(",".join(names)) if csv else f"[{','.join(map(quoted, names))}]"

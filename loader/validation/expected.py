"""How often a series reports, what was due of it, and what came. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from loader import gaps
from loader.findings import QualityDay
from loader.quality.cadence import PERIODS, STEPS, Episode, learn, stretches
from loader.readings import SECOND, Int64, Readings, Window
from loader.validation.result import SHOWN_GAPS, Gaps

AT_ONCE = 250_000
"""So many stamps are learned from together."""

DaysOf = Callable[[Readings, Sequence[Episode], Int64], Sequence[QualityDay]]
"""The quality of one series' days, from its readings in ascending time, its cadences, and the times
from which it has been at another place."""


def cadences_of(times: Int64, set_s: float | None) -> tuple[Episode, ...]:
    """(from when, seconds) of a piece: what is set, else what is learned, else for short series the
    distance that most of their readings have."""
    if set_s is not None:
        return ((int(times[0]) - 1, set_s),)
    learned: tuple[Episode, ...] = ()
    for end in range(0, len(times), AT_ONCE):
        # What is known by then is all that the stamps before tell; see `learn`.
        begin = max(end - STEPS, 0)
        if begin and learned:
            longest = round(PERIODS * max(s for _, s in learned) * SECOND)
            begin = int(np.searchsorted(times, times[begin - 1] - longest))
        learned = learn(times[begin : end + AT_ONCE], None, learned)
    if learned:
        return learned
    step = np.diff(times)
    if len(step) < 2:
        return ()
    middle = float(np.median(step))
    usual = np.abs(step - middle) <= middle / 10
    return ((int(times[0]) - 1, middle / SECOND),) if 2 * np.count_nonzero(usual) > len(step) else ()


class Expected:
    """What was due of one series, and what came of it, piece by piece."""

    def __init__(self, days_of: DaysOf) -> None:
        self._days_of = days_of
        self._gaps: list[tuple[Window, int]] = []
        self.days: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self.inconsistent = 0

    def add(self, readings: Readings, cadences: Sequence[Episode], moves: Int64) -> None:
        """Count a piece."""
        for day in self._days_of(readings, cadences, moves):
            due, observed = self.days[day.day]
            self.days[day.day] = (due + day.due, observed + day.observed)
            self.inconsistent += day.inconsistent
        time = readings.time
        whole = Window(int(time[0]) - 1, int(time[-1]))
        for window, cadence_s in stretches(whole, cadences, cadences[0][1] if cadences else None):
            for gap in gaps.find(time, cadence_s, window):
                self._gaps.append((gap.window, gap.missing))

    def gaps(self) -> Gaps:
        longest = sorted(self._gaps, key=lambda g: (-g[1], g[0].start))[:SHOWN_GAPS]
        return Gaps(len(self._gaps), sum(missing for _, missing in self._gaps), tuple(longest))

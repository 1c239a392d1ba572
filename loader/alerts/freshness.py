"""Which stations send nothing new any more. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from loader import lateness
from loader.alerts.wording import moment
from loader.readings import DAY, SECOND, PartitionState
from loader.records import StoredSeries
from loader.schedule import Every, Timetable, coming

USUAL_CADENCE_S = 3600.0
"""Taken for a station none of whose series has a known cadence."""

DUES = 8
"""So many coming runs show how far apart an irregular timetable puts them: a week of days."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A station without news since `newest`, overdue since `overdue_at`."""

    station: str
    newest: int
    overdue_at: int
    text: str


def interval(timetable: Timetable, now: int) -> int:
    """How far apart runs are at most."""
    if isinstance(timetable, Every):
        return timetable.interval
    dues = [timetable.after(now - now % DAY - DAY)]
    dues += coming(timetable, dues[0], DUES)
    return max(b - a for a, b in pairwise(dues))


def silent(
    partitions: Sequence[PartitionState],
    series: Sequence[StoredSeries],
    *,
    timetable: Timetable,
    lookback_min: int,
    times: float,
    now: int,
) -> list[Silence]:
    """Stations whose newest reading is older than `times` schedules, and than `times` cadences and
    the delay that readings usually have. A station that never sent any counts from its discovery."""
    schedule = round(times * interval(timetable, now))
    whole = lateness.quantile(lateness.add(p.delays for p in partitions))
    usual = lookback_min if whole is None else whole
    of: dict[str, tuple[list[PartitionState], list[StoredSeries]]] = {}
    for state in partitions:
        of.setdefault(state.station, ([], []))[0].append(state)
    for one in series:
        if one.series.station in of:
            of[one.series.station][1].append(one)
    found = []
    for station, (states, its) in sorted(of.items()):
        newest = max((s.last_time for s in its if s.last_time is not None), default=None)
        base = min(s.discovered_at for s in states) if newest is None else newest
        if now - base <= schedule:
            continue
        cadence = min((s.series.cadence_s for s in its if s.series.cadence_s), default=USUAL_CADENCE_S)
        own = lateness.quantile(lateness.add(s.delays for s in states))
        late = usual if own is None else own
        allowed = max(schedule, round(times * cadence * SECOND) + late)
        if now - base > allowed:
            text = "has never sent a reading" if newest is None else f"newest reading {moment(newest)}"
            found.append(Silence(station, base, base + allowed, text))
    return found

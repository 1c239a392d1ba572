"""Readings in the order of their times, each once; what repeats and what contradicts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from loader.readings import Bool, Int32, Int64, Readings, UInt32
from loader.validation.files import Collected
from loader.validation.result import Repeats
from loader.validation.shelf import Portion
from loader.validation.trouble import KEPT, Trouble


@dataclass(frozen=True, slots=True, eq=False)
class Sorted:
    """Readings in the order (piece, time), each once. `begin` and `end` are the rows of each piece,
    `series` its series."""

    readings: Readings
    line: UInt32
    part: Int32
    place: Int32
    begin: Int64
    end: Int64
    series: Int64
    repeats: Mapping[int, Repeats]
    contradictions: list[Trouble]


def in_order(read: Collected, portion: Portion) -> Sorted:
    """Sort, and drop what repeats: of several readings with one key the last one counts."""
    readings = portion.readings
    # In a sample every part is a piece; else parts are files, which together are one.
    sampled = np.array([read.files[file].sampled for file, _ in read.parts], bool)
    whole = np.broadcast_to(np.int32(0), len(readings))
    block = np.where(sampled[portion.part], portion.part + 1, 0) if sampled.any() else whole
    line, part, place = portion.line, portion.part, portion.place
    if not _ascending(readings.series, block, readings.time):
        order = np.lexsort((readings.time, block, readings.series))
        readings, block = readings.take(order), block[order]
        line, part, place = line[order], part[order], place[order]
    piece = _differs(readings.series, block)
    new = piece | _differs(readings.time)
    repeats, contradictions = _repeats(read, readings, line, part, np.flatnonzero(~new))
    if not new.all():
        kept = np.append(new[1:], True)
        # The last of equal keys stands where the first one began a piece.
        piece = piece[new]
        readings, line, part, place = readings.take(kept), line[kept], part[kept], place[kept]
    begin = np.flatnonzero(piece)
    return Sorted(
        readings=readings,
        line=line,
        part=part,
        place=place,
        begin=begin,
        end=np.append(begin[1:], len(readings)),
        series=readings.series[begin].astype(np.int64),
        repeats=repeats,
        contradictions=contradictions,
    )


def _differs(*keys: Any) -> Bool:
    """Which rows differ from the row before."""
    new = np.ones(len(keys[0]), bool)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return new


def _ascending(series: Int32, block: Int32, time: Int64) -> bool:
    """Whether rows that are sorted by series are sorted by block and time, too."""
    back = (block[1:] < block[:-1]) | ((block[1:] == block[:-1]) & (time[1:] < time[:-1]))
    return not (back & (series[1:] == series[:-1])).any()


def _repeats(
    read: Collected, readings: Readings, line: UInt32, part: Int32, at: Int64
) -> tuple[Mapping[int, Repeats], list[Trouble]]:
    """By series what was repeated, where `at` are rows of the same key as the row before; and the
    first ones that contradict the one before."""
    now, before = readings.value[at], readings.value[at - 1]
    same = (now == before) | (np.isnan(now) & np.isnan(before))
    file = np.array([file for file, _ in read.parts], np.int64)[part] if len(at) else part
    near = file[at] == file[at - 1]
    found: dict[int, Repeats] = {}
    series = readings.series[at]
    for index in np.unique(series).tolist():
        mine = series == index
        kinds = (near & same, near & ~same, ~near & same, ~near & ~same)
        found[index] = Repeats(*(int(np.count_nonzero(mine & kind)) for kind in kinds))
    against = at[~same]
    troubles = []
    for i in against[np.lexsort((line[against], part[against]))][:KEPT].tolist():
        one = read.series[int(readings.series[i])]
        paths = [read.files[int(file[i - back])].path for back in (0, 1)]
        where = f"line {line[i - 1]}" if paths[0] == paths[1] else f"{paths[1]}, line {line[i - 1]}"
        values = f"{readings.value[i]:g} stands against {readings.value[i - 1]:g}"
        why = f"{values} for the same time ({where})"
        troubles.append(Trouble(paths[0], int(line[i]), one.parameter, "contradiction", why))
    return found, troubles

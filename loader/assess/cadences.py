"""The cadences of a series, learned as its readings are looked at, in any order of time. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loader.quality.cadence import DIFFERENT, STEPS, Episode, learn
from loader.readings import SECOND, Int64

HEAD = 4 * STEPS
"""So many stamps are tried first."""

NEAR = 0.04
"""A step that differs by less, as a share, says the same as the cadence."""


def learned(stamps: Int64, declared_s: float | None, known: Sequence[Episode]) -> tuple[Episode, ...]:
    """The episodes, now that the series has these stamps (ascending, none left out between them).

    What is known of later time than they prove anything about stays, unless it says the same as the
    episode before it: history may be looked at after what is new.
    """
    episodes = list(_learn(stamps, declared_s, known))
    settled = int(stamps[max(0, len(stamps) - STEPS)]) if len(stamps) else 0
    for later in known:
        if later[0] <= (max(settled, episodes[-1][0]) if episodes else settled):
            continue
        if not episodes or abs(later[1] - episodes[-1][1]) > DIFFERENT * episodes[-1][1]:
            episodes.append(later)
    return tuple(episodes)


def _learn(stamps: Int64, declared_s: float | None, known: Sequence[Episode]) -> tuple[Episode, ...]:
    """`learn`, at once where what is known or the first stamps tell all: most series never change
    their cadence."""
    if known and len(stamps) and known[-1][0] < stamps[0] and _steady(stamps, known[-1][1]):
        return tuple(known)
    if len(stamps) > 2 * HEAD:
        head = learn(stamps[:HEAD], declared_s, known)
        if head and _steady(stamps, head[-1][1]):
            return head
    return learn(stamps, declared_s, known)


def _steady(stamps: Int64, cadence_s: float) -> bool:
    """Whether no stretch of stamps can prove another cadence: in each of `STEPS` steps, more than
    half are this one."""
    step = np.diff(stamps)
    near = np.abs(step - cadence_s * SECOND) <= NEAR * cadence_s * SECOND
    upto = np.concatenate(([0], np.cumsum(near)))
    return bool(np.all(2 * (upto[STEPS:] - upto[:-STEPS]) > STEPS))

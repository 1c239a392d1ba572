"""Values beyond a limit: persistence, hysteresis, levels, and the events of a real store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.alerts.limits import Columns, events
from loader.journal import Severity
from loader.readings import Flag
from loader.settings.alerting import LimitSettings

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def found(
    values: Sequence[float], flags: Sequence[int] | None = None, **settings: Any
) -> list[tuple[Severity, int, int | None, float, int]]:
    """(level, from, to, peak, readings) with a reading an index."""
    chosen = LimitSettings.model_validate({"warning": 35.0, **settings})
    columns = Columns(
        np.arange(len(values), dtype=np.int64),
        np.array(values, np.float64),
        np.array([Flag.GOOD] * len(values) if flags is None else flags, np.uint8),
    )
    made = events(7, columns, chosen.levels, chosen)
    return [(e.level, e.from_time, e.to_time, e.peak, e.readings) for e in made]


def test_two_of_three_begin_it() -> None:
    """One reading alone does not, nor do two too far apart; the limit itself is beyond."""
    assert found([1, 50, 1, 1, 50, 1]) == []
    assert found([1, 35, 36]) == [(WARNING, 2, None, 36, 1)]
    assert found([1, 50, 1, 36]) == [(WARNING, 3, None, 36, 1)]
    assert found([34.99, 34.99, 34.99]) == []


def test_it_ends_when_a_reading_is_back_by_the_hysteresis() -> None:
    """5 % of 35: 33.25 ends it, 33.26 does not."""
    assert found([40, 50, 33.26, 45]) == [(WARNING, 1, None, 50, 2)]
    assert found([40, 50, 45, 33.25]) == [(WARNING, 1, 3, 50, 2)]
    assert found([40, 40, 34.9], hysteresis=0) == [(WARNING, 1, 2, 40, 1)]


def test_readings_before_its_end_do_not_begin_the_next() -> None:
    """After an end it takes two of three anew."""
    assert [e[1:3] for e in found([40, 40, 1, 40, 1, 40])] == [(1, 2), (5, None)]


def test_only_good_and_unevaluated_readings_count() -> None:
    """Suspect, failed and missing ones neither begin, end nor prolong an event."""
    assert found([40, 40, 40], [1, 3, 4]) == []
    assert found([40, 40, 99, 1], [1, 2, 3, 4]) == [(WARNING, 1, None, 40, 1)]
    assert found([40, float("nan"), 40], [1, 1, 1]) == [(WARNING, 2, None, 40, 1)]


def test_both_levels_have_events_of_their_own() -> None:
    """Warning lasts while critical comes and goes within it."""
    made = found([40, 40, 160, 160, 100, 40, 1], critical=150.0)
    assert made == [(CRITICAL, 3, 4, 160, 1), (WARNING, 1, 6, 160, 5)]


def test_limits_from_below() -> None:
    """With `below` low values alarm, and higher ones end it."""
    assert found([9, 8, 10.4, 10.5], warning=10.0, below=True) == [(WARNING, 1, 3, 8, 1)]


def test_a_limit_of_zero_ends_just_inside() -> None:
    """A share of zero is nothing, so that any reading inside ends it."""
    assert [e[1:3] for e in found([1, 1, 0, -0.1], warning=0.0)] == [(1, 3)]


def test_negative_limits_have_their_hysteresis_inside() -> None:
    """Under -10 by 5 % is -9.5, towards what is well."""
    assert [e[1:3] for e in found([-11, -11, -9.6, -9.5], warning=-10.0, below=True)] == [(1, 3)]


@given(
    st.lists(st.floats(-100, 100), max_size=60),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.05, 0.5]),
    st.booleans(),
)
def test_events_keep_their_promises(
    values: list[float], n: int, more: int, hysteresis: float, below: bool
) -> None:
    """They do not overlap, begin and peak beyond the limit, and end back inside."""
    sign = -1 if below else 1
    given_ = {"persistence": (n, n + more), "hysteresis": hysteresis, "below": below, "warning": 20.0}
    made = found(values, **given_)
    last = -1
    for i, (_, start, end, peak, count) in enumerate(made):
        assert start > last
        assert sign * values[start] >= sign * 20
        inside = values[start : end if end is not None else None]
        beyond = [v for v in inside if sign * v >= sign * 20]
        assert peak == (min(beyond) if below else max(beyond))
        assert count == len(beyond)
        if end is None:
            assert i == len(made) - 1
            last = len(values)
        else:
            assert sign * values[end] <= sign * 20 - hysteresis * 20
            last = end
    if not made:
        row = [sign * v >= sign * 20 for v in values]
        assert all(sum(row[max(0, i - n - more + 1) : i + 1]) < n or not row[i] for i in range(len(row)))


def test_limits_for_a_station_win() -> None:
    """A station's own, then the source's, then the parameter's."""
    limits = LimitSettings.model_validate(
        {"warning": 1, "sources": {"s": {"warning": 2}}, "stations": {"st": {"critical": 3}}}
    )
    assert limits.levels_for("s", "st") == {CRITICAL: 3}
    assert limits.levels_for("s", "other") == {WARNING: 2}
    assert limits.levels_for("t", "other") == {WARNING: 1}


def test_limits_in_the_wrong_order_are_refused() -> None:
    """A warning beyond the critical limit is a mistake."""
    with pytest.raises(ValueError, match="exchange them"):
        LimitSettings.model_validate({"warning": 5, "critical": 3})

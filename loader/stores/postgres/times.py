"""Times as the server takes them, and back: microseconds UTC here, timestamptz there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from loader.errors import StoreError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND


def stamp(micros: int | None) -> datetime | None:
    """Microseconds UTC as the driver wants them. Raises StoreError beyond the years 1 to 9999."""
    if micros is None:
        return None
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        raise StoreError(f"time {micros} (microseconds) lies outside the years 1 to 9999") from None


def clamped(micros: int) -> datetime:
    """As `stamp`, but a time beyond what can be stored becomes the last one that can."""
    return EPOCH + timedelta(microseconds=min(max(micros, _FIRST), _LAST))


def stamps(times: npt.ArrayLike) -> str:
    """Microseconds UTC as the server reads an array of times, clamped. A fifth of the work that
    a list of datetimes makes."""
    moments = np.clip(np.asarray(times, np.int64), _FIRST, _LAST).astype("datetime64[us]")
    return "{" + ",".join(np.datetime_as_string(moments, timezone="UTC").tolist()) + "}"


def array(numbers: npt.ArrayLike) -> str:
    """Numbers, truth values and None as the server reads an array of them. A seventh of the work
    that a list makes."""
    return "{" + ",".join("NULL" if n is None else str(n) for n in np.asarray(numbers).tolist()) + "}"


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND


def micros_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)

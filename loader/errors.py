"""The exceptions of the loader.

    LoaderError                 anything we raise on purpose; its text is fit for a user
    |- ConfigError              the user must change the configuration         exit 78
    |- UsageError               the user must change the command line          exit 2
    |- Retryable                may well succeed later: wait, or leave a hole
    |  |- SourceUnavailable     the whole source does not answer
    |  |- PageFailed            one page of one partition does not; it may be bisected
    |  |- StoreUnavailable      the database is away, busy or full
    |  `- Undelivered           a message could not be delivered now
    |- Interrupted              the process was asked to stop while it waited
    |- Refused                  readings fail a rule whose policy is to keep them out
    `- Permanent                trying again as it is cannot help
       |- AccessDenied          the key is missing or refused
       |- NotFound              what was asked for does not exist at the source
       |- StoreError            the store cannot be used: read-only, wrong version, ...
       |- LeaseHeld             another loader is working on this source       exit 75
       `- LeaseLost             another loader has taken this source over

Messages never carry a secret: whoever raises one names the thing, not its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LoaderError(Exception):
    """Anything the loader raises on purpose; `str()` of it is shown to the user as it is."""


class ConfigError(LoaderError):
    """The configuration cannot be used; the text names file, line, column, path and remedy."""


class UsageError(LoaderError):
    """The command line asks for something impossible; the text says what to ask instead."""


class Interrupted(LoaderError):
    """The process was asked to stop while this thread waited; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Objection:
    """A reading that a rule keeps out of the store.

    series  index into the batch's series;  time  microseconds UTC
    rule    the name of the check, as in `quality`;  reason  a sentence with the figures
    stop    its partition is to be read no further, else only the reading is put aside
    """

    series: int
    time: int
    value: float
    rule: str
    reason: str
    stop: bool


class Refused(LoaderError):
    """Readings that were about to be stored fail rules whose policy is not just to flag."""

    def __init__(self, objections: Sequence[Objection]) -> None:
        super().__init__("; ".join(one.reason for one in objections[:3]))
        self.objections = tuple(objections)


class Retryable(LoaderError):
    """What failed may succeed later, unchanged."""


class SourceUnavailable(Retryable):
    """The source as a whole does not answer: stop reading from it in this run."""


class PageFailed(Retryable):
    """One page could not be had, though the source answers.

    `after` is where the page began (microseconds UTC, exclusive); `until` is how far the page
    would have reached at most (inclusive). `bisect` says whether a smaller window may succeed:
    true for a refusal that the content causes (a 500, a body that never decodes), false for a
    page that could not be fetched for want of a connection.
    """

    def __init__(self, message: str, *, after: int, until: int, bisect: bool) -> None:
        super().__init__(message)
        self.after = after
        self.until = until
        self.bisect = bisect


class StoreUnavailable(Retryable):
    """The database is away, busy or full; nothing of the batch was written."""


class Undelivered(Retryable):
    """A message could not be delivered now; `wait_s` is how long the receiver asks to wait."""

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Permanent(LoaderError):
    """Trying again as it is cannot help."""


class AccessDenied(Permanent):
    """The source refuses the key, or wants one."""


class NotFound(Permanent):
    """What was asked for does not exist at the source."""


class StoreError(Permanent):
    """The store cannot be used as it is (read-only, foreign schema, newer version, ...)."""


class LeaseHeld(Permanent):
    """Another loader holds the lease of this source."""


class LeaseLost(Permanent):
    """The lease was taken over by another loader; this one must not write any more."""

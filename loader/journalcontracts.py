"""What a store of the journal promises: small state that processes share without a lease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loader.journal import Alert, Dispatch, Mute, Request, RequestState

WITHDRAWN = "withdrawn before it was delivered"
"""The `error` of a dispatch that was taken back while it waited or was being sent."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`count` requests may be sent now; where it is 0, ask again at `retry_at`."""

    count: int
    retry_at: int


class Journal(Protocol):
    """Small shared state that needs no lease: the request budget, and requests for work.

    Callable from any thread; each call is one short transaction, `tidy` as many as it takes.
    """

    def take(self, key: str, lot: int, limits: Mapping[int, int], reserve: float, now: int) -> Grant:
        """Take up to `lot` requests out of the budget `key`.

        `limits` maps a window's length in seconds to the requests it allows (60 -> 60,
        3600 -> 2000); windows begin at whole multiples of their length since the epoch.
        `reserve` is the share of every limit that must be left for others. Grants what all
        windows have left, at least one, or none and the time to come again.
        """

    def give_back(self, key: str, count: int, taken_at: int) -> None:
        """Return granted requests that were not sent; ignored when their window is over."""

    def block(self, key: str, until: int) -> None:
        """Grant nothing of `key` before `until`: the server said so."""

    def queue(self, source: str, kind: str, arguments: Mapping[str, Any], by: str, at: int) -> int:
        """Ask the holder of the source's lease for work; returns the request's id."""

    def requests(self, source: str | None = None, *, final: bool = True, limit: int = 100) -> list[Request]:
        """Requests, the oldest first: the newest `limit` of all or, without the `final` ones, the
        oldest `limit` of those still open."""

    def request(self, number: int) -> Request | None:
        """One request by its id."""

    def note_request(
        self,
        number: int,
        at: int,
        *,
        state: RequestState | None = None,
        progress: str | None = None,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Write what is not None. `running` sets `started` the first time, a final state sets
        `finished`; a request in a final state does not change any more."""

    def cancel_request(self, number: int, at: int) -> Request | None:
        """Cancel it at once where it is queued, else ask its worker to end it."""

    def tidy(self, before: int) -> dict[str, int]:
        """Delete what was over before `before`, of every source, in bounded transactions; returns
        rows deleted by table.

        That is: messages queued before it and delivered or given up, requests in a final state
        that finished, mutes and limit events that ended before it. A message that announced an
        alert which still lasts stays: by it is known whether its end is to be told. What is open,
        waits or lasts stays however old. Killed midway it is finished by the next call.
        """


class AlertBook(Protocol):
    """Where alerts and the outbox are kept: in the store, or in a file while that is away.

    Callable from any thread, without a lease; each call is one short transaction.
    """

    def alerts(self) -> list[Alert]:
        """Everything that is not well, by key."""

    def record(
        self,
        alerts: Sequence[Alert],
        dispatches: Sequence[Dispatch] = (),
        withdrawn: Sequence[str] = (),
    ) -> None:
        """In one transaction: put each alert in the place of its row (`ok` deletes the row), give
        up what waits in the outbox of the `withdrawn` notices, with the error WITHDRAWN, and add
        to the outbox.

        A (notice, channel) that is there already, whatever became of it, is not added again. What
        somebody is sending at this moment is withdrawn too; where it arrives all the same,
        `settle` notes that.
        """

    def claim(self, now: int, hold: int, limit: int = 50) -> list[Dispatch]:
        """Dispatches that are due, the oldest first. Their next try moves to `now + hold` (a
        duration), so that no other process sends them meanwhile."""

    def settle(
        self,
        notice: str,
        channel: str,
        *,
        delivered_at: int | None = None,
        next_try: int | None = None,
        error: str | None = None,
    ) -> None:
        """Note how an attempt ended: delivered, to be tried again, or (neither) given up. It counts
        as one more of the `tries`.

        What was delivered stays so. What was given up or withdrawn is not tried again, but may
        still become delivered. Where nothing changes, or nothing is known of the dispatch, the
        attempt is not counted either.
        """

    def delivered(self, notices: Sequence[str]) -> set[str]:
        """Which of these notices have reached somebody through any channel."""

    def dispatches(self, limit: int) -> list[Dispatch]:
        """The newest first."""

    def mutes(self, now: int) -> list[Mute]:
        """Those that still hold, by source."""

    def mute(self, mute: Mute) -> None:
        """Mute a source; replaces an earlier mute of it."""

    def unmute(self, source: str) -> bool:
        """End a mute; false where there was none."""

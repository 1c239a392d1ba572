"""Alerts, the messages about them, and mutes: each change one short transaction, without a lease."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from loader.journal import Alert, Dispatch, Mute, Notice, Phase, Severity
from loader.journalcontracts import WITHDRAWN
from loader.sqltext import storable
from loader.stores.sqlite.database import SQL
from loader.stores.sqlite.journal import JournalConnection, as_json


class SQLiteAlertBook(JournalConnection):
    """What is not well, and what is told about it."""

    def alerts(self) -> list[Alert]:
        with self._database.reading() as connection:
            return [_alert(row) for row in connection.execute(SQL["alerts"])]

    def record(
        self,
        alerts: Sequence[Alert],
        dispatches: Sequence[Dispatch] = (),
        withdrawn: Sequence[str] = (),
    ) -> None:
        well = [a.key for a in alerts if a.phase is Phase.OK]
        bad = [_alert_row(a) for a in alerts if a.phase is not Phase.OK]
        queued = [_dispatch_row(d) for d in dispatches]
        with self._entry() as connection:
            connection.executemany(SQL["drop_alert"], well)
            connection.executemany(SQL["put_alert"], bad)
            connection.executemany(SQL["withdraw"], [(WITHDRAWN, number) for number in withdrawn])
            connection.executemany(SQL["add_dispatch"], queued)

    def claim(self, now: int, hold: int, limit: int = 50) -> list[Dispatch]:
        # Asked often and mostly in vain: that must not wait for a commit under way.
        with self._database.reading() as connection:
            if connection.execute(SQL["is_due"], (now,)).fetchone() is None:
                return []
        until = now + hold
        with self._entry() as connection:
            due = connection.execute(SQL["due_dispatches"], (now, limit)).fetchall()
            connection.executemany(SQL["hold_dispatch"], [(until, row[0]) for row in due])
        return [
            _dispatch((message, channel, queued_at, until, *rest))
            for _, message, channel, queued_at, _, *rest in due
        ]

    def settle(
        self,
        notice: str,
        channel: str,
        *,
        delivered_at: int | None = None,
        next_try: int | None = None,
        error: str | None = None,
    ) -> None:
        ended = {
            "notice": notice,
            "channel": channel,
            "delivered_at": delivered_at,
            "next_try": next_try if delivered_at is None else None,
            "error": None if error is None else storable(error),
        }
        with self._entry() as connection:
            connection.execute(SQL["settle_dispatch"], ended)

    def delivered(self, notices: Sequence[str]) -> set[str]:
        with self._database.reading() as connection:
            return {number for (number,) in connection.execute(SQL["delivered"], (json.dumps([*notices]),))}

    def dispatches(self, limit: int) -> list[Dispatch]:
        with self._database.reading() as connection:
            return [_dispatch(row) for row in connection.execute(SQL["newest_dispatches"], (limit,))]

    def mutes(self, now: int) -> list[Mute]:
        with self._database.reading() as connection:
            return [Mute(*row) for row in connection.execute(SQL["mutes"], (now,))]

    def mute(self, mute: Mute) -> None:
        row = (mute.source, mute.until, storable(mute.reason), storable(mute.by), mute.at)
        with self._entry() as connection:
            connection.execute(SQL["put_mute"], row)

    def unmute(self, source: str) -> bool:
        with self._entry() as connection:
            return connection.execute(SQL["drop_mute"], (source,)).rowcount > 0


def _alert_row(alert: Alert) -> tuple[Any, ...]:
    return (
        *alert.key,
        alert.phase,
        alert.severity,
        alert.count,
        alert.since,
        alert.updated,
        alert.alerted_at,
        alert.sent,
        alert.last_sent,
        alert.notice,
        storable(alert.cause),
        alert.value,
        storable(alert.detail),
    )


def _alert(row: Sequence[Any]) -> Alert:
    source, rule, subject, phase, severity, *rest = row
    return Alert(source, rule, subject, Phase(phase), Severity(severity), *rest)


def _dispatch_row(dispatch: Dispatch) -> tuple[Any, ...]:
    return (
        dispatch.notice.id,
        dispatch.channel,
        as_json(asdict(dispatch.notice)),
        dispatch.queued_at,
        dispatch.next_try,
        dispatch.tries,
        dispatch.delivered_at,
        None if dispatch.error is None else storable(dispatch.error),
    )


def _dispatch(row: Sequence[Any]) -> Dispatch:
    message, *rest = row
    return Dispatch(Notice.of(json.loads(message)), *rest)

"""Alerts, the outbox and mutes in PostgreSQL: each call one short transaction, from any thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2.extras import execute_batch

from loader.journal import Alert, Dispatch, Mute, Notice, Phase, Severity
from loader.journalcontracts import WITHDRAWN
from loader.sqltext import storable
from loader.stores.postgres import jsontext
from loader.stores.postgres.session import SQL, Cursor, Sessions
from loader.stores.postgres.times import micros, micros_or_none, stamp


class PostgresAlertBook:
    """What is not well, the messages about it, and who is muted."""

    _sessions: Sessions

    def alerts(self) -> list[Alert]:
        # Sorted here, so that the order does not hang on the database's collation.
        return sorted((_alert(row) for row in self._fetch("alerts", {})), key=lambda alert: alert.key)

    def record(
        self,
        alerts: Sequence[Alert],
        dispatches: Sequence[Dispatch] = (),
        withdrawn: Sequence[str] = (),
    ) -> None:
        # In one order, so that two do not deadlock.
        states = sorted({a.key: a for a in alerts}.values(), key=lambda a: a.key)
        well = [_state(alert) for alert in states if alert.phase is Phase.OK]
        bad = [_state(alert) for alert in states if alert.phase is not Phase.OK]
        rows = [_dispatch_row(d) for d in sorted(dispatches, key=lambda d: (d.notice.id, d.channel))]
        notices = [storable(notice) for notice in withdrawn]

        def work(cursor: Cursor) -> None:
            execute_batch(cursor, SQL["drop_alert"], well)
            execute_batch(cursor, SQL["put_alert"], bad)
            if notices:
                cursor.execute(SQL["withdraw"], {"notices": notices, "error": WITHDRAWN})
            execute_batch(cursor, SQL["put_dispatch"], rows)

        self._sessions.run(work)

    def claim(self, now: int, hold: int, limit: int = 50) -> list[Dispatch]:
        parameters = {"now": stamp(now), "until": stamp(now + hold), "limit": limit}
        return [_dispatch(row) for row in self._fetch("claim", parameters)]

    def settle(
        self,
        notice: str,
        channel: str,
        *,
        delivered_at: int | None = None,
        next_try: int | None = None,
        error: str | None = None,
    ) -> None:
        """As promised by `AlertBook`. What has been delivered stays so, whatever comes of a second
        attempt that was under way at the same time."""
        parameters: dict[str, object] = {
            "notice": storable(notice),
            "channel": storable(channel),
            "delivered_at": stamp(delivered_at),
            "next_try": None if delivered_at is not None else stamp(next_try),
            "error": None if error is None else storable(error),
        }

        def work(cursor: Cursor) -> None:
            # Seen once only: an attempt counts once, though a COMMIT whose answer was lost is repeated.
            if "tries" not in parameters:
                cursor.execute(SQL["tries_of"], parameters)
                found = cursor.fetchone()
                if found is None:
                    return
                parameters["tries"] = found[0]
            cursor.execute(SQL["settle"], parameters)

        self._sessions.run(work)

    def delivered(self, notices: Sequence[str]) -> set[str]:
        asked = {storable(notice): notice for notice in notices}
        return {asked[number] for (number,) in self._fetch("delivered", {"notices": list(asked)})}

    def dispatches(self, limit: int) -> list[Dispatch]:
        return [_dispatch(row) for row in self._fetch("dispatches", {"limit": limit})]

    def mutes(self, now: int) -> list[Mute]:
        found = [
            Mute(source, micros(until), reason, by, micros(at))
            for source, until, reason, by, at in self._fetch("mutes", {"now": stamp(now)})
        ]
        return sorted(found, key=lambda mute: mute.source)

    def mute(self, mute: Mute) -> None:
        parameters = {
            "source": storable(mute.source),
            "until": stamp(mute.until),
            "reason": storable(mute.reason),
            "by": storable(mute.by),
            "at": stamp(mute.at),
        }
        self._sessions.run(lambda cursor: cursor.execute(SQL["put_mute"], parameters))

    def unmute(self, source: str) -> bool:
        def work(cursor: Cursor) -> bool:
            cursor.execute(SQL["drop_mute"], {"source": storable(source)})
            return cursor.rowcount > 0

        return self._sessions.run(work)

    def _fetch(self, query: str, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        def work(cursor: Cursor) -> list[tuple[Any, ...]]:
            cursor.execute(SQL[query], parameters)
            return cursor.fetchall()

        return self._sessions.run(work)


def _state(alert: Alert) -> dict[str, object]:
    return {
        "source": storable(alert.source),
        "rule": storable(alert.rule),
        "subject": storable(alert.subject),
        "phase": alert.phase,
        "severity": alert.severity,
        "count": alert.count,
        "since": stamp(alert.since),
        "updated": stamp(alert.updated),
        "alerted_at": stamp(alert.alerted_at),
        "sent": alert.sent,
        "last_sent": stamp(alert.last_sent),
        "notice": None if alert.notice is None else storable(alert.notice),
        "cause": storable(alert.cause),
        "value": alert.value,
        "detail": storable(alert.detail),
    }


def _alert(row: tuple[Any, ...]) -> Alert:
    source, rule, subject, phase, severity, count, since, updated, alerted_at, sent, last_sent, *rest = row
    notice, cause, value, detail = rest
    return Alert(
        source=source,
        rule=rule,
        subject=subject,
        phase=Phase(phase),
        severity=Severity(severity),
        count=count,
        since=micros(since),
        updated=micros(updated),
        alerted_at=micros_or_none(alerted_at),
        sent=sent,
        last_sent=micros_or_none(last_sent),
        notice=notice,
        cause=cause,
        value=value,
        detail=detail,
    )


def _dispatch_row(dispatch: Dispatch) -> dict[str, object]:
    return {
        "notice": storable(dispatch.notice.id),
        "channel": storable(dispatch.channel),
        "message": jsontext.encode(dispatch.notice),
        "queued_at": stamp(dispatch.queued_at),
        "next_try": stamp(dispatch.next_try),
        "tries": dispatch.tries,
        "delivered_at": stamp(dispatch.delivered_at),
        "error": None if dispatch.error is None else storable(dispatch.error),
    }


def _dispatch(row: tuple[Any, ...]) -> Dispatch:
    message, channel, queued_at, next_try, tries, delivered_at, error = row
    return Dispatch(
        notice=Notice.of(message),
        channel=channel,
        queued_at=micros(queued_at),
        next_try=micros_or_none(next_try),
        tries=tries,
        delivered_at=micros_or_none(delivered_at),
        error=error,
    )

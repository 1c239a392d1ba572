"""Requests for work in PostgreSQL: each call one short transaction, from any thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loader.journal import Request, RequestState
from loader.sqltext import storable
from loader.stores.postgres import jsontext
from loader.stores.postgres.session import SQL, Cursor, Sessions, one
from loader.stores.postgres.times import micros, micros_or_none, stamp


class PostgresRequests:
    """What commands ask of whoever holds a source's lease."""

    _sessions: Sessions

    def queue(self, source: str, kind: str, arguments: Mapping[str, Any], by: str, at: int) -> int:
        parameters = {
            "source": storable(source),
            "kind": storable(kind),
            "arguments": jsontext.encode(dict(arguments)),
            "by": storable(by),
            "at": stamp(at),
        }
        made: int | None = None

        def work(cursor: Cursor) -> int:
            nonlocal made
            # There already where the connection was lost during an earlier COMMIT that arrived.
            if made is None or _one(cursor, made) is None:
                cursor.execute(SQL["queue_request"], parameters)
                made = int(one(cursor)[0])
            return made

        return self._sessions.run(work)

    def requests(self, source: str | None = None, *, final: bool = True, limit: int = 100) -> list[Request]:
        query = SQL["newest_requests" if final else "open_requests"]

        def work(cursor: Cursor) -> list[Request]:
            cursor.execute(query, {"source": source, "limit": limit})
            return sorted((_request(row) for row in cursor), key=lambda request: request.id)

        return self._sessions.run(work)

    def request(self, number: int) -> Request | None:
        return self._sessions.run(lambda cursor: _one(cursor, number))

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
        parameters = {
            "id": number,
            "at": stamp(at),
            "state": state,
            "final": state is not None and state.final,
            "progress": None if progress is None else storable(progress),
            "result": None if result is None else jsontext.encode(dict(result)),
            "error": None if error is None else storable(error),
        }
        self._sessions.run(lambda cursor: cursor.execute(SQL["note_request"], parameters))

    def cancel_request(self, number: int, at: int) -> Request | None:
        def work(cursor: Cursor) -> Request | None:
            cursor.execute(SQL["cancel_request"], {"id": number, "at": stamp(at)})
            return _one(cursor, number)

        return self._sessions.run(work)


def _one(cursor: Cursor, number: int) -> Request | None:
    cursor.execute(SQL["one_request"], {"id": number})
    row = cursor.fetchone()
    return None if row is None else _request(row)


def _request(row: tuple[Any, ...]) -> Request:
    number, source, kind, arguments, by, queued, state, started, finished, *rest = row
    progress, result, error, cancelling = rest
    return Request(
        id=number,
        source=source,
        kind=kind,
        arguments=arguments,
        asked_by=by,
        queued_at=micros(queued),
        state=RequestState(state),
        started=micros_or_none(started),
        finished=micros_or_none(finished),
        progress=progress,
        result=result,
        error=error,
        cancelling=cancelling,
    )

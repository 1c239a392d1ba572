"""How often the herald has the journal tidied."""

from __future__ import annotations

from pathlib import Path

from loader.alerts.centre import Centre
from loader.herald import JOURNAL_KEEP, Audience, Herald
from loader.journal import RequestState
from loader.metrics import Metrics
from loader.readings import DAY, SECOND
from loader.settings.alerting import AlertSettings
from loader.stores.sqlite import SQLiteStore

START = 1_800_000_000_000_000


def test_the_journal_is_tidied_once_a_day(tmp_path: Path) -> None:
    """At the first round, and again a day later; what is over stays for the time that is kept."""
    now = START

    def clock() -> int:
        return now

    def opened() -> SQLiteStore:
        store = SQLiteStore(tmp_path / "loader.db", clock)
        store.migrate()
        return store

    def requests() -> int:
        return len(store.requests())

    def ended(at: int) -> None:
        number = store.queue("src", "backfill", {}, "somebody", at)
        store.note_request(number, at, state=RequestState.DONE)

    store = opened()
    centre = Centre(
        watched={},
        settings=AlertSettings(),
        limits={},
        channels={},
        spool=tmp_path / "spool",
        disk=None,
        clock=clock,
    )
    herald = Herald(Audience(centre, None, opened, lambda _: None), Metrics([]), list, clock)
    try:
        ended(START - JOURNAL_KEEP - SECOND)
        ended(START - JOURNAL_KEEP + SECOND)
        herald.round(1.0)
        assert requests() == 1
        now = START + DAY - SECOND
        herald.round(1.0)
        assert requests() == 1
        now = START + DAY
        herald.round(1.0)
        assert requests() == 0
    finally:
        herald.close()
        store.close()

"""OpenAQ, the open archive of the world's air quality, by version 3 of its API."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from loader.sources.openaq.settings import OpenAQSettings

if TYPE_CHECKING:
    from loader.contracts import Budget, Clock
    from loader.http import Http
    from loader.journalcontracts import Journal
    from loader.sources.openaq.source import OpenAQ

__all__ = ["OpenAQSettings", "build", "connect"]


def connect(settings: OpenAQSettings, *, budget: Budget, clock: Clock, stop: threading.Event) -> Http:
    """An HTTP session to the configured server, with the key where there is one.

    Raises ConfigError for an address that cannot be used.
    """
    from loader.http import Http, Limits
    from loader.readings import SECOND

    key = settings.key
    return Http(
        settings.base_url,
        budget=budget,
        stop=stop,
        clock=clock,
        secrets={"X-API-Key": key} if key else {},
        limits=Limits(
            connect_s=settings.timeouts.connect / SECOND,
            read_s=settings.timeouts.read / SECOND,
            total_s=settings.timeouts.total / SECOND,
            tries=settings.tries,
            backoff_s=settings.backoff / SECOND,
            connections=settings.concurrency,
        ),
        insecure=settings.insecure,
    )


def build(
    name: str,
    settings: OpenAQSettings,
    *,
    journal: Journal,
    clock: Clock,
    stop: threading.Event,
    earliest: int,
    future: int,
) -> OpenAQ:
    """The source, with its requests counted in `journal`. `earliest` (microseconds UTC) and
    `future` (microseconds ahead of now) bound the stamps that are believed."""
    from loader.budget import JournalBudget, budget_key
    from loader.sources.openaq.source import OpenAQ

    key = budget_key(settings.base_url, settings.key or "")
    # A twelfth of a minute at a time: a transaction for every five of a million would be felt.
    lot = max(5, settings.limits.per_minute // 12)
    budget = JournalBudget(journal, key, settings.request_limits(), clock, stop, lot)
    http = connect(settings, budget=budget, clock=clock, stop=stop)
    return OpenAQ(name, settings, http, clock, earliest=earliest, future=future)

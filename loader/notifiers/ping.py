"""A dead man's switch: a service that raises the alarm when the loader stops calling it.

URL/start, URL and URL/fail, as healthchecks.io and what follows it have them.
"""

from __future__ import annotations

import threading
from urllib.parse import urlsplit, urlunsplit

from loader.contracts import Clock
from loader.errors import LoaderError, Retryable
from loader.log import get_logger, redact
from loader.posting import Poster, now
from loader.readings import HOUR
from loader.settings.alerting import PingSettings

SETTING = "alerts.ping.url"
TOTAL_S = 10.0
TRIES = 2
LONGEST_TEXT = 10_000
"""Bytes of the text of a failure."""


class Ping:
    """Tells the switch how a run goes. Never raises, takes at most `total_s`, and does nothing
    where no address is set. Callable from any thread.

    That a call failed is logged as a warning, at most once an hour. The constructor raises
    ConfigError for an address that cannot be used.
    """

    def __init__(self, settings: PingSettings, clock: Clock = now, *, total_s: float = TOTAL_S) -> None:
        self._clock = clock
        self._warned: int | None = None
        self._lock = threading.Lock()
        self._posters: dict[str, Poster] = {}
        if settings.url is not None:
            url = settings.url.get_secret_value()
            for step in ("", "/start", "/fail"):
                self._posters[step] = Poster(
                    _extended(url, step), setting=SETTING, clock=clock, total_s=total_s / TRIES
                )

    def __repr__(self) -> str:
        return f"Ping({self._posters[''].where if self._posters else 'off'})"

    def started(self) -> None:
        """A run began."""
        self._call("/start", None)

    def succeeded(self) -> None:
        """A run ended well."""
        self._call("", None)

    def failed(self, text: str) -> None:
        """A run failed; the text says why, of which the first 10,000 bytes are sent."""
        raw = redact(text).encode("utf-8", "replace")[:LONGEST_TEXT]
        # A character cut in two is left out.
        self._call("/fail", raw.decode("utf-8", "ignore").encode())

    def _call(self, step: str, body: bytes | None) -> None:
        poster = self._posters.get(step)
        if poster is None:
            return
        headers = {} if body is None else {"Content-Type": "text/plain; charset=utf-8"}
        for last in (False, True):
            try:
                poster.post(body, headers)
                return
            except LoaderError as error:
                if last or not isinstance(error, Retryable):
                    self._warn(str(error))
                    return
            except Exception as error:
                # Whatever it is, its text may hold the address.
                self._warn(f"{poster.where}: {type(error).__name__}")
                return

    def _warn(self, why: str) -> None:
        now = self._clock()
        with self._lock:
            if self._warned is not None and 0 <= now - self._warned < HOUR:
                return
            self._warned = now
        get_logger().warning("the dead man's switch could not be told", error=why)


def _extended(url: str, step: str) -> str:
    """The address with a step at the end of its path; its query stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + step)) if step else url

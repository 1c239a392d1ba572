"""Messages through any service that the library apprise knows; it comes with the extra `apprise`."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from loader import noticetext
from loader.errors import ConfigError, Undelivered
from loader.journal import Notice, NoticeKind, Severity
from loader.posting import TOTAL_S, within
from loader.settings.alerting import AppriseSettings

SETTING = "alerts.apprise.urls"
REMEMBERED = 100


class AppriseNotifier:
    """Keeps the promises of `loader.contracts.Notifier`.

    Apprise does not tell a refusal from a failure, so whatever goes wrong may be tried again;
    a service that took a message is not sent it again by this process.
    """

    name = "apprise"

    def __init__(self, settings: AppriseSettings, *, total_s: float = TOTAL_S) -> None:
        self._total_s = total_s
        try:
            library: Any = importlib.import_module("apprise")
        except ImportError:
            raise ConfigError(
                f'{SETTING} needs the extra apprise: pip install "sensor-loader[apprise]"'
            ) from None
        # Its log shows addresses, which hold tokens.
        quiet = logging.getLogger("apprise")
        quiet.handlers[:] = [logging.NullHandler()]
        quiet.propagate = False
        asset = library.AppriseAsset(
            app_id="sensor-loader",
            app_desc="sensor-loader",
            async_mode=False,
            storage_mode=library.PersistentStoreMode.MEMORY,
        )
        self._services: list[Any] = []
        for number, url in enumerate(settings.urls, 1):
            service = library.Apprise.instantiate(url.get_secret_value(), asset=asset)
            if service is None:
                raise ConfigError(f"{SETTING} has, as number {number}, no address that apprise understands")
            self._services.append(service)
        if not self._services:
            raise ConfigError(f"{SETTING} is empty")
        self._text = library.NotifyFormat.TEXT
        self._kinds = library.NotifyType
        self._taken: dict[str, set[int]] = {}

    def __repr__(self) -> str:
        return f"AppriseNotifier({', '.join(map(_service_name, self._services))})"

    def send(self, notice: Notice) -> None:
        taken = self._taken.setdefault(notice.id, set())
        while len(self._taken) > REMEMBERED:
            del self._taken[next(iter(self._taken))]
        failed = self._failed(notice, taken)
        if failed:
            text = f"apprise: not taken by {', '.join(failed)} ({len(failed)} of {len(self._services)})"
            raise Undelivered(f"{text}; check {SETTING}")

    def _failed(self, notice: Notice, taken: set[int]) -> list[str]:
        """Send it to whom did not take it yet; returns who did not."""
        title = f"[{noticetext.word(notice)}] {noticetext.title(notice)}"
        body = noticetext.text(notice)

        def deliver() -> list[str]:
            failed = []
            for number, service in enumerate(self._services):
                if number in taken:
                    continue
                try:
                    told = service.notify(
                        body=body, title=title, notify_type=self._kind(notice), body_format=self._text
                    )
                except Exception as error:
                    # Any of a hundred services by other people; the text may hold the address.
                    failed.append(f"{_service_name(service)}: {type(error).__name__}")
                    continue
                if told:
                    taken.add(number)
                else:
                    failed.append(_service_name(service))
            return failed

        return within(self._total_s, "apprise", deliver)

    def _kind(self, notice: Notice) -> Any:
        if notice.kind is NoticeKind.TEST:
            return self._kinds.INFO
        if notice.kind is NoticeKind.RECOVERY:
            return self._kinds.SUCCESS
        return self._kinds.FAILURE if notice.severity is Severity.CRITICAL else self._kinds.WARNING


def _service_name(service: Any) -> str:
    return noticetext.line(str(getattr(service, "service_name", type(service).__name__)), 60)

"""Messages as signed JSON to a receiver of one's own. The body is an interface: docs/alerts.md."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from loader import noticetext
from loader.contracts import Clock
from loader.errors import ConfigError
from loader.journal import Notice
from loader.posting import TOTAL_S, Poster, now
from loader.readings import SECOND
from loader.settings.alerting import WebhookSettings

SETTING = "alerts.webhook.url"
VERSION = 1
"""Raised when a field of the body changes its meaning or goes; new fields do not raise it."""


class WebhookNotifier:
    """Keeps the promises of `loader.contracts.Notifier`."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings, clock: Clock = now, *, total_s: float = TOTAL_S) -> None:
        if settings.url is None:
            raise ConfigError(f"{SETTING} is not set")
        self._clock = clock
        self._secrets = settings.secrets
        self._poster = Poster(
            settings.url.get_secret_value(),
            setting=SETTING,
            clock=clock,
            secrets=self._secrets,
            total_s=total_s,
        )

    def __repr__(self) -> str:
        return f"WebhookNotifier({self._poster.where})"

    def send(self, notice: Notice) -> None:
        body = json.dumps(payload(notice), ensure_ascii=False, separators=(",", ":")).encode()
        seconds = str(self._clock() // SECOND)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": noticetext.key(notice),
            "X-Loader-Timestamp": seconds,
        }
        if self._secrets:
            headers["X-Loader-Signature"] = signature(self._secrets, seconds, body)
        self._poster.post(body, headers)


def payload(notice: Notice) -> dict[str, Any]:
    """The body, version 1."""
    return {
        "version": VERSION,
        "id": noticetext.key(notice),
        "kind": str(notice.kind),
        "severity": str(notice.severity),
        "rule": noticetext.line(notice.rule),
        "sources": [noticetext.line(name) for name in notice.sources],
        "subjects": [noticetext.line(name) for name in notice.subjects],
        "title": noticetext.title(notice),
        "lines": noticetext.lines(notice),
        "facts": [{"name": name, "value": value} for name, value in noticetext.facts(notice)],
        "command": noticetext.line(notice.command),
        "at": noticetext.stamp(notice.at),
        "since": None if notice.since is None else noticetext.stamp(notice.since),
    }


def signature(secrets: tuple[str, ...], seconds: str, body: bytes) -> str:
    """`v1=HEX` for every secret, with commas between: HMAC-SHA256 of `seconds.body`."""
    signed = seconds.encode() + b"." + body
    made = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join(f"v1={one}" for one in made)

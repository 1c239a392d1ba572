"""Messages to a Slack channel, through an incoming webhook.

Limits of Slack's, in characters: header 150, text of a section 3000, field 2000, 10 fields a
section, 50 blocks; all blocks together must stay under about 13,000 (`msg_blocks_too_long`).
"""

from __future__ import annotations

import json
from typing import Any

from loader import noticetext
from loader.contracts import Clock
from loader.errors import ConfigError
from loader.journal import Notice, NoticeKind, Severity
from loader.posting import TOTAL_S, Poster, now
from loader.settings.alerting import SlackSettings

SETTING = "alerts.slack.webhook_url"
HEADER = 150
FALLBACK = 500
SECTION = 2900
SECTIONS = 2
FACTS = 20
FIELDS = 10
NAME, VALUE = 40, 150
SUBJECTS = 1500
COMMAND = 500
FOOTER = 700

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

_NEW_WEBHOOK = f"make a new webhook in Slack and put its address into SLACK_WEBHOOK_URL ({SETTING})"
REMEDIES = {
    "no_service": f"the webhook was removed or is disabled; {_NEW_WEBHOOK}",
    "no_active_hooks": f"the webhook is disabled; {_NEW_WEBHOOK}",
    "no_team": f"the workspace is gone; {_NEW_WEBHOOK}",
    "team_disabled": f"the workspace is disabled; {_NEW_WEBHOOK}",
    "invalid_token": f"the address is mistyped or was revoked; {_NEW_WEBHOOK}",
    "channel_not_found": f"the channel is gone; {_NEW_WEBHOOK}",
    "channel_is_archived": "take the channel out of the archive, or make a webhook for another",
    "action_prohibited": "the workspace restricts who may post there; ask its administrator",
    "posting_to_general_channel_denied": "only some may post there; make a webhook for another channel",
    "user_not_found": f"whom the webhook wrote to is gone; {_NEW_WEBHOOK}",
    "invalid_payload": "Slack does not understand the message, an error of the loader; please report it",
    "invalid_blocks": "Slack does not understand the message, an error of the loader; please report it",
}


class SlackNotifier:
    """Keeps the promises of `loader.contracts.Notifier`."""

    name = "slack"

    def __init__(self, settings: SlackSettings, clock: Clock = now, *, total_s: float = TOTAL_S) -> None:
        if settings.webhook_url is None:
            raise ConfigError(f"{SETTING} is not set")
        url = settings.webhook_url.get_secret_value()
        self._poster = Poster(url, setting=SETTING, clock=clock, total_s=total_s)

    def __repr__(self) -> str:
        return f"SlackNotifier({self._poster.where})"

    def send(self, notice: Notice) -> None:
        body = json.dumps(payload(notice)).encode()
        self._poster.post(body, {"Content-Type": "application/json"}, remedy=_remedy)


def payload(notice: Notice) -> dict[str, Any]:
    """What is posted: a fallback text for notifications, and blocks."""
    sign = _sign(notice)
    title = noticetext.title(notice)
    head = {"type": "plain_text", "text": escaped(f"{sign} {title}", HEADER), "emoji": True}
    blocks: list[dict[str, Any]] = [{"type": "header", "text": head}]
    blocks += [_section(text) for text in _packed(noticetext.lines(notice, len(notice.lines)))]
    facts = noticetext.facts(notice, FACTS)
    for first in range(0, len(facts), FIELDS):
        fields = [
            _marked(f"*{escaped(name, NAME)}*\n{escaped(value, VALUE)}")
            for name, value in facts[first : first + FIELDS]
        ]
        blocks.append({"type": "section", "fields": fields})
    if names := noticetext.subjects(notice, 20):
        blocks.append(_section(escaped(f"Concerns: {names}", SUBJECTS)))
    if command := noticetext.line(notice.command.replace("`", "'")):
        shown = f"Look closer: `{escaped(command, COMMAND)}`"
        blocks.append({"type": "section", "text": _marked(shown)})
    foot = {"type": "plain_text", "text": escaped(noticetext.footer(notice), FOOTER), "emoji": False}
    blocks.append({"type": "context", "elements": [foot]})
    return {"text": escaped(f"{sign} {noticetext.word(notice)}: {title}", FALLBACK), "blocks": blocks}


def _section(text: str) -> dict[str, Any]:
    # Plain text: names of stations carry * and _, which would turn into bold and italics.
    return {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}


def _marked(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _sign(notice: Notice) -> str:
    if notice.kind is NoticeKind.TEST:
        return "🔵"
    if notice.kind is NoticeKind.RECOVERY:
        return "🟢"
    return "🔴" if notice.severity is Severity.CRITICAL else "🟠"


def _packed(lines: list[str]) -> list[str]:
    """The lines as texts of sections; of more than fit, the last line says how many."""
    texts: list[str] = []
    for number, line in enumerate(lines):
        made = escaped(line, 1000)
        if texts and _units(texts[-1]) + 1 + _units(made) <= SECTION:
            texts[-1] += f"\n{made}"
        elif len(texts) < SECTIONS:
            texts.append(made)
        else:
            texts[-1] += f"\n… and {len(lines) - number} more lines"
            break
    return texts


def escaped(text: str, limit: int) -> str:
    """The text as Slack wants it, of at most `limit` characters, never cut inside an escape."""
    pieces = [_ESCAPES.get(c, c) for c in text[: limit + 1]]
    whole = "".join(pieces)
    if _units(whole) <= limit:
        return whole
    kept, size = [], 1
    for piece in pieces:
        size += _units(piece)
        if size > limit:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _units(text: str) -> int:
    """Characters as JavaScript counts them, the strictest way to."""
    return len(text) + sum(c > "\uffff" for c in text)


def _remedy(_status: int, said: str) -> str:
    for sign, what in REMEDIES.items():
        if sign in said:
            return what
    return f"check SLACK_WEBHOOK_URL ({SETTING})"

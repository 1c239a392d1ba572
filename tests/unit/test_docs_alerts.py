"""docs/alerts.md shows what is sent, and its receivers' code works."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from notices import notice
from pydantic import SecretStr

from loader.notifiers.slack import REMEDIES
from loader.notifiers.webhook import WebhookNotifier, payload
from loader.posting import LATER
from loader.readings import SECOND
from loader.settings.alerting import WebhookSettings
from tests.receivers import Post, Receiver

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
SECRETS = ("new-secret", "old-secret")


def block(language: str, after: str) -> str:
    """The first block of code of that language after a heading."""
    found = re.search(rf"^```{language}\n(.*?)^```$", DOCS[DOCS.index(after) :], re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture
def post() -> Post:
    """A message, signed now with both secrets."""
    with Receiver() as receiver:
        settings = WebhookSettings(url=SecretStr(receiver.url), secret=tuple(map(SecretStr, SECRETS)))
        WebhookNotifier(settings).send(notice())
        return receiver.posts[0]


def test_the_example_has_the_fields_that_are_sent() -> None:
    """Each with its type, in the order of the table below it."""
    example, sent = json.loads(block("json", "## Webhook")), payload(notice())
    assert list(example) == list(sent)
    assert {name: type(value) for name, value in example.items()} == {
        name: type(value) for name, value in sent.items()
    }
    assert [list(fact) for fact in example["facts"]] == [["name", "value"]] * 2
    table = DOCS[DOCS.index("| field | type |") : DOCS.index("| header | value |")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(sent)


@pytest.mark.parametrize("secret", SECRETS)
def test_the_python_of_the_manual_verifies(secret: str, post: Post) -> None:
    """A genuine message, with either secret; not a changed one, an old one or another's."""
    scope: dict[str, Any] = {}
    exec(block("python", "### Verify the signature"), scope)
    genuine = scope["genuine"]
    stamp, signature = post.headers["X-Loader-Timestamp"], post.headers["X-Loader-Signature"]
    scope["SECRETS"] = [secret]
    assert genuine(post.body, stamp, signature)
    assert not genuine(post.body + b" ", stamp, signature)
    assert not genuine(post.body, str(int(stamp) - 1), signature)
    assert not genuine(post.body, str(int(time.time()) - 301), signature)
    assert not genuine(post.body, "ä", "v1=ä")
    scope["SECRETS"] = ["another"]
    assert not genuine(post.body, stamp, signature)


def test_an_old_message_is_refused_by_its_age() -> None:
    """Though its signature is right."""
    with Receiver() as receiver:
        settings = WebhookSettings(url=SecretStr(receiver.url), secret=(SecretStr("s3cret"),))
        past = time.time_ns() // 1000 - 400 * SECOND
        WebhookNotifier(settings, lambda: past).send(notice())
        post = receiver.posts[0]
    scope: dict[str, Any] = {}
    exec(block("python", "### Verify the signature"), scope)
    scope["SECRETS"] = ["s3cret"]
    given = (post.body, post.headers["X-Loader-Timestamp"], post.headers["X-Loader-Signature"])
    assert not scope["genuine"](*given)


@pytest.mark.parametrize(
    ("secret", "said"), [("new-secret", "genuine"), ("old-secret", "genuine"), ("another", "forged")]
)
def test_the_shell_of_the_manual_verifies(secret: str, said: str, post: Post, tmp_path: Path) -> None:
    """With either secret, and with no other."""
    (tmp_path / "body.json").write_bytes(post.body)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TIMESTAMP": post.headers["X-Loader-Timestamp"],
        "SIGNATURE": post.headers["X-Loader-Signature"],
        "SECRET": secret,
    }
    script = block("sh", "In a shell, with")
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == said


def test_the_manual_names_what_is_tried_again_and_every_refusal() -> None:
    """Status by status, and what Slack says word by word."""
    line = DOCS[DOCS.index("**Tried again**") : DOCS.index("**Given up**")]
    assert [int(n) for n in re.findall(r"\b4\d\d\b", line)] == sorted(LATER)
    table = DOCS[DOCS.index("| Slack says |") : DOCS.index("## E-mail")]
    ours = {"invalid_payload", "invalid_blocks", "user_not_found"}
    assert set(re.findall(r"`([a-z_]+)`", table)) == set(REMEDIES) - ours

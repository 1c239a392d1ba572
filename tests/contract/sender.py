"""A process at the alert book, for the tests to race and to kill: `sender.py STORE ADDRESS WHAT`.

It says `ready` first. `claim` waits for a line and then claims and delivers until nothing is due,
naming each message; `hold` claims, names what it got and waits; `record` writes step after step.
"""

from __future__ import annotations

import sys
from itertools import count

from builders import at
from stores import AnyStore, by_name
from test_store_alerts import HOLD, alert, dispatch


def say(*what: str) -> None:
    sys.stdout.write(" ".join(what) + "\n")
    sys.stdout.flush()


def claim(store: AnyStore) -> None:
    sys.stdin.readline()
    while held := store.claim(at(1), HOLD, 3):
        for one in held:
            say(one.notice.id, one.channel)
            store.settle(one.notice.id, one.channel, delivered_at=at(1))


def hold(store: AnyStore) -> None:
    for one in store.claim(at(1), HOLD):
        say(one.notice.id, one.channel)
    sys.stdin.read()


def record(store: AnyStore) -> None:
    for step in count(1):
        store.record(
            [alert(f"st{n}", count=step) for n in range(20)],
            [dispatch(f"step{step}", channel) for channel in ("a", "b", "c")],
        )
        say(str(step))


if __name__ == "__main__":
    name, address, what = sys.argv[1:]
    opened = by_name(name).open(address)
    say("ready")
    {"claim": claim, "hold": hold, "record": record}[what](opened)

"""What goes wrong, when, and how often: switches that can be turned while the server runs.

Whether a rule strikes is decided by a hash of (seed, rule, request, how many times that request
came), so that the same requests meet the same faults whatever the order of threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

BEFORE = (
    "down",  # option how: close, 503
    "429",  # option how: bare, headers, retry-after; option wait (s)
    "408",
    "500",  # option how: text, json
    "502",
    "503",
    "redirect-same",
    "redirect-cross",
    "rubbish",
    "html",
    "bomb",  # option size: bytes when inflated
    "empty",
    "stale",  # the body given for this URL before, as a cache would; option age (s of the world)
    "latency",  # option seconds
)
"""Faults that take the place of an answer (latency: that come before it)."""

ON_ROWS = (
    "duplicate",  # a row twice in the page; option share
    "overlap",  # the page begins with rows that the page before had; option rows
    "null",  # a value is null in this answer only
    "spoil",  # one record broken in this answer only; option how (see render.SPOILS)
    "future",  # one more row, stamped ahead of the clock; option ahead (s)
    "missing-latest",  # a sensor is left out of `latest`
    "unknown-latest",  # a sensor that nobody has heard of turns up in `latest`; option number
    "future-latest",  # a sensor's newest stamp lies ahead of the clock; option ahead (s)
)
"""Faults in the content of an answer that is otherwise well formed."""

ON_WIRE = (
    "reset",  # option at: share of the body sent before the connection is reset
    "truncated",  # likewise, then a clean close
    "slow",  # option seconds for the whole body; option pieces
)
"""Faults while the answer is sent."""

KINDS = (*BEFORE, *ON_ROWS, *ON_WIRE, "poison")


@dataclass(eq=False)
class Rule:
    """One switch.

    probability  share of the matching requests that are struck
    times        strikes at most so often (None: no end); after: lets so many matching ones pass first
    route        kind of request: measurements, latest, location, sensors, locations, ... (None: all)
    sensor       only requests for this sensor
    window       only requests whose own time range touches (start, end], microseconds
    """

    kind: str
    probability: float = 1.0
    times: int | None = None
    after: int = 0
    route: str | None = None
    sensor: int | None = None
    window: tuple[int, int] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    matched: int = 0
    struck: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind}: unknown fault; one of {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class Strike:
    """A rule that strikes this request, with a number in [0, 1) to choose details by."""

    rule: Rule
    dice: float

    @property
    def kind(self) -> str:
        return self.rule.kind

    def option(self, name: str, default: Any) -> Any:
        return self.rule.options.get(name, default)


class RateLimit:
    """A limit that is really enforced, counted by key in calendar windows of `period_s`.

    The reset header counts from the first request of the window, so that it overstates the wait.
    """

    def __init__(self, requests: int, period_s: int = 60, clock: Callable[[], float] = time) -> None:
        self.requests, self.period_s, self.clock = requests, period_s, clock
        self._used: dict[str, tuple[int, int, float]] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> tuple[bool, dict[str, str]]:
        """Whether the request may pass, and the x-ratelimit headers to send with the answer."""
        now = self.clock()
        with self._lock:
            window, used, since = self._used.get(key, (-1, 0, now))
            if window != int(now // self.period_s):
                window, used, since = int(now // self.period_s), 0, now
            allowed = used < self.requests
            used += allowed
            self._used[key] = (window, used, since)
        return allowed, {
            "x-ratelimit-limit": str(self.requests),
            "x-ratelimit-used": str(used),
            "x-ratelimit-remaining": str(self.requests - used),
            "x-ratelimit-reset": str(max(1, round(self.period_s - (now - since)))),
        }


class Faults:
    """The switches of one server. Every method may be called at any time from any thread."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.limits: list[RateLimit] = []
        self._rules: list[Rule] = []
        self._seen: Counter[str] = Counter()
        self._added = 0
        self._lock = threading.RLock()

    @property
    def rules(self) -> tuple[Rule, ...]:
        with self._lock:
            return tuple(self._rules)

    def add(
        self,
        kind: str,
        probability: float = 1.0,
        *,
        times: int | None = None,
        after: int = 0,
        route: str | None = None,
        sensor: int | None = None,
        window: tuple[int, int] | None = None,
        **options: Any,
    ) -> Rule:
        """Turn a switch on; `remove` the returned rule to turn it off."""
        rule = Rule(kind, probability, times, after, route, sensor, window, options)
        with self._lock:
            rule.number = self._added
            self._added += 1
            self._rules.append(rule)
        return rule

    def poison(self, sensor: int, start: int, end: int) -> Rule:
        """While it stands, every page of `sensor` that holds a reading of (start, end] is a 500."""
        return self.add("poison", route="measurements", sensor=sensor, window=(start, end))

    def remove(self, rule: Rule) -> None:
        with self._lock:
            if rule in self._rules:
                self._rules.remove(rule)

    def clear(self) -> None:
        """Turn everything off, rate limits included."""
        with self._lock:
            self._rules.clear()
            self.limits = []

    def strikes(
        self, route: str, url: str, sensor: int | None, window: tuple[int | None, int | None]
    ) -> list[Strike]:
        """The rules that strike this request, in the order they were added; poison is not asked here."""
        out = []
        with self._lock:
            nth = self._seen[url]
            self._seen[url] += 1
            for rule in self._rules:
                if rule.kind == "poison" or not _fits(rule, route, sensor, window):
                    continue
                rule.matched += 1
                if rule.matched <= rule.after or (rule.times is not None and rule.struck >= rule.times):
                    continue
                chance, dice = self._dice(rule.number, url, nth)
                if chance < rule.probability:
                    rule.struck += 1
                    out.append(Strike(rule, dice))
        return out

    def poisoned(self, sensor: int, times: list[int]) -> bool:
        """Whether a page of these stamps is one that the server chokes on."""
        with self._lock:
            for rule in self._rules:
                if rule.kind == "poison" and rule.sensor == sensor and rule.window is not None:
                    start, end = rule.window
                    if any(start < t <= end for t in times):
                        rule.struck += 1
                        return True
        return False

    def _dice(self, number: int, url: str, nth: int) -> tuple[float, float]:
        digest = hashlib.blake2b(f"{self.seed}|{number}|{url}|{nth}".encode(), digest_size=16).digest()
        return int.from_bytes(digest[:8]) / 2**64, int.from_bytes(digest[8:]) / 2**64

    def hostile(self, strength: float = 1.0) -> Faults:
        """Turn on a bit of everything that a client must get over by itself, without loss."""
        m = "measurements"
        for kind, probability, options in (
            ("429", 0.01, {"how": "retry-after", "wait": 1}),
            ("408", 0.01, {}),
            ("500", 0.02, {"how": "text"}),
            ("500", 0.01, {"how": "json"}),
            ("502", 0.01, {}),
            ("reset", 0.02, {}),
            ("truncated", 0.02, {}),
            ("rubbish", 0.01, {}),
            ("html", 0.01, {}),
            ("latency", 0.05, {"seconds": 0.05}),
            ("slow", 0.02, {"seconds": 0.2}),
        ):
            self.add(kind, probability * strength, **options)
        self.add("duplicate", min(1.0, 0.3 * strength), route=m, share=0.05)
        self.add("overlap", min(1.0, 0.3 * strength), route=m, rows=2)
        self.add("future", 0.02 * strength, route=m, ahead=40 * 86_400)
        self.add("missing-latest", 0.1 * strength, route="latest")
        self.add("future-latest", 0.02 * strength, route="latest", ahead=7200)
        return self


def _fits(rule: Rule, route: str, sensor: int | None, window: tuple[int | None, int | None]) -> bool:
    if rule.route is not None and rule.route != route:
        return False
    if rule.sensor is not None and rule.sensor != sensor:
        return False
    if rule.window is not None:
        start, end = window
        return (end is None or end > rule.window[0]) and (start is None or start < rule.window[1])
    return True

"""A loader as a process of its own, watched by its log: what it is doing, and when to kill it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PHASES = ("plan", "read", "commit", "close")
"""plan: before the survey ended; commit: between a `commit.begin` and its `commit.end`; close: after
`run.end`, or after the commit of a run that has but one; read: all between."""

SMALL = "tests.acceptance.small_batches"
PATIENCE_S = 120.0
"""Longer than any run of a campaign may take."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log. `at` is the log's own time, in seconds since the epoch."""

    name: str
    at: float
    fields: dict[str, Any]


class Loader:
    """One `loader run`, from its start to its end; `small`: with batches of a few hundred readings."""

    def __init__(self, config: Path, *args: str, small: bool = False) -> None:
        self.started = time.time()
        self.small = small
        self.killed_at: float | None = None
        self.events: list[Event] = []
        self.other: list[str] = []
        self._changed = threading.Condition()
        self._over = False
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                SMALL if small else "loader",
                "-c",
                str(config),
                "run",
                "--log-level",
                "debug",
                *args,
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONFAULTHANDLER": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                fields = json.loads(line)
                at = _seconds(fields["timestamp"])
                event = Event(fields["event"], at, fields)
            except (ValueError, KeyError, TypeError):
                self.other.append(line.decode(errors="replace").rstrip())
                continue
            with self._changed:
                self.events.append(event)
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, name: str, times: int = 1) -> bool:
        """Return when an event has come so many times (True), or the process is over (False)."""

        def come() -> bool:
            return sum(e.name == name for e in self.events) >= times

        with self._changed:
            self._changed.wait_for(lambda: self._over or come(), PATIENCE_S)
            return come()

    def kill(self, after: float = 0.0) -> None:
        """SIGKILL in `after` seconds, unless it is over by then."""
        if after > 0:
            try:
                self._process.wait(after)
            except subprocess.TimeoutExpired:
                pass
            else:
                return
        at = time.time()
        if self.alive:
            self._process.send_signal(signal.SIGKILL)
            self.killed_at = at

    def finish(self) -> int:
        """Wait for its end; the exit code (-9 after a kill that hit)."""
        try:
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"a run took longer than {PATIENCE_S:g} s:\n{self.said()}") from None
        self._reader.join(PATIENCE_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def said(self) -> str:
        """Its last words, for an error."""
        lines = [
            f"{e.name} { {k: v for k, v in e.fields.items() if k != 'timestamp'} }" for e in self.events
        ]
        return "\n".join([*lines[-30:], *self.other[-60:]])

    def first(self, name: str) -> float | None:
        """When an event of that name came first."""
        return next((e.at for e in self.events if e.name == name), None)

    @property
    def phase(self) -> str:
        """What it was doing at its end, or is doing now."""
        phase = "plan"
        for event in self.events:
            phase = AFTER.get(event.name, phase)
            if event.name == "commit.end":
                # Among many small batches the next one is being read by now.
                phase = "read" if self.small else "close"
        return phase

    @property
    def wrote(self) -> tuple[float, float] | None:
        """From when to when (at most) it held the lease, in seconds since the epoch; None if never."""
        begin = self.first("run.begin")
        if begin is None:
            return None
        end = self.first("run.end") or self.killed_at
        return begin, self.events[-1].at if end is None else end


AFTER = {"survey": "read", "commit.begin": "commit", "run.end": "close"}


def _seconds(timestamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp()


class Pace:
    """How long the parts of a run take here, learned from the runs so far (seconds)."""

    def __init__(self) -> None:
        self.plan, self.read, self.commit = 1.0, 0.5, 0.02

    def learn(self, loader: Loader) -> None:
        survey, begin, end = map(loader.first, ("survey", "commit.begin", "commit.end"))
        if survey:
            self.plan += (survey - loader.started - self.plan) / 4
        if survey and begin:
            self.read += (begin - survey - self.read) / 4
        if begin and end:
            self.commit += (end - begin - self.commit) / 4

    def strike(self, loader: Loader, phase: str, chance: Callable[[], float], times: int = 1) -> None:
        """Kill it at a random moment of that phase, as near as the log allows to say; of its
        commits, the one that `times` counts to."""
        match phase:
            case "plan":
                loader.kill(self.plan * (0.2 + 0.8 * chance()))
            case "read":
                if loader.wait_for("survey"):
                    loader.kill(self.read * chance())
            case "commit":
                if loader.wait_for("commit.begin", times):
                    loader.kill(self.commit * 0.8 * chance())
            case _:
                if loader.wait_for("run.end" if loader.small else "commit.end"):
                    loader.kill(0.01 * chance())

"""The kill campaign: loaders are killed at random moments, again and again, against a server that
misbehaves; then one quiet run, and every table must say what the server's world says.

    python -m tests.acceptance.campaign --store sqlite --kills 500 --seed 7
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests import postgres
from tests.acceptance.campaign_books import (
    SOURCE,
    Audit,
    Books,
    audit,
    holes_without_cause,
    postgres_books,
    sqlite_books,
)
from tests.acceptance.campaign_loader import PHASES, ROOT, Loader, Pace
from tests.openaq_server import (
    DAY,
    HOUR,
    KEY,
    Faults,
    OpenAQServer,
    Rule,
    World,
    made_up,
    merge,
    toronto,
    unsettle,
)

SHARED = ROOT.parent / "shared"
A_THIRD = {7570, 1274950, 1275803, 3145071, 5547422}
"""Toronto locations of both providers, of 5, 7, 5, 1 and 5 sensors."""
LOCKED = 75
FINE = {0, 1, 3}
"""Exit codes that a run may end with while the server misbehaves: ok, failed, partial."""
LEASE_S = 40.0
"""Within so many seconds after a kill another loader must be let in."""
SPOILS = (
    "value-text",
    "value-object",
    "value-infinite",
    "time-words",
    "time-nul",
    "time-surrogate",
    "period-null",
)

CONFIG = """
store: "{store}"
sources:
  {source}:
    type: openaq
    base_url: {url}
    api_key: {key}
    locations: {locations}
    parameters: []
    initial: 60d
    lookback: {{min: 2h, max: 3d, sweep: 0s}}
    holes: {{pause: 3s, max_pause: 20s, tries: 6}}
    limits: {{per_minute: 1000000, per_hour: 10000000}}
    tries: 3
    backoff: 100ms
log: {{level: debug, format: json}}
"""


@dataclass(slots=True)
class Report:
    """What a campaign came to. `problems` is empty where all is well."""

    store: str
    seed: int
    phases: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    begun: int = 0
    pairs: int = 0
    batches: int = 0
    audit: Audit = field(default_factory=Audit)
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.phases.total()

    def __str__(self) -> str:
        phases = ", ".join(f"{p} {self.phases[p]}" for p in PHASES)
        return (
            f"campaign {self.store}: {self.kills} kills ({phases}), {self.audit.rows:,} rows, "
            f"{self.audit.lost} lost, {self.audit.doubled} doubled, seed {self.seed}"
        )


def build_world(seed: int, *, whole: bool) -> World:
    """The real Toronto series (a third of them, or the whole) with made-up stations beside them;
    made-up ones alone where the folder is absent. Late and revised rows and broken records in
    both. Ends with this hour."""
    end = time.time_ns() // 1000 // HOUR * HOUR
    if (SHARED / "data").is_dir():
        world = toronto(SHARED, end=end, locations=None if whole else A_THIRD)
        unsettle(world, seed, late=0.05, latest_s=8 * 3600, revised=0.01)
        merge(world, made_up(seed, stations=6, days=20, end=end))
    else:
        world = made_up(seed, stations=36 if whole else 18, days=33, end=end)
    dice = random.Random(f"{seed}/spoilt")
    for sensor in dice.sample(sorted(world.sensors), 10):
        s = world.sensors[sensor]
        steady = [t for t in s.times if t not in s.changes]
        for at in dice.sample(steady, min(3, len(steady))):
            world.spoil(sensor, at, dice.choice(SPOILS))
    return world


class Campaign:
    """One campaign against one store."""

    def __init__(
        self, folder: Path, store: str, url: str, *, books: Books, kills: int, seed: int, whole: bool
    ) -> None:
        self.dice = random.Random(f"{seed}/campaign")
        self.report = Report(store, seed)
        self.kills, self.books = kills, books
        self.world = build_world(seed, whole=whole)
        self.faults = Faults(seed)
        self.pace = Pace()
        self.config = folder / "config.yaml"
        self._store_url = url
        self._poison: list[tuple[int, Rule]] = []
        self._round = 0
        self._last_kill = 0.0

    def run(self, say: Callable[[str], None]) -> Report:
        world, report = self.world, self.report
        newest = max(s.times[-1] for s in world.sensors.values())
        first = newest - 14 * DAY
        with OpenAQServer(world, self.faults) as server:
            self.config.write_text(
                CONFIG.format(
                    store=self._store_url,
                    source=SOURCE,
                    url=server.url,
                    key=KEY,
                    locations=sorted(world.locations),
                ),
                encoding="utf-8",
            )
            self.faults.hostile()
            while report.kills < self.kills:
                self._round += 1
                if self._round > 4 * self.kills + 40:
                    report.problems.append(f"only {report.kills} kills hit in {self._round} rounds")
                    break
                done = report.kills / self.kills
                world.now = first + round((world.settled - first) * done)
                self._one_round()
                if self._round % 25 == 0:
                    say(f"{report.kills} of {self.kills} kills, {self._round} runs, {dict(report.codes)}")
            self._quiet_run()
        report.audit = audit(self.books, world)
        report.problems += report.audit.problems
        if report.phases["commit"] * 4 < report.kills:
            report.problems.append(f"only {report.phases['commit']} of {report.kills} kills hit a commit")
        return report

    def _one_round(self) -> None:
        self._turn_switches()
        rules = []
        mood = self.dice.random()
        if mood < 0.04:
            rules.append(self.faults.add("down", how=self.dice.choice(["close", "503"])))
        elif mood < 0.12:
            rules.append(self.faults.add("latency", seconds=0.1))
        if self.dice.random() < 0.12:
            self._two_at_once()
        else:
            self._one()
        for rule in rules:
            self.faults.remove(rule)
        if self.report.begun and holes_without_cause(self.books):
            self.report.problems.append(f"round {self._round}: a hole without a cause")

    def _turn_switches(self) -> None:
        """Now and then a stretch goes bad for some rounds."""
        for until, rule in list(self._poison):
            if self._round >= until:
                self.faults.remove(rule)
                self._poison.remove((until, rule))
        if self.dice.random() < 0.15 and len(self._poison) < 3:
            sensor = self.dice.choice(sorted(self.world.sensors))
            start = self.world.now - self.dice.randrange(2 * DAY)
            rule = self.faults.poison(sensor, start, start + self.dice.randrange(1, 20) * HOUR)
            self._poison.append((self._round + self.dice.randrange(2, 12), rule))

    def _one(self) -> None:
        small = self.dice.random() < 0.7
        loader = Loader(self.config, small=small)
        if self.dice.random() >= 0.1:
            short = self.report.phases["commit"] * 5 < self.report.kills * 2
            phase = "commit" if short else self.dice.choice(PHASES)
            self.pace.strike(loader, phase, self.dice.random, self.dice.randrange(1, 6) if small else 1)
        self._end(loader)

    def _two_at_once(self) -> None:
        """Two start together; whatever happens to them, never both write."""
        self.report.pairs += 1
        pair = (Loader(self.config, small=True), Loader(self.config, small=True))
        victim = self.dice.choice(pair)
        match self.dice.randrange(3):
            case 0:
                victim.kill(self.pace.plan * self.dice.uniform(0.3, 1))
            case 1 if victim.wait_for("run.begin"):
                # The other one is refused by now, or waits to see whether it may.
                victim.kill(self.pace.read * self.dice.random())
            case _:
                pass
        codes = [self._end(loader, alone=False) for loader in pair]
        spans = sorted(span for loader in pair if (span := loader.wrote))
        if len(spans) == 2 and spans[1][0] < spans[0][1]:
            self.report.problems.append(
                f"round {self._round}: two loaders wrote at once, exit codes {codes}:\n"
                f"{pair[0].said()}\n---\n{pair[1].said()}"
            )

    def _end(self, loader: Loader, *, alone: bool = True) -> int:
        """Wait for its end and judge how it ended."""
        report = self.report
        code = loader.finish()
        report.codes[code] += 1
        report.begun += loader.first("run.begin") is not None
        report.batches += sum(e.name == "commit.end" for e in loader.events)
        if loader.killed_at is not None and code == -9:
            report.phases[loader.phase] += 1
            self._last_kill = loader.killed_at
        else:
            self.pace.learn(loader)
            just_killed = loader.started - self._last_kill < LEASE_S
            fine = code in FINE or (code == LOCKED and (just_killed or not alone))
            if not fine or any("Traceback" in line for line in loader.other):
                report.problems.append(f"round {self._round}: exit code {code}:\n{loader.said()}")
        return code

    def _quiet_run(self) -> None:
        """Everything heals, and one run with --retry-holes puts all right; one more finds nothing."""
        self.faults.clear()
        self.world.now = self.world.settled + HOUR
        deadline = time.monotonic() + LEASE_S
        while True:
            loader = Loader(self.config, "--retry-holes")
            code = loader.finish()
            if code != LOCKED or time.monotonic() > deadline:
                break
        if code != 0:
            self.report.problems.append(f"the quiet run: exit code {code}:\n{loader.said()}")
        before = self.books.query("SELECT count(*) FROM reading")
        loader = Loader(self.config)
        if loader.finish() != 0 or self.books.query("SELECT count(*) FROM reading") != before:
            self.report.problems.append(f"the run after the quiet one:\n{loader.said()}")


def campaign(
    store: str, kills: int, seed: int, *, whole: bool = False, say: Callable[[str], None] = lambda _: None
) -> Report:
    """Run one campaign against `sqlite` or `postgres`, in a folder or database of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campaign-")))
        if store == "sqlite":
            path = folder / "loader.db"
            url, books = f"sqlite:///{path}", sqlite_books(path)
        else:
            server = stack.enter_context(postgres.own_server(max(postgres.binaries())))
            url = server.create()
            books = postgres_books(url)
        return Campaign(folder, store, url, books=books, kills=kills, seed=seed, whole=whole).run(say)


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.campaign", description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--kills", type=int, default=500, help="a store")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--whole", action="store_true", help="all of Toronto instead of a third")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)  # noqa: T201
    good = True
    for store in ("sqlite", "postgres") if args.store == "both" else (args.store,):
        report = campaign(store, args.kills, seed, whole=args.whole, say=progress)
        for problem in report.problems:
            print(f"PROBLEM: {problem}")  # noqa: T201
        print(  # noqa: T201
            f"{store}: {report.codes.total()} runs with exit codes {dict(sorted(report.codes.items()))}, "
            f"{report.pairs} pairs at once, {report.codes[LOCKED]} times locked out, "
            f"{report.batches} batches acknowledged"
        )
        print(report, flush=True)  # noqa: T201
        good = good and not report.problems
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""The soak: daemons for which days pass in minutes, and what they take of the machine meanwhile.

python -m tests.acceptance.soak --minutes 20
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests import postgres
from tests.acceptance.trouble import desk
from tests.ports import free_port

CONFIG = """
store: {store}
sources:
  air:
    type: simulator
    kind: air
    schedule: {{every: 1s}}
    retention: {{readings: 3d, runs: 2d, batches: 1d}}
    lookback: {{min: 2h, max: 12h, sweep: 6h}}
    flaws: {{gaps: 0.02, late: 0.05, revised: 0.02, duplicates: 0.02, spikes: 0.01, sentinels: 0.01}}
  rig: {{type: simulator, kind: rig, schedule: {{cron: "* * * * *"}}, initial: 2d}}
limits: {{pm25: {{warning: 30, critical: 60}}}}
"""
EVERY_S = 0.5


@dataclass(slots=True)
class Watched:
    """A daemon and its samples: resident memory (MB), open descriptors, threads."""

    name: str
    process: subprocess.Popen[bytes]
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def sample(self) -> None:
        at = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (at / "status").read_text().splitlines())
        self.memory.append(int(status["VmRSS"].split()[0]) / 1024)
        self.threads.append(int(status["Threads"]))
        self.descriptors.append(len(os.listdir(at / "fd")))  # noqa: PTH208 - a count is all

    def problems(self) -> list[str]:
        """What grew between the second and the last quarter, in words."""
        found = []
        second, last = (median(quarter(self.memory, n)) for n in (1, 3))
        if last > second + max(second * 0.10, 10):
            found.append(f"{self.name}: memory grew from {second:.0f} to {last:.0f} MB")
        for what, samples, spare in (("descriptors", self.descriptors, 3), ("threads", self.threads, 2)):
            second, last = (median(quarter(samples, n)) for n in (1, 3))
            if last > second + spare:
                found.append(f"{self.name}: {what} grew from {second:.0f} to {last:.0f}")
        return found

    def told(self) -> str:
        second, last = (median(quarter(self.memory, n)) for n in (1, 3))
        return (
            f"{self.name} {second:.0f} -> {last:.0f} MB, {median(self.descriptors):.0f} descriptors, "
            f"{median(self.threads):.0f} threads"
        )


def quarter(samples: Sequence[float], number: int) -> Sequence[float]:
    length = len(samples) // 4
    return samples[number * length : (number + 1) * length]


def soak(minutes: float) -> tuple[list[str], str]:
    """What was wrong, and a line about what was seen."""
    problems, told = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        stores = {"sqlite": "sqlite:///loader.db"}
        if not postgres.missing():
            server = stack.enter_context(postgres.own_server(postgres.majors()[0]))
            stores["postgres"] = server.create()
        watched, desks = [], {}
        for name, store in stores.items():
            (folder / name).mkdir()
            desks[name] = stack.enter_context(desk(folder / name, CONFIG.format(store=store)))
            command = [
                sys.executable,
                "-m",
                "tests.acceptance.soak_daemon",
                "daemon",
                "--log-level",
                "error",
            ]
            files = ["--listen", f"127.0.0.1:{free_port()}", "--heartbeat", "beat.json", "--spool", "spool"]
            log = stack.enter_context((folder / name / "log").open("wb"))
            environment = desks[name].environment({})
            process = subprocess.Popen(
                [*command, *files], cwd=folder / name, env=environment, stderr=log, stdout=log
            )
            stack.callback(process.kill)
            watched.append(Watched(name, process))
        deadline = time.monotonic() + minutes * 60
        while time.monotonic() < deadline:
            for one in watched:
                if one.process.poll() is not None:
                    said = (folder / one.name / "log").read_text()
                    return [f"{one.name} ended with {one.process.returncode}: {said[-2000:]}"], ""
                one.sample()
            time.sleep(EVERY_S)
        for one in watched:
            one.process.send_signal(signal.SIGTERM)
            if code := one.process.wait(60):
                problems.append(f"{one.name} ended with {code}")
            problems += one.problems()
            told.append(one.told())
            said = (folder / one.name / "log").read_text()
            if said:
                problems.append(f"{one.name} said: {said[:2000]}")
            sql = "SELECT count(*), sum(new) FROM run WHERE outcome = 'ok'"
            url = stores[one.name]
            rows = desks[one.name].rows(sql) if one.name == "sqlite" else postgres.rows(url, sql)
            told.append(f"{rows[0][0]} runs on record, {rows[0][1]} readings")
    return problems, "; ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    minutes = parser.parse_args().minutes
    problems, told = soak(minutes)
    print(f"soak of {minutes:g} minutes (an hour a second): {told}")  # noqa: T201
    for problem in problems:
        print(problem)  # noqa: T201
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()

"""What is measured, in which order. Everybody writes the same rows; whoever is compared is measured
in turns, so that a busy moment of the machine hits all alike."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks import rival
from benchmarks.api import API, FIRST_DAY, World, serve
from benchmarks.environment import environment
from benchmarks.figures import MB, Report
from benchmarks.ours import Loader, Run
from benchmarks.postgres import Postgres
from benchmarks.process import Failed, Took, measure

LATENCY_S = 0.05
SOME = 40
"""Sensors of the runs with latency, where one at once waits for every page."""

MEMORY = World(sensors=1, rows=1_000_000, duplicates=0, fresh=0, cadence_s=60)
"""One sensor with two years of minutes: the widest window of a single partition."""


class Bench:
    """Measures everything into `report`. `folder` is scratch space."""

    def __init__(self, folder: Path, api: API, server: Postgres, runs: int) -> None:
        self.folder, self.api, self.server, self.runs = folder, api, server, runs
        self.world = api.world
        self.report = Report()

    def everything(self) -> None:
        self.warm_up()
        self.first_load()
        self.one_percent()
        self.at_once()
        self.start()
        self.memory()

    def say(self, text: str) -> None:
        print(f"... {text}", file=sys.stderr, flush=True)

    # The loader on one store or the other

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def sqlite(self, name: str, **more: object) -> Loader:
        """The loader on a SQLite file that is not there yet."""
        for path in self.folder.glob(f"{name}.db*"):
            path.unlink()
        return self.loader(f"sqlite:///{self.file(name)}", **more)

    def postgres(self, name: str, template: str = "template0", **more: object) -> Loader:
        """The loader on a database like `template`."""
        return self.loader(self.server.fresh(name, template), **more)

    def loader(self, store: str, **more: object) -> Loader:
        return Loader(**{"folder": self.folder / "config", "api": self.api, "store": store} | more)  # type: ignore[arg-type]

    # What is measured

    def warm_up(self) -> None:
        """Have everything compiled and every file in the page cache."""
        self.say("warming up")
        self.api.set_latency(0)
        for loader in (
            self.sqlite("warm", initial="2025-01-01"),
            self.postgres("warm", initial="2025-01-01"),
        ):
            loader.run()

    def first_load(self) -> None:
        """Everything into empty tables: the loader, and those who are handed the rows."""
        rows = self.world.distinct
        ours: dict[str, list[Run]] = {"sqlite": [], "postgres": []}
        copies: list[Took] = []
        many: list[float] = []
        for turn in range(self.runs):
            self.say(f"first load, {turn + 1} of {self.runs}")
            ours["sqlite"].append(self.sqlite("first").run(new=rows))
            ours["postgres"].append(self.postgres("first").run(new=rows))
            if turn == 0:
                self.prepare()
            self.server.fresh("copy", "empty")
            load = f"\\copy reading from '{self.folder}/rows.bin' with (format binary)"
            copies.append(measure([*self.server.psql("copy"), "-c", load]))
            self.expect(rows, "copy", "reading")
            many.append(self.executemany())
        copy = self.report.line("psql binary COPY", rows, [c.wall_s for c in copies])
        values = self.execute_values()
        plain = self.report.line("sqlite3 executemany", rows, many)
        self.line("loader into PostgreSQL", rows, ours["postgres"])
        self.line("loader into SQLite", rows, ours["sqlite"])
        # Turn by turn: what is compared ran one after the other.
        shares = [c.wall_s / r.took.wall_s for c, r in zip(copies, ours["postgres"], strict=True)]
        self.report.target("first load, PostgreSQL, of COPY", statistics.median(shares), ">=", 0.30)
        shares = [m / r.took.wall_s for m, r in zip(many, ours["sqlite"], strict=True)]
        self.report.target("first load, SQLite, of executemany", statistics.median(shares), ">=", 0.35)
        for name, runs in ours.items():
            per_million = [r.took.cpu_s / r.counts["fetched"] * 1e6 for r in runs]
            self.report.target(
                f"CPU per million records, {name}", statistics.median(per_million), "<=", 2.2, " s"
            )
            self.report.target(
                f"peak memory, 1,000,000 records, {name}",
                max(r.took.peak for r in runs) / MB,
                "<=",
                120,
                " MB",
            )
            # Of the figures that depend on how fast the machine is, the one that does the least so.
            times = statistics.median(per_million) / (plain.wall_s / rows * 1e6)
            self.report.fact(f"CPU per million, {name}, in times of executemany's", f"{times:.1f}")
            inside = statistics.median(r.inside_s for r in runs)
            self.report.fact(f"first load, {name}, without start and migration", f"{inside:.2f} s")
        self.report.fact("execute_values, as a share of COPY", f"{values * copy.wall_s / copy.rows:.3f}")
        run = ours["postgres"][0].counts
        self.report.fact("requests per new reading, first load", f"{run['requests'] / run['new']:.5f}")

    def prepare(self) -> None:
        """From the first loads: the rows as files, and databases to begin from."""
        from benchmarks.rows import save

        shutil.copy(self.file("first"), self.file("loaded"))
        save(self.file("loaded"), self.folder / "rows.npz", self.folder / "rows.bin")
        self.server.fresh("loaded", "first")
        self.server.fresh("empty", "first")
        self.server.sql("empty", "TRUNCATE reading")

    def expect(self, rows: int, database: str, table: str) -> None:
        """Raises Failed unless the table has so many rows."""
        found = int(self.server.sql(database, f"SELECT count(*) FROM {table}"))
        if found != rows:
            raise Failed(f"{table} of {database} has {found} rows, not {rows}")

    def executemany(self) -> float:
        """Seconds that plain executemany takes for the rows, into a table like the loader's."""
        from loader.stores.sqlite import SQLiteStore

        for path in self.folder.glob("many.db*"):
            path.unlink()
        with closing(SQLiteStore(self.file("many"))) as store:
            store.migrate()
        return self.baseline("executemany", self.file("many"))

    def execute_values(self) -> float:
        """Rows a second of execute_values; a fifth of them will do."""
        url = self.server.fresh("values", "empty")
        rows = self.world.distinct // 5
        line = self.report.line(
            "execute_values ON CONFLICT", rows, [self.baseline("execute-values", url, rows)]
        )
        return line.rows / line.wall_s

    def baseline(self, kind: str, target: Path | str, rows: int = 0) -> float:
        program: list[str | Path] = [sys.executable, "-m", "benchmarks.baselines"]
        return float(measure([*program, kind, self.folder / "rows.npz", target, str(rows)]).out)

    def one_percent(self) -> None:
        """One reading in a hundred is new: the whole process, from the shell and back."""
        self.api.release()
        for name in ("postgres", "sqlite"):
            fresh: list[Run] = []
            idle: list[Run] = []
            for turn in range(self.runs):
                self.say(f"1 % new, {name}, {turn + 1} of {self.runs}")
                loader = self.again(name)
                fresh.append(loader.run(new=self.world.new))
                idle.append(loader.run(new=0))
            self.line(f"1 % new, loader, {name}", self.world.new, fresh)
            self.line(f"nothing new, loader, {name}", 0, idle)
        counts = fresh[0].counts
        self.report.fact("requests per new reading, 1 % new", f"{counts['requests'] / counts['new']:.5f}")
        self.report.fact(
            "requests, nothing new", f"{idle[0].counts['requests']} for {self.world.sensors} sensors"
        )
        self.api.take_back()

    def again(self, name: str) -> Loader:
        """The loader on a store that has had its first load."""
        if name == "postgres":
            return self.postgres("again", "loaded")
        loader = self.sqlite("again")
        shutil.copy(self.file("loaded"), self.file("again"))
        return loader

    def at_once(self) -> None:
        """Four partitions at a time against one, where the network waits and where it does not."""
        few = World(sensors=min(SOME, self.world.sensors), rows=self.world.rows)
        self.api.set_latency(LATENCY_S)
        walls = {}
        for many in (1, 4):
            self.say(f"{many} at once, {LATENCY_S * 1000:.0f} ms latency")
            loader = self.postgres("once", concurrency=many, locations=few.locations)
            walls[many] = self.line(
                f"{many} at once, {LATENCY_S * 1000:.0f} ms latency", few.distinct, [loader.run()]
            )
        self.api.set_latency(0)
        self.report.target("4 at once against 1, 50 ms latency", walls[1] / walls[4], ">=", 3)
        both: dict[int, list[Run]] = {1: [], 4: []}
        for turn in range(self.runs):
            self.say(f"1 and 4 at once, no latency, {turn + 1} of {self.runs}")
            for many, runs in both.items():
                runs.append(self.postgres("once", concurrency=many).run(new=self.world.distinct))
        walls = {
            n: self.line(f"{n} at once, no latency", self.world.distinct, runs) for n, runs in both.items()
        }
        self.report.target("4 at once, times as slow as 1, no latency", walls[4] / walls[1], "<=", 1.4)

    def start(self) -> None:
        """How long it takes to say what one can do."""
        took = [measure([sys.executable, "-m", "loader", "--help"]) for _ in range(7)]
        line = self.report.line("loader --help", 0, [t.wall_s for t in took], peaks=[t.peak for t in took])
        self.report.target("loader --help", line.wall_s, "<=", 0.3, " s")

    def memory(self) -> None:
        """The peak must not grow with the window."""
        self.say("memory")
        world = replace(MEMORY, rows=MEMORY.rows * self.world.rows // World().rows)
        rows = world.rows
        peaks = {}
        with serve(world) as api:
            for initial, count in ((world.newest(rows // 10), rows // 10), (FIRST_DAY, rows)):
                for name, loader in (
                    ("postgres", self.postgres("memory", api=api, initial=initial)),
                    ("sqlite", self.sqlite("memory", api=api, initial=initial)),
                ):
                    took = loader.run(new=count).took
                    self.report.line(
                        f"one sensor, {name}", count, [took.wall_s], cpus=[took.cpu_s], peaks=[took.peak]
                    )
                    peaks[name] = took.peak
        for name, peak in peaks.items():
            self.report.target(f"peak memory, one sensor's {rows:,}, {name}", peak / MB, "<=", 120, " MB")

    def dlt(self) -> None:
        """dlt on the same API and server: first load once, then 1 % new."""
        python = environment("dlt")
        lines = {one.name: one for one in self.report.lines}
        for kind in rival.KINDS:
            self.api.take_back()
            self.say(f"dlt, {kind}, first load")
            pipeline = rival.Rival(python, kind, self.api, self.folder / f"dlt-{kind}")
            first = pipeline.run(self.server.fresh("dlt"))
            rows, new = self.world.distinct, self.world.new
            self.expect(rows, "dlt", "sensors.reading")
            self.took(f"dlt {kind}", rows, [first])
            self.server.fresh("dlt-loaded", "dlt")
            pipeline.keep()
            self.api.release()
            fresh = []
            for turn in range(self.runs):
                self.say(f"dlt, {kind}, 1 % new, {turn + 1} of {self.runs}")
                pipeline.go_back()
                fresh.append(pipeline.run(self.server.fresh("dlt", "dlt-loaded")))
            self.expect(rows + new, "dlt", "sensors.reading")
            self.took(f"1 % new, dlt {kind}", new, fresh)
            ours = lines["loader into PostgreSQL"]
            if kind == "generator":
                times = first.wall_s / ours.wall_s
                self.report.target("first load, times dlt's generator", times, ">=", 10)
            cpu = [f"{first.cpu_s / (ours.cpu_s or 1):.1f} of the first load's"]
            ours = lines["1 % new, loader, postgres"]
            times = statistics.median(t.wall_s for t in fresh) / ours.wall_s
            self.report.target(f"1 % new, times dlt {kind}", times, ">=", 2.5)
            cpu.append(f"{statistics.median(t.cpu_s for t in fresh) / (ours.cpu_s or 1):.1f} of 1 % new's")
            self.report.fact(f"CPU of dlt {kind}, in times of the loader's", ", ".join(cpu))
        self.api.take_back()

    # Lines of the report

    def line(self, name: str, rows: int, runs: Sequence[Run]) -> float:
        return self.took(name, rows, [r.took for r in runs])

    def took(self, name: str, rows: int, took: Sequence[Took]) -> float:
        line = self.report.line(
            name,
            rows,
            [t.wall_s for t in took],
            cpus=[t.cpu_s for t in took],
            peaks=[t.peak for t in took],
        )
        return line.wall_s

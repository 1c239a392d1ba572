"""A loader set up against the OpenAQ test server: its configuration, its store, a clock that the test
moves, runs in this process and in processes of their own, and the tables to compare with the truth."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from loader import wiring
from loader.__main__ import main
from loader.config import Config
from loader.pipeline import Order, Pipeline
from loader.records import RunReport
from loader.replay import replay
from loader.sources.openaq import OpenAQSettings, build
from tests import postgres
from tests.acceptance.campaign_books import (
    SOURCE,
    Books,
    Rows,
    audit,
    postgres_books,
    sqlite_books,
)
from tests.openaq_server import HOUR, KEY, Faults, OpenAQServer, World, micros
from tests.watching import Watching

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
STORES = ("sqlite", "postgres")
ENVIRONMENT = ("OPENAQ_API_KEY", "DATABASE_URL", "LOADER_CONFIG")
"""Variables that would change what a test configures."""

SETTINGS: dict[str, Any] = {
    "type": "openaq",
    "api_key": "${OPENAQ_API_KEY}",
    "parameters": [],
    "initial": "7d",
    "lookback": {"min": "2h", "max": "3d", "sweep": "6h"},
    "limits": {"per_minute": 1_000_000, "per_hour": 10_000_000},
    "tries": 3,
    "backoff": "100ms",
}
"""What the tests leave alone of a source's configuration: nothing waits long, nothing is rationed."""

Table = dict[str, dict[int, float | None]]
"""sensor -> time -> value."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the command line left behind."""

    code: int
    out: str
    err: str


class Rig:
    """One source in one store, and the server it loads from."""

    def __init__(
        self, folder: Path, server: OpenAQServer, store: str, books: Books, settings: Mapping[str, Any]
    ) -> None:
        self.folder, self.server, self.books = folder, server, books
        self.world, self.faults = server.world, server.faults
        self.key = KEY
        self.watching = Watching()
        self._store = store
        self._settings = {
            "base_url": server.url,
            "locations": sorted(server.world.locations),
            **SETTINGS,
            **settings,
        }
        self._write()
        self.store = wiring.open_store(self.config)

    def _write(self) -> None:
        lines = [f"store: {json.dumps(self._store)}", "sources:", f"  {SOURCE}:"]
        lines += [f"    {name}: {json.dumps(value)}" for name, value in self._settings.items()]
        lines += ["log: {level: debug, format: json, file: {path: loader.log}}"]
        (self.folder / "config.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self.folder / ".env").write_text(f"OPENAQ_API_KEY={self.key}\n", encoding="utf-8")

    def configure(self, **settings: Any) -> None:
        """Change the source's configuration from the next run on."""
        self._settings |= settings
        self._write()
        self.__dict__.pop("config", None)

    @cached_property
    def config(self) -> Config:
        return wiring.load_config(self.folder / "config.yaml")

    @property
    def now(self) -> int:
        """The clock of the world and of the loader, in microseconds UTC."""
        return self.world.now

    @now.setter
    def now(self, value: int) -> None:
        self.world.now = value

    def pipeline(self) -> Pipeline:
        """As the command line builds it, but by the world's clock."""
        made = wiring.build_pipeline(self.config, SOURCE, self.store, threading.Event(), self.watching)
        made.source.close()
        settings, quality = self.config.sources[SOURCE], self.config.quality
        assert isinstance(settings, OpenAQSettings)

        def clock() -> int:
            return self.world.now

        source = build(
            SOURCE,
            settings,
            journal=self.store,
            clock=clock,
            stop=made.stop,
            earliest=quality.earliest_us,
            future=quality.future,
        )
        return replace(made, source=source, clock=clock)

    def run(self, **order: Any) -> RunReport:
        """One run in this process; `Order`'s fields."""
        pipeline = self.pipeline()
        try:
            return pipeline.run(Order(**order))
        finally:
            pipeline.source.close()

    def replay(self) -> RunReport:
        """Everything in the quarantine that has not been replayed, once more."""
        pipeline = self.pipeline()
        try:
            pending = [q for q in self.store.quarantined(SOURCE, 10_000) if q.replayed_by is None]
            return replay(pipeline, pending)
        finally:
            pipeline.source.close()

    def start(self, *args: str, module: str = "loader", **env: str) -> subprocess.Popen[str]:
        """A `loader` process in the folder of the configuration, by the real clock."""
        inherited = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
        return subprocess.Popen(
            [sys.executable, "-m", module, *args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=inherited | {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"} | env,
        )

    def loader(self, *args: str, code: int | None = 0, **env: str) -> Said:
        """What the console command said, called in this process, in the folder of the configuration;
        it must end with that exit code (None: any), and never with a traceback."""
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name in ENVIRONMENT:
                patch.delenv(name, raising=False)
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["loader", *args])
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as end:
                main()
        out, err = (s.buffer.getvalue().decode("utf-8") for s in streams)  # type: ignore[attr-defined]
        assert code in (None, end.value.code), f"loader {args}: exit {end.value.code}:\n{out}{err}"
        assert "Traceback" not in err, err
        return Said(int(end.value.code or 0), out, err)

    def query(self, sql: str) -> Rows:
        """One SELECT behind the store's back."""
        return self.books.query(sql)

    def stored(self) -> Table:
        """Every reading, each once, by sensor."""
        at = self.books.micros("r.time")
        out: Table = {}
        for sensor, time, value in self.query(
            f"SELECT s.sensor, {at}, r.value FROM reading r JOIN series s ON s.id = r.series_id"
        ):
            rows = out.setdefault(sensor, {})
            assert time not in rows, f"sensor {sensor} has {time} twice"
            rows[time] = value
        return out

    def truth(self, until: int | None = None) -> Table:
        """What the world says must be stored, of all sensors that have a reading by then."""
        found = {str(n): dict(zip(*self.world.truth(n, until), strict=True)) for n in self.world.sensors}
        return {sensor: rows for sensor, rows in found.items() if rows}

    def holes(self) -> list[tuple[str, int, int, str, bool]]:
        """(partition, from, to, cause, isolated) of every hole."""
        start, end = self.books.micros("from_time"), self.books.micros("to_time")
        sql = f"SELECT partition, {start}, {end}, cause, isolated FROM hole ORDER BY 1, 2"
        return [(p, a, b, cause, bool(isolated)) for p, a, b, cause, isolated in self.query(sql)]

    def watermarks(self) -> dict[str, int | None]:
        return dict(self.query(f"SELECT partition, {self.books.micros('watermark')} FROM partition"))

    def check_sums(self) -> None:
        """What must hold after any run: every row was counted once, and every run was closed."""
        for counted, rows in (("new", "reading"), ("revised", "revision")):
            total = self.query(f"SELECT coalesce(sum({counted}), 0) FROM run")[0][0]
            there = self.query(f"SELECT count(*) FROM {rows}")[0][0]
            assert total == there, f"sum(run.{counted}) is {total}, {rows} has {there} rows"
        unended = self.query("SELECT id FROM run WHERE finished IS NULL OR outcome IS NULL")
        assert not unended, f"runs that were never closed: {unended}"

    def check_books(self) -> None:
        """The world has settled and all of it was read: everything must be right."""
        problems = audit(self.books, self.world).problems
        assert not problems, "\n".join(problems)

    def asked(self) -> list[tuple[int, int, int]]:
        """(sensor, from, to) of every request for measurements since `forget_requests`."""
        out = []
        for seen in self.server.log:
            if seen.kind == "measurements":
                url = urlsplit(seen.url)
                query = dict(parse_qsl(url.query))
                window = (micros(query["datetime_from"]), micros(query["datetime_to"]))
                out.append((int(url.path.split("/")[3]), *window))
        return out


@contextmanager
def place(folder: Path, store: str) -> Iterator[tuple[str, Books]]:
    """A fresh store of that kind: its URL and its books."""
    if store == "sqlite":
        path = folder / "loader.db"
        yield f"sqlite:///{path}", sqlite_books(path)
        return
    if reason := postgres.missing():
        pytest.skip(reason)
    server = postgres.server(max(postgres.binaries()))
    url = server.migrated()
    try:
        yield url, postgres_books(url)
    finally:
        server.drop(url)


@contextmanager
def loading(
    folder: Path,
    world: World,
    faults: Faults | None = None,
    *,
    store: str = "sqlite",
    kind: type[OpenAQServer] = OpenAQServer,
    **settings: Any,
) -> Iterator[Rig]:
    """A rig over `world`; `settings` are keys of the source's configuration."""
    with place(folder, store) as (url, books), kind(world, faults, gzip=False) as server:
        rig = Rig(folder, server, url, books, settings)
        try:
            yield rig
        finally:
            rig.store.close()


def hourly(world: World, sensor: int, first: int, count: int, value: float = 10.0) -> list[int]:
    """Add `count` hourly readings after `first`, value, value + 1, ...; returns their times."""
    times = [first + (i + 1) * HOUR for i in range(count)]
    world.extend(sensor, [(t, value + i, t) for i, t in enumerate(times)])
    return times

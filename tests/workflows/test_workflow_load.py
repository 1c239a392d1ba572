"""The workflow that loads on a schedule, carried out step by step from its own file."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import postgres
from tests.acceptance.campaign_books import audit, postgres_books, sqlite_books
from tests.acceptance.openaq_run import hourly
from tests.openaq_server import HOUR, KEY, Faults, Location, OpenAQServer, World
from tests.workflows.runner import GitHub, Job, carry_out
from tests.workflows.tools import absent, tool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

SENSORS = (11, 12, 21, 22)
HOURS = 48
INSTALL, CHECK, LOAD = "Install the loader", "Check", "Load"
SAVE, GUARD = "Save the state", "Do not begin anew while a state is kept"
SLACK = "Tell Slack that the loader could not start"


class Hub(ThreadingHTTPServer):
    """GitHub's list of caches, and Slack."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.github: GitHub | None = None
        self.told: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def unable(self) -> list[str]:
        """What was said of a loader that could not start; what it says itself is not in it."""
        return [text for text in self.told if "could not start" in text]


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = parse_qs(asked.query)
        good = (
            asked.path == "/repos/ada/sensors/actions/caches"
            and query == {"key": ["loader-state-"], "ref": ["refs/heads/main"]}
            and self.headers["Authorization"] == "Bearer token-of-the-job"
        )
        assert self.server.github is not None
        self._answer(200 if good else 404, {"total_count": len(self.server.github.caches)})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(json.dumps(json.loads(body)))
        self._answer(200, "ok")

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


class Repository:
    """What a user has set up: the checkout's configuration, secrets, and the source it loads from."""

    def __init__(
        self, github: GitHub, hub: Hub, world: World, faults: Faults, server: OpenAQServer
    ) -> None:
        self.github, self.hub, self.world, self.faults, self.server = github, hub, world, faults, server
        self.config: dict[str, Any] = {
            "store": "${DATABASE_URL:-sqlite:///state/loader.db}",
            "sources": {
                "openaq": {
                    "type": "openaq",
                    "base_url": server.url,
                    "api_key": "${OPENAQ_API_KEY}",
                    "locations": sorted(world.locations),
                    "parameters": [],
                    "lookback": {"min": "3h", "max": "3h", "sweep": "6h"},
                    "tries": 2,
                    "backoff": "100ms",
                }
            },
            "alerts": {"slack": {"webhook_url": "${SLACK_WEBHOOK_URL}"}},
        }

    def prepare(self, workspace: Path) -> None:
        (workspace / "config.yaml").write_text(json.dumps(self.config), encoding="utf-8")

    def load(self, **inputs: Any) -> Job:
        job = carry_out(self.github, "load.yml", prepare=self.prepare, **inputs)
        print(job.steps, job.printed)  # noqa: T201 - what a failed test shows
        return job

    def kept(self) -> Path:
        """The newest saved state's database."""
        return list(self.github.caches.values())[-1] / "loader.db"


@pytest.fixture(scope="module")
def temp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runner")


@pytest.fixture
def repository(tmp_path: Path, temp: Path) -> Iterator[Repository]:
    """Two stations of two hourly sensors; the newest three hours have not been reported yet."""
    for program in ("bash", "curl", "timeout"):
        tool(program)
    world, faults = World(), Faults()
    for station in (1, 2):
        world.add_location(Location(station, f"Station {station}", "Europe/London", 51.5, -0.1))
    for sensor in SENSORS:
        world.add_sensor(sensor, sensor // 10, sensor % 10)
        hourly(world, sensor, this_hour() - 3 * HOUR - HOURS * HOUR, HOURS)
    with Hub() as hub, OpenAQServer(world, faults, gzip=False) as server:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        secrets = {"OPENAQ_API_KEY": KEY, "SLACK_WEBHOOK_URL": f"{hub.url}/slack"}
        hub.github = GitHub(tmp_path, temp, hub.url, secrets)
        yield Repository(hub.github, hub, world, faults, server)
        hub.shutdown()
        thread.join()


def this_hour() -> int:
    return time.time_ns() // 1000 // HOUR * HOUR


def counted(job: Job) -> dict[str, str]:
    """The first table of the job's summary."""
    heads, _, row, *_ = [line for line in job.summary.splitlines() if line.startswith("|")]
    return dict(zip(heads.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))


def test_the_second_run_loads_only_what_is_new(repository: Repository) -> None:
    """From the kept state it continues: three new hours a sensor, every row as the source has it."""
    first = repository.load()
    assert first.conclusion == "success"
    assert counted(first)["new"] == str(len(SENSORS) * HOURS)
    for sensor in SENSORS:
        hourly(repository.world, sensor, this_hour() - 3 * HOUR, 3)
    second = repository.load()
    assert (second.conclusion, second.steps[GUARD]) == ("success", "skipped")
    assert counted(second)["new"] == str(len(SENSORS) * 3)
    assert repository.hub.unable == []
    books = sqlite_books(repository.kept())
    assert audit(books, repository.world).problems == []
    assert books.query("SELECT trigger, outcome FROM run") == [("github", "ok")] * 2
    refetched = books.query("SELECT refetched FROM run ORDER BY id DESC LIMIT 1")[0][0]
    assert refetched <= len(SENSORS) * 4, "it read further back than the lookback"
    assert "loader.db-wal" not in {p.name for p in repository.kept().parent.iterdir()}
    (log,) = (repository.github.folder / "artifacts" / "1002").glob("*/run.log")
    assert f" {len(SENSORS) * 3} " in log.read_text(encoding="utf-8")


def test_a_partial_run_is_green_with_a_warning(repository: Repository) -> None:
    """Exit code 3: the job succeeds, warns, and its page says what failed."""
    bad = this_hour() - 20 * HOUR
    repository.faults.poison(11, bad - HOUR, bad)
    job = repository.load()
    assert job.conclusion == "success"
    assert "::warning::Some of it could not be loaded (exit code 3)" in job.output[LOAD]
    assert counted(job)["outcome"] == "partial"
    assert "500 Internal Server Error" in job.summary
    assert "### openaq: 1 hole" in job.summary
    assert job.steps[SAVE] == "success"


def test_a_failed_run_keeps_the_state(repository: Repository) -> None:
    """The job is red, its state is saved with the failure in it, and the next run makes up for it."""
    assert repository.load().conclusion == "success"
    for sensor in SENSORS:
        hourly(repository.world, sensor, this_hour() - 3 * HOUR, 3)
    repository.github.secrets = {**repository.github.secrets, "OPENAQ_API_KEY": "revoked"}
    failed = repository.load()
    assert (failed.conclusion, failed.steps[LOAD], failed.steps[SAVE]) == ("failure", "failure", "success")
    assert "::error::loader run ended with exit code 1" in failed.output[LOAD]
    assert "::warning::loader check" in failed.output[CHECK]
    assert failed.steps[SLACK] == "skipped", "the loader started: it tells itself"
    outcomes = "SELECT outcome FROM run ORDER BY id"
    assert sqlite_books(repository.kept()).query(outcomes) == [("ok",), ("failed",)]
    repository.github.secrets = {**repository.github.secrets, "OPENAQ_API_KEY": KEY}
    assert counted(repository.load())["new"] == str(len(SENSORS) * 3)
    assert audit(sqlite_books(repository.kept()), repository.world).problems == []


@pytest.mark.skipif(sys.platform != "linux", reason="finds the loader's process in /proc")
def test_a_killed_run_keeps_what_it_had_committed(repository: Repository) -> None:
    """SIGKILL between two commits: readings and ledger are saved together, and the next run continues."""
    slow = repository.faults.add("latency", route="measurements", sensor=22, seconds=25)
    workspace = repository.github.folder / "workspace-1"
    killer = threading.Thread(target=kill_after_first_commit, args=(workspace,))
    killer.start()
    job = repository.load()
    killer.join()
    assert (job.steps[LOAD], job.steps[SAVE]) == ("failure", "success")
    assert "exit code 137" in job.output[LOAD]
    kept = sqlite_books(repository.kept()).query("SELECT count(*) FROM reading")[0][0]
    assert 0 < kept < len(SENSORS) * HOURS
    repository.faults.remove(slow)
    assert counted(repository.load())["new"] == str(len(SENSORS) * HOURS - kept)
    books = sqlite_books(repository.kept())
    assert books.query("SELECT outcome FROM run ORDER BY id") == [("interrupted",), ("ok",)]
    assert audit(books, repository.world).problems == []


def kill_after_first_commit(workspace: Path) -> None:
    """Kill the loader that runs in that folder, as soon as it has committed something."""
    deadline = time.monotonic() + 90
    committed = False
    while time.monotonic() < deadline:
        file = workspace / "state" / "loader.db"
        with suppress(sqlite3.Error):
            if file.exists() and not committed:
                committed = sqlite_books(file).query("SELECT count(*) FROM reading")[0][0] > 0
        for process in Path("/proc").glob("[0-9]*") if committed else ():
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if (process / "cwd").resolve() == workspace and b"run" in words and b"timeout" not in words:
                    os.kill(int(process.name), signal.SIGKILL)
                    return
        time.sleep(0.05)


def test_a_loader_that_cannot_start_is_told(repository: Repository) -> None:
    """A configuration it cannot read: nothing is loaded or saved, and Slack hears of it once."""
    repository.config["sources"]["openaq"]["colour"] = "blue"
    job = repository.load()
    assert (job.conclusion, job.steps[CHECK], job.steps[LOAD]) == ("failure", "failure", "skipped")
    assert "::error::loader cannot start (exit code 78)" in job.output[CHECK]
    assert (job.steps[SLACK], job.steps[SAVE]) == ("success", "skipped")
    (text,) = repository.hub.unable
    assert "https://github.com/ada/sensors/actions/runs/1001" in text


def test_a_loader_that_cannot_be_installed_is_told(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that pip refuses: Slack hears of it; without its address the job is red all the same."""
    before = repository.prepare

    def spoil(workspace: Path) -> None:
        before(workspace)
        (workspace / "requirements.lock").write_text("click==8.1.8\n", encoding="utf-8")

    monkeypatch.setattr(repository, "prepare", spoil)
    job = repository.load()
    assert (job.conclusion, job.steps[INSTALL], job.steps[CHECK]) == ("failure", "failure", "skipped")
    assert "hash" in job.output[INSTALL].lower()
    assert len(repository.hub.unable) == 1
    repository.github.secrets = {}
    silent = repository.load()
    assert (silent.conclusion, silent.steps[SLACK]) == ("failure", "success")
    assert len(repository.hub.unable) == 1


def test_a_state_that_cannot_be_restored_is_not_begun_anew(repository: Repository) -> None:
    """A cache out of reach looks like a first run; the job stops before an empty state takes its place."""
    assert repository.load().conclusion == "success"
    repository.github.broken_cache = True
    job = repository.load()
    assert (job.conclusion, job.steps[GUARD], job.steps[LOAD]) == ("failure", "failure", "skipped")
    assert len(repository.github.caches) == 1
    assert len(repository.hub.unable) == 1
    repository.github.broken_cache = False
    assert counted(repository.load())["new"] == "0"


def test_a_database_keeps_the_state_instead(repository: Repository) -> None:
    """With DATABASE_URL nothing is cached, and the second run continues from the database."""
    if why := postgres.missing():
        absent(why)
    server = postgres.server(max(postgres.binaries()))
    url = server.create()
    try:
        repository.github.secrets = {**repository.github.secrets, "DATABASE_URL": url}
        assert counted(repository.load())["new"] == str(len(SENSORS) * HOURS)
        assert counted(repository.load())["new"] == "0"
        assert repository.github.caches == {}
        assert audit(postgres_books(url), repository.world).problems == []
    finally:
        server.drop(url)


def test_inputs_are_data_to_the_shell(repository: Repository) -> None:
    """What is typed into the form reaches the loader as one word, whatever it says."""
    for given, said in (
        ({"source": 'a"; touch hacked; echo "$(touch hacked) --yes'}, "there is no source {}"),
        ({"since": "$(touch hacked) --help"}, "'{}' is no time"),
    ):
        job = repository.load(**given)
        assert job.conclusion == "failure"
        assert said.format(*given.values()) in job.output[LOAD]
        assert "exit code 2" in job.output[LOAD]
        assert not (job.workspace / "hacked").exists()


def test_the_form_reads_a_stretch_again_and_dry(repository: Repository) -> None:
    """since and until choose the window, dry_run writes nothing."""
    dry = repository.load(source="openaq", since="1d", until="12h", dry_run=True)
    assert dry.conclusion == "success"
    assert "dry run: nothing was written" in dry.output[LOAD]
    books = sqlite_books(repository.kept())
    assert books.query("SELECT count(*) FROM reading") == [(0,)]
    some = repository.load(source="openaq", since="1d", until="12h")
    assert counted(some)["new"] == str(len(SENSORS) * 12)
    rest = repository.load()
    assert counted(rest)["new"] == str(len(SENSORS) * (HOURS - 12))

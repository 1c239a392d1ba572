"""Work for a source that another loader holds: queued, followed, taken over, left, cancelled."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from builders import at
from shell import Shell

from loader import requested, wiring
from loader.commands.output import iso
from loader.commands.progress import Lines
from loader.contracts import Lease
from loader.journal import RequestState
from loader.stores.sqlite import SQLiteStore

DEADLINE_S = 60.0
ONE_DAY = ["--since", "2024-01-30", "--until", "2024-01-31"]


@contextmanager
def another(shell: Shell, act: Callable[[SQLiteStore, Lease, int], None]) -> Iterator[None]:
    """Another loader that holds `src`; once a request is there it does what `act` says."""
    ready, wrong = threading.Event(), []

    def main() -> None:
        store = SQLiteStore(shell.folder / "loader.db")
        try:
            lease = store.acquire("src")
            ready.set()
            deadline = time.monotonic() + DEADLINE_S
            while not (found := store.requests("src", final=False)):
                assert time.monotonic() < deadline, "nothing was requested"
                time.sleep(0.02)
            act(store, lease, found[0].id)
            lease.release()
        except BaseException as error:
            wrong.append(error)
            raise
        finally:
            ready.set()
            store.close()

    thread = threading.Thread(target=main)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        thread.join()
    assert not wrong


def let_go(store: SQLiteStore, lease: Lease, number: int) -> None:
    """Release the lease without having done anything."""


def do_it(store: SQLiteStore, lease: Lease, number: int) -> None:  # noqa: ARG001
    """Work the request as a daemon does."""
    config = wiring.load_config(Path("config.yaml"))
    make = partial(wiring.build_pipeline, config, "src", store)
    requested.work_next("src", store, make, lease, threading.Event(), Lines({}), wiring.now)


def interrupt(store: SQLiteStore, lease: Lease, number: int) -> None:  # noqa: ARG001
    """Press Ctrl-C for whoever follows."""
    os.kill(os.getpid(), signal.SIGINT)


def test_a_busy_source_is_followed_until_its_holder_has_done_it(shell: Shell, filled: SQLiteStore) -> None:
    """The command prints the report of the run that the other loader made of its request."""
    with another(shell, do_it):
        (report,) = shell.json("backfill", "--source", "src", *ONE_DAY)
    assert "src: another loader works on it; queued as request 1" in shell.err
    assert "request 1: done" in shell.err
    assert (report["trigger"], report["outcome"]) == ("backfill", "ok")
    assert report["counts"]["new"] > 0
    (request,) = shell.json("requests", "list")
    assert (request["state"], request["result"]["runs"]) == ("done", [report["id"]])
    assert request["arguments"]["since"] == filled.request(1).arguments["since"]  # type: ignore[union-attr]


def test_a_follower_does_its_own_request_once_the_source_is_free(shell: Shell, filled: SQLiteStore) -> None:
    """Nobody else works it, so it takes the lease that was let go."""
    with another(shell, let_go):
        said = shell("state", "set", "src", "p-a", iso(at(5)), "--yes")
    assert "done: 1 partition changed" in said
    assert filled.partitions("src")[0].watermark == at(5)
    assert [r.state for r in filled.requests("src")] == [RequestState.DONE]


def test_a_failed_request_fails_its_follower(shell: Shell, filled: SQLiteStore) -> None:
    """The exit code is 1, and the reason is said."""
    with another(shell, do_it):
        shell("backfill", "--source", "src", "--location", "nowhere", *ONE_DAY, code=1)
    assert "request 1: failed: " in shell.err
    assert "no station or sensor nowhere" in shell.err
    assert filled.requests("src")[0].state is RequestState.FAILED


def test_ctrl_c_while_following_leaves_the_request(shell: Shell, filled: SQLiteStore) -> None:
    """It says how to cancel it, and the exit code is that of an interruption."""
    with another(shell, interrupt):
        shell("state", "reset", "src", "--yes", code=130)
    assert "request 1 stays queued; `loader requests cancel 1` cancels it" in shell.err
    assert filled.requests("src")[0].state is RequestState.QUEUED
    assert "request 1: cancelled" in shell("requests", "cancel", "1")
    shell("requests", "follow", "1", code=1)
    assert "request 1: cancelled" in shell.err
    assert filled.partitions("src")[0].watermark == at(10)


def test_what_is_left_queued_is_done_by_the_next_run(shell: Shell, filled: SQLiteStore) -> None:
    """`loader run` works what waits for its sources after their runs, and reports it."""
    shell("backfill", "--source", "src", *ONE_DAY, "--detach")
    assert "queued as request 1" in shell.err
    assert shell("requests", "show", "1").splitlines()[3] == "state:       queued"
    reports = shell.json("run", "--source", "src")
    assert [r["trigger"] for r in reports] == ["command", "backfill"]
    assert filled.requests("src")[0].state is RequestState.DONE
    assert [r["trigger"] for r in shell.json("run", "--source", "src")] == ["command"]


@pytest.mark.parametrize(
    "command",
    [
        "backfill --source src --since 2024-01-30",
        "gaps --heal",
        "recheck src",
        "prune",
        "quarantine replay",
    ],
)
def test_what_is_queued_is_one_document(shell: Shell, filled: SQLiteStore, command: str) -> None:
    """With --detach and --json the numbers of the requests are printed."""
    config = shell.folder / "config.yaml"
    kept = "{type: simulator, retention: {runs: 3d}, "
    config.write_text(config.read_text().replace("{type: simulator, lookback", kept + "lookback"))
    assert shell.json(*command.split(), "--detach") == [{"source": "src", "request": 1}]
    (request,) = filled.requests("src")
    assert request.kind in {*command.split(), "heal"}


@pytest.mark.parametrize("command", [("gaps", "--heal"), ("recheck",), ("prune",)])
def test_a_dry_run_is_not_queued(shell: Shell, filled: SQLiteStore, command: tuple[str, ...]) -> None:
    """--dry-run with --detach is refused: there would be nothing to queue."""
    shell(*command, "--dry-run", "--detach", code=2)
    assert "--dry-run does nothing that --detach could queue" in shell.err
    assert filled.requests() == []


@pytest.mark.parametrize("command", [("gaps", "--heal"), ("quarantine", "replay")])
def test_nothing_to_do_is_an_empty_list(shell: Shell, command: tuple[str, ...]) -> None:
    """Also where nothing has been loaded yet, --json prints a document."""
    assert shell.json(*command) == []


def test_a_dry_run_works_no_requests(shell: Shell, filled: SQLiteStore) -> None:
    """It writes nothing, and what waits stays."""
    shell("state", "reset", "src", "--yes", "--detach")
    shell("run", "--source", "src", "--dry-run")
    assert [r.state for r in filled.requests("src")] == [RequestState.QUEUED]


def test_a_run_that_finds_its_source_busy_leaves_at_once(shell: Shell, filled: SQLiteStore) -> None:
    """Only `loader run` exits with 75: the next one comes anyway, so nothing is queued."""
    held = filled.acquire("src")
    shell("run", "--source", "src", code=75)
    held.release()
    assert filled.requests() == []


def test_requests_are_listed_and_shown(shell: Shell, filled: SQLiteStore) -> None:
    """By source, those that have not ended only, whole or in a line."""
    assert shell("requests", "list") == ""
    assert "nothing is requested" in shell.err
    for _ in range(3):
        shell("state", "reset", "src", "--yes", "--detach")
    shell("requests", "cancel", "2")
    assert [r["id"] for r in shell.json("requests", "list", "--pending")] == [1, 3]
    assert [r["id"] for r in shell.json("requests", "list", "--limit", "1")] == [3]
    assert [r["state"] for r in shell.json("requests", "list", "--source", "src")] == [
        "queued",
        "cancelled",
        "queued",
    ]
    assert shell("requests", "list").count("reset") == 3
    shown = shell.json("requests", "show", "1")
    assert (shown["kind"], shown["arguments"]) == ("reset", {"partition": None, "watermark": None})
    assert "@" in shown["asked_by"]
    assert filled.request(1) is not None


@pytest.mark.parametrize("verb", ["show", "follow", "cancel"])
def test_an_unknown_request_is_a_usage_error(shell: Shell, verb: str) -> None:
    """Which there are is said by the list."""
    shell("requests", verb, "7", code=2)
    assert "there is no request 7; `loader requests list` shows them" in shell.err

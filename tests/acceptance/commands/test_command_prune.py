"""Retention: what would go, what goes, and that it is never fetched again."""

from __future__ import annotations

import pytest
from shell import Shell

from loader.journal import RequestState
from loader.readings import DAY, Window
from loader.stores.sqlite import SQLiteStore
from loader.wiring import now


def keep(shell: Shell, retention: str, initial: str = "40d") -> None:
    (shell.folder / "config.yaml").write_text(
        "store: sqlite:///loader.db\n"
        f"sources: {{src: {{type: simulator, stations: 1, initial: {initial}, retention: {retention}}}}}\n"
    )


def oldest(store: SQLiteStore) -> int:
    ids = [s.id for s in store.series("src")]
    return min(int(part.time.min()) for part in store.scan(ids, Window(0, 2**62)))


@pytest.fixture
def loaded(shell: Shell, store: SQLiteStore) -> SQLiteStore:
    """Forty days of a source without retention."""
    keep(shell, "{}")
    shell("run")
    return store


def test_without_retention_everything_is_kept(shell: Shell, loaded: SQLiteStore) -> None:
    """It says so, for all sources and for one."""
    before = oldest(loaded)
    shell("prune")
    assert "no source has a retention" in shell.err
    shell("prune", "--source", "src", "--dry-run")
    assert "src: has no retention" in shell.err
    shell("prune", "--source", "scr", code=2)
    assert oldest(loaded) == before


def test_a_dry_run_says_what_would_go(shell: Shell, loaded: SQLiteStore) -> None:
    """Rows by table, and nothing is deleted; then just those go, and a second time none."""
    before = oldest(loaded)
    keep(shell, "{readings: 10d}")
    ((would,),) = [[r["rows"] for r in shell.json("prune", "--dry-run")]]
    assert would["reading"] > 0
    assert oldest(loaded) == before
    assert f"{would['reading']:,}" in shell("prune", "--dry-run")
    ((gone,),) = [[r["rows"] for r in shell.json("prune")]]
    assert gone["reading"] == would["reading"]
    assert oldest(loaded) > now() - 11 * DAY
    shell("prune")
    assert "nothing is too old" in shell.err


def test_pruned_readings_are_never_fetched_again(shell: Shell, loaded: SQLiteStore) -> None:
    """Not by a backfill over their time either."""
    keep(shell, "{readings: 10d}")
    shell("prune")
    edge = oldest(loaded)
    (report,) = shell.json("backfill", "--since", "40d")
    assert report["counts"]["new"] == 0
    assert oldest(loaded) == edge


def test_a_run_prunes_after_itself(shell: Shell, loaded: SQLiteStore) -> None:
    """`loader run` needs no other command beside it; a dry run deletes nothing."""
    keep(shell, "{readings: 10d}")
    before = oldest(loaded)
    shell("run", "--dry-run")
    assert oldest(loaded) == before
    shell("run")
    assert oldest(loaded) > now() - 11 * DAY


def test_a_busy_source_is_pruned_on_request(shell: Shell, loaded: SQLiteStore) -> None:
    """The cutoffs travel with the request."""
    keep(shell, "{readings: 10d}")
    held = loaded.acquire("src")
    shell("prune", "--detach")
    held.release()
    (request,) = loaded.requests("src")
    assert request.kind == "prune"
    assert now() - 11 * DAY < request.arguments["readings"] < now() - 10 * DAY
    keep(shell, "{}")
    shell("run")
    assert loaded.requests("src")[0].state is RequestState.DONE
    assert oldest(loaded) > now() - 11 * DAY

"""Commands that change or delete: what they say first, and what is left after."""

from __future__ import annotations

from builders import Loading, at, series, span
from shell import Shell

from loader.commands.output import iso
from loader.readings import Partition
from loader.stores.sqlite import SQLiteStore


def test_a_watermark_is_set_back_only_with_yes(shell: Shell, filled: SQLiteStore) -> None:
    """Without --yes it says what it would do and exits 2; with it, ledger goes and readings stay."""
    said = shell("state", "set", "src", "p-a", iso(at(5)), code=2)
    assert "2024-01-31T10:00:00Z -> 2024-01-31T05:00:00Z" in said
    assert "--yes" in shell.err
    assert filled.partitions("src")[0].watermark == at(10)

    shell("state", "set", "src", "p-a", iso(at(5)), "--yes")
    state = filled.partitions("src")[0]
    assert (state.watermark, state.coverage, state.holes) == (at(5), (span(0, 5),), ())
    assert shell("export").count("\n") == 12

    shell("state", "reset", "src", code=2)
    assert filled.partitions("src")[0].watermark == at(5)
    shell("state", "reset", "src", "--partition", "p-a", "--yes")
    a, b = filled.partitions("src")
    assert (a.watermark, a.coverage, b.watermark) == (None, (), at(3))
    shell("state", "reset", "src", "--yes")
    assert filled.partitions("src")[1].watermark is None


def test_a_watermark_in_the_future_is_refused(shell: Shell, filled: SQLiteStore) -> None:
    """It would leave out readings that do not exist yet; so is what is no time."""
    shell("state", "set", "src", "p-a", "2999-01-01", "--yes", code=2)
    assert "in the future" in shell.err
    shell("state", "set", "src", "p-a", "soon", "--yes", code=2)
    assert "'soon' is no time" in shell.err
    assert filled.partitions("src")[0].watermark == at(10)


def test_what_writes_is_queued_for_a_busy_source(shell: Shell, filled: SQLiteStore) -> None:
    """While another loader works on the source nothing is changed, and each command is a request."""
    digest = shell.json("quarantine", "list")[0]["digest"]
    held = filled.acquire("src")
    for command in (
        ["state", "set", "src", "p-a", iso(at(5))],
        ["state", "reset", "src"],
        ["quarantine", "drop", digest],
        ["forget", "src"],
    ):
        shell(*command, "--yes", "--detach")
        assert "queued as request" in shell.err
    assert shell.json("status")[0]["watermark"] == iso(at(10)), "reports need no lease"
    held.release()
    assert len(shell.json("quarantine", "list")) == 2
    assert [r["kind"] for r in shell.json("requests", "list")] == ["reset", "reset", "drop", "forget"]


def test_quarantined_records_are_dropped_with_yes(shell: Shell, filled: SQLiteStore) -> None:
    """By digest, by rule or all; never without having been told which."""
    digest = shell.json("quarantine", "list", "--rule", "schema")[0]["digest"]
    shell("quarantine", "drop", "--yes", code=2)
    assert "1 record of rule schema" in shell("quarantine", "drop", digest[:10], code=2)
    assert len(filled.quarantined("src", 10)) == 2
    shell("quarantine", "drop", "--replayed", "--yes")
    assert len(filled.quarantined("src", 10)) == 2, "none has been replayed"
    shell("quarantine", "drop", digest[:10], "--yes")
    assert [q.rule for q in filled.quarantined("src", 10)] == ["timestamp"]
    shell("quarantine", "drop", "--all", "--yes")
    assert filled.quarantined("src", 10) == []
    assert shell("quarantine", "drop", "--all", "--yes") == ""


def test_forget_deletes_a_source_that_is_no_longer_configured(shell: Shell, filled: SQLiteStore) -> None:
    """It says the rows by table first, wants --yes, and leaves every other source alone."""
    gone = Loading(filled, "gone")
    filled.register(gone.lease, [Partition("p", "st", (series("x", partition="p"),))], at(0))
    gone.commit([(series("x", partition="p"), h, h) for h in range(5)])
    gone.lease.release()

    said = dict(line.split() for line in shell("forget", "gone", code=2).splitlines()[2:])
    assert (said["reading"], said["series"], said["run"]) == ("5", "1", "1")
    assert len(filled.series("gone")) == 1
    deleted = shell("forget", "gone", "--yes").partition("deleted:")[2]
    assert dict(line.split() for line in deleted.splitlines() if line)["reading"] == "5"
    assert filled.sources() == ["src"]
    assert len(filled.series("src")) == 2
    shell("forget", "gone", "--yes", code=2)
    assert "src" in shell.err

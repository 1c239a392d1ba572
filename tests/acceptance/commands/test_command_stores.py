"""The commands on every kind of store: the same words, whatever is underneath."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import at
from shell import Shell, configure, fill
from stores import STORES, StoreCase

from loader.commands.output import iso

NOW = ("--until", iso(at(12)))


@pytest.mark.parametrize("case", STORES, ids=lambda case: case.name)
def test_commands_work_on_every_store(case: StoreCase, shell: Shell, tmp_path: Path) -> None:
    """Reports, exports, a watermark set back, a record dropped, the source forgotten."""
    if reason := case.missing():
        pytest.skip(reason)
    address = case.fresh(tmp_path)
    try:
        configure(tmp_path, address if "://" in address else f"sqlite:///{address}")
        store = case.open(address)
        fill(store)
        assert shell.json("status")[0]["holes"] == {"open": 0, "given_up": 1}
        assert shell.json("runs")[0]["counts"]["new"] == 11
        assert [g["missing"] for g in shell.json("gaps", *NOW)] == [1, 1, 2, 9]
        assert [s["partition"] for s in shell.json("state", "show")] == ["p-a", "p-b"]
        rows = [json.loads(line) for line in shell("export", "--format", "ndjson").splitlines()]
        assert [(r["station"], r["value"]) for r in rows] == [
            *(("Here", float(h)) for h in (1, 2, 3, 5, 6, 8, 9, 10)),
            *(("There", -1.0) for _ in range(3)),
        ]
        assert (rows[0]["time"], rows[0]["latitude"]) == ("2024-01-31T01:00:00Z", 43.5)
        assert shell("export", "--layout", "wide", "--zone", "station").count("\n") == 12

        held = store.acquire("src")
        shell("state", "set", "src", "p-a", iso(at(5)), "--yes", "--detach")
        held.release()
        shell("state", "set", "src", "p-a", iso(at(5)), "--yes")
        assert shell.json("state", "show")[0]["watermark"] == iso(at(5))
        shell("quarantine", "drop", "--rule", "schema", "--yes")
        assert [q["rule"] for q in shell.json("quarantine", "list")] == ["timestamp"]
        assert "reading" in shell("forget", "src", code=2)
        shell("forget", "src", "--yes")
        assert store.sources() == []
        store.close()
    finally:
        case.drop(address)

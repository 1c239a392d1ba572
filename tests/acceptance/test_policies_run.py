"""Rules that keep readings out, as the configuration says it, over a real server and the command line."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.acceptance.openaq_run import STORES, Rig, hourly, loading
from tests.openaq_server import DAY, HOUR, Location, World
from tests.openaq_server.world import micros

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to.md"


def two_days() -> tuple[World, int]:
    """Hourly pm10 (sensor 11) and pm25 (12) of a station, and an impossible value of pm25: its time."""
    end = time.time_ns() // 1000 // HOUR * HOUR
    world = World()
    world.add_location(Location(1, "Station 1", "Europe/London", 51.5, -0.1))
    for sensor in (11, 12):
        world.add_sensor(sensor, 1, sensor - 10)
        hourly(world, sensor, end - 2 * DAY, 48)
    bad = end - 9 * HOUR
    world.revise(12, bad, 50_000.0, since=0)
    return world, bad


def rule(rig: Rig, text: str) -> None:
    """Put it into the configuration."""
    path = rig.folder / "config.yaml"
    kept = path.read_text(encoding="utf-8").partition("\nquality:")[0].rstrip()
    path.write_text(f"{kept}\n{text}\n", encoding="utf-8")


def documented() -> str:
    """The configuration that the how-to gives as an example."""
    found = re.search(
        r"^```yaml\n(quality:\n  parameters:\n    pm25:\n      unit: .*?)\n```",
        HOW_TO.read_text(),
        re.M | re.S,
    )
    assert found is not None
    return found[1]


@pytest.mark.parametrize("store", STORES)
def test_a_reading_is_put_aside_and_replayed(tmp_path: Path, store: str) -> None:
    """As the how-to says: kept out, listed with its reason, and stored once it is but flagged."""
    world, bad = two_days()
    with loading(tmp_path, world, store=store, initial="3d") as rig:
        rule(rig, documented())
        (report,) = json.loads(rig.loader("run", "--json").out)
        counts = report["counts"]
        assert (report["outcome"], counts["new"], counts["quarantined"]) == ("ok", 95, 1)
        (record,) = json.loads(rig.loader("quarantine", "list", "--rule", "gross_range", "--json").out)
        assert (record["partition"], micros(record["time"]), record["count"]) == ("12", bad, 1)
        assert "50000" in record["reason"]
        shown = rig.loader("quarantine", "show", record["digest"], "--raw").out
        assert json.loads(shown)["reading"]["value"] == 50_000.0
        causes = {
            g["cause"]
            for g in json.loads(rig.loader("gaps", "--json", "--since", "1d", "--until", "2h").out)
        }
        assert causes == {"quarantined"}
        kept = rig.loader("quarantine", "replay", "--rule", "gross_range", code=3)
        assert "rules keep 1 of 1 records out" in kept.out
        rule(rig, "quality: {parameters: {pm25: {policy: {gross_range: flag}}}}")
        rig.loader("quarantine", "replay", "--rule", "gross_range")
        assert rig.stored()["12"][bad] == 50_000.0
        assert json.loads(rig.loader("gaps", "--json", "--since", "1d", "--until", "2h").out) == []
        rig.check_sums()


@pytest.mark.parametrize("store", STORES)
def test_a_partition_is_stopped_until_the_rule_changes(tmp_path: Path, store: str) -> None:
    """Exit code 3, the rule and the reading named in the run and in the partition's state."""
    world, _ = two_days()
    with loading(tmp_path, world, store=store, initial="3d") as rig:
        rule(rig, "quality: {parameters: {pm25: {policy: {gross_range: stop}}}}")
        said = rig.loader("run", code=3)
        assert "stopped by the rule gross_range" in said.out
        assert {s: len(rows) for s, rows in rig.stored().items()} == {"11": 48}
        assert rig.watermarks()["12"] is None
        (failures, error) = rig.query("SELECT failures, last_error FROM partition WHERE partition = '12'")[
            0
        ]
        assert failures == 1
        for part in ("gross_range", "sensor 12", "value 50000"):
            assert part in error
        remark = f"openaq: nothing was read yet of 1 partition (12); the last error: {error}"
        assert remark in rig.loader("gaps").err
        rule(rig, "")
        rig.loader("run")
        rig.check_books()
        assert rig.query("SELECT failures, last_error FROM partition WHERE partition = '12'") == [(0, None)]

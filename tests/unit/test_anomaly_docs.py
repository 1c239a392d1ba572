"""docs/drift-and-anomalies.md says what the code does: detectors, thresholds, reach, defaults."""

from __future__ import annotations

from pathlib import Path

from loader.quality.anomaly import CORE, Detector, RobustZScore, UnitScale, ZScore
from loader.quality.anomalyrule import AlertRule
from loader.quality.drift import DriftRule
from loader.quality.reference import Season
from loader.readings import DAY, HOUR

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "drift-and-anomalies.md").read_text(encoding="utf-8")


def table(first_header: str) -> dict[str, list[str]]:
    """The table whose first column has this header: the other cells by the first, without markup."""
    after = TEXT.split(f"| {first_header} |", 1)[1]
    lines = after.split("\n\n", 1)[0].splitlines()[2:]
    rows = ([cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: row[1:] for row in rows}


def test_detectors_are_documented_as_they_are() -> None:
    """Each detector's threshold and reach stand in its row; the default set is named."""
    rows = table("detector")
    detectors: list[Detector] = [RobustZScore(), UnitScale(), ZScore()]
    assert list(rows) == [*(d.name for d in detectors), "isolation_forest"]
    for d in detectors:
        _, _, threshold, reach, _ = rows[d.name]
        assert float(threshold) == d.threshold
        days, hours = (int(word) for word in reach.split() if word.isdigit())
        assert days * DAY + hours * HOUR == d.reach
    names = " and ".join(f"`{d.name}`" for d in CORE)
    assert f"{names} run unless configured otherwise" in TEXT


def test_the_defaults_are_documented() -> None:
    """The alert rule's and the drift rule's defaults are those of the code, lengths included."""
    rule, limits, season = AlertRule(), DriftRule(), Season()
    assert {name: int(row[0]) for name, row in table("setting").items()} == {
        "rate": rule.rate, "persistence": rule.persistence, "memory": rule.memory,
    }  # fmt: skip
    assert {name: float(row[1]) for name, row in table("effect").items()} == {
        "ks": limits.ks, "psi": limits.psi, "shift": limits.shift, "scale": limits.scale,
    }  # fmt: skip
    text = " ".join(TEXT.split())
    assert f"The last {limits.window // DAY} days of a series" in text
    assert f"its first {limits.reference // DAY} days" in text
    assert f"one reading in {limits.thin // HOUR} hours, and both need {limits.minimum}" in text
    assert f"It takes {limits.persistence} comparisons in a row" in text
    assert f"each of the last {season.periods} days" in text
    assert f"fewer than {season.minimum} earlier ones" in text

"""The benchmarks of the detectors: their arithmetic, their input, and the promise on real data."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks import airdata, airfiles, anomaly
from benchmarks.anomaly import judge, together
from loader.readings import DAY, HOUR, SECOND

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def test_figures_of_a_known_outcome() -> None:
    """Two stretches, one found an hour late, and one false alarm give the textbook figures."""
    times = np.arange(10, dtype=np.int64) * HOUR
    label = np.array([0, 1, 1, 1, 0, 0, 1, 0, 0, 0], bool)
    found = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 0], bool)
    outcome = judge(times, label, found)
    assert (outcome.precision, outcome.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 4))
    assert outcome.f1 == pytest.approx(4 / 7)
    assert outcome.false_alarms == pytest.approx(1 / 6)
    assert (outcome.stretches, outcome.delays) == (2, (HOUR,))
    both = together([outcome, judge(times, label, label)])
    assert (both.right, both.labelled, both.stretches, len(both.delays)) == (6, 8, 4, 3)


def test_a_labelled_file_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file with two values and spikes in one of them gets a row for each detector, the spikes found."""
    chance = np.random.default_rng(1)
    lines = ["timestamp,a,b,is_anomaly"]
    for i in range(24 * 40):
        spike = i > 24 * 20 and i % 97 == 0
        a = chance.normal(20, 1) * (50 if spike else 1)
        stamp = np.datetime64("2026-01-01T00:00:00") + np.timedelta64(i, "h")
        lines.append(f"{stamp},{a},{'' if i % 50 == 0 else chance.normal(5, 1)},{int(spike)}")
    path = tmp_path / "spikes.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    anomaly.main([str(path), str(path), "--healthy", "0.3"])
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith("| robust_zscore")]
    assert len(rows) == 3
    for row in rows:
        precision, recall, f1 = (float(cell) for cell in row.split("|")[2:5])
        assert (precision, recall, f1) == (1, 1, 1)
    assert "| zscore |" in out
    assert "all files" in out
    assert "isolation_forest" in out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("when,x,label\n1,2,0\n", "no column 'time'; name it with --time"),
        ("time,x\n1,2\n", "no column 'label'"),
        ("time,label\n1,0\n", "no column of values"),
        ("time,x,label\nyesterday,2,0\n", "f.csv:2: 'yesterday' is no time"),
        ("time,x,label\n1,2,0\n2,2,perhaps\n", "f.csv:3: 'perhaps' is no label"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """What is missing or cannot be read is told with its file and line."""
    path = tmp_path / "f.csv"
    path.write_text(text)
    with pytest.raises(SystemExit, match=complaint):
        anomaly.main([str(path)])


def test_times_may_be_seconds_and_rows_in_any_order(tmp_path: Path) -> None:
    """Seconds since 1970 and ISO 8601 with a zone are times; rows are put in order, no value is missing."""
    path = tmp_path / "f.csv"
    path.write_text("time,x,label\n7200,2,1\n1970-01-01T02:00:00+01:00,n/a,\n")
    series = anomaly.read(path, None, None, [])
    assert series.times.tolist() == [3600 * SECOND, 7200 * SECOND]
    assert np.isnan(series.values[0, 0])
    assert series.label.tolist() == [False, True]


@pytest.mark.slow
def test_real_air_raises_less_than_one_alert_a_station_and_month() -> None:
    """Loaded day by day with the defaults, no real station alerts as often by any rule about readings;
    of the errors injected into the French files nearly all are flagged or named, and little else is."""
    if not DATA.exists():
        pytest.skip(f"no real data at {DATA.resolve()}")
    files = airfiles.france(DATA / "openaq" / "france_raw_vs_injected")
    stations = airfiles.toronto(DATA / "openaq" / "explorer_toronto_2025")
    for name, months, bodies in (
        ("Toronto", 15, [stations]),
        ("France", 2, [{file.series: file.raw} for file in files]),
    ):
        alerts = airdata.clean(name, bodies, DAY)
        assert alerts.months > months
        assert alerts.rate < 1
    told, recall = airdata.injected(files, DAY)
    assert {one.subject for one in told.told if one.rule == "anomaly"} == {
        f"{file.series.station} {file.series.parameter} ({file.series.sensor})" for file in files
    }
    assert recall.share("blank") == 1
    assert recall.share("x 1000") > 0.95
    assert recall.share("x 0.001") > 0.75
    assert recall.share("unchanged") < 0.02


def test_what_is_replayed_is_what_is_stored() -> None:
    """A replay loads every reading once, in as many runs as bring something, and names a wrong one."""
    times = np.arange(1, 24 * 20 + 1, dtype=np.int64) * HOUR
    values = 20 + 5 * np.sin(times / HOUR * np.pi / 12)
    values[400] = 90.0
    one = airfiles.series("st", "wind", "m/s")  # no rule flags it
    replayed = airdata.quietly({one: (times, values)}, DAY)
    (number,) = replayed.series
    np.testing.assert_array_equal(replayed.stored[number].time, times)
    np.testing.assert_array_equal(replayed.stored[number].value, values)
    assert replayed.runs == 21
    assert replayed.told == []
    assert replayed.anomalies[number] == {int(times[400])}

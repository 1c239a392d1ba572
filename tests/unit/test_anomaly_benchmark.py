"""The benchmarks of the detectors: their arithmetic, their input, and the promise on real data."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks import airdata, airfiles, anomaly
from benchmarks.anomaly import detectors, judge, scores, season_of, together
from benchmarks.labelled import Layout, read
from loader.quality.reference import Season
from loader.readings import DAY, HOUR, SECOND, Float64

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
        judged, precision, recall, f1 = (float(cell) for cell in row.split("|")[2:6])
        assert (judged, precision, recall, f1) == (1, 1, 1, 1)
    assert "| zscore |" in out
    assert "all files" in out
    assert "isolation_forest" in out


@pytest.mark.parametrize("season", [season_of(HOUR, DAY, 2 * DAY), season_of(HOUR, 0, 2 * DAY)])
def test_no_detector_sees_the_future(tmp_path: Path, season: Season) -> None:
    """What every detector says of the last reading of a file is what it says of it in a longer one."""
    chance = np.random.default_rng(3)
    count, begin = 24 * 21, 1_767_225_600
    times = begin + 1800 * np.arange(count) + chance.integers(0, 1800, count)
    values = 20 + 5 * np.sin(times[:, None] / 86_400 * 2 * np.pi) + chance.normal(0, 1, (count, 3))
    values[chance.random((count, 3)) < 0.02] *= 30
    values[chance.random((count, 3)) < 0.02] = np.nan
    lines = ["time,a,b,c,label"]
    for time, row in zip(times.tolist(), values.tolist(), strict=True):
        lines.append(f"{time},{','.join('' if np.isnan(x) else str(x) for x in row)},0")
    path = tmp_path / "f.csv"

    def said(length: int) -> list[Float64]:
        path.write_text("\n".join(lines[: length + 1]))
        series = read(path, Layout())
        start = int(np.searchsorted(series.times, (begin + 5 * 86_400) * SECOND))
        return [scores(one, series) for one in detectors(series, season, start)]

    whole = said(count)
    assert len(whole) == 4
    assert all(np.isfinite(column[300:]).any() for column in whole)
    for cut in [300, *chance.integers(301, count, 5).tolist()]:
        for all_of, part in zip(whole, said(cut), strict=True):
            np.testing.assert_array_equal(part[-1], all_of[cut - 1])


def test_labels_may_be_windows_or_words_of_ones_own(tmp_path: Path) -> None:
    """A window labels what lies within it, ends included; with --anomalous any other label is normal."""
    path, windows = tmp_path / "folder" / "f.csv", tmp_path / "w.json"
    path.parent.mkdir()
    rows = [f"2026-01-01 0{h}:00:00;{h};{['1', '-1', 'x'][h % 3]};0.5" for h in range(6)]
    path.write_text("\n".join(["datetime;v;label;other", *rows]))
    windows.write_text('{"f.csv": [], "folder/f.csv": [["2026-01-01 01:00", "2026-01-01 02:00:00.0000"]]}')
    series = read(path, Layout(windows=windows, skip=["other"]))
    assert series.sensors == ("v",)
    assert np.flatnonzero(series.label).tolist() == [1, 2]
    assert np.flatnonzero(read(path, Layout(anomalous=["-1"])).label).tolist() == [1, 4]
    windows.write_text('[["2026-02-01", "2026-02-02"]]')
    with pytest.raises(SystemExit, match=r"w\.json: no reading of .*f\.csv is within 2026-02-01T00:00:00"):
        read(path, Layout(windows=windows))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"f\.csv: empty"),
        ("time,x,label\n", r"f\.csv: no readings"),
        (
            "2026-01-01,2,0\n2026-01-02,2,0\n",
            "no column named time .* has: 2026-01-01, 2, 0",
        ),
        ("when,x,label\n1,2,0\n", "name it with --time"),
        ("time,x\n1,2\n", "no column named label .* name it with --label, or give --windows"),
        ("time,label\n1,0\n", "no column of values"),
        ("time,x,label\nyesterday,2,0\n", r"f\.csv:2: 'yesterday' is no time"),
        ("time,x,label\ninf,2,0\n", r"f\.csv:2: 'inf' is no time"),
        ("time,x,label\n1,2,0\n2,2,-1\n", r"f\.csv:3: '-1' is no label; .* --anomalous"),
        ("time,x,label\n1,2,0\n2,2\n", r"f\.csv:3: 2 fields where the first line has 3"),
        ("time,x,label\n1,north,0\n", r"f\.csv:2: x: 'north' is no number; .* --skip=x"),
        ("time,x,label\n1,\xe4,0\n", "UTF-8"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """What is missing or cannot be read is told with its file, line and remedy."""
    path = tmp_path / "f.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SystemExit, match=complaint):
        anomaly.main([str(path)])


@pytest.mark.parametrize(
    "option",
    ["--cell=1s", "--cell=0", "--healthy=1.5", "--healthy=soon", "--threshold=z=3", "--recent=2x"],
)
def test_a_wrong_option_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that cannot be is told before any file is read."""
    with pytest.raises(SystemExit) as told:
        anomaly.main(["nowhere.csv", option])
    assert told.value.code == 2
    assert option[2:].partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    "time",
    [
        "1767225600",
        "1767225600000",
        "1.7672256e15",
        "1767225600000000000",
        "2026-01-01",
        "2026-01-01 00:00:00.000000000",
        "2026-01-01T01:00:00+01:00",
    ],
)
def test_a_time_may_be_written_in_many_ways(tmp_path: Path, time: str) -> None:
    """ISO 8601 with and without a zone, and numbers since 1970 by their size, are the same moment; rows are
    put in order, and what stands for no value is missing."""
    path = tmp_path / "f.csv"
    path.write_text(f"time,x,label\n1767225601,2,1\n{time},n/a,\n\n")
    series = read(path, Layout())
    assert series.times.tolist() == [1767225600 * SECOND, 1767225601 * SECOND]
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

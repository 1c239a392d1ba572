"""What is expected of parameters unless configured otherwise, as the configuration would say it.

Where each figure comes from stands in docs/quality.md, with how rarely it objects to clean data.
"""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]


def _spike(suspect: float, fail: float) -> Rule:
    return {"suspect": suspect, "fail": fail, "method": "differential"}


def _flat(suspect: str, fail: str) -> Rule:
    return {"suspect": suspect, "fail": fail}


def _dust(highest: float, most: float, spike: Rule, flat: Rule) -> Rule:
    return {"range": (0, highest), "suspect": (None, most), "spike": spike, "flat_line": flat}


def _gas(
    ppm: tuple[float, float], micrograms: tuple[float, float], most: Rule, spike: Rule, flat: Rule
) -> Rule:
    """A gas, whose values come as a share of volume or as mass per volume: range, highest value that
    is not suspect and the two thresholds of the spike, in ppm and in µg/m³, a thousand ppb and a
    thousandth mg/m³ each."""

    def unit(base: str, per: float) -> Rule:
        suspect, fail = spike[base]
        return {"suspect": (None, most[base] * per), "spike": _spike(suspect * per, fail * per)}

    return {
        "ranges": {
            "ppm": ppm,
            "ppb": (ppm[0] * 1000, ppm[1] * 1000),
            "µg/m³": micrograms,
            "mg/m³": (micrograms[0] / 1000, micrograms[1] / 1000),
        },
        "flat_line": flat,
        "units": {
            "ppm": unit("ppm", 1),
            "ppb": unit("ppm", 1000),
            "µg/m³": unit("µg/m³", 1),
            "mg/m³": unit("µg/m³", 1 / 1000),
        },
    }


_BAROMETER: Rule = {
    "suspect": (500, 1090),
    "spike": _spike(5, 20),
    "flat_line": _flat("36h", "96h"),
}

AIR: dict[str, Rule] = {
    "pm25": _dust(1000, 800, _spike(250, 750), _flat("4d", "10d")),
    "pm10": _dust(10000, 5000, _spike(1500, 5000), _flat("4d", "10d")),
    "pm1": _dust(1000, 800, _spike(250, 750), _flat("4d", "10d")),
    "o3": _gas(
        (-0.005, 0.6),
        (-10, 1200),
        {"ppm": 0.4, "µg/m³": 800},
        {"ppm": (0.05, 0.15), "µg/m³": (100, 300)},
        _flat("24h", "3d"),
    ),
    "no2": _gas(
        (-0.005, 2),
        (-10, 4000),
        {"ppm": 1.25, "µg/m³": 2400},
        {"ppm": (0.1, 0.3), "µg/m³": (200, 600)},
        _flat("24h", "3d"),
    ),
    "so2": _gas(
        (-0.004, 3),
        (-10, 8000),
        {"ppm": 1, "µg/m³": 2600},
        {"ppm": (0.25, 0.75), "µg/m³": (650, 2000)},
        _flat("3d", "10d"),
    ),
    "co": _gas(
        (-0.4, 100),
        (-500, 120000),
        {"ppm": 50, "µg/m³": 58000},
        {"ppm": (8, 25), "µg/m³": (9000, 29000)},
        _flat("3d", "10d"),
    ),
    "temperature": {
        "ranges": {"c": (-100, 150), "f": (-148, 302)},
        "sentinels": (-999, -9999),
        "flat_line": _flat("24h", "3d"),
        "units": {"c": {"spike": _spike(10, 30)}, "f": {"spike": _spike(18, 54)}},
    },
    "relativehumidity": {
        "range": (0, 105),
        "suspect": (0.5, 104),
        "spike": _spike(25, 60),
        "flat_line": _flat("48h", "7d"),
    },
    "pressure": {
        "ranges": {"hpa": (300, 1100), "mb": (300, 1100), "bar": (0, 1000)},
        "units": {"hpa": _BAROMETER, "mb": _BAROMETER},
    },
}

C_MAPSS_SEEN: dict[str, tuple[float, float]] = {
    "setting_1": (-0.0087, 0.0087),
    "setting_2": (-0.0006, 0.0007),
    "setting_3": (100.0, 100.0),
    "s1": (518.67, 518.67),
    "s2": (641.13, 644.53),
    "s3": (1569.04, 1616.91),
    "s4": (1382.25, 1441.49),
    "s5": (14.62, 14.62),
    "s6": (21.6, 21.61),
    "s7": (549.85, 556.06),
    "s8": (2387.89, 2388.56),
    "s9": (9021.73, 9244.59),
    "s10": (1.3, 1.3),
    "s11": (46.8, 48.53),
    "s12": (518.69, 523.76),
    "s13": (2387.88, 2388.56),
    "s14": (8099.94, 8293.72),
    "s15": (8.3249, 8.5848),
    "s16": (0.03, 0.03),
    "s17": (388.0, 400.0),
    "s18": (2388.0, 2388.0),
    "s19": (100.0, 100.0),
    "s20": (38.14, 39.43),
    "s21": (22.8942, 23.6419),
}
"""Lowest and highest of the columns of FD001, train and test together (Saxena and Goebel 2008)."""


def widened(low: float, high: float) -> Rule:
    """What is expected where (low, high) was seen in healthy and worn engines alike: outside of it by
    half of its width is suspect, by its width fails; of a constant the width is 2 %."""
    width = high - low or 0.02 * abs(high)

    def span(by: float) -> tuple[float, float]:
        return round(low - by * width, 6), round(high + by * width, 6)

    return {"range": span(1), "suspect": span(0.5)}


C_MAPSS: dict[str, Rule] = {name: widened(*seen) for name, seen in C_MAPSS_SEEN.items()}

SETS: dict[str, dict[str, Rule]] = {"air": AIR, "cmapss": C_MAPSS}
"""By the name that `quality.defaults` knows them by. The columns of a turbofan are called s1 to s21, as
anybody's sensors may be: these rules hold only where a source is said to be one."""

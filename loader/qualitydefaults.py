"""What is expected of parameters unless configured otherwise, as the configuration would say it."""

from __future__ import annotations

from typing import Any


def _gas(ppm: tuple[float, float], micrograms: tuple[float, float]) -> dict[str, Any]:
    """A gas, whose values come as a share of volume or as mass per volume."""
    return {
        "ranges": {
            "ppm": ppm,
            "ppb": (ppm[0] * 1000, ppm[1] * 1000),
            "µg/m³": micrograms,
            "mg/m³": (micrograms[0] / 1000, micrograms[1] / 1000),
        }
    }


SHIPPED: dict[str, dict[str, Any]] = {
    "pm25": {"range": (0, 1000)},
    "pm10": {"range": (0, 10000)},
    "pm1": {"range": (0, 1000)},
    "o3": _gas((-0.005, 0.6), (-10, 1200)),
    "no2": _gas((-0.005, 2), (-10, 4000)),
    "so2": _gas((-0.004, 3), (-10, 8000)),
    "co": _gas((-0.4, 100), (-500, 120000)),
    "temperature": {"ranges": {"c": (-100, 150), "f": (-148, 302)}, "sentinels": (-999, -9999)},
    "relativehumidity": {"range": (0, 105)},
    "pressure": {"ranges": {"hpa": (300, 1100), "mb": (300, 1100), "bar": (0, 1000)}},
}

"""What a flawless simulated sensor would show: numbers out of a seed, and signals out of numbers.

A draw is addressed by a key, a salt and a counter instead of being the next of a sequence, so
that any stretch of time can be had without the ones before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loader.readings import DAY, HOUR, SECOND, Float64, Int64


@dataclass(frozen=True, slots=True)
class City:
    """Where a station stands. `warmth` is the year's mean in degrees Celsius, `dirt` how much
    dirtier the air is than in a clean city."""

    name: str
    zone: str
    latitude: float
    longitude: float
    warmth: float
    dirt: float


CITIES = (
    City("Toronto", "America/Toronto", 43.6532, -79.3832, 9.0, 1.0),
    City("Kathmandu", "Asia/Kathmandu", 27.7172, 85.3240, 18.0, 4.5),
    City("Berlin", "Europe/Berlin", 52.5200, 13.4050, 10.0, 1.2),
    City("Adelaide", "Australia/Adelaide", -34.9285, 138.6007, 17.0, 0.8),
    City("Lima", "America/Lima", -12.0464, -77.0428, 19.0, 2.4),
    City("Nairobi", "Africa/Nairobi", -1.2921, 36.8219, 18.5, 1.9),
)
"""Stations are dealt out to them in turn."""

UNITS = {
    "air": {
        "pm25": "µg/m³",
        "pm10": "µg/m³",
        "o3": "µg/m³",
        "no2": "µg/m³",
        "temperature": "c",
        "relativehumidity": "%",
    },
    "rig": {"temperature": "c", "pressure": "bar", "uptime": "s"},
}
"""The parameters of each kind of station, with their units."""

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def key_of(*parts: int) -> int:
    """One 64-bit number out of several (splitmix64)."""
    key = 0
    for part in parts:
        key = (key + part + _GOLDEN) & _MASK
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & _MASK
        key ^= key >> 31
    return key


def uniform(key: int, salt: int, counter: Int64) -> Float64:
    """A number in [0, 1) for each counter: splitmix64, addressed instead of stepped through."""
    x: npt.NDArray[np.uint64] = counter.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(
        key_of(key, salt)
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


def signal(
    kind: str, parameter: str, city: City, keys: tuple[int, int], time: Int64
) -> tuple[int, Float64]:
    """(digits after the point, values) at `time`, values not yet rounded. Hours are solar ones.
    `keys` are the sensor's own and that of its station's weather."""
    key, weather = keys
    noise = _bell(key, 100, time)
    mood = _weather(weather, 200, time)
    if kind == "rig":
        return _rig(parameter, key, time, noise, mood)
    local = time + int(city.longitude / 15 * HOUR)
    hour = local % DAY / HOUR
    warmest = np.cos((hour - 15) / 24 * 2 * np.pi)
    summer = np.cos((time / DAY - 196) / 365.25 * 2 * np.pi) * np.sign(city.latitude)
    if parameter == "temperature":
        season = abs(city.latitude) / 4 * summer
        return 1, city.warmth + season + 4.5 * warmest + 2.5 * mood + 0.2 * noise
    if parameter == "relativehumidity":
        return 0, np.clip(64 - 17 * warmest + 9 * mood + noise, 5, 100)
    if parameter == "o3":
        return 1, np.maximum(0.0, 55 + 28 * warmest + 10 * summer + 9 * mood + noise)
    # 1970 began on a Thursday.
    weekend = (local // DAY + 3) % 7 >= 5
    traffic = (1 + _bump(hour, 8) + 0.9 * _bump(hour, 19)) * np.where(weekend, 0.7, 1.0)
    usual = {"pm25": 5.5 * city.dirt, "pm10": 11 * city.dirt, "no2": 12 * city.dirt**0.5}[parameter]
    return 1, usual * traffic * np.exp(0.45 * mood + 0.08 * noise) * (1 - 0.2 * summer)


def _rig(parameter: str, key: int, time: Int64, noise: Float64, mood: Float64) -> tuple[int, Float64]:
    """A machine that works in two shifts a day and is restarted every week or two."""
    if parameter == "uptime":
        between = DAY * (5 + key % 10)
        return 0, ((time + key % between) % between / SECOND).astype(np.float64)
    hour = time % DAY / HOUR
    load = 1 / (1 + np.exp(-2 * (hour - 6))) - 1 / (1 + np.exp(-2 * (hour - 22)))
    if parameter == "temperature":
        return 1, 22 + 41 * load + 2 * mood + 0.4 * noise
    return 3, 1.013 + 4.2 * load + 0.05 * mood + 0.01 * noise


def _bell(key: int, salt: int, counter: Int64) -> Float64:
    """Roughly a standard normal, never beyond 3.47: four uniforms added up."""
    total = np.full(len(counter), -2.0)
    for i in range(4):
        total += uniform(key, salt + i, counter)
    total *= 3**0.5
    return total


def _weather(key: int, salt: int, time: Int64) -> Float64:
    """A standard normal that takes about six hours to change its mind."""
    node, rest = time // (6 * HOUR), time % (6 * HOUR) / (6 * HOUR)
    blend = rest * rest * (3 - 2 * rest)
    return (1 - blend) * _bell(key, salt, node) + blend * _bell(key, salt, node + 1)


def _bump(hour: Float64, at: float) -> Float64:
    bump: Float64 = np.exp(-(((hour - at) / 2.0) ** 2))
    return bump

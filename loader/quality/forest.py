"""Isolation Forest over all sensors of a station (Liu, Ting and Zhou 2008).

What no sensor shows alone, their combination may: ozone and nitrogen dioxide high at once, one of
two dust sensors at rest while the other rises. So the forest does not look at the values but at
what the other sensors do not explain of each: the residual of a ridge regression on them, all
taken by arcsinh of the distance from the healthy median; and at the two largest residuals. On the
values alone a forest misses even a factor of 1000 in one of five sensors, since a tree splits only
within the range that it was grown on. The forest is fitted by scikit-learn (extra `analysis`) on a stretch
known to be healthy, and kept as plain arrays: stored, loaded and scored by numpy alone, with no
pickle to trust. A fitted forest never changes; `version` is a digest of it, so a score can be
traced to the very forest that gave it. Who fits it again, and when, `stale` tells.

A moment of a station is the last usable reading of each sensor in each cell of an hour.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from loader.errors import ConfigError
from loader.quality.anomaly import NORMAL_MAD, Judged
from loader.quality.reference import usable
from loader.readings import DAY, HOUR, Float64, Int32, Int64, UInt8

FORMAT = 1
RIDGE = 0.1
"""How much the regression is held back: so much variance, in squared deviations, is noise."""
LARGEST = 64_000_000
"""Bytes of a stored forest, unpacked; a forest of 100 trees takes about 1 MB."""


@dataclass(frozen=True, eq=False)
class Forest:
    """A fitted forest: a `Detector` whose values have a column a sensor.

    sensors            how many columns
    fitted_from, fitted_to  the healthy stretch (fitted_from, fitted_to], microseconds UTC
    middle, spread     each sensor's median and MAD (as a standard deviation) in that stretch
    relation           a square: distances times it are the residuals
    usual              the MAD of each residual (as a standard deviation) in that stretch
    feature, split, left, right, depth  the nodes of all trees, one behind the other: where
                       `feature` is -1 the node is a leaf, and `depth` is the path length that
                       it stands for
    roots              where each tree begins
    sample             readings per tree
    threshold          the score from which on a moment is an anomaly

    The score is 2 ** (-mean path length / c(sample)): near 1 for what is isolated at once, below
    0.5 for the ordinary. A sensor without a reading is taken at its median, so that silence alone
    is no anomaly; a moment at which fewer than half of the sensors have one is not judged.
    """

    fitted_from: int
    fitted_to: int
    middle: Float64
    spread: Float64
    relation: Float64
    usual: Float64
    feature: Int32
    split: Float64
    left: Int32
    right: Int32
    depth: Float64
    roots: Int32
    sample: int
    threshold: float
    name: str = field(default="isolation_forest", init=False)
    distance: str = field(default="robust standard deviations from what the others tell", init=False)

    @property
    def sensors(self) -> int:
        return len(self.middle)

    @property
    def reach(self) -> int:
        """A moment is judged by itself; the forest has seen no later one than `fitted_to`."""
        return 1

    @cached_property
    def version(self) -> str:
        return f"{FORMAT}-{hashlib.sha256(b''.join(self._parts())).hexdigest()[:12]}"

    def _parts(self) -> list[bytes]:
        return [
            f"{name}:{value.dtype.str}:{value.shape}".encode() + value.tobytes()
            for name, value in self._arrays()
        ]

    def _arrays(self) -> list[tuple[str, npt.NDArray[Any]]]:
        whole = np.array([FORMAT, self.fitted_from, self.fitted_to, self.sample], np.int64)
        return [
            ("whole", whole),
            ("threshold", np.array([self.threshold])),
            *((name, getattr(self, name)) for name in _ARRAYS),
        ]

    def score(self, times: Int64, values: Float64, flags: UInt8 | None = None) -> Float64:
        """A score for each moment. Moments fitted on are scored too: they are not the future, but
        they are not news either."""
        return self._scores(self._distances(times, values, flags))

    def judge(
        self, times: Int64, values: Float64, flags: UInt8 | None = None, after: int | Int64 | None = None
    ) -> Judged:
        """Of each sensor, how far it is from what the others let expect."""
        offs = self._distances(times, values, flags)
        left = _residuals(offs, self.relation)
        expected = self.middle + self.spread * np.sinh(np.nan_to_num(offs) - left)
        distance = np.where(np.isfinite(offs), left / self.usual, np.nan)
        score = np.full(len(times), np.nan)
        wanted = np.ones(len(times), bool) if after is None else times > after
        score[wanted] = self._scores(offs[wanted])
        return Judged(score, expected, distance)

    def _scores(self, offs: Float64) -> Float64:
        known = np.isfinite(offs).sum(axis=1)
        scaled = _features(offs, self.relation, self.usual)
        depth = np.zeros(len(scaled))
        line = np.arange(len(scaled))
        for root in self.roots:
            at = np.full(len(scaled), root, np.int32)
            moving = line
            while len(moving):
                here = at[moving]
                inner = self.feature[here] >= 0
                moving, here = moving[inner], here[inner]
                value = scaled[moving, self.feature[here]]
                at[moving] = np.where(value <= self.split[here], self.left[here], self.right[here])
            depth += self.depth[at]
        mean = depth / (len(self.roots) * path_length(np.array([self.sample]))[0])
        return np.where(2 * known >= self.sensors, 2.0**-mean, np.nan)

    def _distances(self, times: Int64, values: Float64, flags: UInt8 | None) -> Float64:
        if values.shape != (len(times), self.sensors):
            raise ValueError(f"forest: fitted on {self.sensors} sensors, given an array of {values.shape}")
        return _distances(np.where(usable(values, flags), values, np.nan), self.middle, self.spread)


def moments(
    times: list[Int64], values: list[Float64], flags: list[UInt8] | None = None, cell: int = HOUR
) -> tuple[Int64, Float64]:
    """The sensors of a station side by side: the ends of all cells in which any has a usable
    reading, ascending, and the last usable reading of each sensor in them (NaN where none)."""
    ends, kept = [], []
    for i, (t, v) in enumerate(zip(times, values, strict=True)):
        good = np.flatnonzero(usable(v, None if flags is None else flags[i]))
        good = good[np.argsort(t[good], kind="stable")]
        of = -(-t[good] // cell) * cell
        last = np.ones(len(of), bool)
        last[:-1] = of[1:] != of[:-1]
        ends.append(of[last])
        kept.append(v[good[last]])
    every = np.unique(np.concatenate(ends)) if ends else np.empty(0, np.int64)
    table = np.full((len(every), len(ends)), np.nan)
    for i, (end, value) in enumerate(zip(ends, kept, strict=True)):
        table[np.searchsorted(every, end), i] = value
    return every.astype(np.int64), table


def fit(
    times: Int64,
    values: Float64,
    flags: UInt8 | None = None,
    *,
    trees: int = 100,
    sample: int = 256,
    margin: float = 0.05,
    minimum: int = 168,
    seed: int = 0,
) -> Forest:
    """A forest of these moments, all of them healthy, one row each (as `moments` gives them).

    The threshold is the 99 % point of their scores plus `margin`: healthy moments of later weeks
    differ somewhat from those of the stretch. The same moments and seed give the
    same forest. ConfigError: scikit-learn is not installed. ValueError: fewer than `minimum` moments
    at which at least half of the sensors have a reading.
    """
    try:
        from sklearn.ensemble import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            IsolationForest,
        )
    except ImportError as error:
        raise ConfigError(
            "the isolation forest needs scikit-learn: pip install 'sensor-loader[analysis]'"
        ) from error
    good = usable(values, flags)
    rows = 2 * good.sum(axis=1) >= values.shape[1]
    if values.shape[1] == 0 or rows.sum() < minimum:
        raise ValueError(f"forest: {int(rows.sum())} usable moments, it takes at least {minimum}")
    kept = np.where(good, values, np.nan)[rows]
    middle, spread = _scales(kept)
    offs = _distances(kept, middle, spread)
    relation = _relation(np.nan_to_num(offs))
    _, usual = _scales(_residuals(offs, relation))
    scaled = _features(offs, relation, usual)
    model = IsolationForest(n_estimators=trees, max_samples=min(sample, len(scaled)), random_state=seed)
    model.fit(scaled)
    feature, split, left, right, depth, roots = [], [], [], [], [], []
    start = 0
    for tree in (e.tree_ for e in model.estimators_):
        leaf = tree.children_left < 0
        roots.append(start)
        feature.append(np.where(leaf, -1, tree.feature))
        split.append(tree.threshold)
        left.append(np.where(leaf, 0, tree.children_left + start))
        right.append(np.where(leaf, 0, tree.children_right + start))
        depth.append(_depths(tree.children_left, tree.children_right) + path_length(tree.n_node_samples))
        start += tree.node_count
    forest = Forest(
        int(times[rows].min()) - 1,
        int(times[rows].max()),
        middle,
        spread,
        relation,
        usual,
        np.concatenate(feature).astype(np.int32),
        np.concatenate(split).astype(np.float64),
        np.concatenate(left).astype(np.int32),
        np.concatenate(right).astype(np.int32),
        np.concatenate(depth).astype(np.float64),
        np.array(roots, np.int32),
        int(model.max_samples_),
        1.0,
    )
    healthy = forest.score(times, values, flags)
    threshold = float(np.nanquantile(healthy, 0.99)) + margin
    return Forest(**{name: getattr(forest, name) for name in _FIELDS} | {"threshold": threshold})


def stale(forest: Forest, now: int, every: int = 28 * DAY) -> bool:
    """Whether it is time to fit again: the stretch ended `every` microseconds ago or more."""
    return now - forest.fitted_to >= every


def dump(forest: Forest) -> bytes:
    """The forest as bytes (an .npz file without pickles)."""
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **dict(forest._arrays()))
    return file.getvalue()


def load(stored: bytes) -> Forest:
    """A forest from `dump`. ValueError: these bytes are no such forest, or too large a one."""
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size <= LARGEST:
            with np.load(io.BytesIO(stored), allow_pickle=False) as file:
                whole, threshold = (int(x) for x in file["whole"]), float(file["threshold"][0])
                arrays = {name: file[name] for name in _ARRAYS}
            form, fitted_from, fitted_to, sample = whole
    except _UNREADABLE as error:
        raise ValueError("stored forest: these bytes are not a forest; fit it again") from error
    if size > LARGEST:
        raise ValueError(f"stored forest: larger than {LARGEST} bytes; fit it again")
    if form != FORMAT:
        raise ValueError(f"stored forest: format {form}, this version reads {FORMAT}; fit it again")
    forest = Forest(fitted_from, fitted_to, **arrays, sample=sample, threshold=threshold)
    _check(forest)
    return forest


_ARRAYS = ("middle", "spread", "relation", "usual", "feature", "split", "left", "right", "depth", "roots")
_FIELDS = ("fitted_from", "fitted_to", *_ARRAYS, "sample", "threshold")


_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, IndexError, TypeError, ValueError,
)  # fmt: skip


def _check(forest: Forest) -> None:
    """Children stand behind their parents, or a descent might never end."""
    nodes, k = len(forest.feature), forest.sensors
    inner = np.flatnonzero(forest.feature >= 0)
    sound = nodes > 0 and {len(a) for a in (forest.split, forest.left, forest.right, forest.depth)} == {
        nodes
    }
    sound = sound and (k,) == forest.spread.shape == forest.usual.shape and forest.relation.shape == (k, k)
    sound = sound and bool(np.all(forest.feature < k + min(k, 2)))
    for child in (forest.left, forest.right) if sound else ():
        sound = sound and bool(np.all((child[inner] > inner) & (child[inner] < nodes)))
    roots = forest.roots
    if not sound or len(roots) == 0 or roots.min() < 0 or roots.max() >= nodes or forest.sample < 2:
        raise ValueError("stored forest: its trees are damaged; fit it again")


def _scales(values: Float64) -> tuple[Float64, Float64]:
    """Median and MAD (as a standard deviation) of each column; where the MAD is 0, the standard
    deviation, and where that is 0 too, 1 % of the level or 1."""
    middle, spread = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for k in range(values.shape[1]):
        column = values[np.isfinite(values[:, k]), k]
        if not len(column):
            continue
        middle[k] = np.median(column)
        wide = float(np.median(np.abs(column - middle[k]))) / NORMAL_MAD or float(np.std(column))
        spread[k] = wide or 0.01 * abs(middle[k]) or 1.0
    return middle, spread


def _distances(values: Float64, middle: Float64, spread: Float64) -> Float64:
    """arcsinh of the distance from the median in deviations; NaN where a sensor is silent."""
    return np.asarray(np.arcsinh((values - middle) / spread), np.float64)


def _relation(distances: Float64) -> Float64:
    """The matrix that turns distances into what is left of each when the others have explained
    what they can: with K the inverse of the ridge-regularised product, x K / diag(K)."""
    sensors = distances.shape[1]
    product = distances.T @ distances + RIDGE * len(distances) * np.eye(sensors)
    inverse = np.linalg.inv(product)
    return np.asarray(inverse / np.diag(inverse), np.float64)


def _residuals(distances: Float64, relation: Float64) -> Float64:
    return np.asarray(np.nan_to_num(distances) @ relation, np.float64)


def _features(distances: Float64, relation: Float64, usual: Float64) -> npt.NDArray[np.float32]:
    """What the trees see, as float32, the precision that they were grown in: the residuals, and
    the sizes of the two largest."""
    left = np.arcsinh(_residuals(distances, relation) / usual)
    return np.hstack([left, -np.sort(-np.abs(left), axis=1)[:, :2]]).astype(np.float32)


def _depths(left: Int64, right: Int64) -> Float64:
    """How many steps each node of a tree is from its root. Children stand behind their parents."""
    depth = np.zeros(len(left))
    for node in np.flatnonzero(left >= 0):
        depth[left[node]] = depth[right[node]] = depth[node] + 1
    return depth


def path_length(count: Int64) -> Float64:
    """c(n): the mean path length of an unsuccessful search in a binary tree of n readings, which
    the rest of an ungrown tree would have (Liu, Ting and Zhou 2008, equation 1)."""
    n = np.maximum(count, 3).astype(np.float64)
    long = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(count <= 1, 0.0, np.where(count == 2, 1.0, long))

"""How a unit's health index moved until now: level and slope of lines through its last rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from grace.candidates.base import sample_rows
from grace.candidates.features import CausalFeatures
from grace.candidates.linear import ridge_by_units
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig

__all__ = ["PathFeatures", "trailing_line"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

# Shares of the rows of a typical life; None is the whole record.
_WINDOWS = (0.07, 0.14, 0.28, 0.56, None)
_LONGEST = 3.2  # extrapolated lives are limited to so many caps
_SLOWEST = 0.05  # least decline of the index, as a share of the pace of a life
_INDEX_ROWS, _MOST_INDEX_ROWS = 300, 100_000  # per unit, and over all units
_CHUNK = 8192  # rows whose products are in memory at a time
_MOST_PRODUCTS = 24  # sensors up to which the index has products of two


def trailing_line(values: Array, times: Array, n_rows: int) -> tuple[Array, Array]:
    """Least-squares lines through the last rows of a unit, at each of its rows.

    Args:
        values: one value per row, (N,).
        times: of the rows, ascending, (N,).
        n_rows: a line goes through so many rows, or through those that there are. Fewer than
            three have slope 0, as have rows at one time or within less than about 1/30,000 of the
            time since the first row.

    Returns:
        Slope per unit of time, and the line's value at the row itself, (N,) each.

    Example:
        >>> import numpy as np
        >>> trailing_line(np.array([5.0, 4.0, 3.0, 1.0]), np.arange(4.0), n_rows=3)
        (array([ 0. ,  0. , -1. , -1.5]), array([5.        , 4.5       , 3.        , 1.16666667]))
    """
    t = times - times[0]

    def sums(x: Array) -> Array:
        """Of x over the last rows."""
        total = np.concatenate([[0.0], np.cumsum(x)])
        return np.asarray(total[1:] - total[first])

    at = np.arange(len(values))
    first = np.maximum(0, at - n_rows + 1)
    count = at - first + 1
    mean_t, mean_y = sums(t) / count, sums(values) / count
    spread = sums(t * t) - count * mean_t**2
    # Rounding errors of the sums grow with the square of the time since the first row.
    known = (count > 2) & (spread > 1e-9 * (t**2 + 1e-300))
    shared = sums(t * values) - count * mean_t * mean_y
    slope = np.where(known, shared / np.where(known, spread, 1.0), 0.0)
    return slope, mean_y + slope * (t - mean_t)


class PathFeatures(CausalFeatures):
    """Causal features, and the path of a health index.

    The index is a ridge regression of the capped RUL, in caps, on the normalised sensors of a row
    and their products of two. Lines are fitted to its last rows at five time scales; each gives
    its slope, its value at the row, and the life left if the unit went on along it.

    Attributes:
        index_: coefficients of the index, the last one is the constant.
        cap_: largest label that the index was learned from, in the fleet's unit of time.
        windows_: rows of the five time scales.
    """

    cap_: float
    index_: Array
    index_mean_: Array
    index_scale_: Array
    windows_: tuple[int, ...]

    @classmethod
    def of(
        cls, features: CausalFeatures, fleet: Fleet, labels: LabelConfig, seed: int
    ) -> PathFeatures:
        """The features of a fleet, with an index learned from its labels.

        Args:
            features: fitted on the fleet.
            fleet: the training units.
            labels: cap of the RUL.
            seed: of the rows that the index is learned from, and of the folds of units that
                choose its penalty.

        Raises:
            DataError: no row has a known label.
        """
        # Noise averages out over neighbouring rows: more of them than trees need make it better.
        drawn = sample_rows(fleet, labels, seed=seed, per_unit=_INDEX_ROWS, total=_MOST_INDEX_ROWS)
        rows = drawn.thinned(_MOST_INDEX_ROWS)
        self = cls()
        vars(self).update(vars(features))
        self.cap_ = max(float(rows.target.max()), 1e-300)
        lives = fleet.lengths()[fleet.units["rul_at_end"].is_not_null().to_numpy()]
        typical = float(np.median(lives if lives.size else fleet.lengths()))
        self.windows_ = tuple(
            int(fleet.n_rows if share is None else max(3, round(share * typical)))
            for share in _WINDOWS
        )
        z = self._normalised(fleet)[rows.rows]
        design, weight = self._products(z), rows.weight / rows.weight.sum()
        self.index_mean_ = weight @ design
        scale = np.sqrt(weight @ (design - self.index_mean_) ** 2)
        self.index_scale_ = np.where(scale > 1e-6, scale, np.inf)
        design -= self.index_mean_
        design /= self.index_scale_
        found = ridge_by_units(design, rows.target / self.cap_, weight, rows.unit, seed)
        self.index_ = np.append(found.coefficient, found.intercept)
        self._name()
        return self

    def _products(self, z: Array) -> Array:
        """Columns of the index, (M, P): sensors, missing ones at the mean, and their products."""
        z = 4.0 * np.tanh(np.where(np.isfinite(z), z, 0.0) / 4.0)
        n = z.shape[1]
        if n > _MOST_PRODUCTS:
            return np.asarray(z)
        one, other = np.triu_indices(n)
        return np.concatenate([z, z[:, one] * z[:, other]], axis=1)

    def _path(self, z: Array, unit: Index, times: Array) -> Array:
        """Slope, level and extrapolated life of each time scale, (M, 15)."""
        index = np.concatenate([self._index(z[i : i + _CHUNK]) for i in range(0, len(z), _CHUNK)])
        life, columns = self.life_scale_, np.empty((len(z), 3 * len(self.windows_)))
        for rows in np.split(np.arange(len(z)), np.flatnonzero(np.diff(unit)) + 1):
            for k, window in enumerate(self.windows_):
                slope, level = trailing_line(index[rows], times[rows], window)
                decline = np.maximum(-slope * self.cap_, _SLOWEST)
                left = np.clip(level / decline, 0.0, _LONGEST)
                columns[rows, 3 * k : 3 * k + 3] = np.stack([slope * life, level, left], axis=1)
        return columns

    def _index(self, z: Array) -> Array:
        """The health index of rows, in caps, (M,)."""
        design = np.ascontiguousarray((self._products(z) - self.index_mean_) / self.index_scale_)
        # Unlike a matrix product, einsum adds up rows in memory alike however many there are.
        return np.asarray(np.einsum("ij,j->i", design, self.index_[:-1]) + self.index_[-1])

    def _features(self, fleet: Fleet, unit: Index, lengths: Index) -> npt.NDArray[np.float32]:
        usual = super()._features(fleet, unit, lengths)
        path = self._path(self._normalised(fleet), unit, fleet.times())
        return np.concatenate([usual, path.astype(np.float32)], axis=1)

    def _name(self) -> None:
        super()._name()
        path = [
            f"index_{form}_{k + 1}"
            for k in range(len(_WINDOWS))
            for form in ("slope", "level", "life_left")
        ]
        self.names_ = (*self.names_, *path)
        self.offset_group_ = (*self.offset_group_, *[-1] * len(path))

    def to_state(self) -> dict[str, Any]:
        """Learned state as numbers, text and arrays."""
        return {
            **super().to_state(),
            "cap": self.cap_,
            "windows": list(self.windows_),
            "index": self.index_,
            "index_mean": self.index_mean_,
            "index_scale": self.index_scale_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> PathFeatures:
        """The inverse of :meth:`to_state`."""
        self = cls()
        vars(self).update(vars(CausalFeatures.from_state(state)))
        self.cap_ = float(state["cap"])
        self.windows_ = tuple(int(w) for w in state["windows"])
        self.index_, self.index_mean_, self.index_scale_ = (
            np.asarray(state[key], dtype=float) for key in ("index", "index_mean", "index_scale")
        )
        self._name()
        return self

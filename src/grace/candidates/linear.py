"""Ridge regression on causal features, for fleets with few units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from grace.candidates.base import Array, Index, State, TrainingRows
from grace.candidates.feature_candidate import FeatureCandidate, Features

__all__ = ["Linear", "Ridge", "Standardiser", "ridge_by_units"]

_KNOTS = (0.25, 0.5, 0.75, 1.0, 1.25)
_PENALTIES = np.logspace(-4, 2, 13)


class Standardiser:
    """Weighted z-scores, missing values at the mean, tails bent by tanh at ``limit`` σ."""

    def __init__(self, mean: Array, scale: Array, limit: float = 4.0) -> None:
        self.mean, self.scale, self.limit = mean, scale, limit

    @classmethod
    def fit(cls, x: Features, weight: Array) -> Standardiser:
        """Mean and standard deviation over known values, (M, F)."""
        known = np.isfinite(x)
        w = known * weight[:, None]
        total = w.sum(axis=0)
        safe = np.where(total > 0, total, 1.0)
        filled = np.where(known, x, 0.0).astype(np.float64)
        mean = (w * filled).sum(axis=0) / safe
        std = np.sqrt((w * (filled - mean) ** 2).sum(axis=0) / safe)
        return cls(mean, np.where(std > 1e-6, std, np.inf))

    def __call__(self, x: Features) -> Array:
        """Standardised features, (M, F)."""
        z = (x - self.mean) / self.scale
        return self.limit * np.tanh(np.where(np.isfinite(z), z, 0.0) / self.limit)


@dataclass(frozen=True, eq=False)
class Ridge:
    """Coefficients (F,), intercept and penalty of a ridge regression."""

    coefficient: Array
    intercept: float
    penalty: float


def ridge_by_units(z: Array, y: Array, weight: Array, unit: Index, seed: int) -> Ridge:
    """Ridge regression with the penalty of least squared error over five folds of units.

    Args:
        z: standardised columns, (M, F).
        y: target, (M,).
        weight: of the rows, (M,).
        unit: index of each row's unit, (M,). With one unit the largest penalty is taken.
        seed: of the folds.

    Example:
        >>> import numpy as np
        >>> z = np.repeat([[-1.0], [1.0]], 10, axis=0)
        >>> found = ridge_by_units(z, 5 + 2 * z[:, 0], np.ones(20), np.arange(20) % 4, seed=0)
        >>> found.coefficient.round(2), round(found.intercept, 2)
        (array([2.]), 5.0)
    """
    units = np.unique(unit)
    folds = min(5, len(units))
    error = np.zeros(len(_PENALTIES))
    if folds > 1:
        rng = np.random.default_rng(seed)
        fold_of = np.empty(unit.max() + 1, dtype=np.int64)
        fold_of[units] = rng.permutation(len(units)) % folds
        part = fold_of[unit]
        for k in range(folds):
            out, kept = part == k, part != k
            b, a = _ridge_path(z[kept], y[kept], weight[kept])
            error += weight[out] @ (z[out] @ b + a - y[out, None]) ** 2
    best = int(np.argmin(error)) if folds > 1 else len(_PENALTIES) - 1
    b, a = _ridge_path(z, y, weight)
    # Contiguous, as it is read from a file.
    return Ridge(np.ascontiguousarray(b[:, best]), float(a[best]), float(_PENALTIES[best]))


class Linear(FeatureCandidate):
    """Ridge regression on standardised features, and hinges of age.

    The penalty is the one with the least squared error over five folds of units.
    """

    name = "linear"
    description = "ridge regression on causal features, penalty chosen by unit"
    total_rows = 20_000
    standardiser_: Standardiser
    coefficient_: Array
    intercept_: float
    penalty_: float

    def _design(self, x: Features) -> Array:
        names = self.features_.names_
        age = x[:, names.index("age_in_group")].astype(np.float64)
        hinges = np.stack([np.maximum(age - knot, 0.0) for knot in _KNOTS], axis=1)
        return np.concatenate([self.standardiser_(x), np.minimum(hinges, 1.0)], axis=1)

    def _learn(self, x: Features, y: Array, rows: TrainingRows, seed: int) -> None:
        self.standardiser_ = Standardiser.fit(x, rows.weight)
        found = ridge_by_units(self._design(x), y, rows.weight, rows.unit, seed)
        self.penalty_, self.intercept_ = found.penalty, found.intercept
        self.coefficient_ = found.coefficient

    def _apply(self, x: Features) -> Array:
        # Unlike a matrix product, einsum adds up rows in memory alike however many there are.
        level = np.einsum("ij,j->i", np.ascontiguousarray(self._design(x)), self.coefficient_)
        return np.asarray(level + self.intercept_)

    def _learned(self) -> State:
        return {
            "mean": self.standardiser_.mean,
            "scale": self.standardiser_.scale,
            "coefficient": self.coefficient_,
            "intercept": self.intercept_,
            "penalty": self.penalty_,
        }

    def _relearn(self, state: Mapping[str, Any]) -> None:
        mean, scale = (np.asarray(state[key], float) for key in ("mean", "scale"))
        self.standardiser_ = Standardiser(mean, scale)
        self.coefficient_ = np.asarray(state["coefficient"], float)
        self.intercept_, self.penalty_ = float(state["intercept"]), float(state["penalty"])


def _ridge_path(z: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted ridge for every penalty: coefficients (F, P) and intercepts (P,)."""
    w = weight / weight.sum()
    centre, level = w @ z, float(w @ y)
    zc = z - centre
    values, vectors = np.linalg.eigh((zc * w[:, None]).T @ zc)
    right = vectors.T @ (zc.T @ (w * (y - level)))
    b = vectors @ (right[:, None] / (np.maximum(values, 0.0)[:, None] + _PENALTIES))
    return b, level - centre @ b

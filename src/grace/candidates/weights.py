"""Weights of candidates from their errors on units they were not fitted on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["error_weights", "only_best"]

Array = npt.NDArray[np.float64]
_LEAST_WEIGHT = 0.01  # a candidate with less would cost time at prediction and change nothing


def error_weights(x: Array, y: Array, w: Array, unit: npt.NDArray[np.int64]) -> Array:
    """Weights ≥ 0 that add up to 1 and fall exponentially with the squared error, (F,).

    Args:
        x: predictions (M, F).
        y: labels (M,).
        w: weight of each row (M,).
        unit: number of the unit of each row (M,), from 0.
    """
    error = w[:, None] * (x - y[:, None]) ** 2
    total = error.sum(axis=0)
    best = int(np.argmin(total))
    if total[best] <= 0.0:
        return only_best(x, y, w, unit)
    per_unit = np.bincount(unit, error[:, best])
    effective = total[best] ** 2 / (per_unit @ per_unit)
    found = np.exp(-np.sqrt(effective) * (total / total[best] - 1.0))
    found /= found.sum()
    found[found < _LEAST_WEIGHT] = 0.0
    return np.asarray(found / found.sum())


def only_best(x: Array, y: Array, w: Array, unit: npt.NDArray[np.int64]) -> Array:
    """All weight on the candidate with the least error, (F,)."""
    return np.asarray(np.eye(x.shape[1])[int(np.argmin(w @ (x - y[:, None]) ** 2))])

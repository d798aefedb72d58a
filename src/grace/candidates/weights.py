"""Weights of candidates from their errors on units they were not fitted on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

__all__ = ["error_weights", "least_squares_weights", "only_best"]

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


def least_squares_weights(x: Array, y: Array, w: Array, unit: npt.NDArray[np.int64]) -> Array:
    """Weights ≥ 0 that add up to 1 and minimise the squared error of the weighted mean, (F,).

    A less accurate candidate whose errors are of another kind gets weight too. Needs many units:
    with tens of them these weights are less accurate on new units than :func:`error_weights`.

    Args:
        x: predictions (M, F).
        y: labels (M,).
        w: weight of each row (M,).
        unit: not used; see :func:`error_weights`.
    """
    root = np.sqrt(w / w.sum())
    scale = max(1.0, float(np.abs(x).max())) * 1e3  # makes the sum 1 to about six digits
    a = np.vstack([x * root[:, None], np.full((1, x.shape[1]), scale)])
    found, _ = nnls(a, np.append(y * root, scale))
    found[found < _LEAST_WEIGHT] = 0.0
    if not found.any():
        return only_best(x, y, w, unit)
    return np.asarray(found / found.sum())

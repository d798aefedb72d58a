"""Weights of candidates from their errors on units they were not fitted on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

__all__ = ["error_weights", "least_squares_weights", "only_best"]

Array = npt.NDArray[np.float64]
_LEAST_WEIGHT = 0.01  # a candidate with less would cost time at prediction and change nothing
_HOPELESS = 16.0  # mean squared error relative to the best that no cancelling of errors makes up
_MIX = 0.5  # of the stack's own error, the rest being the mean error of its members
_SMALLEST = 1e-12  # keeps logarithms finite


def error_weights(
    x: Array, y: Array, w: Array, unit: npt.NDArray[np.int64], prior: Array | None = None
) -> Array:
    """Weights ≥ 0 that add up to 1 of predictors that are combined, (F,).

    With the mean squared errors and products of errors ``C`` relative to the best candidate, and
    ``n`` the effective number of units, they minimise

        ½ vᵀC v + ½ Σ v_c C_cc + KL(v ‖ prior) / √n.

    Args:
        x: predictions (M, F).
        y: labels (M,).
        w: weight of each row (M,).
        unit: number of the unit of each row (M,), from 0.
        prior: weights before any error is seen (F,), > 0, of any sum; None: equal.

    Example:
        >>> import numpy as np
        >>> y = np.arange(40.0)
        >>> x = np.stack([y + 1, y - 1, y + 9], axis=1)
        >>> error_weights(x, y, np.ones(40), np.arange(40) // 4).round(2)
        array([0.5, 0.5, 0. ])
    """
    from scipy.optimize import minimize

    gap = x - y[:, None]
    products = (w[:, None] * gap).T @ gap / w.sum()
    error = np.diag(products).copy()
    best = int(np.argmin(error))
    if error[best] <= 0.0:
        return only_best(x, y, w, unit)
    per_unit = np.bincount(unit, w * gap[:, best] ** 2)
    temperature = float(np.sqrt(per_unit @ per_unit) / per_unit.sum())  # 1 / √n
    kept = np.flatnonzero(error <= _HOPELESS * error[best])
    c, d = products[np.ix_(kept, kept)] / error[best], error[kept] / error[best]
    first = np.ones(len(kept)) if prior is None else prior[kept]
    log_prior = np.log(first / first.sum())

    def objective(v: Array) -> tuple[float, Array]:
        safe = np.maximum(v, _SMALLEST)
        own = c @ v
        divergence = float(v @ (np.log(safe) - log_prior))
        value = _MIX * float(v @ own) + (1.0 - _MIX) * float(d @ v) + temperature * divergence
        slope = 2.0 * _MIX * own + (1.0 - _MIX) * d + temperature * (np.log(safe) - log_prior + 1.0)
        return value, slope

    start = np.exp(log_prior - (d - 1.0) / temperature)
    found = minimize(
        objective,
        np.maximum(start / start.sum(), 1e-6),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(kept),
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1.0, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    ).x
    weights = np.zeros(x.shape[1])
    weights[kept] = np.maximum(found, 0.0)
    weights /= weights.sum()
    weights[weights < _LEAST_WEIGHT] = 0.0
    return np.asarray(weights / weights.sum())


def only_best(
    x: Array, y: Array, w: Array, unit: npt.NDArray[np.int64], prior: Array | None = None
) -> Array:
    """All weight on the candidate with the least error, (F,)."""
    return np.asarray(np.eye(x.shape[1])[int(np.argmin(w @ (x - y[:, None]) ** 2))])


def least_squares_weights(
    x: Array, y: Array, w: Array, unit: npt.NDArray[np.int64], prior: Array | None = None
) -> Array:
    """Weights ≥ 0 that add up to 1 and minimise the squared error of the weighted mean, (F,).

    A less accurate candidate whose errors are of another kind gets weight too. Needs many units:
    with tens of them these weights are less accurate on new units than :func:`error_weights`.

    Args:
        x: predictions (M, F).
        y: labels (M,).
        w: weight of each row (M,).
        unit: not used; see :func:`error_weights`.
        prior: not used either.
    """
    root = np.sqrt(w / w.sum())
    scale = max(1.0, float(np.abs(x).max())) * 1e3  # makes the sum 1 to about six digits
    a = np.vstack([x * root[:, None], np.full((1, x.shape[1]), scale)])
    found, _ = nnls(a, np.append(y * root, scale))
    found[found < _LEAST_WEIGHT] = 0.0
    if not found.any():
        return only_best(x, y, w, unit)
    return np.asarray(found / found.sum())

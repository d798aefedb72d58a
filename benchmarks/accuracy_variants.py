"""Variants of a predictor, from out-of-fold predictions of its parts.

Each variant predicts the rows of a fold with what it learned from the rows of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from accuracy_text import CHOSEN

from grace.candidates import EarlyShift
from grace.candidates.weights import error_weights, least_squares_weights

CAP = 125.0
CAUSAL = ("linear", "boosting", "boosting_log", "similarity")
ALL = ("network", *CAUSAL)
PATH = "boosting_path"
Array = np.ndarray
Rows = dict[str, Array]


def ridge(x: Array, y: Array, w: Array, asked: Array, penalty: float = 30.0) -> Array:
    """Ridge regression on standardised columns."""
    mean = w @ x / w.sum()
    scale = np.sqrt(w @ (x - mean) ** 2 / w.sum()) + 1e-9
    a, weight, level = (x - mean) / scale, w / w.mean(), w @ y / w.sum()
    gram = a.T * weight @ a + penalty * np.eye(a.shape[1])
    return level + (asked - mean) / scale @ np.linalg.solve(gram, a.T @ (weight * (y - level)))


def across_folds(held: Rows, fit: Callable[[Array], Callable[[Array], Array]]) -> Array:
    """Predictions of each fold's rows by what ``fit`` made of the rows of the others."""
    out = np.empty(len(held["y"]))
    for k in np.unique(held["fold"]):
        mine = held["fold"] == k
        out[mine] = fit(~mine)(mine)
    return np.clip(out, 0.0, CAP)


def stacked(held: Rows, names: Sequence[str], rule: Any = least_squares_weights) -> Array:
    """A weighted mean of candidates, weights from the other folds."""
    x = np.stack([held[n] for n in names], axis=1)

    def fit(rows: Array) -> Callable[[Array], Array]:
        _, unit = np.unique(held["number"][rows], return_inverse=True)
        weights = rule(x[rows], held["y"][rows], held["weight"][rows], unit)
        return lambda mine: x[mine] @ weights

    return across_folds(held, fit)


def regressed(held: Rows, columns: Sequence[Array]) -> Array:
    """Ridge regression on some columns, from the other folds."""
    x = np.column_stack(list(columns))
    return across_folds(
        held,
        lambda rows: lambda mine: ridge(x[rows], held["y"][rows], held["weight"][rows], x[mine]),
    )


def stacked_and_shifted(held: Rows, names: Sequence[str], share: float) -> Array:
    """Weights and then :class:`EarlyShift` of that stack, both from the other folds only."""
    x = np.stack([held[n] for n in names], axis=1)

    def fit(rows: Array) -> Callable[[Array], Array]:
        y, w, age = held["y"][rows], held["weight"][rows], held["age"]
        weights = least_squares_weights(x[rows], y, w, held["number"][rows])
        shift = EarlyShift(share).fit(
            x[rows] @ weights, y, w, held["fold"][rows], age=age[rows], cap=CAP
        )
        return lambda mine: shift.predict(x[mine] @ weights, age=age[mine])

    return across_folds(held, fit)


def unbiased_by_life(held: Rows, names: Sequence[str]) -> Array:
    """A stack less its mean error among rows of similar prediction and predicted life.

    Weights and mean error are from the other folds; the mean is weighted by a Gaussian kernel of 8%
    of the cap and of a quarter of the standard deviation of predicted lives (age + prediction).
    """
    x = np.stack([held[n] for n in names], axis=1)

    def fit(rows: Array) -> Callable[[Array], Array]:
        y, w = held["y"][rows], held["weight"][rows]
        stack = x @ least_squares_weights(x[rows], y, w, held["number"][rows])
        life = stack + held["age"]
        low, high = np.quantile(life[rows], [0.02, 0.98])
        deviation = np.std(life[rows])
        place = np.column_stack(
            [stack / (0.08 * CAP), np.clip(life, low, high) / (0.25 * deviation)]
        )

        def predict(mine: Array) -> Array:
            apart = ((place[mine][:, None] - place[rows]) ** 2).sum(axis=2)
            near = np.exp(-0.5 * apart) * w
            return stack[mine] + near @ (y - stack[rows]) / (near.sum(axis=1) + 0.003 * w.sum())

        return predict

    return across_folds(held, fit)


def variants(held: Rows) -> dict[str, Array]:
    """Predictions of every variant for the held-out rows, by what it is.

    Variants that need predictions which ``held`` does not have are left out.
    """
    every = (*ALL, PATH) if PATH in held else ALL
    n, b, age = held["network"], held["boosting"], held["age"] / 100.0
    stack = stacked(held, every)
    product = [n, b, held["boosting_log"], age, n * age, b * age, n * n, b * b, n * b]
    found = {"one network": n}
    if "window_boosting" in held:
        found["boosting on window statistics"] = held["window_boosting"]
    found |= {
        "boosting on causal features": b,
        "boosting, relative error": held["boosting_log"],
        "trajectory similarity": held["similarity"],
        "linear regression": held["linear"],
        "mean of network and boosting": (n + b) / 2,
        "stack of network and boosting": stacked(held, ("network", "boosting")),
        "stack, weights by errors": stacked(held, every, error_weights),
        "stack, least squares": stack,
        "regression on predictions, age and products": regressed(held, product),
    }
    found["stack, unbiased by prediction and life"] = unbiased_by_life(held, every)
    if "network_lagged" in held:
        lagged = [held["network_lagged"], held["boosting_lagged"]]
        name = "regression on predictions and the unit's earlier predictions"
        found[name] = regressed(held, [n, b, held["boosting_log"], age, *lagged])
    found |= {
        CHOSEN: stacked_and_shifted(held, every, EarlyShift().share),
        f"{CHOSEN}, share 0": stacked_and_shifted(held, every, 0.0),
        f"{CHOSEN}, share 0.5": stacked_and_shifted(held, every, 0.5),
    }
    if PATH in held:
        found |= {
            "boosting on the path of a health index": held[PATH],
            "mean of network and boosting on the path": (n + held[PATH]) / 2,
        }
    if "boosting_offset" in held:
        found |= {
            "boosting on rows with random sensor offsets": held["boosting_offset"],
            "stack, with boosting on random offsets": stacked(held, (*ALL, "boosting_offset")),
        }
    return found

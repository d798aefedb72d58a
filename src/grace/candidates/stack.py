"""The non-negative stack of the candidates, fitted on out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.optimize import nnls

from grace.candidates.out_of_fold import OOF_COLUMNS
from grace.data.errors import DataError

__all__ = ["CandidateError", "Stack"]

Array = npt.NDArray[np.float64]
_SUM_TO_ONE = 1e3  # weight of the equation that the weights add up to 1
MIN_UNITS = 5
"""Fewer units with a known end than this support no combination: the best candidate is used."""


@dataclass(frozen=True)
class CandidateError:
    """Out-of-fold error of one candidate and its weight in the stack."""

    name: str
    rmse: float
    weight: float


class Stack:
    """Weights ≥ 0 that add up to 1, by non-negative least squares.

    Each unit counts the same. The stack is kept only if, with the weights fitted on the other
    folds, it is more accurate than the candidate that the other folds would choose; else all
    weight goes to the best candidate. So it does not lose to the best single candidate by more
    than the choice of that candidate costs.

    Reference:
        L. Breiman: Stacked regressions. Machine Learning 24, 1996.

    Attributes:
        weights_: weight of each candidate.
        errors_: out-of-fold error and weight of each candidate, best first.
        rmse_: error on folds the weights were not fitted on, capped labels.
        n_units_: units with a known end behind these figures.
        stacked_: whether the combination was kept.

    Example:
        >>> import polars as pl
        >>> from grace.candidates import Stack
        >>> n = 40
        >>> y = [float(i) for i in range(n)]
        >>> unit, fold = [i // 4 for i in range(n)], [i // 8 for i in range(n)]
        >>> oof = pl.DataFrame({"unit": unit, "fold": fold, "time": y, "age": y,
        ...     "rul_true": y, "rul_capped": y, "censored_after": y,
        ...     "weight": [0.25] * n, "low": [v - 2 for v in y], "high": [v + 2 for v in y]})
        >>> stack = Stack().fit(oof)
        >>> {k: round(w, 3) for k, w in stack.weights_.items()}
        {'low': 0.5, 'high': 0.5}
    """

    weights_: dict[str, float]
    errors_: tuple[CandidateError, ...]
    rmse_: float
    n_units_: int
    stacked_: bool

    def fit(self, oof: pl.DataFrame) -> Stack:
        """Fit on a table of :func:`~grace.candidates.out_of_fold`.

        Raises:
            DataError: no evaluated row has a known label.
        """
        names = [c for c in oof.columns if c not in OOF_COLUMNS]
        rows = oof.filter(pl.col("rul_capped").is_not_null())
        if rows.is_empty():
            raise DataError(
                "no held-out row has a known remaining life, so no candidate can be evaluated.",
                remedy="add histories of failed units.",
            )
        x, y = rows.select(names).to_numpy(), rows["rul_capped"].to_numpy()
        w, fold = rows["weight"].to_numpy(), rows["fold"].to_numpy()
        self.n_units_ = rows["unit"].n_unique()
        single = np.sqrt((w @ (x - y[:, None]) ** 2) / w.sum())
        best = int(np.argmin(single))
        stacked, chosen = np.empty(len(y)), np.empty(len(y))
        folds = np.unique(fold)
        for k in folds:
            out, kept = fold == k, fold != k
            if not kept.any():
                stacked[out] = chosen[out] = x[out, best]
                continue
            stacked[out] = x[out] @ _weights(x[kept], y[kept], w[kept])
            alone = w[kept] @ (x[kept] - y[kept, None]) ** 2
            chosen[out] = x[out, int(np.argmin(alone))]
        error, rival = (float(np.sqrt(w @ (p - y) ** 2 / w.sum())) for p in (stacked, chosen))
        self.stacked_ = self.n_units_ >= MIN_UNITS and len(folds) > 1 and error <= rival
        weights = _weights(x, y, w) if self.stacked_ else np.eye(len(names))[best]
        self.rmse_ = error if self.stacked_ else rival
        self.weights_ = {n: float(v) for n, v in zip(names, weights, strict=True)}
        order = np.argsort(single, kind="stable")
        self.errors_ = tuple(
            CandidateError(names[i], float(single[i]), float(weights[i])) for i in order
        )
        return self

    @property
    def used(self) -> tuple[str, ...]:
        """Candidates with a weight above 0."""
        return tuple(n for n, w in self.weights_.items() if w > 0)

    def predict(self, predictions: Mapping[str, Array]) -> Array:
        """Weighted mean of the predictions of the candidates in :attr:`used`, (M,) each."""
        return np.asarray(sum(self.weights_[n] * np.asarray(predictions[n]) for n in self.used))

    def summary(self, time_unit: str) -> str:
        """What to expect on a new unit, in one or two sentences."""
        named = ", ".join(f"{n} {self.weights_[n]:.0%}" for n in _by_weight(self.weights_))
        text = (
            f"On units that the model has not seen, the RMSE is about {self.rmse_:.3g} {time_unit} "
            f"(out of fold, {self.n_units_} units, capped labels); predictor: {named}."
        )
        if self.n_units_ < MIN_UNITS:
            text += (
                f" With {self.n_units_} units of known end this figure is a rough guide; at least "
                f"{MIN_UNITS} are needed to combine candidates and about 20 to compare them."
            )
        return text

    def to_state(self) -> dict[str, Any]:
        """Learned state as plain values."""
        return {
            "weights": self.weights_,
            "errors": [[e.name, e.rmse, e.weight] for e in self.errors_],
            "rmse": self.rmse_,
            "n_units": self.n_units_,
            "stacked": self.stacked_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Stack:
        """The inverse of :meth:`to_state`."""
        self = cls()
        self.weights_ = {str(k): float(v) for k, v in state["weights"].items()}
        self.errors_ = tuple(
            CandidateError(str(n), float(e), float(w)) for n, e, w in state["errors"]
        )
        self.rmse_, self.n_units_ = float(state["rmse"]), int(state["n_units"])
        self.stacked_ = bool(state["stacked"])
        return self


def _weights(x: Array, y: Array, w: Array) -> Array:
    """Weights (F,) ≥ 0 adding up to 1 with the least weighted squared error."""
    scale = max(float(np.sqrt(w @ y**2 / w.sum())), 1e-12)
    root = np.sqrt(w / w.sum())
    a = np.vstack([root[:, None] * x / scale, np.full(x.shape[1], _SUM_TO_ONE)])
    found, _ = nnls(a, np.append(root * y / scale, _SUM_TO_ONE))
    found[found < 1e-3] = 0.0
    return np.asarray(found / found.sum())


def _by_weight(weights: Mapping[str, float]) -> Sequence[str]:
    return sorted((n for n, v in weights.items() if v > 0), key=lambda n: -weights[n])

"""The non-negative stack of the candidates, weighted by their out-of-fold errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.candidates.out_of_fold import CONDITION_COLUMN, OOF_COLUMNS, STACK_COLUMN
from grace.candidates.registry import priors
from grace.candidates.weights import error_weights, least_squares_weights, only_best
from grace.data.errors import DataError
from grace.formatting import number

__all__ = ["CandidateError", "Stack"]

Array = npt.NDArray[np.float64]
RULES = {"errors": error_weights, "least_squares": least_squares_weights}
"""How weights are found: see :class:`Stack`."""
MIN_UNITS = 5
"""Fewer units with a known end than this support no combination: the best candidate is used."""


@dataclass(frozen=True)
class CandidateError:
    """Out-of-fold error of one candidate and its weight in the stack.

    Example:
        >>> import polars as pl
        >>> oof = pl.DataFrame({"unit": [1, 2], "fold": [0, 1], "weight": [1.0, 1.0],
        ...                     "rul_capped": [9.0, 4.0],
        ...                     "linear": [8.0, 5.0], "constant": [6.0, 6.0]})
        >>> [(error.name, round(error.rmse, 2)) for error in Stack().fit(oof).errors_]
        [('linear', 1.0), ('constant', 2.55)]
    """

    name: str
    rmse: float
    weight: float


class Stack:
    """Weights ≥ 0 that add up to 1, from the errors out of fold.

    They minimise ``½ vᵀC v + ½ Σ v_c C_cc + KL(v ‖ prior) / √n``: ``C`` are the mean products of
    the candidates' errors out of fold, relative to the mean squared error of the best candidate,
    each unit counting the same; ``n`` is the effective number of units behind them,
    ``(Σ e_u)² / Σ e_u²`` with the errors ``e_u`` of the units. The first term is the error of the
    stack itself, which rewards errors that cancel; the second the mean error of its members, which
    keeps weights stable; the last keeps weights near the prior where differences are within the
    sampling variability of ``n`` units. With many units the less accurate candidates are dropped.

    The prior (:func:`~grace.candidates.priors`) is what small fleets of many kinds have in common:
    a constant and the median lives have half the weight of other candidates, boosting twice.

    With ``rule="least_squares"`` the weights minimise the squared error of the stack itself, which
    is more accurate with a hundred units or more whose candidates err in different ways.

    With fewer than :data:`MIN_UNITS` units all weight goes to the best candidate.

    Args:
        rule: ``errors`` or ``least_squares``.

    References:
        D. Dai, P. Rigollet, T. Zhang: Deviation optimal learning using greedy Q-aggregation. Annals
        of Statistics 40, 2012.
        L. Breiman: Stacked regressions. Machine Learning 24, 1996.

    Attributes:
        weights_: weight of each candidate.
        errors_: out-of-fold error and weight of each candidate, best first.
        rmse_: error on folds the weights were not fitted on, capped labels.
        n_units_: units with a known end behind these figures.
        stacked_: whether candidates are combined.

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

    def __init__(self, rule: str = "errors") -> None:
        if rule not in RULES:
            raise ValueError(f"unknown rule {rule!r}: choose from {', '.join(RULES)}")
        self.rule = rule

    def fit(self, oof: pl.DataFrame) -> Stack:
        """Fit on a table of :func:`~grace.candidates.out_of_fold`, or on ``RULModel.oof_``.

        Raises:
            DataError: no evaluated row has a known label.
        """
        known = (*OOF_COLUMNS, STACK_COLUMN, CONDITION_COLUMN)
        names = [c for c in oof.columns if c not in known]
        rows = oof.filter(pl.col("rul_capped").is_not_null())
        if rows.is_empty():
            raise DataError(
                "no held-out row has a known remaining life, so no candidate can be evaluated.",
                remedy="add histories of failed units.",
            )
        x, y = rows.select(names).to_numpy(), rows["rul_capped"].to_numpy()
        w, fold = rows["weight"].to_numpy(), rows["fold"].to_numpy()
        unit = rows["unit"].rank("dense").to_numpy().astype(np.int64) - 1
        self.n_units_ = int(unit.max()) + 1
        folds = np.unique(fold)
        self.stacked_ = self.n_units_ >= MIN_UNITS and len(folds) > 1
        weigh = RULES[self.rule] if self.stacked_ else only_best
        held_out, prior = np.empty(len(y)), priors(names)
        for k in folds:
            out, kept = fold == k, fold != k
            if not kept.any():
                kept = out
            held_out[out] = x[out] @ weigh(x[kept], y[kept], w[kept], unit[kept], prior)
        single = np.sqrt((w @ (x - y[:, None]) ** 2) / w.sum())
        weights = weigh(x, y, w, unit, prior)
        self.rmse_ = float(np.sqrt(w @ (held_out - y) ** 2 / w.sum()))
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
            "On units that the model has not seen, the RMSE is about "
            f"{number(self.rmse_)} {time_unit} (out of fold, {self.n_units_} units, capped "
            f"labels); predictor: {named}."
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


def _by_weight(weights: Mapping[str, float]) -> Sequence[str]:
    return sorted((n for n, v in weights.items() if v > 0), key=lambda n: -weights[n])

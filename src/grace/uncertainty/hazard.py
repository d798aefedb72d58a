"""Discrete-time hazards by logistic regression on splines of prediction, spread and age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from grace.uncertainty.distribution import RULDistribution
from grace.uncertainty.points import EvaluationPoints

__all__ = ["HazardDistribution"]

Array = npt.NDArray[np.float64]


class HazardDistribution:
    """A logistic model of failing in bin k given survival of the bins before.

    Every point is one row per bin it was at risk in; a censored point has no failure. Inputs are
    piecewise linear in the logarithm of the ratio of time to prediction, in prediction, age and
    spread, with products of the first with the others.

    Args:
        penalty: L2 penalty relative to one observation.

    References:
        J. D. Singer and J. B. Willett (1993), It's about time: using discrete-time survival
        analysis, Journal of Educational Statistics 18 (2).
    """

    name = "hazard"

    def __init__(self, penalty: float = 1.0) -> None:
        self.penalty = penalty

    def fit(self, points: EvaluationPoints, edges: Array) -> HazardDistribution:
        """Maximise the penalised likelihood of the points."""
        from sklearn.linear_model import LogisticRegression

        self.edges_ = edges
        median = float(np.median(points.prediction))
        self.offset_ = 0.05 * median if median > 0 else float(edges[1])
        levels = np.linspace(0.0, 1.0, 7)
        self.knots_ = {
            "prediction": np.unique(np.quantile(points.prediction, levels)),
            "age": np.unique(np.quantile(points.age, levels[::2])),
            "spread": np.unique(np.quantile(points.spread, levels[::2])),
            "ratio": np.array([-3.0, -2.0, -1.2, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.6]),
        }
        last = np.clip(np.searchsorted(edges, points.y, side="left") - 1, 0, edges.size - 2)
        # A censored point is at risk in the bins it survived whole.
        at_risk = np.where(points.event, last + 1, np.searchsorted(edges, points.y, "right") - 1)
        owner = np.repeat(np.arange(len(points)), at_risk)
        bins = np.arange(len(owner)) - np.repeat(np.cumsum(at_risk) - at_risk, at_risk)
        failed = points.event[owner] & (bins == last[owner])
        inputs = self._inputs(points.prediction, points.spread, points.age, owner, bins)
        weight = points.rows[owner] / points.rows.mean()
        model = LogisticRegression(C=1.0 / self.penalty, max_iter=300, tol=1e-3)
        model.fit(inputs, failed, sample_weight=weight)
        self.coefficients_ = np.r_[model.intercept_, model.coef_[0]]
        return self

    def predict(self, prediction: Array, spread: Array, age: Array) -> RULDistribution:
        """Distributions of n rows from their prediction, spread and age, (n,) each."""
        n, count = len(prediction), self.edges_.size - 1
        owner, bins = np.repeat(np.arange(n), count), np.tile(np.arange(count), n)
        inputs = self._inputs(prediction, spread, age, owner, bins)
        logit = self.coefficients_[0] + inputs @ self.coefficients_[1:]
        return RULDistribution.from_hazards(
            self.edges_, (1.0 / (1.0 + np.exp(-logit))).reshape(n, count)
        )

    def _inputs(
        self,
        prediction: Array,
        spread: Array,
        age: Array,
        owner: npt.NDArray[np.int64],
        bins: npt.NDArray[np.int64],
    ) -> Array:
        middle = (self.edges_[:-1] + self.edges_[1:])[bins] / 2.0
        scale = np.maximum(prediction, 0.0)[owner] + self.offset_
        ratio = _hats(np.log(middle / scale), self.knots_["ratio"])
        width = np.log(np.diff(self.edges_)[bins] / scale)[:, None]
        rows = [
            _hats(values, self.knots_[name])[owner]
            for name, values in (("prediction", prediction), ("age", age), ("spread", spread))
        ]
        products = [
            (ratio[:, :, None] * part[:, None, :]).reshape(len(owner), -1) for part in rows[:2]
        ]
        return np.concatenate([ratio, width, *rows, *products], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON state."""
        return {
            "name": self.name,
            "penalty": self.penalty,
            "edges": self.edges_.tolist(),
            "offset": self.offset_,
            "knots": {name: knots.tolist() for name, knots in self.knots_.items()},
            "coefficients": self.coefficients_.tolist(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> HazardDistribution:
        """The object that :meth:`to_dict` described."""
        self = cls(float(state["penalty"]))
        self.edges_, self.offset_ = np.asarray(state["edges"]), float(state["offset"])
        self.knots_ = {name: np.asarray(knots) for name, knots in state["knots"].items()}
        self.coefficients_ = np.asarray(state["coefficients"], dtype=np.float64)
        return self


def _hats(values: Array, knots: Array) -> Array:
    """Piecewise linear basis: 1 at a knot, 0 at the next ones; constant outside, (n, k)."""
    if len(knots) < 2:
        return np.ones((len(values), 1))
    return np.stack([np.interp(values, knots, unit) for unit in np.eye(len(knots))], axis=1)

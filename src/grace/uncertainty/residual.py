"""A point predictor with the residuals it had out of fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from grace.uncertainty.distribution import RULDistribution
from grace.uncertainty.kernel import weighted_survival
from grace.uncertainty.points import EvaluationPoints

__all__ = ["ResidualDistribution"]

Array = npt.NDArray[np.float64]


class ResidualDistribution:
    """The pooled out-of-fold residuals, added to every prediction.

    The conformalised point predictor: the same spread everywhere, mass below 0 put at 0. Residuals
    of censored points enter a Kaplan–Meier estimate.
    """

    name = "residual"

    def fit(self, points: EvaluationPoints, edges: Array) -> ResidualDistribution:
        """Estimate the distribution of the residuals."""
        residual = points.y - points.prediction
        order = np.lexsort((~points.event, residual))
        survival = weighted_survival(points.rows[None, order], points.event[order])[0]
        self.edges_, self.at_, self.survival_ = edges, residual[order], survival
        return self

    def predict(self, prediction: Array, spread: Array, age: Array) -> RULDistribution:
        """Distributions of n rows from their prediction (n,); the rest is not used."""
        at, index = np.unique(self.at_, return_index=True)
        # The value after the last of equal residuals.
        last = np.r_[index[1:] - 1, len(self.at_) - 1]
        shifted = self.edges_[None, :] - np.asarray(prediction)[:, None]
        curve = np.interp(shifted, at, self.survival_[last], left=1.0)
        curve[:, 0] = 1.0
        return RULDistribution(self.edges_, np.minimum.accumulate(curve, axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON state."""
        return {
            "name": self.name,
            "edges": self.edges_.tolist(),
            "at": self.at_.tolist(),
            "survival": self.survival_.tolist(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ResidualDistribution:
        """The object that :meth:`to_dict` described."""
        self = cls()
        self.edges_, self.at_ = np.asarray(state["edges"]), np.asarray(state["at"])
        self.survival_ = np.asarray(state["survival"], dtype=np.float64)
        return self

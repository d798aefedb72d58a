"""Reference distributions: residual life given age, Weibull regression, quantile boosting.

All are fitted on the same evaluation points by the same protocol and give a
:class:`~grace.uncertainty.distribution.RULDistribution`, so that scores compare.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from grace.extras import MissingExtraError
from grace.uncertainty.distribution import RULDistribution

__all__ = ["REFERENCES", "KaplanMeierReference", "QuantileBoostingReference", "WeibullReference"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def _lifelines() -> Any:
    try:
        import lifelines
    except ImportError as error:
        raise MissingExtraError("lifelines is not installed", "survival") from error
    return lifelines


class KaplanMeierReference:
    """Residual life given age, no sensor: S(age + t)/S(age) of the Kaplan–Meier curve of lives.

    Beyond the last age at which the curve is positive, the curve at that age is used.
    """

    name = "kaplan_meier"

    def fit(
        self, features: Array, age: Array, y: Array, event: Bools, unit: Array, edges: Array
    ) -> KaplanMeierReference:
        """Fit on m points: ages, RUL or time survived, whether the RUL is known, and units."""
        _, first = np.unique(unit, return_index=True)
        fitted = _lifelines().KaplanMeierFitter().fit(age[first] + y[first], event[first])
        curve = fitted.survival_function_.iloc[:, 0]
        self.at_, self.survival_ = curve.index.to_numpy(np.float64), curve.to_numpy(np.float64)
        self.edges_ = edges
        return self

    def predict(self, features: Array, age: Array) -> RULDistribution:
        """Distributions of n rows of these ages (n,)."""
        oldest = self.at_[np.flatnonzero(self.survival_ > 0.0)[-1]]
        begin = np.minimum(age, oldest * (1.0 - 1e-9))[:, None]
        at = np.interp(begin + self.edges_[None, :], self.at_, self.survival_)
        curve = at / np.interp(begin, self.at_, self.survival_)
        curve[:, 0] = 1.0
        return RULDistribution(self.edges_, np.minimum.accumulate(curve, axis=1))


class WeibullReference:
    """Weibull accelerated-failure-time regression of RUL on age and the current features.

    Features are standardised; the L2 penalty of lifelines keeps correlated sensors stable.
    """

    name = "weibull_aft"

    def __init__(self, penalizer: float = 0.01) -> None:
        self.penalizer = penalizer

    def _frame(self, features: Array, age: Array) -> Any:
        import pandas as pd

        x = np.column_stack([age, features])
        if not hasattr(self, "mean_"):
            self.mean_, scale = x.mean(axis=0), x.std(axis=0)
            self.keep_ = scale > 1e-9 * np.maximum(np.abs(self.mean_), 1e-300)
            self.scale_ = np.where(self.keep_, scale, 1.0)
        z = np.clip((x - self.mean_) / self.scale_, -8.0, 8.0)[:, self.keep_]
        return pd.DataFrame(z, columns=[f"x{i}" for i in range(z.shape[1])])

    def fit(
        self, features: Array, age: Array, y: Array, event: Bools, unit: Array, edges: Array
    ) -> WeibullReference:
        """Fit on m points: features (m, F), ages, RUL or time survived, known, units."""
        frame = self._frame(features, age)
        self.unit_of_time_ = float(edges[-1])
        frame["y"] = np.maximum(y, edges[1] / 2.0) / self.unit_of_time_
        frame["event"] = event
        model = _lifelines().WeibullAFTFitter(penalizer=self.penalizer)
        model.fit(frame, duration_col="y", event_col="event")
        weights = model.params_["lambda_"]
        self.intercept_ = float(weights["Intercept"])
        self.weights_ = weights.drop("Intercept").reindex(frame.columns[:-2]).to_numpy(np.float64)
        self.shape_ = float(np.exp(model.params_["rho_"]["Intercept"]))
        self.edges_ = edges
        return self

    def predict(self, features: Array, age: Array) -> RULDistribution:
        """Distributions of n rows of these features (n, F) and ages (n,)."""
        z = self._frame(features, age).to_numpy(np.float64)
        scale = np.exp(self.intercept_ + z @ self.weights_) * self.unit_of_time_
        power = (self.edges_[None, :] / scale[:, None]) ** self.shape_
        hazard = self.shape_ / self.edges_[-1] * power[:, -1]  # at the last edge
        tail = np.clip(hazard, 1e-9 / self.edges_[-1], 1e9 / self.edges_[-1])
        return RULDistribution(self.edges_, np.exp(-power), tail)


class QuantileBoostingReference:
    """Gradient boosting of quantiles of RUL on age and the current features.

    scikit-learn's histogram boosting, one model per level, crossings sorted. Censored points are
    left out: the quantile loss cannot use them.
    """

    name = "quantile_boosting"

    def __init__(
        self,
        levels: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975),
        random_state: int = 0,
    ) -> None:
        self.levels, self.random_state = levels, random_state

    def fit(
        self, features: Array, age: Array, y: Array, event: Bools, unit: Array, edges: Array
    ) -> QuantileBoostingReference:
        """Fit on the points with known RUL: features (m, F) and ages."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        x = np.column_stack([age, features])[event]
        self.models_ = [
            HistGradientBoostingRegressor(
                loss="quantile",
                quantile=level,
                learning_rate=0.05,
                max_leaf_nodes=15,
                early_stopping=False,
                random_state=self.random_state,
            ).fit(x, y[event])
            for level in self.levels
        ]
        self.edges_ = edges
        return self

    def predict(self, features: Array, age: Array) -> RULDistribution:
        """Distributions of n rows of these features (n, F) and ages (n,)."""
        x = np.column_stack([age, features])
        values = np.stack([model.predict(x) for model in self.models_], axis=1)
        return RULDistribution.from_quantiles(self.edges_, self.levels, values)


REFERENCES: dict[str, type[Any]] = {
    cls.name: cls for cls in (KaplanMeierReference, WeibullReference, QuantileBoostingReference)
}

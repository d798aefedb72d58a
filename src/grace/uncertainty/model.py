"""From out-of-fold predictions to a calibrated predictive distribution of any predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.uncertainty.calibration import UnitCalibration, cross_calibrated
from grace.uncertainty.distribution import RULDistribution, time_edges
from grace.uncertainty.hazard import HazardDistribution
from grace.uncertainty.kernel import KernelDistribution
from grace.uncertainty.points import EvaluationPoints, evaluation_points, point_inputs
from grace.uncertainty.residual import ResidualDistribution

__all__ = [
    "CONDITIONAL_DISTRIBUTIONS",
    "ConditionalDistribution",
    "DistributionModel",
    "fit_distribution",
    "held_out_distribution",
    "out_of_fold",
]

Array = npt.NDArray[np.float64]
FOLDS = 20


class ConditionalDistribution(Protocol):
    """The distribution of RUL given a point prediction, the candidates' spread, and age."""

    name: str

    def fit(self, points: EvaluationPoints, edges: Array) -> ConditionalDistribution:
        """Fit on out-of-fold points; curves on ``edges``."""

    def predict(self, prediction: Array, spread: Array, age: Array) -> RULDistribution:
        """Distributions of n rows."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON state with the key ``name``."""

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ConditionalDistribution:
        """The object that :meth:`to_dict` described."""


CONDITIONAL_DISTRIBUTIONS: dict[str, type[Any]] = {
    cls.name: cls for cls in (KernelDistribution, HazardDistribution, ResidualDistribution)
}


@dataclass(frozen=True, eq=False)
class DistributionModel:
    """Predictive distributions for the rows of a table of predictions.

    ``prediction`` and ``candidates`` name the columns it reads, next to ``age``. ``base`` is the
    conditional distribution, ``calibration`` its conformal levels. Everything is in the unit of
    time of the table it was fitted on.

    Example:
        >>> import numpy as np
        >>> import polars as pl
        >>> rng = np.random.default_rng(0)
        >>> age = np.tile(np.arange(0.0, 60.0, 5.0), 20)
        >>> rul = np.repeat(rng.uniform(60.0, 100.0, 20), 12) - age
        >>> table = pl.DataFrame({"unit": np.repeat(np.arange(20), 12), "age": age, "rul_true": rul,
        ...                       "censored_after": 0.0, "fold": np.repeat(np.arange(20) % 4, 12),
        ...                       "linear": rul + rng.normal(0.0, 4.0, 240)})
        >>> model = fit_distribution(table, "linear", step=5.0)
        >>> low, high = model.predict(table.head(2)).interval(0.9)
        >>> bool((low < high).all()), model.calibration.certifies(0.9)
        (True, True)
        >>> DistributionModel.from_dict(model.to_dict()).prediction
        'linear'
    """

    prediction: str
    candidates: tuple[str, ...]
    base: Any
    calibration: UnitCalibration

    def predict(self, frame: pl.DataFrame) -> RULDistribution:
        """Calibrated distributions of the rows of a frame.

        Args:
            frame: columns ``age`` (time since the unit's first record), the prediction and the
                candidates.

        Raises:
            DataError: a column is missing or not finite.
        """
        prediction, spread, age = point_inputs(frame, self.prediction, self.candidates)
        raw = self.base.predict(prediction, spread, age)
        return self.calibration.apply(raw, prediction)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON state."""
        return {
            "prediction": self.prediction,
            "candidates": list(self.candidates),
            "base": self.base.to_dict(),
            "calibration": self.calibration.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> DistributionModel:
        """The model that :meth:`to_dict` described.

        Raises:
            ValueError: the state names a conditional distribution that does not exist.
        """
        name = state["base"]["name"]
        if name not in CONDITIONAL_DISTRIBUTIONS:
            known = ", ".join(CONDITIONAL_DISTRIBUTIONS)
            raise ValueError(f"unknown conditional distribution {name!r}; known: {known}")
        return cls(
            str(state["prediction"]),
            tuple(state["candidates"]),
            CONDITIONAL_DISTRIBUTIONS[name].from_dict(state["base"]),
            UnitCalibration.from_dict(state["calibration"]),
        )


def out_of_fold(base: str, points: EvaluationPoints, edges: Array) -> tuple[RULDistribution, Any]:
    """Distribution of every point, fitted without its unit, and the fit on all points.

    The units are divided into ``FOLDS`` parts of their own: a part's distributions come from the
    points of all others, so that they are nearly as sharp as the final fit. The predictions in
    the points are out of fold already.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> m, y = 40, rng.uniform(5.0, 90.0, 40)
        >>> points = EvaluationPoints(
        ...     unit=np.arange(m), fold=np.arange(m) % 4, prediction=y + rng.normal(0.0, 5.0, m),
        ...     spread=np.zeros(m), age=100.0 - y, y=y, event=np.ones(m, bool), rows=np.ones(m),
        ... )
        >>> distribution, final = out_of_fold("residual", points, np.linspace(0.0, 120.0, 61))
        >>> len(distribution), type(final).__name__
        (40, 'ResidualDistribution')
    """
    kind = CONDITIONAL_DISTRIBUTIONS[base]
    final = kind().fit(points, edges)
    return _without_own_unit(final, points, edges), final


def _without_own_unit(final: Any, points: EvaluationPoints, edges: Array) -> RULDistribution:
    """Distribution of every point by a model like ``final``, fitted without the point's unit."""
    folds, kind = points.unit % FOLDS, type(final)
    # What a base selects itself (bandwidths) is selected once: on held-out folds.
    again = getattr(final, "bandwidth", None)
    survival, rate = np.ones((len(points), edges.size)), np.ones(len(points))
    for fold in np.unique(folds):
        held = folds == fold
        model = kind() if again is None else kind(again)
        model.fit(points.select(~held), edges)
        asked = points.select(held)
        predicted = model.predict(asked.prediction, asked.spread, asked.age)
        survival[held], rate[held] = predicted.survival, predicted.rate
    return RULDistribution(edges, survival, rate)


def held_out_distribution(
    model: DistributionModel, table: pl.DataFrame
) -> tuple[EvaluationPoints, RULDistribution]:
    """How the distribution of a predictor does on units that it was not fitted on.

    Args:
        model: as :func:`fit_distribution` made it.
        table: the out-of-fold table it was fitted on.

    Returns:
        The evaluation points, and the distribution of each: conditional distribution fitted
        without the point's unit, calibrated on the other folds of the table.

    Raises:
        DataError: as :func:`fit_distribution`.

    Example:
        >>> import numpy as np, polars as pl
        >>> rng = np.random.default_rng(0)
        >>> unit, rul = np.repeat(np.arange(20), 10), np.tile(np.arange(90.0, -1.0, -10.0), 20)
        >>> table = pl.DataFrame({"unit": unit, "age": 90.0 - rul, "rul_true": rul,
        ...     "censored_after": None, "fold": unit % 5,
        ...     "network": rul * np.repeat(rng.lognormal(0, 0.2, 20), 10)})
        >>> points, d = held_out_distribution(fit_distribution(table, "network"), table)
        >>> len(points) == len(d) == table.height
        True
    """
    points = evaluation_points(table, model.prediction, model.candidates)
    raw = _without_own_unit(model.base, points, model.base.edges_)
    inner = [zone.high for zone in model.calibration.zones[:-1]]
    return points, cross_calibrated(
        raw, points.y, unit=points.unit, prediction=points.prediction, fold=points.fold,
        event=points.event, edges=inner, min_units=1,
    )  # fmt: skip


def fit_distribution(
    table: pl.DataFrame,
    prediction: str,
    *,
    candidates: Sequence[str] = (),
    step: float | None = None,
    base: str = "kernel",
    zone_edges: Sequence[float] | None = None,
    min_units: int = 30,
) -> DistributionModel:
    """Fit and calibrate the predictive distribution of a predictor on its out-of-fold predictions.

    Labels are uncapped: rows predicted near a label cap get the distribution of the lives that
    rows predicted like them had left.

    Args:
        table: columns ``unit``, ``age``, ``rul_true`` (uncapped, null where unknown),
            ``censored_after`` (time survived after the row), ``fold`` and the predictions.
        prediction: column of the predictor's out-of-fold predictions, in the unit of ``rul_true``.
        candidates: columns of the predictors it combines; their standard deviation is an input.
        step: sampling step; None: the median step between rows of a unit. The first bins are no
            wider than a fiftieth of the longest life left.
        base: a name of ``CONDITIONAL_DISTRIBUTIONS``.
        zone_edges: inner edges of the calibration zones of predicted RUL, ascending; None:
            quantiles of the predictions.
        min_units: fewest units of a calibration zone of its own.

    Raises:
        DataError: a column is missing or not finite, or no RUL is known.
        ValueError: ``base`` is not known.

    Example:
        >>> import numpy as np, polars as pl
        >>> rng = np.random.default_rng(0)
        >>> unit, rul = np.repeat(np.arange(40), 100), np.tile(np.arange(100.0)[::-1], 40)
        >>> table = pl.DataFrame({"unit": unit, "age": 99.0 - rul, "rul_true": rul,
        ...     "censored_after": None, "fold": unit % 5,
        ...     "network": rul * np.repeat(rng.lognormal(0, 0.2, 40), 100)})
        >>> model = fit_distribution(table, "network")
        >>> model.predict(table.head(2)).interval(0.9)[0].shape
        (2,)
        >>> model.calibration.certifies(0.95)
        True
    """
    if base not in CONDITIONAL_DISTRIBUTIONS:
        known = ", ".join(CONDITIONAL_DISTRIBUTIONS)
        raise ValueError(f"unknown conditional distribution {base!r}; known: {known}")
    points = evaluation_points(table, prediction, candidates)
    if step is None:
        gaps = table.sort("unit", "age").select(pl.col("age").diff().over("unit")).to_series()
        step = gaps.filter(gaps > 0).median()
    longest = float(points.y.max())
    if step is None or longest <= 0.0:
        step = longest = max(longest, 1.0)
    # Rows further apart than a fiftieth of the longest life would make the bins too coarse.
    edges = time_edges(min(float(step), longest / 50.0), 1.3 * longest)
    held_out, final = out_of_fold(base, points, edges)
    calibration = UnitCalibration.fit(
        held_out,
        points.y,
        unit=points.unit,
        prediction=points.prediction,
        event=points.event,
        edges=zone_edges,
        min_units=min_units,
    )
    return DistributionModel(prediction, tuple(candidates), final, calibration)

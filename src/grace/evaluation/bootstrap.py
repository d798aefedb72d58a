"""Intervals by resampling engines: the engine is the unit of chance, not the row."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy import stats

from grace.evaluation.metrics import UNIT_METRICS, Array, JsonFloat, as_vector, errors

__all__ = ["Interval", "bootstrap_interval"]

Metric = Callable[[Array, Array], float]


class Interval(BaseModel):
    """A confidence interval of a figure, in the figure's own unit."""

    model_config = ConfigDict(frozen=True)

    low: JsonFloat
    high: JsonFloat
    level: float = 0.95


def unit_index(unit: npt.ArrayLike | None, n: int) -> tuple[npt.NDArray[np.int64], int]:
    """Number the units of n rows 0..U-1: indices (n,) and U. None: every row is its own unit.

    Raises:
        ValueError: ``unit`` has not n entries, or there are fewer than two units.
    """
    if unit is None:
        index, size = np.arange(n), n
    else:
        names, index = np.unique(np.asarray(unit).reshape(-1), return_inverse=True)
        size = names.size
        if index.size != n:
            raise ValueError(f"unit has {index.size} entries, the predictions have {n}")
    if size < 2:
        raise ValueError("an interval over engines needs at least two engines")
    return index.reshape(-1).astype(np.int64), size


def resample(
    statistic: Callable[..., npt.ArrayLike],
    data: tuple[npt.NDArray[np.generic], ...],
    *,
    vectorized: bool,
    level: float,
    n_resamples: int,
    seed: int,
) -> Interval:
    """BCa interval of a paired statistic; the percentile interval where BCa is not defined.

    BCa (bias-corrected and accelerated, Efron 1987) needs the jackknife to vary; with identical
    units it does not, and the percentiles of the resamples are taken instead.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            data,
            statistic,
            paired=True,
            vectorized=vectorized,
            confidence_level=level,
            n_resamples=n_resamples,
            method="BCa",
            random_state=np.random.default_rng(seed),
            **({"axis": -1} if vectorized else {}),
        )
    low, high = result.confidence_interval
    if not (np.isfinite(low) and np.isfinite(high)):
        tail = (1.0 - level) / 2.0
        low, high = np.quantile(result.bootstrap_distribution, [tail, 1.0 - tail])
    return Interval(low=float(low), high=float(high), level=level)


def bootstrap_interval(
    metric: str | Metric,
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    unit: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int,
) -> Interval:
    """Confidence interval of a metric over engines.

    Engines are drawn with replacement and bring all their rows (a cluster bootstrap); with one row
    per engine this is the ordinary one. The interval says how far the figure would move with other
    engines of the same kind. It says nothing about other training seeds.

    Args:
        metric: "rmse", "mae", "bias", "nasa_sum", "nasa_mean" or "late_share" (vectorised over the
            resamples), or any function of (y_true, y_pred), called once per resample.
        y_true: true RUL, (B,) or (B, 1).
        y_pred: predicted RUL, (B,) or (B, 1).
        unit: engine of each row, (B,); None: every row is an engine of its own.
        level: coverage aimed at, in (0, 1).
        n_resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        ValueError: sizes differ, fewer than two engines, an unknown metric name, or the metric is
            not finite on the data as they are.
    """
    d = errors(y_true, y_pred)
    index, size = unit_index(unit, d.size)
    options = {"level": level, "n_resamples": n_resamples, "seed": seed}
    if isinstance(metric, str):
        if metric not in UNIT_METRICS:
            raise ValueError(f"unknown metric {metric!r}; known: {', '.join(UNIT_METRICS)}")
        term, combine = UNIT_METRICS[metric]
        totals = np.bincount(index, weights=term(d), minlength=size)
        counts = np.bincount(index, minlength=size).astype(np.float64)
        if not np.isfinite(combine(totals.sum(), counts.sum())):
            raise ValueError(f"{metric} is not finite: no interval can be given")

        def ratio(total: Array, count: Array, axis: int = -1) -> Array:
            return np.asarray(combine(total.sum(axis=axis), count.sum(axis=axis)))

        return resample(ratio, (totals, counts), vectorized=True, **options)  # type: ignore[arg-type]

    function = metric
    true, pred = as_vector(y_true, "y_true"), as_vector(y_pred, "y_pred")
    rows = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    if not np.isfinite(function(true, pred)):
        raise ValueError("the metric is not finite: no interval can be given")

    def gathered(drawn: npt.NDArray[np.int64]) -> float:
        chosen = np.concatenate([rows[u] for u in drawn])
        return function(true[chosen], pred[chosen])

    return resample(gathered, (np.arange(size),), vectorized=False, **options)  # type: ignore[arg-type]

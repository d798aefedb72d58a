"""Scores of predictive distributions by row or as a curve: interval score, PIT, Brier score."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from grace.evaluation.bootstrap import mean_interval, unit_index
from grace.evaluation.comparison import Difference
from grace.evaluation.metrics import Array, JsonFloat

__all__ = [
    "PredictiveDistribution",
    "ReliabilityBin",
    "brier_score",
    "censoring_weights",
    "pit_histogram",
    "randomised_pit",
    "reliability_curve",
    "score_difference",
    "winkler_score",
]


class PredictiveDistribution(Protocol):
    """What is evaluated: n predictive distributions, as ``grace.uncertainty.RULDistribution``.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> uniform = RULDistribution(np.array([0.0, 50.0, 100.0]), np.array([[1.0, 0.5, 0.0]]))
        >>> uniform.median, uniform.cdf(25.0)
        (array([50.]), array([0.25]))
    """

    def __len__(self) -> int: ...
    def interval(self, coverage: float = ...) -> tuple[Array, Array]:
        """Lower and upper bounds, (n,) each."""

    def cdf(self, t: npt.ArrayLike) -> Array:
        """P(RUL ≤ t)."""

    def crps(self, y: npt.ArrayLike, censored: npt.ArrayLike | None = None) -> Array:
        """CRPS per row."""

    @property
    def median(self) -> Array:
        """Median RUL."""


class ReliabilityBin(BaseModel):
    """Rows whose predicted probability lies in a bin: mean predicted against observed share.

    Example:
        >>> ReliabilityBin(n=120, predicted=0.25, observed=0.22).observed
        0.22
    """

    model_config = ConfigDict(frozen=True)

    n: int
    predicted: float
    observed: JsonFloat


def winkler_score(
    lower: npt.ArrayLike, upper: npt.ArrayLike, y: npt.ArrayLike, coverage: float
) -> Array:
    """Interval score per row (Winkler 1972; Gneiting and Raftery 2007), (n,); lower is better.

    Width plus 2/α times the distance by which the interval misses, α = 1 − coverage.

    Example:
        >>> winkler_score([0.0, 0.0], [10.0, 10.0], [5.0, 12.0], 0.9)
        array([10., 50.])
    """
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage {coverage} must be in (0, 1)")
    low, high, true = (np.asarray(a, dtype=np.float64) for a in (lower, upper, y))
    miss = np.maximum(low - true, 0.0) + np.maximum(true - high, 0.0)
    return np.asarray(high - low + 2.0 / (1.0 - coverage) * miss)


def randomised_pit(
    distribution: PredictiveDistribution,
    y: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    step: float = 0.0,
) -> Array:
    """F(y) per row, or with RUL counted in steps a draw between F(y − step) and F(y), (n,).

    Uniform on [0, 1] if the distributions are right.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> edges = np.array([0.0, 50.0, 100.0])
        >>> uniform = RULDistribution(edges, np.tile([1.0, 0.5, 0.0], (2, 1)))
        >>> randomised_pit(uniform, [25.0, 75.0], np.random.default_rng(0)).round(2)
        array([0.25, 0.75])
    """
    true = np.asarray(y, dtype=np.float64)
    high, low = distribution.cdf(true), distribution.cdf(np.maximum(true - step, 0.0))
    return np.asarray(low + rng.random(len(true)) * (high - low))


def pit_histogram(pit: npt.ArrayLike, event: npt.ArrayLike | None = None, bins: int = 10) -> Array:
    """Share of rows per bin of [0, 1], (bins,), summing to 1; flat if calibrated.

    A censored row is spread evenly over what it leaves open, from its PIT value to 1 (Czado,
    Gneiting and Held 2009).

    Example:
        >>> pit_histogram([0.1, 0.3, 0.6, 0.9], bins=2)
        array([0.5, 0.5])
    """
    u = np.clip(np.asarray(pit, dtype=np.float64), 0.0, 1.0)
    known = np.ones(len(u), dtype=bool) if event is None else np.asarray(event, dtype=bool)
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts = np.histogram(u[known], edges)[0].astype(np.float64)
    for value in u[~known]:
        open_part = np.clip(edges[1:], value, None) - np.clip(edges[:-1], value, None)
        counts += open_part / max(1.0 - value, 1e-12)
    return np.asarray(counts / max(counts.sum(), 1e-12))


def censoring_weights(time: npt.ArrayLike, event: npt.ArrayLike, horizon: float) -> Array:
    """Inverse probability of censoring weights at a horizon (Graf et al. 1999), (n,).

    A row that failed by then has 1/G(time−), one seen alive after it 1/G(horizon), one censored
    before it 0; G is the Kaplan–Meier estimate of staying uncensored. Assumes censoring
    independent of life. With nothing censored all weights are 1.

    Example:
        >>> censoring_weights([5.0, 8.0, 30.0], [True, False, True], horizon=20.0)
        array([1., 0., 2.])
    """
    t, failed = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=bool)
    order = np.lexsort((~failed, t))  # failures before censorings at the same time
    at_risk = len(t) - np.arange(len(t))
    factors = np.where(failed[order], 1.0, 1.0 - 1.0 / at_risk)
    survival = np.concatenate([[1.0], np.cumprod(factors)])
    before = survival[np.searchsorted(t[order], np.minimum(t, horizon), side="left")]
    at_horizon = survival[np.searchsorted(t[order], horizon, side="right")]
    by_then = failed & (t <= horizon)
    weight = np.where(by_then, before, at_horizon)
    seen = by_then | (t > horizon)
    return np.asarray(np.divide(1.0, weight, out=np.zeros(len(t)), where=seen & (weight > 0)))


def brier_score(
    probability: npt.ArrayLike, time: npt.ArrayLike, event: npt.ArrayLike, horizon: float
) -> float:
    """Mean squared error of P(RUL ≤ horizon), weighted for censoring; NaN without known rows.

    Example:
        >>> round(brier_score([0.8, 0.1], [5.0, 30.0], [True, True], 10.0), 6)
        0.025
    """
    weight = censoring_weights(time, event, horizon)
    outcome = (np.asarray(time) <= horizon) & np.asarray(event, dtype=bool)
    square = (np.asarray(probability, dtype=np.float64) - outcome) ** 2
    return float((weight * square).sum() / weight.sum()) if weight.sum() > 0 else float("nan")


def reliability_curve(
    probability: npt.ArrayLike,
    time: npt.ArrayLike,
    event: npt.ArrayLike,
    horizon: float,
    *,
    bins: int = 10,
) -> tuple[ReliabilityBin, ...]:
    """Predicted against observed share of failures within a horizon, in equal bins of probability.

    Observed shares are weighted for censoring; empty bins are left out.

    Example:
        >>> curve = reliability_curve([0.1, 0.1, 0.9], [40.0, 30.0, 5.0], [True] * 3, 10.0, bins=2)
        >>> [(bin.predicted, bin.observed) for bin in curve]
        [(0.1, 0.0), (0.9, 1.0)]
    """
    p = np.asarray(probability, dtype=np.float64)
    weight = censoring_weights(time, event, horizon)
    outcome = (np.asarray(time) <= horizon) & np.asarray(event, dtype=bool)
    number = np.minimum((p * bins).astype(np.int64), bins - 1)
    curve = []
    for k in range(bins):
        here = (number == k) & (weight > 0)
        if here.any():
            total = weight[here].sum()
            predicted = float((weight * p)[here].sum() / total)
            observed = float((weight * outcome)[here].sum() / total)
            curve.append(ReliabilityBin(n=int(here.sum()), predicted=predicted, observed=observed))
    return tuple(curve)


def score_difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    unit: npt.ArrayLike | None = None,
    metric: str = "crps",
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int,
) -> Difference:
    """mean(a) − mean(b) of two scores on the same rows, with an interval over units.

    Units are drawn with all their rows, for both at once (paired cluster bootstrap).

    Raises:
        ValueError: the scores are not two finite vectors of one length, or of fewer than two units.

    Example:
        >>> better, worse = np.linspace(3.0, 9.0, 40), np.linspace(4.0, 11.0, 40)
        >>> score_difference(better, worse, seed=0).excludes_zero
        True
    """
    d = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if d.ndim != 1 or not np.isfinite(d).all():
        raise ValueError("scores must be two finite vectors of the same rows")
    index, size = unit_index(unit, d.size)
    totals = np.bincount(index, weights=d, minlength=size).astype(np.float64)
    counts = np.bincount(index, minlength=size).astype(np.float64)
    interval = mean_interval(totals, counts, level=level, n_resamples=n_resamples, seed=seed)
    return Difference(metric=metric, value=float(d.mean()), interval=interval)

"""Scores of predictive distributions of RUL: coverage, interval score, CRPS, PIT, Brier score."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from grace.evaluation.bootstrap import mean_interval, unit_index
from grace.evaluation.comparison import Difference
from grace.evaluation.metrics import ZONE_EDGES, Array, JsonFloat

__all__ = [
    "DistributionMetrics",
    "FailureProbability",
    "IntervalMetrics",
    "PredictiveDistribution",
    "ReliabilityBin",
    "brier_score",
    "censoring_weights",
    "evaluate_distribution",
    "pit_histogram",
    "randomised_pit",
    "reliability_curve",
    "score_difference",
    "winkler_score",
]

Bools = npt.NDArray[np.bool_]


class PredictiveDistribution(Protocol):
    """What is evaluated: n predictive distributions, as ``grace.uncertainty.RULDistribution``."""

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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class IntervalMetrics(_Frozen):
    """Intervals of one nominal coverage on a group of rows, in the unit of time of the RUL.

    ``group`` is "all", a zone of predicted RUL such as "(20, 50]", or "condition <name>"; ``n`` the
    rows with a known outcome of the interval, ``n_unknown`` those left out: censored inside it.
    """

    group: str
    nominal: float
    n: int
    n_unknown: int
    coverage: JsonFloat
    mean_width: JsonFloat
    interval_score: JsonFloat


class ReliabilityBin(_Frozen):
    """Rows whose predicted probability lies in a bin: mean predicted against observed share."""

    n: int
    predicted: float
    observed: JsonFloat


class FailureProbability(_Frozen):
    """P(RUL ≤ horizon): Brier score, that of the constant observed share, and reliability."""

    horizon: float
    brier: JsonFloat
    brier_of_constant: JsonFloat
    reliability: tuple[ReliabilityBin, ...]


class DistributionMetrics(_Frozen):
    """Scores of predictive distributions on n rows of ``n_units`` units; lower CRPS is better."""

    n: int
    n_units: int
    n_censored: int
    crps: float
    intervals: tuple[IntervalMetrics, ...]
    pit_histogram: tuple[float, ...]
    failure_probability: tuple[FailureProbability, ...]


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
    """
    true = np.asarray(y, dtype=np.float64)
    high, low = distribution.cdf(true), distribution.cdf(np.maximum(true - step, 0.0))
    return np.asarray(low + rng.random(len(true)) * (high - low))


def pit_histogram(pit: npt.ArrayLike, event: npt.ArrayLike | None = None, bins: int = 10) -> Array:
    """Share of rows per bin of [0, 1], (bins,), summing to 1; flat if calibrated.

    A censored row is spread evenly over what it leaves open, from its PIT value to 1 (Czado,
    Gneiting and Held 2009).
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
    """
    d = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if d.ndim != 1 or not np.isfinite(d).all():
        raise ValueError("scores must be two finite vectors of the same rows")
    index, size = unit_index(unit, d.size)
    totals = np.bincount(index, weights=d, minlength=size).astype(np.float64)
    counts = np.bincount(index, minlength=size).astype(np.float64)
    interval = mean_interval(totals, counts, level=level, n_resamples=n_resamples, seed=seed)
    return Difference(metric=metric, value=float(d.mean()), interval=interval)


def evaluate_distribution(
    distribution: PredictiveDistribution,
    y: npt.ArrayLike,
    *,
    event: npt.ArrayLike | None = None,
    unit: npt.ArrayLike | None = None,
    prediction: npt.ArrayLike | None = None,
    condition: npt.ArrayLike | None = None,
    levels: Sequence[float] = (0.8, 0.9, 0.95),
    zone_edges: Sequence[float] = (*ZONE_EDGES, np.inf),
    horizons: Sequence[float] = (10.0, 20.0, 50.0),
    step: float = 0.0,
    seed: int,
) -> DistributionMetrics:
    """All scores of n predictive distributions.

    Args:
        distribution: n distributions in the unit of time of ``y``.
        y: uncapped RUL, or the time survived where not ``event``, (n,).
        event: whether the RUL is known, (n,); None: all are.
        unit: unit of each row, for their number; None: a unit per row.
        prediction: what zones are zones of; None: the median.
        condition: operating condition or group of each row, for coverage by condition.
        levels: nominal coverages.
        zone_edges: edges of the zones of predicted RUL, in the unit of time.
        horizons: of P(failure within h).
        step: step RUL is counted in, for the randomised PIT; 0: continuous.
        seed: of the randomised PIT.

    Raises:
        ValueError: lengths differ.
    """
    true = np.asarray(y, dtype=np.float64)
    known = np.ones(len(true), dtype=bool) if event is None else np.asarray(event, dtype=bool)
    value = distribution.median if prediction is None else np.asarray(prediction, dtype=np.float64)
    if not len(true) == len(distribution) == len(known) == len(value):
        raise ValueError("distribution, y, event and prediction must be of one length")
    groups: list[tuple[str, Bools]] = [("all", np.ones(len(true), dtype=bool))]
    for low, high in itertools.pairwise(zone_edges):
        inside = (value > low) & (value <= high)
        if low == zone_edges[0]:
            inside |= value <= low
        groups.append((f"({low:g}, {high:g}]", inside))
    if condition is not None:
        names = np.asarray(condition)
        groups += [(f"condition {name}", names == name) for name in np.unique(names)]
    intervals = []
    for level in levels:
        lower, upper = distribution.interval(level)
        score = winkler_score(lower, upper, true, level)
        # Seen to live beyond the upper bound is a miss; censored below it is unknown.
        usable = known | (true > upper)
        for name, inside in groups:
            rows = inside & usable
            if inside.any():
                intervals.append(
                    _interval_metrics(
                        name, level, rows, int((inside & ~usable).sum()), lower, upper, true, score
                    )
                )
    pit = randomised_pit(distribution, true, np.random.default_rng(seed), step=step)
    return DistributionMetrics(
        n=len(true),
        n_units=len(true) if unit is None else len(np.unique(np.asarray(unit))),
        n_censored=int((~known).sum()),
        crps=float(distribution.crps(true, ~known).mean()),
        intervals=tuple(intervals),
        pit_histogram=tuple(pit_histogram(pit, known).tolist()),
        failure_probability=tuple(
            _failure_probability(distribution.cdf(h), true, known, h) for h in horizons
        ),
    )


def _interval_metrics(
    group: str,
    nominal: float,
    rows: Bools,
    unknown: int,
    lower: Array,
    upper: Array,
    y: Array,
    score: Array,
) -> IntervalMetrics:
    def mean(values: Array) -> float:
        return float(values[rows].mean()) if rows.any() else float("nan")

    return IntervalMetrics(
        group=group,
        nominal=nominal,
        n=int(rows.sum()),
        n_unknown=unknown,
        coverage=mean(((lower <= y) & (y <= upper)).astype(np.float64)),
        mean_width=mean(upper - lower),
        interval_score=mean(score),
    )


def _failure_probability(
    probability: Array, y: Array, known: Bools, horizon: float
) -> FailureProbability:
    weight = censoring_weights(y, known, horizon)
    outcome = (y <= horizon) & known
    share = float((weight * outcome).sum() / weight.sum()) if weight.sum() > 0 else float("nan")
    return FailureProbability(
        horizon=horizon,
        brier=brier_score(probability, y, known, horizon),
        brier_of_constant=brier_score(np.full(len(y), share), y, known, horizon),
        reliability=reliability_curve(probability, y, known, horizon),
    )

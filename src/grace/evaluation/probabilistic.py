"""All scores of predictive distributions of RUL together: coverage, CRPS, PIT, Brier score."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from grace.evaluation.distribution_scores import (
    PredictiveDistribution,
    ReliabilityBin,
    brier_score,
    censoring_weights,
    pit_histogram,
    randomised_pit,
    reliability_curve,
    winkler_score,
)
from grace.evaluation.metrics import ZONE_EDGES, Array, JsonFloat

__all__ = [
    "DistributionMetrics",
    "FailureProbability",
    "IntervalMetrics",
    "evaluate_distribution",
]

Bools = npt.NDArray[np.bool_]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class IntervalMetrics(_Frozen):
    """Intervals of one nominal coverage on a group of rows, in the unit of time of the RUL.

    ``group`` is "all", a zone of predicted RUL such as "(20, 50]", or "condition <name>"; ``n`` the
    rows with a known outcome of the interval, ``n_unknown`` those left out: censored inside it.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> edges, survival = np.array([0.0, 50.0, 100.0]), np.tile([1.0, 0.5, 0.0], (4, 1))
        >>> uniform = RULDistribution(edges, survival)
        >>> scores = evaluate_distribution(uniform, [10.0, 40.0, 60.0, 99.0], levels=[0.9], seed=0)
        >>> scores.intervals[0].group, scores.intervals[0].coverage
        ('all', 0.75)
    """

    group: str
    nominal: float
    n: int
    n_unknown: int
    coverage: JsonFloat
    mean_width: JsonFloat
    interval_score: JsonFloat


class FailureProbability(_Frozen):
    """P(RUL ≤ horizon): Brier score, that of the constant observed share, and reliability.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> edges, survival = np.array([0.0, 50.0, 100.0]), np.tile([1.0, 0.5, 0.0], (4, 1))
        >>> uniform = RULDistribution(edges, survival)
        >>> y = [10.0, 40.0, 60.0, 90.0]
        >>> scores = evaluate_distribution(uniform, y, horizons=[50.0], seed=0)
        >>> scores.failure_probability[0].brier
        0.25
    """

    horizon: float
    brier: JsonFloat
    brier_of_constant: JsonFloat
    reliability: tuple[ReliabilityBin, ...]


class DistributionMetrics(_Frozen):
    """Scores of predictive distributions on n rows of ``n_units`` units; lower CRPS is better.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> edges, survival = np.array([0.0, 50.0, 100.0]), np.tile([1.0, 0.5, 0.0], (4, 1))
        >>> uniform = RULDistribution(edges, survival)
        >>> y = [10.0, 40.0, 60.0, 90.0]
        >>> scores = evaluate_distribution(uniform, y, horizons=[20.0], seed=0)
        >>> isinstance(scores, DistributionMetrics), scores.n_censored
        (True, 0)
    """

    n: int
    n_units: int
    n_censored: int
    crps: float
    intervals: tuple[IntervalMetrics, ...]
    pit_histogram: tuple[float, ...]
    failure_probability: tuple[FailureProbability, ...]


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

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> edges = np.array([0.0, 50.0, 100.0])
        >>> uniform = RULDistribution(edges, np.tile([1.0, 0.5, 0.0], (20, 1)))
        >>> y = np.linspace(2.5, 97.5, 20)
        >>> scores = evaluate_distribution(uniform, y, levels=[0.8], seed=0)
        >>> scores.intervals[0].coverage, scores.n_units
        (0.8, 20)
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

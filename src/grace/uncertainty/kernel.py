"""Conditional Kaplan–Meier estimate: the lives of units with similar predictions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from grace.uncertainty.distribution import RULDistribution
from grace.uncertainty.points import EvaluationPoints

__all__ = ["KernelDistribution", "supported", "weighted_survival"]

Array = npt.NDArray[np.float64]
GRID: dict[str, tuple[float | None, ...]] = {
    "prediction": (0.02, 0.04, 0.08, 0.16, 0.32),
    "age": (0.03, 0.06, 0.12, 0.25, 0.5, None),
    "spread": (0.12, 0.3, None),
}
LEAST_WATCHED = 0.05  # share of units not censored before a time that the estimate reaches
CHUNK = 2_000_000  # entries of a block of the weight matrix


def weighted_survival(weights: Array, event: npt.NDArray[np.bool_]) -> Array:
    """Kaplan–Meier estimate after each of m ordered outcomes, (n, m), for n rows of weights (n, m).

    Args:
        weights: non-negative weights of the outcomes, sorted by time; every row has a positive sum.
        event: (m,) whether the outcome is a failure; else the unit was last seen alive then.

    Example:
        >>> weighted_survival(np.ones((1, 4)), np.array([True, False, True, True]))
        array([[0.75 , 0.75 , 0.375, 0.   ]])
    """
    total = weights.sum(axis=1, keepdims=True)
    if event.all():
        return np.asarray(np.clip(1.0 - np.cumsum(weights, axis=1) / total, 0.0, 1.0))
    at_risk = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    share = np.divide(weights, at_risk, out=np.zeros_like(weights), where=at_risk > 1e-12 * total)
    return np.asarray(np.cumprod(1.0 - np.where(event, np.clip(share, 0.0, 1.0), 0.0), axis=1))


class KernelDistribution:
    """Beran's estimator on out-of-fold predictions.

    The distribution of a row is a Kaplan–Meier estimate over the evaluation points, weighted by how
    alike prediction, age and spread are (Gaussian kernels on ranks, so that the bandwidth follows
    the density of the points). Outcomes enter as ratios to the prediction plus an offset of 5% of
    the median prediction, and are carried over to the row's own prediction: close to failure the
    distribution follows the prediction exactly, near a label cap, where predictions hardly differ,
    it is that of the uncapped outcomes. Kernels three times as wide have a share 1/(k + 1) of the
    weight, with k the effective number of units behind a row: where all near units are censored
    early, the hazard beyond is that of the wider neighbourhood. Times that fewer than 5% of the
    weight was watched for, because the rest was censored before, are beyond the estimate: the mean
    hazard up to there goes on, and no upper limit there is a statement of the data.

    Bandwidths are chosen by the CRPS on held-out folds, one input after the other.

    References:
        R. Beran (1981), Nonparametric regression with randomly censored survival data, technical
        report, University of California, Berkeley.
    """

    name = "kernel"

    def __init__(self, bandwidth: Mapping[str, float | None] | None = None) -> None:
        self.bandwidth = None if bandwidth is None else dict(bandwidth)

    def fit(self, points: EvaluationPoints, edges: Array) -> KernelDistribution:
        """Keep the points, and choose bandwidths unless they were given."""
        if self.bandwidth is None:
            self.bandwidth = _select_bandwidth(points, edges)
        median = float(np.median(points.prediction))
        self.edges_, self.offset_ = edges, 0.05 * median if median > 0 else float(edges[1])
        ratio = points.y / (np.maximum(points.prediction, 0.0) + self.offset_)
        order = np.argsort(ratio, kind="stable")
        self.ratio_, self.event_ = ratio[order], points.event[order]
        self.unit_, self.rows_ = points.unit[order], points.rows[order]
        watched, failed = np.zeros(points.unit.max() + 1), np.zeros(points.unit.max() + 1)
        np.maximum.at(watched, points.unit, points.age + points.y)
        np.maximum.at(failed, points.unit, points.event)
        self.hazard_ = max(float(failed.sum()), 0.5) / max(float(watched.sum()), float(edges[1]))
        self.inputs_ = {
            "prediction": points.prediction[order],
            "age": points.age[order],
            "spread": points.spread[order],
        }
        return self

    def predict(self, prediction: Array, spread: Array, age: Array) -> RULDistribution:
        """Distributions of n rows from their prediction, spread and age, (n,) each."""
        asked = {"prediction": prediction, "age": age, "spread": spread}
        ranks = {
            name: (_rank(values, self.inputs_[name]), _rank(self.inputs_[name], self.inputs_[name]))
            for name, values in asked.items()
        }
        step = max(1, CHUNK // len(self.ratio_))
        blocks = [
            self._survival(
                {n: (q[i : i + step], own) for n, (q, own) in ranks.items()},
                np.maximum(prediction[i : i + step], 0.0) + self.offset_,
            )
            for i in range(0, len(prediction), step)
        ]
        survival = np.concatenate(blocks) if blocks else np.empty((0, self.edges_.size))
        return RULDistribution(self.edges_, survival)

    def _survival(self, ranks: Mapping[str, tuple[Array, Array]], scale: Array) -> Array:
        exponent = self._exponent(ranks)
        near = np.exp(-0.5 * exponent) * self.rows_
        units = sparse.csr_matrix(
            (np.ones(len(self.unit_)), (np.arange(len(self.unit_)), self.unit_))
        )
        # In row order a row adds up alike, however many rows there are.
        per_unit = np.ascontiguousarray(near @ units)
        effective = per_unit.sum(axis=1) ** 2 / (per_unit**2).sum(axis=1)
        wide = np.exp(-0.5 / 9.0 * exponent) * self.rows_  # three times the bandwidth
        # One at-risk set of both: where the near units have ended, the wide ones go on.
        weights = near * (effective / near.sum(axis=1))[:, None]
        weights += wide / wide.sum(axis=1, keepdims=True)
        curve = self._at(weights, scale, effective)
        curve[:, 0] = 1.0
        return np.minimum.accumulate(np.clip(curve, 0.0, 1.0), axis=1)

    def _exponent(self, ranks: Mapping[str, tuple[Array, Array]]) -> Array:
        """Σ ((rank − rank of the point) / bandwidth)², less that of the nearest point, (n, m)."""
        assert self.bandwidth is not None
        exponent = np.zeros((len(ranks["prediction"][0]), len(self.ratio_)))
        for name, (asked, own) in ranks.items():
            width = self.bandwidth[name]
            if width is not None:
                exponent += ((asked[:, None] - own[None, :]) / width) ** 2
        # Relative to the nearest point: a row far from all points still gets weights.
        exponent -= exponent.min(axis=1, keepdims=True)
        return exponent

    def _at(self, weights: Array, scale: Array, effective: Array) -> Array:
        """Survival on the edges, (n, B + 1), linear between outcomes.

        Args:
            weights: of the points, (n, m).
            scale: time that the ratio 1 stands for, (n,).
            effective: number of units behind each row, (n,).
        """
        at = self.edges_[None, :] / scale[:, None]
        survival = weighted_survival(weights, self.event_)
        survival = np.concatenate([np.ones((len(survival), 1)), survival], axis=1)
        knots = np.concatenate([[0.0], self.ratio_])
        k = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
        gap = knots[k + 1] - knots[k]
        position = np.clip((at - knots[k]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
        row = np.arange(len(at))[:, None]
        left, right = survival[row, k], survival[row, k + 1]
        curve = left + (right - left) * position
        if self.event_.all():
            return np.asarray(curve)
        # Beyond the last supported outcome the mean hazard up to there goes on, drawn towards that
        # of all points by half an event, so that it is not 0 where no failure was seen.
        last = supported(weights, survival)
        reached, end = survival[row[:, 0], last][:, None], knots[last][:, None]
        k_units = effective[:, None]
        events = 0.5 - k_units * np.log(np.maximum(reached, 1e-300))
        hazard = events / (k_units * end + 0.5 / (self.hazard_ * scale[:, None]))
        return np.asarray(np.where(at > end, reached * np.exp(-hazard * (at - end)), curve))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON state."""
        return {
            "name": self.name,
            "bandwidth": self.bandwidth,
            "offset": self.offset_,
            "hazard": self.hazard_,
            "edges": self.edges_.tolist(),
            "ratio": self.ratio_.tolist(),
            "event": self.event_.tolist(),
            "unit": self.unit_.tolist(),
            "rows": self.rows_.tolist(),
            "inputs": {name: values.tolist() for name, values in self.inputs_.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> KernelDistribution:
        """The object that :meth:`to_dict` described."""
        self = cls(state["bandwidth"])
        self.offset_, self.edges_ = float(state["offset"]), np.asarray(state["edges"])
        self.ratio_, self.event_ = (
            np.asarray(state["ratio"]),
            np.asarray(state["event"], dtype=bool),
        )
        self.hazard_ = float(state["hazard"])
        self.unit_ = np.asarray(state["unit"], dtype=np.int64)
        self.rows_ = np.asarray(state["rows"], dtype=np.float64)
        self.inputs_ = {k: np.asarray(v, dtype=np.float64) for k, v in state["inputs"].items()}
        return self


def supported(weights: Array, survival: Array) -> npt.NDArray[np.int64]:
    """Number of the last knot that enough units were watched to reach, per row, (n,).

    The share of the weight still at risk, divided by the survival, is the probability of not
    being censored so long. With next to nobody left at risk a single failure would bring the
    Kaplan–Meier estimate to 0.

    Args:
        weights: of the m ordered outcomes, (n, m).
        survival: before the first outcome and after each, (n, m + 1).
    """
    at_risk = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    watched = at_risk >= LEAST_WATCHED * at_risk[:, :1] * survival[:, :-1]
    return np.asarray(np.where(watched.all(axis=1), weights.shape[1], watched.argmin(axis=1)))


def _rank(values: Array, reference: Array) -> Array:
    """Mid-ranks of values in a reference sample, in [0, 1], linear between its values."""
    known, counts = np.unique(reference, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2.0) / len(reference)
    return np.asarray(np.interp(values, known, middle))


def _select_bandwidth(points: EvaluationPoints, edges: Array) -> dict[str, float | None]:
    """The bandwidths of least mean CRPS over held-out folds, one input after the other."""
    chosen: dict[str, float | None] = {"prediction": 0.08, "age": 0.25, "spread": None}
    folds = np.unique(points.fold)
    if len(folds) < 2:
        return chosen
    grid = dict(GRID)
    if not points.spread.any():
        del grid["spread"]
    thin = np.arange(len(points)) % max(1, len(points) // 1500) == 0
    sample = points.select(thin)
    scores: dict[tuple[float | None, ...], float] = {}

    def score(candidate: dict[str, float | None]) -> float:
        key = tuple(candidate.values())
        if key not in scores:
            total = 0.0
            for fold in folds:
                held = sample.fold == fold
                model = KernelDistribution(candidate).fit(sample.select(~held), edges)
                query = sample.select(held)
                predicted = model.predict(query.prediction, query.spread, query.age)
                total += float((query.rows * predicted.crps(query.y, ~query.event)).sum())
            scores[key] = total
        return scores[key]

    for _, name in itertools.product(range(2), grid):
        options = [{**chosen, name: width} for width in grid[name]]
        chosen = min(options, key=score)
    return chosen

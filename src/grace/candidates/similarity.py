"""Trajectory similarity: the lives left of similar historical units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grace.candidates.base import Array, Index, State, TrainingRows
from grace.candidates.feature_candidate import FeatureCandidate, Features
from grace.candidates.linear import Standardiser

__all__ = ["Similarity"]

_COMPONENTS = 5
_MAX_UNITS = 300
_CHUNK = 128
_WIDTHS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.8)


class Similarity(FeatureCandidate):
    """Matching against stored run-to-failure trajectories.

    A row is described by moving means at several time scales, trends and age, projected by partial
    least squares on the directions that follow the label. On each historical trajectory the best
    matching point is found, whatever the age there; the prediction is the mean of the lives left
    at the matches, weighted by exp(−d²/2h²). The width h is chosen by leaving each unit out.

    Reference:
        T. Wang, J. Yu, D. Siegel, J. Lee: A similarity-based prognostics approach for remaining
        useful life estimation of engineered systems. PHM 2008.
    """

    name = "similarity"
    description = "life left of the most similar points of historical trajectories"
    total_rows = 12_000
    standardiser_: Standardiser
    rotation_: Array
    points_: Array
    labels_: Array
    starts_: Index
    width_: float

    def _learn(self, x: Features, y: Array, rows: TrainingRows, seed: int) -> None:
        from sklearn.cross_decomposition import PLSRegression

        self.standardiser_ = Standardiser.fit(x, rows.weight)
        z = self.standardiser_(x)
        count = max(1, min(_COMPONENTS, len(np.unique(rows.unit)) - 1, z.shape[1]))
        if np.ptp(y) > 0:
            pls = PLSRegression(count, scale=False).fit(z, y)
            # Each direction weighs by how much of the label it explains.
            explained = np.abs(pls.y_loadings_[0]) * pls.x_scores_.std(axis=0)
            self.rotation_ = (
                pls.x_rotations_
                * np.sqrt(explained / max(explained.max(), 1e-300))
                / np.maximum(pls.x_scores_.std(axis=0), 1e-12)
            )
        else:
            self.rotation_ = np.zeros((z.shape[1], count))
        self.rotation_ = np.ascontiguousarray(self.rotation_)  # as it is read from a file
        units = np.unique(rows.unit)
        if len(units) > _MAX_UNITS:
            drawn = np.random.default_rng(seed).choice(units, _MAX_UNITS, replace=False)
            kept = np.isin(rows.unit, drawn)
            z, y, owner = z[kept], y[kept], rows.unit[kept]
        else:
            owner = rows.unit
        self.points_, self.labels_ = z @ self.rotation_, y
        self.starts_ = np.flatnonzero(np.r_[True, np.diff(owner) != 0])
        self.width_ = self._choose_width(owner)

    def _choose_width(self, owner: Index) -> float:
        number = np.cumsum(np.r_[0, np.diff(owner) != 0])
        if number[-1] == 0:
            return _WIDTHS[-1]
        step = max(1, len(self.points_) // 3000)
        asked = np.arange(0, len(self.points_), step)
        distance, match = self._matches(self.points_[asked])
        distance[np.arange(len(asked)), number[asked]] = np.inf
        errors = [
            np.mean((_weighted(distance, match, h) - self.labels_[asked]) ** 2) for h in _WIDTHS
        ]
        return _WIDTHS[int(np.argmin(errors))]

    def _matches(self, p: Array) -> tuple[Array, Array]:
        """Squared distance to the nearest point of each trajectory, and its label, both (M, U)."""
        # Not by a matrix product: its last bits depend on the other rows of the block, and those
        # of a unit must not depend on which units are predicted with it.
        d2 = np.zeros((len(p), len(self.points_)))
        for mine, theirs in zip(p.T, np.ascontiguousarray(self.points_.T), strict=True):
            gap = mine[:, None] - theirs
            gap *= gap
            d2 += gap
        stops = np.r_[self.starts_[1:], len(self.points_)]
        distance = np.empty((len(p), len(self.starts_)))
        match = np.empty_like(distance)
        line = np.arange(len(p))
        for u, (a, b) in enumerate(zip(self.starts_, stops, strict=True)):
            nearest = d2[:, a:b].argmin(axis=1)
            distance[:, u] = d2[line, a + nearest]
            match[:, u] = self.labels_[a + nearest]
        return distance, match

    def _apply(self, x: Features) -> Array:
        p = np.einsum("ij,jk->ik", np.ascontiguousarray(self.standardiser_(x)), self.rotation_)
        parts = [
            _weighted(*self._matches(p[i : i + _CHUNK]), self.width_)
            for i in range(0, len(p), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def _learned(self) -> State:
        return {
            "mean": self.standardiser_.mean,
            "scale": self.standardiser_.scale,
            "rotation": self.rotation_,
            "points": self.points_,
            "labels": self.labels_,
            "starts": self.starts_,
            "width": self.width_,
        }

    def _relearn(self, state: Mapping[str, Any]) -> None:
        mean, scale = (np.asarray(state[key], float) for key in ("mean", "scale"))
        self.standardiser_ = Standardiser(mean, scale)
        self.rotation_ = np.asarray(state["rotation"], float)
        self.points_ = np.asarray(state["points"], float)
        self.labels_ = np.asarray(state["labels"], float)
        self.starts_ = np.asarray(state["starts"], dtype=np.int64)
        self.width_ = float(state["width"])


def _weighted(distance: Array, match: Array, width: float) -> Array:
    """Mean of the matched labels, weighted by exp(−d²/2h²) relative to the nearest trajectory."""
    least = distance.min(axis=1, keepdims=True)
    weight = np.exp(-(distance - least) / (2 * width**2))
    return np.asarray((weight * match).sum(axis=1) / weight.sum(axis=1))

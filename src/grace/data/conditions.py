"""Operating conditions: clusters of the settings, found on training units only."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from grace.data.errors import DataError

__all__ = ["OperatingConditions"]

_SAMPLE = 4096  # rows on which clusters are found
# Discrete conditions: mean silhouette at least, share of the rows in the smallest one at least, and
# share of the rows that may lie between two (silhouette below 0.5).
_DISCRETE, _SMALLEST, _EDGE = 0.7, 0.01, 0.02
Array = npt.NDArray[np.float64]


class OperatingConditions:
    """k-means on the standardised settings.

    With ``"auto"`` the settings are either discrete conditions or a continuum: discrete if k-means
    with some k ≤ 10 has a mean silhouette of at least 0.7, no cluster below 1% of the rows and
    at most 2% of the rows between two clusters (silhouette below 0.5); the k with the best mean
    silhouette is taken. Otherwise there is one condition, and ``continuum_`` says
    whether the settings vary within it: statistics per cluster of a continuum would jump where
    nothing happens to the machine.

    Args:
        n_conditions: k, or ``"auto"``.
        seed: of the k-means initialisation.

    Attributes:
        continuum_: the number was left open, and the settings vary without forming groups.
        centers_: (k, S) centroids in the unit of the settings, in lexicographic order.
        scale_: (S,) standard deviation of each setting over the training rows.
        limit_: (k,) distance beyond which a row counts as an unseen condition.
    """

    def __init__(self, n_conditions: int | Literal["auto"] = 1, *, seed: int = 0) -> None:
        if n_conditions != "auto" and n_conditions < 1:
            raise ValueError(f"n_conditions={n_conditions} must be ≥ 1 or 'auto'")
        self.n_conditions: int | Literal["auto"] = n_conditions
        self.seed = seed

    def fit(self, settings: Array, *, source: object = None) -> OperatingConditions:
        """Learn the conditions of the training rows, (R, S); S = 0 is one condition.

        Args:
            settings: (R, S).
            source: name of the fleet, for messages.

        Raises:
            DataError: the settings do not divide into that many conditions.
        """
        spread = settings.std(axis=0)
        # The spread of a constant such as 0.1 is rounding noise, and no scale.
        noise = 1e-9 * np.maximum(1.0, np.abs(settings.mean(axis=0)))
        self.scale_: Array = np.where(spread > noise, spread, 1.0)
        scaled = settings / self.scale_
        distinct = np.unique(scaled, axis=0)
        k = self._choose_k(scaled) if self.n_conditions == "auto" else self.n_conditions
        if k > len(distinct):
            problem = f"n_conditions={k}, but the settings take only {len(distinct)} distinct "
            remedy = f"set n_conditions to at most {len(distinct)}, or to 'auto'."
            raise DataError(problem + "value(s).", source=source, remedy=remedy)
        centers = scaled.mean(axis=0, keepdims=True) if k == 1 else self._kmeans(scaled, k)
        if len(centers) < k:
            problem = f"the settings do not divide into n_conditions={k} conditions."
            raise DataError(problem, source=source, remedy="set n_conditions lower, or to 'auto'.")
        order = np.lexsort(np.round(centers * self.scale_, 3).T[::-1]) if k > 1 else [0]
        centers = centers[order]
        self.centers_: Array = centers * self.scale_
        self.continuum_ = self.n_conditions == "auto" and k == 1 and len(distinct) > 1
        labels, distance = self.assign(settings)
        reach = np.array([distance[labels == c].max(initial=0.0) for c in range(k)])
        gaps = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
        nearest = np.where(gaps > 0, gaps, np.inf).min(axis=1) if k > 1 else np.zeros(1)
        # Three times the farthest training row, or an eighth of the way to the next condition.
        self.limit_: Array = np.maximum(3.0 * reach, 0.125 * nearest)
        return self

    def assign(self, settings: Array) -> tuple[npt.NDArray[np.int64], Array]:
        """Nearest condition of each row and the distance to it.

        Args:
            settings: (R, S).

        Returns:
            labels (R,) and distances (R,), the latter in training standard deviations.
        """
        best = np.zeros(len(settings), dtype=np.int64)
        least = np.full(len(settings), np.inf)
        for c, center in enumerate(self.centers_):  # k is small; (R, k, S) at once is not
            away = np.sqrt((((settings - center) / self.scale_) ** 2).sum(axis=1))
            closer = away < least
            best[closer], least[closer] = c, away[closer]
        return best, least

    def unseen(self, labels: npt.NDArray[np.int64], distance: Array) -> npt.NDArray[np.bool_]:
        """Rows farther from their condition than anything like training, (R,)."""
        return np.asarray(distance > self.limit_[labels] + 1e-9)

    def _kmeans(self, scaled: Array, k: int) -> Array:
        """Centroids (k, S) of scikit-learn's k-means; fewer where a cluster stays empty."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        # Clusters are found on a sample; their means are then taken over all rows.
        rng = np.random.default_rng(self.seed)
        sample = scaled[rng.choice(len(scaled), min(len(scaled), _SAMPLE), replace=False)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an empty cluster: see below
            found = KMeans(k, n_init=10, random_state=self.seed).fit(sample)
        labels = found.predict(scaled)
        return np.stack([scaled[labels == c].mean(axis=0) for c in np.unique(labels)])

    def _choose_k(self, scaled: Array) -> int:
        """The k of the best silhouette among those that count as discrete, else 1."""
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_samples

        if scaled.shape[1] == 0:
            return 1
        rng = np.random.default_rng(self.seed)
        sample = scaled[rng.choice(len(scaled), min(len(scaled), 1500), replace=False)]
        most = min(10, len(np.unique(sample, axis=0)), len(sample) - 1)
        scores = {1: _DISCRETE}
        for k in range(2, most + 1):
            labels = KMeans(k, n_init=5, random_state=self.seed).fit_predict(sample)
            if np.bincount(labels, minlength=k).min() >= _SMALLEST * len(sample):
                silhouette = silhouette_samples(sample, labels)
                if np.quantile(silhouette, _EDGE) >= 0.5:
                    scores[k] = float(silhouette.mean())
        return max(scores, key=lambda k: scores[k])

    def to_dict(self) -> dict[str, Any]:
        """Learned state as plain numbers."""
        return {
            "centers": self.centers_.tolist(),
            "scale": self.scale_.tolist(),
            "limit": self.limit_.tolist(),
            "continuum": self.continuum_,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> OperatingConditions:
        """The inverse of :meth:`to_dict`."""
        self = cls(max(1, len(state["centers"])))
        self.scale_ = np.asarray(state["scale"], dtype=np.float64)
        self.centers_ = np.asarray(state["centers"], dtype=np.float64).reshape(
            len(state["centers"]), len(self.scale_)
        )
        self.limit_ = np.asarray(state["limit"], dtype=np.float64)
        self.continuum_ = bool(state["continuum"])
        return self

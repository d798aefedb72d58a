"""Operating conditions: clusters of the settings, found on training units only."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from grace.data.errors import DataError

__all__ = ["OperatingConditions"]

Array = npt.NDArray[np.float64]


class OperatingConditions:
    """k-means on the standardised settings.

    Args:
        n_conditions: k, or ``"auto"``: the k ≤ 10 with the best silhouette if that is at least
            0.7, else 1 (a cloud without clusters is one condition).
        seed: of the k-means initialisation.

    Attributes:
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
        """Centroids (k, S), or (0, S) where every start leaves a cluster empty."""
        # scipy's, since importing scikit-learn alone takes longer than all the rest of a fit.
        from scipy.cluster.vq import kmeans2

        # Clusters are found on a sample; one Lloyd step over all rows then places the centroids.
        rng = np.random.default_rng(self.seed)
        sample = scaled[rng.choice(len(scaled), min(len(scaled), 4096), replace=False)]
        best, least = np.empty((0, scaled.shape[1])), np.inf
        for _ in range(10):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an empty cluster: this start loses anyway
                found, labels = kmeans2(sample, k, minit="++", rng=rng)
            spread = float(((sample - found[labels]) ** 2).sum())
            if spread < least and len(np.unique(labels)) == k:
                best, least = found, spread
        if not best.size:
            return best
        labels = np.argmin([((scaled - c) ** 2).sum(axis=1) for c in best], axis=0)
        return np.stack([scaled[labels == c].mean(axis=0) for c in range(k)])

    def _choose_k(self, scaled: Array) -> int:
        from sklearn.cluster import KMeans
        from sklearn.metrics import silhouette_score

        if scaled.shape[1] == 0:
            return 1
        rng = np.random.default_rng(self.seed)
        sample = scaled[rng.choice(len(scaled), min(len(scaled), 1500), replace=False)]
        most = min(10, len(np.unique(sample, axis=0)) - 1)
        scores = {1: 0.7}
        for k in range(2, most + 1):
            labels = KMeans(k, n_init=5, random_state=self.seed).fit_predict(sample)
            if len(set(labels)) == k:
                scores[k] = float(silhouette_score(sample, labels))
        return max(scores, key=lambda k: scores[k])

    def to_dict(self) -> dict[str, Any]:
        """Learned state as plain numbers."""
        return {
            "centers": self.centers_.tolist(),
            "scale": self.scale_.tolist(),
            "limit": self.limit_.tolist(),
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
        return self

"""What the candidates of one training fleet have in common is computed once for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grace.candidates.base import TrainingRows, sample_rows
from grace.candidates.features import CausalFeatures
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig

__all__ = ["SharedFeatures"]


@dataclass(frozen=True, eq=False)
class SharedFeatures:
    """Causal features of a training fleet at the rows that its candidates learn from.

    ``features`` are fitted on the fleet; ``rows`` are the rows drawn, ``x`` their features (M, F).

    Example:
        >>> from grace.data.readers import load_dataset
        >>> train = load_dataset("sim", n_train=3, n_test=1).train
        >>> shared = SharedFeatures.of(train, LabelConfig(), seed=0, per_unit=20)
        >>> shared.x.shape[0] == len(shared.rows.target) == 60
        True
    """

    features: CausalFeatures
    rows: TrainingRows
    x: npt.NDArray[np.float32]

    @classmethod
    def of(
        cls,
        fleet: Fleet,
        labels: LabelConfig,
        *,
        seed: int,
        per_unit: int = 60,
        total: int = 40_000,
    ) -> SharedFeatures:
        """Fit the features and compute them for a sample of rows.

        Raises:
            DataError: no row has a known label.

        Example:
            >>> from grace.candidates import CANDIDATES
            >>> from grace.data.readers import load_dataset
            >>> train, labels = load_dataset("sim", n_train=6, n_test=1).train, LabelConfig()
            >>> shared = SharedFeatures.of(train, labels, seed=0)
            >>> linear, similarity = (
            ...     CANDIDATES[name]().fit(train, labels, seed=0, shared=shared)
            ...     for name in ("linear", "similarity")
            ... )
            >>> linear.features_ is similarity.features_
            True
        """
        rows = sample_rows(fleet, labels, seed=seed, per_unit=per_unit, total=total)
        features = CausalFeatures().fit(fleet)
        return cls(features, rows, features.at(fleet, rows.rows))

    def thinned(self, total: int) -> SharedFeatures:
        """At most about ``total`` of the rows: every n-th of each unit, which keeps its weight."""
        if len(self.rows.rows) <= total:
            return self
        kept = self.rows.kept(total)
        return SharedFeatures(self.features, self.rows.thinned(total), self.x[kept])

"""Candidates that learn a function of causal features, in median lives of the unit's group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from grace.candidates.base import Array, Candidate, Index, State, TrainingRows
from grace.candidates.features import CausalFeatures
from grace.candidates.shared import SharedFeatures
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig

__all__ = ["FeatureCandidate", "Features"]

Features = npt.NDArray[np.float32]


class FeatureCandidate(Candidate):
    """Labels are divided by the median life of the unit's group, predictions scaled back.

    Subclasses fill in :meth:`_learn` and :meth:`_apply`, and the state of what they learned.
    """

    total_rows: ClassVar[int] = 40_000
    features_: CausalFeatures

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        table = SharedFeatures.of(fleet, labels, seed=seed) if shared is None else shared
        table = table.thinned(self.total_rows)
        self.features_ = table.features
        rows = table.rows
        self._learn(table.x, rows.target / self.features_.group_life(table.x), rows, seed)

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        out = np.empty(len(rows))
        for block in self.features_.blocks(fleet, rows):
            out[block.place] = self._apply(block.values) * self.features_.group_life(block.values)
        return out

    def from_features(self, x: Features) -> Array:
        """Capped RUL of rows given by their features (M, F), (M,)."""
        return np.clip(self._apply(x) * self.features_.group_life(x), 0.0, self.cap_)

    def _state(self) -> State:
        return {"features": self.features_.to_state(), "learned": self._learned()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.features_ = CausalFeatures.from_state(state["features"])
        self._relearn(state["learned"])

    @abstractmethod
    def _learn(self, x: Features, y: Array, rows: TrainingRows, seed: int) -> None:
        """Learn labels y (M,), in group lives, from features (M, F)."""

    @abstractmethod
    def _apply(self, x: Features) -> Array:
        """Labels in group lives, (M,)."""

    @abstractmethod
    def _learned(self) -> State: ...

    @abstractmethod
    def _relearn(self, state: Mapping[str, Any]) -> None: ...

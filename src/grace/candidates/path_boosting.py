"""Gradient boosting on the path of a health index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grace.candidates.base import Array, Candidate, Index, State
from grace.candidates.boosting import LEAST_LABEL, boosted_trees
from grace.candidates.path_features import PathFeatures
from grace.candidates.shared import SharedFeatures
from grace.candidates.trees import TreeEnsemble
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig

__all__ = ["PathBoosting"]

_MOST_ROWS = 40_000
_RATE = 0.035  # held-out engines of C-MAPSS: a little better than 0.06


class PathBoosting(Candidate):
    """Boosting on :class:`~grace.candidates.path_features.PathFeatures`.

    Half of the trees learn the label, half its logarithm; the mean of both is predicted. Labels
    are divided by the median life of the unit's group, as in other candidates.

    Attributes:
        features_: the features and their index.
        members_: trees of the label.
        members_log_: trees of its logarithm.
    """

    name = "boosting_path"
    description = "gradient boosting on causal features and the path of a health index"
    prior = 2.0
    revision = 2
    features_: PathFeatures
    members_: list[TreeEnsemble]
    members_log_: list[TreeEnsemble]

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        table = SharedFeatures.of(fleet, labels, seed=seed) if shared is None else shared
        table = table.thinned(_MOST_ROWS)
        rows = table.rows
        self.features_ = PathFeatures.of(table.features, fleet, labels, seed)
        x = self.features_.at(fleet, rows.rows)
        y = rows.target / self.features_.group_life(x)
        seeds = [seed, seed + 1000]
        logarithm = np.log(y + LEAST_LABEL)
        self.members_ = boosted_trees(x, y, rows, seeds, rate=_RATE)
        self.members_log_ = boosted_trees(x, logarithm, rows, seeds, rate=_RATE)

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        out = np.empty(len(rows))
        for block in self.features_.blocks(fleet, rows):
            x = block.values
            plain, logarithm = (
                np.mean([m.predict(x) for m in members], axis=0)
                for members in (self.members_, self.members_log_)
            )
            both = (plain + np.exp(logarithm) - LEAST_LABEL) / 2
            out[block.place] = both * self.features_.group_life(x)
        return out

    def _state(self) -> State:
        return {
            "features": self.features_.to_state(),
            "members": [m.to_state() for m in self.members_],
            "members_log": [m.to_state() for m in self.members_log_],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.features_ = PathFeatures.from_state(state["features"])
        self.members_, self.members_log_ = (
            [TreeEnsemble.from_state(m) for m in state[key]] for key in ("members", "members_log")
        )

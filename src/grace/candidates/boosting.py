"""Gradient boosting on causal features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from grace.candidates.base import Array, State, TrainingRows
from grace.candidates.feature_candidate import FeatureCandidate, Features
from grace.candidates.trees import Bins, TreeEnsemble

__all__ = ["LEAST_LABEL", "Boosting", "BoostingLog", "boosted_trees"]

_BINS = 64
LEAST_LABEL = 0.02
"""In group lives; keeps the logarithm of the last rows from dominating."""


def boosted_trees(
    x: Features,
    target: Array,
    rows: TrainingRows,
    seeds: Sequence[int],
    *,
    loss: Literal["squared_error", "absolute_error"] = "squared_error",
    rate: float = 0.06,
) -> list[TreeEnsemble]:
    """One histogram gradient boosting per seed.

    Leaves hold rows of several units, and trees are small where units are few. There is no early
    stopping: its validation part is a random draw of rows, which would put one unit on both sides.

    Args:
        x: features, (M, F).
        target: what is learned, (M,).
        rows: the rows, for their weights and units.
        seeds: of the columns that are drawn at each split.
        loss: of the target.
        rate: learning rate; there are as many trees as make 13.2 times it (7.2 with few units).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    units, counts = np.unique(rows.unit, return_counts=True)
    least = int(np.clip(0.5 * np.median(counts), 4, 40))
    small = len(units) < 30
    bins = Bins.fit(x, _BINS)
    codes = bins(x)
    return [
        TreeEnsemble.from_histogram_boosting(
            HistGradientBoostingRegressor(
                loss=loss,
                learning_rate=rate,
                max_iter=round((7.2 if small else 13.2) / rate),
                max_leaf_nodes=8 if small else 16,
                min_samples_leaf=max(2, min(least, len(target) // 8)),
                max_features=0.3,
                l2_regularization=1e-3,
                early_stopping=False,
                random_state=seed,
            ).fit(codes, target, sample_weight=rows.weight * len(target)),
            bins,
        )
        for seed in seeds
    ]


class Boosting(FeatureCandidate):
    """The mean of ``n_members`` histogram gradient boostings, differently drawn."""

    name = "boosting"
    description = "gradient boosting on causal features, squared error"
    prior = 2.0
    n_members: ClassVar[int] = 2
    loss: ClassVar[Literal["squared_error", "absolute_error"]] = "squared_error"
    logarithmic: ClassVar[bool] = False
    members_: list[TreeEnsemble]

    def _learn(self, x: Features, y: Array, rows: TrainingRows, seed: int) -> None:
        target = np.log(y + LEAST_LABEL) if self.logarithmic else y
        seeds = [seed + 1000 * i for i in range(self.n_members)]
        self.members_ = boosted_trees(x, target, rows, seeds, loss=self.loss)

    def _apply(self, x: Features) -> Array:
        mean = np.mean([m.predict(x) for m in self.members_], axis=0)
        return np.asarray(np.exp(mean) - LEAST_LABEL if self.logarithmic else mean)

    def _learned(self) -> State:
        return {"members": [m.to_state() for m in self.members_]}

    def _relearn(self, state: Mapping[str, Any]) -> None:
        self.members_ = [TreeEnsemble.from_state(m) for m in state["members"]]


class BoostingLog(Boosting):
    """:class:`Boosting` of the logarithm of the label: errors count relative to the life left."""

    name = "boosting_log"
    description = "gradient boosting on causal features, relative error"
    logarithmic = True

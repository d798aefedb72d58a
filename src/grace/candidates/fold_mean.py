"""The models of all folds as one candidate: their mean predicts new units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from grace.candidates.base import Array, Candidate, Index, State
from grace.candidates.registry import CANDIDATES
from grace.candidates.shared import SharedFeatures
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig

__all__ = ["FoldMean", "members_of"]


class FoldMean(Candidate):
    """Mean of models of one kind, each fitted without one fold of the units.

    The models that gave the out-of-fold predictions predict new units themselves: nothing is
    fitted again on all units. Each has seen (K − 1)/K of them; their mean is an ensemble, so its
    error on new units is usually below the out-of-fold error, which is that of one model.

    Args:
        members: fitted models of one kind, one per fold.

    Raises:
        ValueError: there is none, or they are of different kinds.

    Example:
        >>> from grace.candidates import CANDIDATES, FoldMean
        >>> from grace.data.labels import LabelConfig
        >>> from grace.data.readers import load_dataset
        >>> train = load_dataset("sim", n_train=6, n_test=1).train
        >>> parts = [train.select(train.unit_ids[:3]), train.select(train.unit_ids[3:])]
        >>> kind = CANDIDATES["constant"]
        >>> mean = FoldMean([kind().fit(part, LabelConfig(), seed=0) for part in parts])
        >>> len(mean.members)
        2
    """

    def __init__(self, members: Sequence[Candidate]) -> None:
        if len({type(m) for m in members}) != 1:
            raise ValueError("give one or more fitted candidates of one kind")
        self.members = tuple(members)
        self.cap_ = max(m.cap_ for m in members)

    @property
    def kind(self) -> str:
        """Name of the candidate in the registry."""
        return self.members[0].name

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        raise TypeError("the members of a FoldMean are fitted one by one, each without its fold")

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        return np.asarray(np.mean([m.predict(fleet, rows) for m in self.members], axis=0))

    def _state(self) -> State:
        return {"kind": self.kind, "members": [m.to_state() for m in self.members]}

    def _restore(self, state: Mapping[str, Any]) -> None:
        raise TypeError("use FoldMean.from_state")

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FoldMean:
        """The inverse of :meth:`to_state`."""
        kind = CANDIDATES[state["kind"]]
        return cls([kind.from_state(member) for member in state["members"]])


def members_of(candidate: Candidate) -> tuple[Candidate, ...]:
    """The models behind a candidate: those of the folds, or itself."""
    return candidate.members if isinstance(candidate, FoldMean) else (candidate,)

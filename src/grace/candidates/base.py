"""What every candidate predictor has in common, and the rows it learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from grace.data.errors import DataError
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig, capped_rul

if TYPE_CHECKING:
    from grace.candidates.shared import SharedFeatures

__all__ = ["Candidate", "State", "TrainingRows", "sample_rows", "spread_positions"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
State = dict[str, Any]
"""Plain numbers, text, None, lists, nested dictionaries of these, and numpy arrays."""


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Labelled rows of a fleet: row number, capped RUL, weight and unit index, each (M,).

    Weights add up to 1; a unit weighs in proportion to the share of its rows that has a label,
    whatever its number of rows.
    """

    rows: Index
    target: Array
    weight: Array
    unit: Index

    def kept(self, total: int) -> Index:
        """Numbers of at most about ``total`` rows: every n-th of each unit, from its first."""
        step = -(-len(self.rows) // total)
        first = np.flatnonzero(np.r_[True, np.diff(self.unit) != 0])
        place = np.arange(len(self.unit)) - np.repeat(first, np.diff(np.r_[first, len(self.unit)]))
        return np.flatnonzero(place % step == 0)

    def thinned(self, total: int) -> TrainingRows:
        """The rows of :meth:`kept`; every unit keeps its weight."""
        kept = self.kept(total)
        unit = self.unit[kept]
        before = np.bincount(self.unit, self.weight)
        after = np.bincount(unit, self.weight[kept], minlength=len(before))
        factor = before / np.where(after > 0, after, 1.0)
        weight = self.weight[kept] * factor[unit]
        return TrainingRows(self.rows[kept], self.target[kept], weight, unit)


def spread_positions(count: int, wanted: int, rng: np.random.Generator) -> Index:
    """One position at random from each of ``wanted`` equal parts of ``range(count)``, ascending.

    Example:
        >>> import numpy as np
        >>> spread_positions(3, 5, np.random.default_rng(0))
        array([0, 1, 2])
    """
    if count <= wanted:
        return np.arange(count, dtype=np.int64)
    at = (np.arange(wanted) + rng.random(wanted)) * (count / wanted)
    return np.minimum(at.astype(np.int64), count - 1)


def sample_rows(
    fleet: Fleet, labels: LabelConfig, *, seed: int, per_unit: int = 60, total: int = 40_000
) -> TrainingRows:
    """Labelled rows to learn from, spread over the life of every unit.

    Neighbouring rows of a unit are near copies of each other: beyond some tens of rows per unit
    more rows cost time and add nothing.

    Args:
        fleet: the training units.
        labels: the cap of the RUL.
        seed: which rows are drawn.
        per_unit: maximum number of rows of one unit.
        total: maximum number of rows over all units; at least four per unit are kept.

    Raises:
        DataError: no row of the fleet has a known label.
    """
    target = capped_rul(fleet, labels)
    wanted = max(4, min(per_unit, total // max(1, fleet.n_units)))
    rng = np.random.default_rng(seed)
    rows, weight, unit = [], [], []
    for i, (start, length) in enumerate(zip(fleet.starts(), fleet.lengths(), strict=True)):
        known = np.flatnonzero(np.isfinite(target[start : start + length]))
        if known.size:
            chosen = known[spread_positions(known.size, wanted, rng)]
            rows.append(start + chosen)
            weight.append(np.full(chosen.size, known.size / length / chosen.size))
            unit.append(np.full(chosen.size, i))
    if not rows:
        raise DataError(
            "no row has a known remaining life, so there is nothing to learn from.",
            source=fleet.name,
            remedy="add histories of failed units.",
        )
    at = np.concatenate(rows).astype(np.int64)
    share = np.concatenate(weight)
    return TrainingRows(at, target[at], share / share.sum(), np.concatenate(unit).astype(np.int64))


class Candidate(ABC):
    """A predictor of capped RUL that competes with others out of fold.

    Predictions are causal: that of a row depends on the rows of its unit up to that row only, and
    on no other unit. They lie in [0, ``cap_``], in the fleet's unit of time.

    Attributes:
        prior: weight in the stack, relative to other candidates, before any error is seen.
        revision: raised when the same data and options give another model than before: what an
            interrupted fit has kept of the candidate is then not used.
        cap_: largest label of training, at most the cap of ``labels``.

    Example:
        >>> from grace.candidates import CANDIDATES
        >>> from grace.data.labels import LabelConfig
        >>> from grace.data.readers import load_dataset
        >>> train = load_dataset("sim", n_train=6, n_test=1).train
        >>> model = CANDIDATES["median_life"]().fit(train, LabelConfig(cap=200.0), seed=0)
        >>> model.predict(train).shape == (train.n_rows,)
        True
    """

    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    prior: ClassVar[float] = 1.0
    revision: ClassVar[int] = 1
    cap_: float

    def fit(
        self,
        fleet: Fleet,
        labels: LabelConfig,
        *,
        seed: int = 0,
        shared: SharedFeatures | None = None,
    ) -> Candidate:
        """Learn from training units.

        Args:
            fleet: units with known and with unknown fate.
            labels: cap of the RUL that is predicted; ``inf`` for none.
            seed: of everything random.
            shared: features of the same fleet, labels and seed, if several candidates use them.

        Raises:
            DataError: no row has a known label.
        """
        target = capped_rul(fleet, labels)
        known = target[np.isfinite(target)]
        if not known.size:
            sample_rows(fleet, labels, seed=seed)  # raises, with the remedy
        self.cap_ = float(known.max())
        self._fit(fleet, labels, seed, shared)
        return self

    def predict(self, fleet: Fleet, rows: Index | None = None) -> Array:
        """Capped RUL at every row, (n_rows,), or at the rows of these numbers only, (M,).

        Raises:
            DataError: a column that training used is missing.
        """
        at = np.arange(fleet.n_rows) if rows is None else np.asarray(rows, dtype=np.int64)
        if not at.size:
            return np.empty(0)
        raw = self._predict(fleet, at)
        return np.clip(np.asarray(raw, dtype=np.float64), 0.0, self.cap_)

    def to_state(self) -> State:
        """Learned state: plain numbers, text and numpy arrays."""
        return {"cap": self.cap_, **self._state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Candidate:
        """The inverse of :meth:`to_state`."""
        self = cls()
        self.cap_ = float(state["cap"])
        self._restore(state)
        return self

    @abstractmethod
    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None: ...

    @abstractmethod
    def _predict(self, fleet: Fleet, rows: Index) -> Array: ...

    @abstractmethod
    def _state(self) -> State: ...

    @abstractmethod
    def _restore(self, state: Mapping[str, Any]) -> None: ...

"""Candidates that use no sensor: a constant, the life usual in the fleet, and age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from grace.candidates.base import Array, Candidate, Index, State, sample_rows
from grace.candidates.groups import UnitGroups
from grace.candidates.life_table import LifeTable, ages, known_lives
from grace.candidates.shared import SharedFeatures
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig

__all__ = ["AgeRegression", "Constant", "GroupMedianLife", "MedianLife"]


class Constant(Candidate):
    """The mean label of training, every unit weighing the same."""

    name = "constant"
    description = "one number for every unit and age"
    prior = 0.5
    value_: float

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        rows = sample_rows(fleet, labels, seed=seed, per_unit=fleet.n_rows, total=4 * fleet.n_rows)
        self.value_ = float(rows.target @ rows.weight)

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        return np.full(len(rows), self.value_)

    def _state(self) -> State:
        return {"value": self.value_}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.value_ = float(state["value"])


class MedianLife(Candidate):
    """Median life left of the units that reached the same age, by Kaplan–Meier.

    At age 0 this is the median life, and before the first failure the median life minus age.
    Later, when subtraction would promise nothing to a unit that has outlived the median, it is
    the median over those that have outlived it too.
    """

    name = "median_life"
    description = "median life of the fleet minus age, given that the unit has reached that age"
    prior = 0.5
    table_: LifeTable

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        self.table_ = LifeTable.fit(*known_lives(fleet))

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        return self.table_.median_residual(ages(fleet)[rows])

    def _state(self) -> State:
        return {"table": self.table_.to_state()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.table_ = LifeTable.from_state(state["table"])


class GroupMedianLife(Candidate):
    """:class:`MedianLife` within the unit's group of static attributes or constant settings.

    The groups are those of :class:`~grace.candidates.groups.UnitGroups`; where no attribute
    divides the fleet, the prediction is that of :class:`MedianLife`.
    """

    name = "group_median_life"
    description = "median life of the unit's own static group minus age"
    prior = 0.5
    groups_: UnitGroups

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        self.groups_ = UnitGroups().fit(fleet)

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        age = ages(fleet)[rows]
        code = np.repeat(self.groups_.codes(fleet), fleet.lengths())[rows]
        out = np.empty(len(rows))
        for group in np.unique(code):
            mine = code == group
            out[mine] = self.groups_.table(int(group)).median_residual(age[mine])
        return out

    def _state(self) -> State:
        return {"groups": self.groups_.to_state()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.groups_ = UnitGroups.from_state(state["groups"])


class AgeRegression(Candidate):
    """Isotonic regression of the label on age, both in median lives of the unit's group.

    RUL can only fall as a unit grows older. Groups share one curve: a group of few units lends
    its scale only.
    """

    name = "age_only"
    description = "label usual at this age, as a share of the median life of the unit's group"
    groups_: UnitGroups
    x_: Array
    y_: Array

    def _scale(self, fleet: Fleet) -> Array:
        life = self.groups_.median_life(fleet)
        return np.repeat(np.where(life > 0, life, 1.0), fleet.lengths())

    def _fit(
        self, fleet: Fleet, labels: LabelConfig, seed: int, shared: SharedFeatures | None
    ) -> None:
        from sklearn.isotonic import IsotonicRegression

        self.groups_ = UnitGroups().fit(fleet)
        rows = sample_rows(fleet, labels, seed=seed, per_unit=100)
        scale = self._scale(fleet)[rows.rows]
        model = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(
            ages(fleet)[rows.rows] / scale, rows.target / scale, sample_weight=rows.weight
        )
        self.x_, self.y_ = model.X_thresholds_, model.y_thresholds_

    def _predict(self, fleet: Fleet, rows: Index) -> Array:
        scale = self._scale(fleet)[rows]
        return np.interp(ages(fleet)[rows] / scale, self.x_, self.y_) * scale

    def _state(self) -> State:
        return {"groups": self.groups_.to_state(), "x": self.x_, "y": self.y_}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.groups_ = UnitGroups.from_state(state["groups"])
        self.x_, self.y_ = np.asarray(state["x"], float), np.asarray(state["y"], float)

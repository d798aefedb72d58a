"""Groups of units with similar lives: by a static attribute, or a setting that never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.candidates.life_table import LifeTable, known_lives
from grace.data.fleet import Fleet

__all__ = ["UnitGroups"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
_MAX_LEVELS = 12


@dataclass(frozen=True)
class _Key:
    """One attribute and its levels: texts, or numbers in ascending order."""

    column: str
    static: bool
    levels: tuple[Any, ...]

    def codes(self, fleet: Fleet) -> Index:
        """Number of the level of each unit, −1 where it is none of them."""
        values = _of_units(fleet, self.column, self.static)
        codes = np.full(fleet.n_units, -1, dtype=np.int64)
        if isinstance(self.levels[0], str):
            place = {level: i for i, level in enumerate(self.levels)}
            return np.array([place.get(v, -1) for v in values.to_list()], dtype=np.int64)
        levels = np.asarray(self.levels, dtype=np.float64)
        number = values.to_numpy().astype(np.float64)
        known = np.isfinite(number)
        nearest = np.abs(number[known, None] - levels).argmin(axis=1)
        close = np.abs(number[known] - levels[nearest]) <= 1e-6 * np.ptp(levels)
        codes[known] = np.where(close, nearest, -1)
        return codes


class UnitGroups:
    """Which attributes divide the fleet into groups of different life, and how long each lives.

    Attributes considered: static ones, and settings constant within every unit, with 2 to 12
    levels. Taken is the attribute, or all of them together, by which leaving one unit out predicts
    lives best (absolute error of the logarithm), provided that it gains 5% over no groups at all.

    Attributes:
        tables_: life table per group; group −1, all units together, is for units of no group.
        medians_: median life per group, (G,); ``overall_`` the table and median of all units.
    """

    def fit(self, fleet: Fleet) -> UnitGroups:
        """Choose the groups and learn their lives."""
        lives, known = known_lives(fleet)
        self.overall_ = LifeTable.fit(lives, known)
        self.keys_: tuple[_Key, ...] = ()
        self._count()
        keys = _keys(fleet)
        options: list[tuple[_Key, ...]] = [(key,) for key in keys]
        if len(keys) > 1 and np.prod([len(k.levels) for k in keys]) <= fleet.n_units:
            options.append(tuple(keys))
        none = _error_left_out(np.zeros(fleet.n_units, dtype=np.int64), lives, known)
        best = 0.95 * none
        for option in options:
            error = _error_left_out(_joint(option, fleet), lives, known)
            if error < best * (1 - 1e-9):
                best, self.keys_ = error, option
        code = self.codes(fleet)
        self._count()
        self.tables_: list[LifeTable] = [
            LifeTable.fit(lives[code == g], known[code == g])
            if known[code == g].sum() >= 2
            else self.overall_
            for g in range(self.n_groups)
        ]
        return self

    def _count(self) -> None:
        self.n_groups = int(np.prod([len(k.levels) for k in self.keys_])) if self.keys_ else 0
        self.tables_ = []

    def codes(self, fleet: Fleet) -> Index:
        """Group of each unit, (n_units,); −1 where there are no groups or its level is unknown."""
        if not self.keys_:
            return np.full(fleet.n_units, -1, dtype=np.int64)
        return _joint(self.keys_, fleet)

    def table(self, code: int) -> LifeTable:
        """Life table of a group."""
        return self.overall_ if code < 0 else self.tables_[code]

    def median_life(self, fleet: Fleet) -> Array:
        """Median life of the group of each unit, (n_units,)."""
        medians = np.array([t.median() for t in [*self.tables_, self.overall_]])
        return np.asarray(medians[self.codes(fleet)])

    def to_state(self) -> dict[str, Any]:
        """Learned state as numbers, text and arrays."""
        return {
            "keys": [[k.column, k.static, list(k.levels)] for k in self.keys_],
            "overall": self.overall_.to_state(),
            "tables": [t.to_state() for t in self.tables_],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> UnitGroups:
        """The inverse of :meth:`to_state`."""
        self = cls()
        self.keys_ = tuple(_Key(c, bool(s), tuple(levels)) for c, s, levels in state["keys"])
        self._count()
        self.overall_ = LifeTable.from_state(state["overall"])
        self.tables_ = [LifeTable.from_state(t) for t in state["tables"]]
        return self


def _of_units(fleet: Fleet, column: str, static: bool) -> pl.Series:
    """An attribute per unit: the static column, or the setting at the unit's first row."""
    if static:
        return fleet.units.get_column(column)
    return fleet.frame.get_column(column).gather(fleet.starts())


def _keys(fleet: Fleet) -> list[_Key]:
    found = []
    fixed = [s for s in fleet.schema.settings if _constant_in_units(fleet, s)]
    for static, names in ((True, fleet.schema.static), (False, fixed)):
        for column in sorted(names):
            values = _of_units(fleet, column, static).drop_nulls()
            if values.dtype.is_float():
                values = values.drop_nans()
            levels = tuple(values.unique().sort().to_list())
            if 2 <= len(levels) <= min(_MAX_LEVELS, fleet.n_units // 2):
                found.append(_Key(column, static, levels))
    return found


def _constant_in_units(fleet: Fleet, column: str) -> bool:
    values = fleet.values([column])[:, 0]
    if not np.isfinite(values).all():
        return False
    starts = fleet.starts()
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return bool(((high - low) <= 1e-9 * np.ptp(values)).all())


def _joint(keys: tuple[_Key, ...], fleet: Fleet) -> Index:
    code = np.zeros(fleet.n_units, dtype=np.int64)
    unknown = np.zeros(fleet.n_units, dtype=bool)
    for key in keys:
        own = key.codes(fleet)
        unknown |= own < 0
        code = code * len(key.levels) + own
    return np.where(unknown, -1, code)


def _error_left_out(code: Index, lives: Array, known: npt.NDArray[np.bool_]) -> float:
    """Mean absolute error of log life, each known unit predicted by the median of the others."""
    log = np.log(np.maximum(lives, 1e-12 * lives.max()))
    errors = []
    for i in np.flatnonzero(known):
        others = known.copy()
        others[i] = False
        own = others & (code == code[i])
        pool = own if own.any() and code[i] >= 0 else others
        if pool.any():
            errors.append(abs(log[i] - np.median(log[pool])))
    return float(np.mean(errors)) if errors else np.inf

"""How long units live: Kaplan–Meier estimates, so that censored units count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from grace.data.fleet import Fleet

__all__ = ["LifeTable", "ages", "known_lives"]

Array = npt.NDArray[np.float64]


def ages(fleet: Fleet) -> Array:
    """Time since the first row of the unit, (n_rows,)."""
    times = fleet.times()
    return times - np.repeat(times[fleet.starts()], fleet.lengths())


def known_lives(fleet: Fleet) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Age at failure, or at the last row where the failure is not known; and which is known.

    Returns:
        lives (n_units,) and known (n_units,).
    """
    age = ages(fleet)
    left = fleet.units.get_column("rul_at_end").to_numpy().astype(np.float64)
    known = np.isfinite(left)
    last = age[fleet.starts() + fleet.lengths() - 1]
    return last + np.where(known, left, 0.0), known


@dataclass(frozen=True, eq=False)
class LifeTable:
    """Survival function of the lives of a fleet: ``survival[i]`` from ``times[i]`` on, 1 before.

    Example:
        >>> import numpy as np
        >>> table = LifeTable.fit(np.array([10.0, 20.0, 30.0]), np.array([True, True, True]))
        >>> table.median()
        20.0
        >>> table.median_residual(np.array([0.0, 15.0, 25.0]))
        array([20.,  5.,  5.])
    """

    times: Array
    survival: Array

    @classmethod
    def fit(cls, lives: Array, known: npt.NDArray[np.bool_]) -> LifeTable:
        """Kaplan–Meier estimate.

        Args:
            lives: (U,), at least one.
            known: whether the unit failed at that age or was still running, (U,).
        """
        from scipy.stats import CensoredData, ecdf

        sf = ecdf(CensoredData(lives[known], right=lives[~known])).sf
        return cls(np.asarray(sf.quantiles), np.asarray(sf.probabilities))

    def at(self, age: Array) -> Array:
        """S(age), same shape."""
        padded = np.concatenate([[1.0], self.survival])
        return np.asarray(padded[np.searchsorted(self.times, age, side="right")])

    def median(self) -> float:
        """Median life; the longest life on record where survival never falls to one half."""
        return float(self.median_residual(np.zeros(1))[0])

    def median_residual(self, age: Array) -> Array:
        """Median life left of a unit that has reached ``age``; 0 beyond the last time on record."""
        # The first time at which S has fallen to half of S(age); S descends.
        half = 0.5 * self.at(age) * (1 + 1e-12)
        first = np.searchsorted(-self.survival, -half, side="left")
        return np.maximum(self.times[np.minimum(first, len(self.times) - 1)] - age, 0.0)

    def mean_residual(self, age: Array, cap: float) -> Array:
        """Mean of min(cap, life left) of a unit that has reached ``age``.

        The constant of least squared error given age. Survival beyond the last time on record is
        taken as 0; so is the result where S(age) = 0.
        """
        edges = np.concatenate([[0.0], self.times])
        level = np.concatenate([[1.0], self.survival])[:-1]
        area = np.concatenate([[0.0], np.cumsum(np.diff(edges) * level)])
        now = self.at(age)
        stop = np.minimum(age + cap, edges[-1])
        inside = np.interp(stop, edges, area) - np.interp(np.minimum(age, edges[-1]), edges, area)
        return np.where(now > 0, inside / np.where(now > 0, now, 1.0), 0.0)

    def to_state(self) -> dict[str, Any]:
        """Learned state as arrays."""
        return {"times": self.times, "survival": self.survival}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LifeTable:
        """The inverse of :meth:`to_state`."""
        return cls(np.asarray(state["times"], float), np.asarray(state["survival"], float))

"""Alarms of units in service: two levels, with persistence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grace.decisions.inputs import DecisionInputs
from grace.decisions.trajectories import conditional_probability
from grace.uncertainty import RULDistribution

__all__ = ["LEVELS", "Alarms", "raise_alarms"]

LEVELS = ("none", "warning", "alarm")
WARNING_HORIZONS = 2.0


class Alarms(NamedTuple):
    """Level per unit, (U,), an index into :data:`LEVELS`, and the probabilities behind it.

    ``within`` is P(failure within L + Δ) at the last row, ``within_twice`` that within twice this
    time.

    Example:
        >>> alarms = Alarms(np.array([2, 0]), np.array([0.8, 0.1]), np.array([0.9, 0.2]))
        >>> [LEVELS[level] for level in alarms.level]
        ['alarm', 'none']
    """

    level: npt.NDArray[np.int64]
    within: npt.NDArray[np.float64]
    within_twice: npt.NDArray[np.float64]


def raise_alarms(
    distribution: RULDistribution,
    owner: npt.NDArray[np.int64],
    threshold: float,
    inputs: DecisionInputs,
    *,
    age: npt.NDArray[np.float64] | None = None,
) -> Alarms:
    """Alarm where P(failure within L + Δ) exceeds the threshold, warning within twice that time.

    With persistence (k, n), k of the last n decisions of a unit must exceed it. Decisions are at
    the last row of the unit and Δ, 2Δ … before it; each uses the last row at or before it, given
    the survival since, as :func:`~grace.decisions.fit_policy` does.

    Args:
        distribution: predictive distributions of rows, (M,).
        owner: unit of each row, 0 to U − 1, ascending, the rows of a unit in order of time, (M,).
        threshold: p*.
        inputs: costs and times.
        age: of each row, (M,); None: the rows are the decisions.

    Example:
        >>> import numpy as np
        >>> d = RULDistribution(np.array([0.0, 10.0, 20.0]), np.array([[1, 0.2, 0], [1, 1, 0.4]]))
        >>> inputs = DecisionInputs(failure_cost=5, planned_cost=1, interval=10)
        >>> raise_alarms(d, np.array([0, 1]), 0.5, inputs).level
        array([2, 1])
    """
    k, n = inputs.persistence
    stops = np.append(np.flatnonzero(np.diff(owner)) + 1, owner.size)
    starts = np.append(0, stops[:-1])
    level = np.zeros(stops.size, dtype=np.int64)
    near, far = np.zeros(stops.size), np.zeros(stops.size)
    for u, (a, b) in enumerate(zip(starts, stops, strict=True)):
        if age is None:
            rows = np.arange(max(a, b - n), b)
            since = np.zeros(rows.size)
        else:
            at = age[b - 1] - inputs.interval * np.arange(n)[::-1]
            found = np.searchsorted(age[a:b], at + 1e-9 * inputs.interval, side="right") - 1
            rows, since = a + found[found >= 0], (at - age[a + found])[found >= 0]
        asked = distribution[rows]
        within = conditional_probability(asked, since, inputs.horizon)
        within_twice = conditional_probability(asked, since, WARNING_HORIZONS * inputs.horizon)
        near[u], far[u] = within[-1], within_twice[-1]
        if (within > threshold).sum() >= k:
            level[u] = 2
        elif (within_twice > threshold).sum() >= k:
            level[u] = 1
    return Alarms(level, near, far)

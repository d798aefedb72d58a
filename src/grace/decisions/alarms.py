"""Alarms of units in service: two levels, with persistence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grace.decisions.inputs import DecisionInputs
from grace.uncertainty import RULDistribution

__all__ = ["LEVELS", "Alarms", "raise_alarms"]

LEVELS = ("none", "warning", "alarm")
WARNING_HORIZONS = 2.0


class Alarms(NamedTuple):
    """Level per unit, (U,), an index into :data:`LEVELS`, and the probabilities behind it.

    ``within`` is P(failure within L + Δ) at the last row, ``within_twice`` that within twice this
    time.
    """

    level: npt.NDArray[np.int64]
    within: npt.NDArray[np.float64]
    within_twice: npt.NDArray[np.float64]


def raise_alarms(
    distribution: RULDistribution,
    owner: npt.NDArray[np.int64],
    threshold: float,
    inputs: DecisionInputs,
) -> Alarms:
    """Alarm where P(failure within L + Δ) exceeds the threshold, warning within twice that time.

    With persistence (k, n), k of the last n rows of a unit must exceed it; rows should be about Δ
    apart.

    Args:
        distribution: predictive distributions of rows, (M,).
        owner: unit of each row, 0 to U − 1, ascending, the rows of a unit in order of time, (M,).
        threshold: p*.
        inputs: costs and times.

    Example:
        >>> import numpy as np
        >>> d = RULDistribution(np.array([0.0, 10.0, 20.0]), np.array([[1, 0.2, 0], [1, 1, 0.4]]))
        >>> inputs = DecisionInputs(failure_cost=5, planned_cost=1, interval=10)
        >>> raise_alarms(d, np.array([0, 1]), 0.5, inputs).level
        array([2, 1])
    """
    k, n = inputs.persistence
    near = np.asarray(distribution.prob_failure_within(inputs.horizon))
    far = np.asarray(distribution.prob_failure_within(WARNING_HORIZONS * inputs.horizon))
    stops = np.append(np.flatnonzero(np.diff(owner)) + 1, owner.size)
    starts = np.append(0, stops[:-1])
    level = np.zeros(stops.size, dtype=np.int64)
    for u, (a, b) in enumerate(zip(starts, stops, strict=True)):
        recent = slice(max(a, b - n), b)
        if (near[recent] > threshold).sum() >= k:
            level[u] = 2
        elif (far[recent] > threshold).sum() >= k:
            level[u] = 1
    return Alarms(level, near[stops - 1], far[stops - 1])

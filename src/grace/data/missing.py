"""Missing values: filled from the past of the unit, then from the training units."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["forward_fill"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def forward_fill(
    values: Array,
    times: Array,
    starts: Index,
    lengths: Index,
    *,
    max_rows: int | None,
    max_time: float | None = None,
) -> Array:
    """Values (R, C) with NaN replaced by the last known value of the same unit.

    Args:
        values: rows of many units laid end to end, missing values NaN.
        times: (R,), increasing within a unit.
        starts: first row of each unit, (U,).
        lengths: rows of each unit, (U,).
        max_rows: maximum number of rows over which a value is carried; None: no limit.
        max_time: and over at most this much time; None is no limit.

    Returns:
        A new array, or ``values`` itself if nothing is missing. What is too far from a known value
        stays NaN.
    """
    known = ~np.isnan(values)
    if known.all():
        return values
    row = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(known, row, -1), axis=0)
    reachable = last >= np.repeat(starts, lengths)[:, None]  # of the same unit
    if max_rows is not None:
        reachable &= row - last <= max_rows
    if max_time is not None:
        reachable &= times[:, None] - times[last] <= max_time
    return np.where(reachable, np.take_along_axis(values, np.maximum(last, 0), axis=0), np.nan)

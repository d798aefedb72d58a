"""Causal features: what a row may know of its unit's past, and nothing of its future.

All work on rows of many units laid end to end: values (R, C), first row and number of rows of each
unit (U,).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["age", "baseline_deviation", "exponential_mean"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def age(times: Array, starts: Index, lengths: Index, scale: float) -> Array:
    """Time since the unit's first record divided by ``scale``, (R, 1)."""
    return ((times - np.repeat(times[starts], lengths)) / scale)[:, None]


def baseline_deviation(values: Array, starts: Index, lengths: Index, n_rows: int) -> Array:
    """Difference to the mean of the unit's own first ``n_rows`` rows, (R, C).

    Within those first rows the mean of the rows so far is taken, so no row sees a later one.
    """
    departed = np.empty_like(values)
    # Unit by unit: in one running sum over all, a unit's numbers would hang on those before it.
    for start, length in zip(starts, lengths, strict=True):
        known = np.minimum(np.arange(length), n_rows - 1)
        block = values[start : start + length]
        sums = np.cumsum(block[:n_rows], axis=0)
        departed[start : start + length] = block - sums[known] / (known + 1)[:, None]
    return departed


def exponential_mean(values: Array, starts: Index, lengths: Index, alpha: float) -> Array:
    """``m_t = α·x_t + (1 − α)·m_{t−1}`` from ``m_1 = x_1`` in each unit, (R, C)."""
    columns = [f"c{i}" for i in range(values.shape[1])]
    frame = pl.DataFrame(values, schema=columns).with_columns(
        unit=pl.Series(np.repeat(np.arange(len(starts)), lengths))
    )
    mean = pl.col(columns).ewm_mean(alpha=alpha, adjust=False).over("unit")
    return frame.select(mean).to_numpy()

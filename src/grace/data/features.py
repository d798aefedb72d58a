"""Causal features: a row depends on the past of its own unit and on nothing else.

All work on rows of many units laid end to end: values (R, C), first row and number of rows of each
unit (U,).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = [
    "age",
    "baseline_deviation",
    "exponential_mean",
    "time_steps",
    "trailing_mean",
    "trend",
]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

_BLOCK = 2048  # rows whose past is held at a time
_CELLS = 1 << 20  # and cells of that past, per channel


def age(times: Array, starts: Index, lengths: Index, scale: float) -> Array:
    """Time since the unit's first record divided by ``scale``, (R, 1)."""
    return ((times - np.repeat(times[starts], lengths)) / scale)[:, None]


def time_steps(times: Array, starts: Index) -> Array:
    """Time since the previous row of the unit, (R,); NaN at a unit's first row."""
    steps = np.diff(times, prepend=np.nan)
    steps[starts] = np.nan
    return steps


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


def trailing_mean(
    rows: npt.NDArray[np.float32], starts: Index, lengths: Index, n_rows: int
) -> npt.NDArray[np.float32]:
    """Mean of the last ``n_rows`` rows of the unit, or of those there are so far, (R, C)."""
    means = np.empty_like(rows)
    for start, length in zip(starts, lengths, strict=True):
        # The sum of the rows before each row, of this unit alone: nothing later enters it.
        sums = np.zeros((length + 1, rows.shape[1]))
        np.cumsum(rows[start : start + length], axis=0, dtype=np.float64, out=sums[1:])
        end = np.arange(1, length + 1)
        begin = np.maximum(end - n_rows, 0)
        means[start : start + length] = (sums[end] - sums[begin]) / (end - begin)[:, None]
    return means


def trend(values: Array, times: Array, starts: Index, lengths: Index, n_rows: int) -> Array:
    """Change over the last ``n_rows`` rows on the least-squares line through them, (R, C).

    Slope times the time spanned, hence in the unit of ``values`` whatever the unit of time. With
    fewer rows so far the line goes through those; a unit's first row has no trend (0).
    """
    changes = np.zeros_like(values)
    block = min(_BLOCK, max(1, _CELLS // n_rows))
    for start, length in zip(starts, lengths, strict=True):
        for begin in range(1, length, block):
            end = np.arange(begin, min(begin + block, length))
            at = end[:, None] - np.arange(n_rows)  # the same sums however long the unit
            inside = at >= 0
            at = start + np.maximum(at, 0)
            t = times[at] - times[start + end][:, None]  # from 0 back, exact for any origin
            t = np.where(inside, t, 0.0)
            count = inside.sum(axis=1, keepdims=True)
            centred = np.where(inside, t - t.sum(axis=1, keepdims=True) / count, 0.0)
            slope = np.einsum("bn,bnc->bc", centred, values[at])
            slope /= (centred**2).sum(axis=1, keepdims=True)
            changes[start + end] = -t.min(axis=1, keepdims=True) * slope
    return changes

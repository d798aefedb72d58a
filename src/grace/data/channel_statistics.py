"""Statistics of channels that may have missing values."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from grace.data.fleet import Fleet

__all__ = ["channel_values", "column_median", "moments", "robust_limits"]

Array = npt.NDArray[np.float64]


def channel_values(fleet: Fleet, columns: tuple[str, ...]) -> Array:
    """The named columns (R, C); a column that the fleet lacks is all NaN."""
    if all(c in fleet.frame for c in columns):
        return fleet.values(columns)
    gone = np.full(fleet.n_rows, np.nan)
    return np.stack(
        [fleet.values([c])[:, 0] if c in fleet.frame else gone for c in columns], axis=1
    )


def column_median(values: Array) -> Array:
    """Median of each column without its missing values; 0 where there is none, (C,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty column
        return np.nan_to_num(np.nanmedian(values, axis=0), nan=0.0)


def moments(values: Array, everywhere: Array) -> tuple[Array, Array, Array]:
    """Mean, σ and number of known values of each column; those of ``everywhere`` if none is."""
    counts = np.asarray((~np.isnan(values)).sum(axis=0), dtype=np.float64)
    if (counts == len(values)).all() and len(values):
        return np.asarray(values.mean(axis=0)), np.asarray(values.std(axis=0)), counts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an empty column
        mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    mean = np.asarray(np.where(counts > 0, mean, np.nanmean(everywhere, axis=0)))
    std = np.asarray(np.where(counts > 0, std, np.nanstd(everywhere, axis=0)))
    return mean, std, counts


def robust_limits(values: Array, reach: float | None) -> Array:
    """Least and greatest raw value of each channel, (2, C); infinite without ``reach``."""
    if reach is None:
        return np.repeat([[-np.inf], [np.inf]], values.shape[1], axis=1)
    low, high = np.nanquantile(values, [0.01, 0.99], axis=0)
    ends = np.stack([np.nanmin(values, axis=0), np.nanmax(values, axis=0)])
    wide = reach * (high - low)
    return np.where(wide > 0, np.stack([low - wide, high + wide]), ends)

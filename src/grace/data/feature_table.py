"""Model inputs of every row of a fleet, and what was unusual about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["FeatureTable"]


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Model inputs of every row of a fleet.

    ``rows`` is (R, C) float32, C-contiguous, units end to end; ``starts`` and ``lengths`` (U,)
    locate each unit; ``unit_ids`` (U) names them; ``times`` (R,); ``condition`` (R,) and
    ``condition_distance`` (R,) say which operating condition each row was assigned to and how far
    from it it lies, in training standard deviations. ``offset_group`` (C,) is the number of the
    sensor whose offset a channel holds (the sensor itself and its moving means), −1 for the
    others; empty if unknown.

    ``flags`` has one row per unit: ``unit``, ``rows``, ``rows_filled`` (a value was missing),
    ``rows_outside`` (a sensor far outside its training range), ``rows_unseen_condition``,
    ``channels_outside``, ``channels_missing`` (no column, or no value) and ``attributes_unknown``
    (lists of names). None if the table was not made by a preprocessor.

    Example:
        >>> from grace.data.preprocessing import Preprocessor
        >>> from grace.data.readers import load_dataset
        >>> data = load_dataset("sim", n_train=4, n_test=2)
        >>> table = Preprocessor().fit(data.train).transform(data.test)
        >>> table.rows.shape == (data.test.n_rows, len(table.names))
        True
        >>> table.flags["rows_filled"].sum()
        0
    """

    rows: npt.NDArray[np.float32]
    names: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    unit_ids: tuple[Any, ...]
    times: npt.NDArray[np.float64]
    condition: npt.NDArray[np.int64]
    condition_distance: npt.NDArray[np.float64]
    offset_group: tuple[int, ...] = ()
    flags: pl.DataFrame | None = None

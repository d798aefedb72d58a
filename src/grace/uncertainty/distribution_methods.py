"""The questions that every predictor with a predictive distribution answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from grace.uncertainty.distribution import RULDistribution

__all__ = ["DistributionMethods"]


class DistributionMethods:
    """Quantiles, intervals, failure probabilities and draws, read from one distribution per row.

    A subclass implements :meth:`predict_distribution`; because everything comes from the same
    survival curves, the answers cannot contradict each other. Times are uncapped and in the
    fleet's unit of time.

    Example:
        >>> from grace.uncertainty import RULDistribution
        >>> class Always(DistributionMethods):
        ...     def predict_distribution(self, table, *, every_row=False):
        ...         rows = table.select("unit", "time", age=pl.col("time"))
        ...         curve = np.tile([1.0, 0.5, 0.0], (rows.height, 1))
        ...         return rows, RULDistribution(np.array([0.0, 10.0, 20.0]), curve)
        >>> rows = pl.DataFrame({"unit": ["a"], "time": [7.0]})
        >>> Always().predict_quantiles(rows, [0.25, 0.5]).row(0)
        ('a', 7.0, 5.0, 10.0)
        >>> Always().prob_failure_within(rows, 5.0)["probability"].to_list()
        [0.25]
        >>> Always().sample(rows, 3, seed=0).columns
        ['unit', 'time', 'draw', 'rul']
    """

    @abstractmethod
    def predict_distribution(
        self, table: Any, *, every_row: bool = False
    ) -> tuple[pl.DataFrame, RULDistribution]:
        """``unit``, ``time`` and ``age`` of the rows, and their distributions of uncapped RUL."""

    def predict_interval(
        self, table: Any, coverage: float = 0.9, *, every_row: bool = False
    ) -> pl.DataFrame:
        """Central predictive intervals of the uncapped RUL, calibrated by unit.

        Returns:
            ``unit``, ``time``, ``rul`` (the median), ``lower``, ``upper``.

        Raises:
            ValueError: ``coverage`` is not between 0 and 1.
        """
        if not 0.0 < coverage < 1.0:
            raise ValueError(f"coverage={coverage} must lie between 0 and 1, e.g. 0.9")
        half = (1.0 - coverage) / 2.0
        frame = self.predict_quantiles(table, [half, 0.5, 1.0 - half], every_row=every_row)
        lower, middle, upper = frame.columns[2:]
        return frame.select(
            "unit", "time", rul=pl.col(middle), lower=pl.col(lower), upper=pl.col(upper)
        )

    def predict_quantiles(
        self, table: Any, levels: Sequence[float], *, every_row: bool = False
    ) -> pl.DataFrame:
        """Quantiles of the uncapped RUL.

        Returns:
            ``unit``, ``time``, and ``q<level>`` for each level, which never cross.

        Raises:
            ValueError: a level is not between 0 and 1, or given twice.
        """
        wanted = [float(v) for v in levels]
        if not wanted or len(set(wanted)) < len(wanted) or not all(0 < v < 1 for v in wanted):
            raise ValueError(f"levels={levels} must be different numbers between 0 and 1")
        frame, distribution = self.predict_distribution(table, every_row=every_row)
        values = distribution.quantiles(wanted)
        columns = {f"q{v:g}": values[:, i] for i, v in enumerate(wanted)}
        return frame.select("unit", "time").with_columns(**columns)

    def prob_failure_within(
        self, table: Any, horizon: float, *, every_row: bool = False
    ) -> pl.DataFrame:
        """Probability that a unit fails within the next ``horizon`` units of time.

        Returns:
            ``unit``, ``time``, ``probability``.

        Raises:
            ValueError: ``horizon`` is negative or not finite.
        """
        if not (np.isfinite(horizon) and horizon >= 0):
            raise ValueError(f"horizon={horizon} must be a finite time of 0 or more")
        frame, distribution = self.predict_distribution(table, every_row=every_row)
        within = np.asarray(distribution.prob_failure_within(float(horizon)))
        return frame.select("unit", "time").with_columns(probability=pl.Series(within))

    def sample(
        self, table: Any, n: int = 100, *, seed: int = 0, every_row: bool = False
    ) -> pl.DataFrame:
        """Independent draws of the uncapped RUL of each row, for simulations.

        Args:
            table: as for the other methods.
            n: draws per row.
            seed: of the draws; the same seed gives the same draws.
            every_row: for every row instead of the last of each unit.

        Returns:
            n rows per unit (or row): ``unit``, ``time``, ``draw`` (0 to n − 1), ``rul``.

        Raises:
            ValueError: ``n`` is below 1.
        """
        if n < 1:
            raise ValueError(f"n={n} draws per row must be at least 1")
        frame, distribution = self.predict_distribution(table, every_row=every_row)
        draws = distribution.sample(n, np.random.default_rng(seed))
        rows = np.repeat(np.arange(frame.height), n)
        return frame.select("unit", "time")[rows].with_columns(
            draw=pl.Series(np.tile(np.arange(n), frame.height)), rul=pl.Series(draws.reshape(-1))
        )

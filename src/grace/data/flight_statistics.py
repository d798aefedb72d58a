"""Mean and standard deviation per flight, accumulated over blocks of samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FlightStatistics"]

Array = npt.NDArray[np.float64]


class FlightStatistics:
    """Mean and standard deviation of channels per (unit, cycle); a flight may span many blocks.

    Blocks are merged by the update of Chan, Golub and LeVeque (The American Statistician 37, 1983),
    which is exact up to rounding for any mean. Memory grows with flights, not with samples.

    Args:
        n_channels: columns of ``values``.
        every: use one of this many samples of each flight, from its first one on.

    Example:
        >>> import numpy as np
        >>> flights = FlightStatistics(1)
        >>> keys = np.array([[1, 1], [1, 1], [1, 2]])
        >>> flights.add(keys, np.array([[2.0], [4.0], [5.0]]), np.zeros((3, 1)))
        >>> flights.add(np.array([[1, 2]]), np.array([[7.0]]), np.zeros((1, 1)))
        >>> _, mean, std, _ = flights.result()
        >>> mean.tolist(), std.tolist()
        ([[3.0], [6.0]], [[1.0], [1.0]])
    """

    def __init__(self, n_channels: int, *, every: int = 1) -> None:
        self._n_channels, self._every = n_channels, every
        self._seen: dict[tuple[int, int], int] = {}
        self._count: dict[tuple[int, int], int] = {}
        self._mean: dict[tuple[int, int], Array] = {}
        self._squares: dict[tuple[int, int], Array] = {}
        self._facts: dict[tuple[int, int], Array] = {}

    def add(
        self, keys: npt.NDArray[np.int64], values: Array, facts: Array
    ) -> tuple[int, int] | None:
        """Add a block of samples in the order of time.

        Args:
            keys: unit and cycle, (N, 2).
            values: (N, n_channels).
            facts: (N, F) values that must be equal throughout a flight.

        Returns:
            The first flight within which ``facts`` differ; None if there is none.
        """
        change = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
        begins = [0, *change.tolist()]
        ends = [*change.tolist(), len(keys)]
        for begin, end in zip(begins, ends, strict=True):
            key = (int(keys[begin, 0]), int(keys[begin, 1]))
            known = self._facts.setdefault(key, facts[begin].copy())
            if (facts[begin:end] != known).any():
                return key
            seen = self._seen.get(key, 0)
            self._seen[key] = seen + end - begin
            self._merge(key, values[begin + (-seen) % self._every : end : self._every])
        return None

    def _merge(self, key: tuple[int, int], values: Array) -> None:
        if not len(values):
            return
        # Overflow gives an infinite statistic, which a fleet refuses with unit and column.
        with np.errstate(over="ignore", invalid="ignore"):
            added, mean = len(values), values.mean(axis=0)
            squares = ((values - mean) ** 2).sum(axis=0)
        had = self._count.get(key, 0)
        if had:
            step = mean - self._mean[key]
            squares = squares + self._squares[key] + step**2 * had * added / (had + added)
            mean = self._mean[key] + step * added / (had + added)
        self._count[key] = had + added
        self._mean[key], self._squares[key] = mean, squares

    def result(self) -> tuple[npt.NDArray[np.int64], Array, Array, Array]:
        """Keys (M, 2), means and standard deviations (M, n_channels), facts (M, F), by key.

        Standard deviations are of the population: 0 for a flight of one sample.
        """
        order = sorted(self._count)
        keys = np.array(order, dtype=np.int64).reshape(-1, 2)
        count = np.array([self._count[k] for k in order], dtype=np.float64)
        mean = np.array([self._mean[k] for k in order]).reshape(-1, self._n_channels)
        squares = np.array([self._squares[k] for k in order]).reshape(-1, self._n_channels)
        facts = np.array([self._facts[k] for k in order])
        return keys, mean, np.sqrt(squares / count[:, None]), facts

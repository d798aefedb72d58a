"""Trivial predictors without a network, reported next to every result.

All of them read the same form of data: one contiguous table of rows, units one after the other,
each unit's rows in order of time. The prediction at a row never uses later rows of the unit.
scikit-learn is imported when one is fitted: it would double the time to import this package.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "BASELINES",
    "AgeOnlyBaseline",
    "ConstantBaseline",
    "GradientBoostingBaseline",
    "TrivialBaseline",
    "window_statistics",
]

Rows = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def _check_units(n_rows: int, unit_starts: Index, unit_lengths: Index) -> None:
    starts, lengths = np.asarray(unit_starts), np.asarray(unit_lengths)
    if starts.shape != lengths.shape or starts.ndim != 1 or starts.size == 0:
        raise ValueError("unit_starts and unit_lengths must both be (U,) with U >= 1")
    ends = np.cumsum(lengths)
    if (lengths < 1).any() or ends[-1] != n_rows or (starts != ends - lengths).any():
        raise ValueError(
            f"units must follow each other without gaps and cover all {n_rows} rows, "
            f"but the lengths add up to {ends[-1]}"
        )


def window_statistics(
    rows: npt.NDArray[np.floating], unit_starts: Index, unit_lengths: Index, window: int = 30
) -> Values:
    """Last value, mean, standard deviation and slope of the window that ends at each row.

    The window of row p holds the ``window`` rows of the unit up to and with p; before the unit's
    first row that row is repeated. No window is materialised: with z = x - x_first, padded rows
    are zero, and running sums of z, z² and q·z (q the row's number in its unit) give all four.
    The standard deviation divides by ``window``; the slope is that of the least-squares line, per
    row. Sums start anew with every unit, so that precision does not depend on the fleet's size.

    Args:
        rows: (R, C).
        unit_starts: first row of each unit, (U,).
        unit_lengths: rows of each unit, (U,).
        window: T >= 2, in rows.

    Returns:
        (R, 4·C): all last values, then all means, standard deviations and slopes.

    Raises:
        ValueError: ``window`` < 2, or the units do not cover the rows one after the other.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[1.0], [2.0], [3.0]])
        >>> statistics = window_statistics(rows, np.array([0]), np.array([3]), window=3)
        >>> last, mean, std, slope = statistics.T
        >>> mean, slope  # before the first row, that row is repeated
        (array([1.        , 1.33333333, 2.        ]), array([0. , 0.5, 1. ]))
    """
    if window < 2:
        raise ValueError(f"window must be at least 2 rows, got {window}")
    _check_units(len(rows), unit_starts, unit_lengths)
    n_rows, c = rows.shape
    out = np.empty((n_rows, 4 * c))
    spread = window * (window**2 - 1) / 12.0
    for start, length in zip(unit_starts, unit_lengths, strict=True):
        x = rows[start : start + length].astype(np.float64)
        z, q = x - x[0], np.arange(length, dtype=np.float64)[:, None]
        sums = np.zeros((3, length + 1, c))
        np.cumsum(np.stack([z, z * z, q * z]), axis=1, out=sums[:, 1:])
        first = np.maximum(np.arange(length) + 1 - window, 0)
        s1, s2, sq = sums[:, 1:] - sums[:, first]
        mean = s1 / window
        std = np.sqrt(np.maximum(s2 / window - mean**2, 0.0))
        offset = q - (window - 1) / 2.0
        slope = (sq - offset * s1) / spread
        out[start : start + length] = np.concatenate([x, x[0] + mean, std, slope], axis=1)
    return out


class TrivialBaseline:
    """A predictor of capped RUL without a network; subclasses implement ``_fit`` and ``_predict``.

    Runs fit every entry of ``BASELINES``. One with ``reads_sensors`` is fitted a second time, as
    ``<name>_all_inputs``, where the network is given more inputs than the normalised sensors.

    Predictions are clipped to [0, largest training target], the range of the labels.

    Example:
        >>> import numpy as np
        >>> from grace.evaluation import BASELINES
        >>> starts, lengths = np.array([0, 3]), np.array([3, 2])
        >>> age, target = np.array([1, 2, 3, 1, 2.0]), np.array([2, 1, 0, 1, 0.0])
        >>> rows = np.zeros((5, 1), np.float32)
        >>> model = BASELINES["constant"]().fit(rows, starts, lengths, age, target)
        >>> model.predict(rows, starts, lengths, age)
        array([0.8, 0.8, 0.8, 0.8, 0.8])
    """

    name: ClassVar[str] = ""
    description: ClassVar[str] = ""
    reads_sensors: ClassVar[bool] = False
    max_: float

    @classmethod
    def for_run(cls, window: int) -> TrivialBaseline:
        """A new baseline for a run whose network reads ``window`` rows of history."""
        return cls()

    def fit(
        self,
        rows: Rows,
        unit_starts: Index,
        unit_lengths: Index,
        age: npt.ArrayLike,
        target: npt.ArrayLike,
    ) -> TrivialBaseline:
        """Learn from training units.

        Args:
            rows: normalised channels, (R, C).
            unit_starts: first row of each unit, (U,).
            unit_lengths: rows of each unit, (U,).
            age: time since the unit's first record, (R,).
            target: capped RUL, (R,), finite.

        Raises:
            ValueError: sizes do not fit, the target is not finite, or the units do not cover the
                rows one after the other.
        """
        ages = self._check(rows, unit_starts, unit_lengths, age)
        labels = np.asarray(target, dtype=np.float64).reshape(-1)
        if labels.size != len(rows) or not np.isfinite(labels).all():
            raise ValueError(f"target must be {len(rows)} finite values, one per row")
        self.max_ = float(labels.max())
        self._fit(rows, unit_starts, unit_lengths, ages, labels)
        return self

    def predict(
        self, rows: Rows, unit_starts: Index, unit_lengths: Index, age: npt.ArrayLike
    ) -> Values:
        """Capped RUL at every row, (R,); arguments and errors as in :meth:`fit`."""
        ages = self._check(rows, unit_starts, unit_lengths, age)
        raw = self._predict(rows, unit_starts, unit_lengths, ages)
        return np.clip(np.asarray(raw, dtype=np.float64), 0.0, self.max_)

    @staticmethod
    def _check(rows: Rows, unit_starts: Index, unit_lengths: Index, age: npt.ArrayLike) -> Values:
        if rows.ndim != 2:
            raise ValueError(f"rows must be (R, C), got {rows.shape}")
        _check_units(len(rows), unit_starts, unit_lengths)
        ages = np.asarray(age, dtype=np.float64).reshape(-1)
        if ages.size != len(rows):
            raise ValueError(f"age has {ages.size} entries, rows has {len(rows)}")
        return ages

    def _fit(self, rows: Rows, starts: Index, lengths: Index, age: Values, target: Values) -> None:
        raise NotImplementedError

    def _predict(self, rows: Rows, starts: Index, lengths: Index, age: Values) -> Values:
        raise NotImplementedError


class ConstantBaseline(TrivialBaseline):
    """The mean capped label of all training rows, which is the constant of least RMSE there.

    Example:
        >>> import numpy as np
        >>> starts, lengths, age = np.array([0]), np.array([3]), np.array([1, 2, 3])
        >>> rows = np.zeros((3, 1), np.float32)
        >>> ConstantBaseline().fit(rows, starts, lengths, age, [2, 1, 0]).value_
        1.0
    """

    name = "constant"
    description = "one number for every unit: the mean label of the training rows"
    value_: float

    def _fit(self, rows: Rows, starts: Index, lengths: Index, age: Values, target: Values) -> None:
        self.value_ = float(target.mean())

    def _predict(self, rows: Rows, starts: Index, lengths: Index, age: Values) -> Values:
        return np.full(len(rows), self.value_)


class AgeOnlyBaseline(TrivialBaseline):
    """Isotonic regression of capped RUL on age: RUL can only fall as a unit grows older.

    Example:
        >>> import numpy as np
        >>> starts, lengths, age = np.array([0]), np.array([3]), np.array([1, 2, 3])
        >>> rows = np.zeros((3, 1), np.float32)
        >>> model = AgeOnlyBaseline().fit(rows, starts, lengths, age, [2, 1, 0])
        >>> model.predict(rows, starts, lengths, age)
        array([2., 1., 0.])
    """

    name = "age_only"
    description = "no sensor: the mean RUL at this age (isotonic regression)"

    def _fit(self, rows: Rows, starts: Index, lengths: Index, age: Values, target: Values) -> None:
        from sklearn.isotonic import IsotonicRegression

        self.model_ = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(age, target)

    def _predict(self, rows: Rows, starts: Index, lengths: Index, age: Values) -> Values:
        return np.asarray(self.model_.predict(age))


class GradientBoostingBaseline(TrivialBaseline):
    """scikit-learn's histogram gradient boosting on window statistics, untuned.

    Every parameter is the library's default, but early stopping is off: its validation part is a
    random draw of rows, which would put one unit on both sides.

    Args:
        window: rows of history behind each prediction.
        random_state: seed.

    Example:
        >>> import numpy as np
        >>> life = np.arange(60.0)
        >>> rows = np.tile(life, 2)[:, None].astype(np.float32)  # one sensor that shows the wear
        >>> units = np.array([0, 60]), np.array([60, 60])
        >>> age, rul = np.tile(life, 2), 60.0 - np.tile(life, 2)
        >>> model = GradientBoostingBaseline(window=5).fit(rows, *units, age, rul)
        >>> float(np.abs(model.predict(rows, *units, age) - rul).max()) < 5
        True
    """

    name = "gradient_boosting"
    description = "untuned gradient boosting on last, mean, std and slope over the window"

    reads_sensors = True

    def __init__(self, window: int = 30, random_state: int = 0) -> None:
        self.window = window
        self.random_state = random_state

    @classmethod
    def for_run(cls, window: int) -> GradientBoostingBaseline:
        """With the window of the network."""
        return cls(max(2, window))

    def _fit(self, rows: Rows, starts: Index, lengths: Index, age: Values, target: Values) -> None:
        from sklearn.ensemble import HistGradientBoostingRegressor

        features = window_statistics(rows, starts, lengths, self.window)
        self.model_ = HistGradientBoostingRegressor(
            early_stopping=False, random_state=self.random_state
        ).fit(features, target)

    def _predict(self, rows: Rows, starts: Index, lengths: Index, age: Values) -> Values:
        features = window_statistics(rows, starts, lengths, self.window)
        return np.asarray(self.model_.predict(features))


BASELINES: dict[str, type[TrivialBaseline]] = {
    cls.name: cls for cls in (ConstantBaseline, AgeOnlyBaseline, GradientBoostingBaseline)
}

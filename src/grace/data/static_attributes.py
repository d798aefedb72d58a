"""Static attributes of a unit (material, load group, model) as inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["StaticEncoder"]

# A category of fewer training units than these is encoded as unknown: what one unit has in
# particular would identify that unit, and unknown is then a category that training has seen.
_MIN_UNITS, _MIN_SHARE = 2, 0.01


@dataclass
class StaticEncoder:
    """Numeric attributes z-scored, categorical ones one-hot with the category ``unknown``.

    ``numeric`` maps a column to (mean, σ, median) over training units, ``categorical`` to the
    categories with a column of their own, ``seen`` to every category of training; ``dropped`` maps
    a column that is no input to the reason.

    Example:
        >>> units = pl.DataFrame({"load": [1.0, 3.0, 1.0, 3.0], "oil": ["a", "a", "b", "b"]})
        >>> encoder = StaticEncoder().fit(units, ["load", "oil"])
        >>> encoder.names
        ('load', 'oil=a', 'oil=b', 'oil=unknown')
        >>> encoder.transform(pl.DataFrame({"load": [3.0], "oil": ["c"]}))[0].tolist()
        [[1.0, 0.0, 0.0, 1.0]]
    """

    numeric: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    categorical: dict[str, list[str]] = field(default_factory=dict)
    seen: dict[str, list[str]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def fit(self, units: pl.DataFrame, columns: list[str]) -> StaticEncoder:
        """Learn from the training units, one row each."""
        for name in sorted(columns):
            column = units.get_column(name)
            if column.null_count() == column.len():
                self.dropped[name] = "no value in the training units"
            elif column.drop_nulls().n_unique() == 1 and not column.null_count():
                self.dropped[name] = "the same in all training units"
            elif column.dtype.is_numeric():
                known = column.drop_nulls().to_numpy().astype(np.float64)
                spread = float(known.std())
                if spread <= 1e-9 * abs(float(known.mean())):
                    self.dropped[name] = "the same in all training units"
                else:
                    self.numeric[name] = (float(known.mean()), spread, float(np.median(known)))
            else:
                counts = column.drop_nulls().cast(pl.String).value_counts()
                few = max(_MIN_UNITS, _MIN_SHARE * column.len())
                kept = counts.filter(pl.col("count") >= few).get_column(name).to_list()
                self.seen[name] = sorted(counts.get_column(name).to_list())
                self.categorical[name] = sorted(kept)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of :meth:`transform`."""
        hot = [f"{n}={c}" for n, kept in self.categorical.items() for c in (*kept, "unknown")]
        return (*self.numeric, *hot)

    def transform(
        self, units: pl.DataFrame
    ) -> tuple[npt.NDArray[np.float64], list[tuple[str, ...]]]:
        """Inputs (U, D) of units, and per unit the attributes without a value known to training.

        A missing number becomes the training median, a missing or unseen category ``unknown``.
        """
        blocks: list[npt.NDArray[np.float64]] = [np.empty((units.height, 0))]
        unknown: list[list[str]] = [[] for _ in range(units.height)]

        def note(name: str, hit: npt.NDArray[np.bool_]) -> None:
            for i in np.flatnonzero(hit):
                unknown[i].append(name)

        for name, (mean, spread, median) in self.numeric.items():
            values = np.full(units.height, np.nan)
            if name in units.columns:
                column = units.get_column(name).cast(pl.Float64, strict=False)
                values = column.fill_null(float("nan")).to_numpy()
            missing = np.isnan(values)
            note(name, missing)
            blocks.append(((np.where(missing, median, values) - mean) / spread)[:, None])
        for name, kept in self.categorical.items():
            found: list[Any] = [None] * units.height
            if name in units.columns:
                found = units.get_column(name).cast(pl.String).to_list()
            note(name, np.array([value not in self.seen[name] for value in found], dtype=bool))
            place = {category: i for i, category in enumerate(kept)}
            at = [place.get(value, len(kept)) for value in found]
            blocks.append(np.eye(len(kept) + 1)[np.array(at, dtype=np.int64)])
        return np.concatenate(blocks, axis=1), [tuple(names) for names in unknown]

    def to_dict(self) -> dict[str, Any]:
        """Learned state as plain numbers and strings."""
        return {
            "numeric": {k: list(v) for k, v in self.numeric.items()},
            "categorical": self.categorical,
            "seen": self.seen,
            "dropped": self.dropped,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> StaticEncoder:
        """The inverse of :meth:`to_dict`."""
        numeric = {k: (float(m), float(s), float(c)) for k, (m, s, c) in state["numeric"].items()}
        return cls(numeric, *(dict(state[k]) for k in ("categorical", "seen", "dropped")))

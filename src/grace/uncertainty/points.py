"""Evaluation points: the rows of each unit that are evaluated, and the predictions there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.errors import DataError

__all__ = ["EvaluationPoints", "evaluation_points", "point_inputs"]

Array = npt.NDArray[np.float64]
MOST_POINTS = 10_000  # time and memory of a kernel estimate grow with the square of the points
REQUIRED = ("unit", "age", "rul_true", "censored_after", "fold")


@dataclass(frozen=True, eq=False)
class EvaluationPoints:
    """m points of U units; every array has m entries, times in the fleet's unit of time.

    ``unit`` numbers the units, ``fold`` is the fold a unit was held out in, ``prediction`` the
    out-of-fold point prediction, ``spread`` the standard deviation of the candidates' predictions
    (0 if there is one), ``age`` the time since the unit's first record, ``y`` the RUL where
    ``event``, else the time known to be survived, ``rows`` how many rows a point stands for, and
    ``row`` the number of its row in the table (left out: its place among the points).

    Example:
        >>> import numpy as np
        >>> m, zero = 4, np.zeros(4)
        >>> points = EvaluationPoints(
        ...     unit=np.arange(m), fold=np.arange(m), prediction=zero + 20.0, spread=zero, age=zero,
        ...     y=np.array([12.0, 25.0, 30.0, 18.0]), event=np.arange(m) != 2, rows=zero + 1,
        ... )
        >>> len(points.select(points.event))
        3
    """

    unit: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    prediction: Array
    spread: Array
    age: Array
    y: Array
    event: npt.NDArray[np.bool_]
    rows: Array
    row: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if len(self.row) != len(self.unit):
            object.__setattr__(self, "row", np.arange(len(self.unit)))

    def __len__(self) -> int:
        return len(self.unit)

    def select(self, keep: npt.NDArray[np.bool_]) -> EvaluationPoints:
        """The points where ``keep`` is true."""
        return EvaluationPoints(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})


def point_inputs(
    frame: pl.DataFrame, prediction: str, candidates: Sequence[str]
) -> tuple[Array, Array, Array]:
    """Prediction, spread of the candidates and age of every row, (n,) each.

    Raises:
        DataError: a column is missing, or one of these values is missing or not finite.
    """
    needed = ["age", prediction, *candidates]
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        raise DataError(
            f"column(s) {', '.join(missing)} missing.",
            source="table of predictions",
            remedy="give the age of every row and the predictions the distribution was fitted on.",
        )
    values = frame.select(pl.col(*dict.fromkeys(needed)).cast(pl.Float64)).fill_null(np.nan)
    for name in values.columns:
        if not np.isfinite(values[name].to_numpy()).all():
            raise DataError(
                f"column {name} has missing or infinite values.",
                source="table of predictions",
                remedy="leave out rows without a prediction.",
            )
    spread = np.zeros(frame.height)
    if len(candidates) > 1:
        spread = values.select(candidates).to_numpy().std(axis=1)
    return values[prediction].to_numpy(), spread, values["age"].to_numpy()


def evaluation_points(
    table: pl.DataFrame,
    prediction: str,
    candidates: Sequence[str] = (),
    *,
    per_unit: int | None = None,
    total: int = 3000,
) -> EvaluationPoints:
    """Rows spread over the history of every unit of an out-of-fold table.

    A unit in service is met at an arbitrary moment of its life, so its rows count alike: one point
    is taken from each of equal stretches of a unit's history. Its place in the stretch follows a
    sequence that fills the stretch evenly over units; a fixed place, the middle say, would tie age
    to life by a few fixed ratios, which a model could learn. Nothing is drawn at random.

    Args:
        table: columns ``unit``, ``age``, ``rul_true`` (uncapped, null where unknown),
            ``censored_after`` (time survived after the row), ``fold`` and the predictions.
        prediction: column of the point prediction.
        candidates: columns whose standard deviation is the spread.
        per_unit: points per unit; None: as many as make about ``total`` points, 5 to 40, but of
            large fleets so few that they are ``MOST_POINTS`` at most (one per unit at least).
        total: see ``per_unit``.

    Raises:
        DataError: a column is missing, a prediction is not finite, no row has an outcome, or no
            unit's failure is known.

    Example:
        >>> import polars as pl
        >>> age = [0.0, 10.0, 20.0] * 2
        >>> table = pl.DataFrame({"unit": [1] * 3 + [2] * 3, "age": age, "fold": [0] * 3 + [1] * 3,
        ...                       "rul_true": [30.0 - a for a in age], "censored_after": [0.0] * 6,
        ...                       "linear": [28.0 - a for a in age]})
        >>> points = evaluation_points(table, "linear", per_unit=2)
        >>> len(points), bool(points.event.all())
        (4, True)
    """
    missing = [c for c in REQUIRED if c not in table.columns]
    if missing:
        raise DataError(
            f"column(s) {', '.join(missing)} missing.",
            source="out-of-fold table",
            remedy=f"give the columns {', '.join(REQUIRED)}.",
        )
    outcome = pl.coalesce(
        pl.col("rul_true").cast(pl.Float64).fill_nan(None),
        pl.col("censored_after").cast(pl.Float64).fill_nan(None),
    )
    known = table.with_columns(
        _row=pl.int_range(pl.len()),
        _y=outcome,
        _event=pl.col("rul_true").cast(pl.Float64).fill_nan(None).is_not_null(),
    ).filter(pl.col("_y").is_not_null() & pl.col(prediction).is_not_null())
    if known.is_empty() or not known["_event"].any():
        raise DataError(
            "no row has a known RUL.",
            source="out-of-fold table",
            remedy="give the life left of at least some units.",
        )
    n_units = known["unit"].n_unique()
    most = max(1, MOST_POINTS // n_units)
    count = per_unit or min(int(np.clip(total // n_units, 5, 40)), most)
    known = known.sort("unit", "age", maintain_order=True)
    names, unit = np.unique(known["unit"].to_numpy(), return_inverse=True)
    number = _by_life(unit.reshape(-1), len(names), known, prediction)
    known = known.with_columns(_number=pl.Series(number[unit.reshape(-1)]))
    row, size = pl.int_range(pl.len()).over("unit"), pl.len().over("unit")
    taken = pl.min_horizontal(size, pl.lit(count))
    stretch = (row * taken) // size
    # The first two numbers of the additive sequence R₂: evenly spread over units and stretches.
    place = (0.5 + pl.col("_number") * 0.7548776662466927 + stretch * 0.5698402909980532) % 1.0
    # Rows r with ⌊r·k/N⌋ = j begin at ⌈j·N/k⌉.
    first = -((-stretch * size) // taken)
    last = -((-(stretch + 1) * size) // taken)
    wanted = first + ((last - first) * place).floor().cast(pl.Int64)
    chosen = known.with_columns(_rows=size / taken).filter(row == wanted)
    pred, spread, age = point_inputs(chosen, prediction, candidates)
    return EvaluationPoints(
        unit=chosen["_number"].to_numpy().astype(np.int64),
        fold=chosen["fold"].to_numpy().astype(np.int64),
        prediction=pred,
        spread=spread,
        age=age,
        y=np.maximum(chosen["_y"].to_numpy(), 0.0),
        event=chosen["_event"].to_numpy(),
        rows=chosen["_rows"].to_numpy().astype(np.float64),
        row=chosen["_row"].to_numpy().astype(np.int64),
    )


def _by_life(
    unit: npt.NDArray[np.int64], n_units: int, known: pl.DataFrame, prediction: str
) -> npt.NDArray[np.int64]:
    """Number of each unit by its life, so that what depends on the numbers is free of the names."""
    life = np.zeros(n_units)
    np.maximum.at(life, unit, known["age"].to_numpy() + known["_y"].to_numpy())
    ties = np.bincount(unit, weights=known[prediction].to_numpy(), minlength=n_units)
    number = np.empty(n_units, dtype=np.int64)
    number[np.lexsort((ties, life.astype(np.float32)))] = np.arange(n_units)
    return number

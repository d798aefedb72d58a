"""How a stacked preset combines the candidates of all folds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.candidates import EarlyShift, Stack
from grace.data.labels import LabelConfig

__all__ = ["MIN_ROWS_PER_UNIT", "fit_stack", "truncations"]

MIN_ROWS_PER_UNIT = 30  # evaluated per unit; fewer than ten of them lie in a tenth of the cap
_LARGEST_RUL = 1.25  # in caps: units in service with more life left need no prediction
_LEAST_SQUARES_FROM = 50  # units of known life; see benchmarks/any_fleet.py for fewer


def truncations(oof: pl.DataFrame, labels: LabelConfig) -> pl.DataFrame:
    """Rows with a known RUL of at most 1.25 caps, of which each unit's weigh the same in total.

    All rows of units that ran to failure have a large part of them far above the cap, where every
    candidate predicts the cap: that part says nothing about how to combine them.
    """
    rows = oof.filter(
        pl.col("rul_true").is_not_null(), pl.col("rul_true") <= _LARGEST_RUL * labels.cap
    )
    return rows.with_columns(weight=1.0 / pl.len().over("unit"))


def fit_stack(
    oof: pl.DataFrame, labels: LabelConfig
) -> tuple[Stack, EarlyShift, npt.NDArray[np.float64]]:
    """Weights of the candidates, and the shift of their stack, on out-of-fold predictions.

    Args:
        oof: a table of :func:`~grace.candidates.out_of_fold`.
        labels: cap of the RUL.

    Returns:
        The stack, the shift, and the shifted predictions of all rows of ``oof``, (M,): those of a
        fold by a shift learned from the other folds.

    Raises:
        DataError: no row has a known RUL.
    """
    rows = truncations(oof, labels)
    many = rows["unit"].n_unique() >= _LEAST_SQUARES_FROM
    stack = Stack("least_squares" if many else "errors").fit(rows)

    def fit_shift(rows: pl.DataFrame) -> EarlyShift:
        return EarlyShift().fit(
            _predict(stack, rows),
            rows["rul_capped"].to_numpy(),
            rows["weight"].to_numpy(),
            rows["fold"].to_numpy(),
            age=rows["age"].to_numpy(),
            cap=labels.cap,
        )

    mean, age, fold = _predict(stack, oof), oof["age"].to_numpy(), oof["fold"].to_numpy()
    shifted = np.empty(oof.height)
    for k in np.unique(fold):
        mine, others = fold == k, rows.filter(pl.col("fold") != k)
        shift = fit_shift(others if others.height else rows)
        shifted[mine] = shift.predict(mean[mine], age=age[mine])
    return stack, fit_shift(rows), shifted


def _predict(stack: Stack, rows: pl.DataFrame) -> npt.NDArray[np.float64]:
    return stack.predict({name: rows[name].to_numpy() for name in stack.used})

"""The prognostic metrics of :mod:`grace.evaluation.prognostics` over all units of a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from grace.evaluation.metrics import as_vector
from grace.evaluation.prognostics import (
    alpha_lambda_accuracy,
    convergence,
    cumulative_relative_accuracy,
    prognostic_horizon,
    relative_accuracy,
)

__all__ = ["PrognosticsSummary", "UnitSummary", "prognostics_by_unit", "prognostics_summary"]

LAMBDAS = (0.25, 0.5, 0.75)


def rows_of_units(unit: npt.ArrayLike) -> list[npt.NDArray[np.int64]]:
    """Row numbers of every unit in the order given, units in order of first appearance."""
    _, first, index = np.unique(
        np.asarray(unit).reshape(-1), return_index=True, return_inverse=True
    )
    order = np.argsort(index.reshape(-1), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(index.reshape(-1)))[:-1])
    return [parts[u] for u in np.argsort(first, kind="stable")]


def prognostics_by_unit(
    unit: npt.ArrayLike,
    time: npt.ArrayLike,
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    cap: float | None = None,
    alpha: float = 0.2,
    lambdas: Sequence[float] = LAMBDAS,
    horizon_alpha: float = 0.1,
    min_points: int = 5,
) -> dict[str, npt.NDArray[Any]]:
    """All metrics of every unit, as columns in order of first appearance.

    Only units observed to their failure (a last row with RUL 0) are evaluated: a truncated record
    lacks the part in which a horizon or a cone is left. The others get NaN.

    "horizon" is :func:`~grace.evaluation.prognostic_horizon` if it is longer than twice the half
    width of its band, else 0. "alpha_lambda_λ" is 1 if the prediction is inside the cone at t_λ
    and at t_(1+λ)/2. Neither gives credit to a constant prediction (see
    :mod:`grace.evaluation.prognostics`).

    Args:
        unit: unit of each row, (R,); a unit's rows in order of time.
        time: (R,).
        y_true: uncapped RUL, (R,); NaN where it is unknown.
        y_pred: predicted capped RUL, (R,).
        cap: label cap; rows with a larger true RUL are not evaluated.
        alpha: cone of the α-λ accuracy.
        lambdas: moments t_λ.
        horizon_alpha: band of the prognostic horizon, as a share of the unit's whole life.
        min_points: units with fewer evaluated rows get NaN everywhere.

    Returns:
        Columns (U,): "unit", "to_failure" (1 if the last row has RUL 0, NaN if the RUL is
        unknown), "horizon", "cra", "convergence", and for each λ "alpha_lambda_λ" and
        "relative_accuracy_λ".

    Raises:
        ValueError: sizes differ, times do not increase within a unit, or ``alpha`` is 1/3 or more.

    Example:
        >>> import numpy as np
        >>> rul = np.arange(100.0, -1.0, -1.0)
        >>> table = prognostics_by_unit(np.zeros(101), 100.0 - rul, rul, rul + 3.0)
        >>> table["horizon"], table["alpha_lambda_0.5"]
        (array([100.]), array([1.]))
        >>> table = prognostics_by_unit(np.zeros(101), 100.0 - rul, rul, np.full(101, 50.0))
        >>> table["horizon"], table["alpha_lambda_0.5"]
        (array([0.]), array([0.]))
    """
    if not 0.0 < alpha < 1.0 / 3.0:
        raise ValueError(f"alpha must lie in (0, 1/3), got {alpha}")
    ids, times = np.asarray(unit).reshape(-1), as_vector(time, "time")
    true, pred = np.asarray(y_true, np.float64).reshape(-1), as_vector(y_pred, "y_pred")
    if not ids.size == times.size == true.size == pred.size:
        raise ValueError("unit, time, y_true and y_pred must have one entry per row each")
    parts = rows_of_units(ids)
    keys = ["to_failure", "horizon", "cra", "convergence"]
    keys += [f"{m}_{lam:g}" for m in ("alpha_lambda", "relative_accuracy") for lam in lambdas]
    table: dict[str, Any] = {"unit": ids[[rows[0] for rows in parts]]}
    table |= {key: np.full(len(parts), np.nan) for key in keys}
    for u, rows in enumerate(parts):
        if np.isnan(true[rows]).any():
            continue
        table["to_failure"][u] = float(true[rows[-1]] == 0.0)
        life = times[rows[-1]] + true[rows[-1]] - times[rows[0]]
        if true[rows[-1]] > 0.0:
            continue
        evaluated = rows if cap is None else rows[true[rows] <= cap]
        if evaluated.size < min_points:
            continue
        args = (times[evaluated], true[evaluated], pred[evaluated])
        bound = horizon_alpha * life
        horizon = prognostic_horizon(*args, bound=bound)
        table["horizon"][u] = horizon if horizon > 2.0 * bound else 0.0
        table["cra"][u] = cumulative_relative_accuracy(*args)
        table["convergence"][u] = convergence(*args)
        for lam in lambdas:
            inside = [
                alpha_lambda_accuracy(*args, alpha=alpha, lam=moment)
                for moment in (lam, 0.5 * (1.0 + lam))
            ]
            table[f"alpha_lambda_{lam:g}"][u] = min(inside)
            table[f"relative_accuracy_{lam:g}"][u] = relative_accuracy(*args, lam=lam)
    return table


class UnitSummary(BaseModel):
    """Mean and median of a metric over the ``n`` units that carry it; None if there are none.

    Example:
        >>> UnitSummary(n=40, mean=61.5, median=64.0).median
        64.0
    """

    model_config = ConfigDict(frozen=True)

    n: int
    mean: float | None
    median: float | None


class PrognosticsSummary(BaseModel):
    """Prognostic metrics over units: ``n_units`` of known fate, ``n_to_failure`` of them evaluated.

    ``metrics`` maps the column names of :func:`prognostics_by_unit` to their summary; the mean of
    "alpha_lambda_0.5" is the share of units inside the cone at half of the evaluated life.
    ``units`` says which units these are.

    Example:
        >>> import numpy as np
        >>> rul = np.arange(100.0, -1.0, -1.0)
        >>> summary = prognostics_summary(np.zeros(101), 100.0 - rul, rul, rul + 3.0, cap=80.0)
        >>> summary.n_to_failure, summary.metrics["horizon"].mean
        (1, 80.0)
    """

    model_config = ConfigDict(frozen=True)

    n_units: int
    n_to_failure: int
    alpha: float
    horizon_alpha: float
    cap: float | None
    units: str = ""
    metrics: dict[str, UnitSummary]


def prognostics_summary(
    unit: npt.ArrayLike,
    time: npt.ArrayLike,
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    cap: float | None = None,
    alpha: float = 0.2,
    lambdas: Sequence[float] = LAMBDAS,
    horizon_alpha: float = 0.1,
    min_points: int = 5,
    units: str = "",
) -> PrognosticsSummary:
    """Mean and median over units of :func:`prognostics_by_unit`; arguments and errors as there.

    ``units`` describes the units, for reports.

    Example:
        >>> import numpy as np
        >>> rul = np.arange(100.0, -1.0, -1.0)
        >>> summary = prognostics_summary(np.zeros(101), 100.0 - rul, rul, rul + 3.0)
        >>> summary.metrics["horizon"].mean, summary.metrics["alpha_lambda_0.5"].mean
        (100.0, 1.0)
    """
    table = prognostics_by_unit(
        unit,
        time,
        y_true,
        y_pred,
        cap=cap,
        alpha=alpha,
        lambdas=lambdas,
        horizon_alpha=horizon_alpha,
        min_points=min_points,
    )
    known = table["to_failure"][~np.isnan(table["to_failure"])]
    metrics = {}
    for key, column in table.items():
        if key in ("unit", "to_failure"):
            continue
        values = column[~np.isnan(column)]
        metrics[key] = UnitSummary(
            n=values.size,
            mean=float(values.mean()) if values.size else None,
            median=float(np.median(values)) if values.size else None,
        )
    return PrognosticsSummary(
        n_units=known.size,
        n_to_failure=int(known.sum()),
        alpha=alpha,
        horizon_alpha=horizon_alpha,
        cap=cap,
        units=units,
        metrics=metrics,
    )

"""Prognostic metrics of Saxena et al.: how early, how steadily and how accurately RUL is predicted.

Sources: Saxena, Celaya, Balaban, Goebel, Saha, Saha, Schwabacher, *Metrics for evaluating
performance of prognostic techniques*, PHM 2008 [S08]; Saxena, Celaya, Saha, Saha, Goebel, *Metrics
for offline evaluation of prognostic performance*, IJPHM 1(1), 2010 [S10]. In their notation: t_P
time of the first prediction, t_EoL end of life, r* true RUL, r predicted RUL, t_λ = t_P +
λ (t_EoL - t_P). Known differences to the originals, for all metrics:

* Predictions are single numbers, so the criterion "at least β of the predicted distribution lies
  in the band" becomes "the prediction lies in the band".
* A trajectory may end before the failure if the true RUL is known. What happens between its last
  row and the failure is then not evaluated, so that a prediction which has not failed *yet* scores:
  over a fleet (:func:`~grace.evaluation.prognostics_by_unit`) only units observed to their failure
  are evaluated.
* A predictor of *capped* RUL says nothing above the cap: over a fleet
  t_P is the first row with a true RUL <= cap.
* Over a fleet two rules keep a constant prediction from scoring. Inside a band of ±b a constant
  stays for the last 2b of a life, so a horizon of 2b or less counts as 0. A constant lies in the
  α-λ cone at one moment, so the prediction must lie in it at t_λ and again when half of the time
  then left has passed; for α < 1/3 no constant does both.
* [S10] numbers its equations; only its names are given here, as the numbers were not at hand.
* Where the trajectory does not carry the metric, the value is NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from grace.evaluation.metrics import Array, as_vector

__all__ = [
    "alpha_lambda_accuracy",
    "convergence",
    "cumulative_relative_accuracy",
    "prognostic_horizon",
    "relative_accuracy",
]


def _trajectory(
    time: npt.ArrayLike, y_true: npt.ArrayLike, y_pred: npt.ArrayLike
) -> tuple[Array, Array, Array]:
    t, true, pred = (
        as_vector(time, "time"),
        as_vector(y_true, "y_true"),
        as_vector(y_pred, "y_pred"),
    )
    if not t.size == true.size == pred.size:
        raise ValueError(f"time, y_true, y_pred have {t.size}, {true.size}, {pred.size} entries")
    if (np.diff(t) <= 0).any():
        raise ValueError("time must increase strictly within a unit")
    if true.min() < 0:
        raise ValueError("y_true must not be negative")
    return t, true, pred


def _at_lambda(t: Array, true: Array, lam: float) -> int | None:
    """First row at or after t_λ; None if the trajectory starts after or ends before it."""
    if not 0.0 <= lam < 1.0:
        raise ValueError(f"lam must lie in [0, 1), got {lam}")
    moment = t[0] + lam * (t[-1] + true[-1] - t[0])
    row = int(np.searchsorted(t, moment - 1e-9 * max(1.0, abs(moment))))
    return row if row < t.size else None


def prognostic_horizon(
    time: npt.ArrayLike,
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    alpha: float = 0.1,
    bound: float | None = None,
    min_points: int = 2,
) -> float:
    """Time before the end of life from which on the prediction stays in a band of fixed width.

    PH = t_EoL - t_i, i the first row from which on |r - r*| <= bound at every later row ([S10],
    "Prognostic Horizon"). There the band is ±α·t_EoL, t counted from the start of the unit's life;
    here ``bound`` if given, else α times the life the trajectory covers (t_EoL - t_P), which is
    the same for a trajectory that starts with the unit. [S10] takes the first row that is in the
    band; a horizon that is left again is no horizon, so later rows must stay in.

    Args:
        time: times of one unit, strictly increasing, (n,).
        y_true: true uncapped RUL in the unit of ``time``, (n,).
        y_pred: predicted RUL, (n,).
        alpha: half width of the band as a share of life.
        bound: half width in the unit of ``time``, instead of ``alpha``.
        min_points: fewer rows than this give NaN.

    Returns:
        PH in the unit of ``time``; 0 if the last prediction is outside the band; NaN.

    Raises:
        ValueError: sizes differ, times do not increase, or a negative or non-finite value.

    Example:
        >>> import numpy as np
        >>> time = np.arange(0.0, 101.0, 10.0)
        >>> rul = 100.0 - time
        >>> predicted = np.where(time < 40, rul + 30.0, rul + 5.0)  # near the truth from 40 on
        >>> prognostic_horizon(time, rul, predicted, alpha=0.1)
        60.0
    """
    t, true, pred = _trajectory(time, y_true, y_pred)
    if t.size < min_points:
        return float("nan")
    end = t[-1] + true[-1]
    half = alpha * (end - t[0]) if bound is None else bound
    outside = np.flatnonzero(np.abs(pred - true) > half)
    first = 0 if outside.size == 0 else int(outside[-1]) + 1
    return 0.0 if first == t.size else float(end - t[first])


def alpha_lambda_accuracy(
    time: npt.ArrayLike,
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    alpha: float = 0.2,
    lam: float = 0.5,
) -> float:
    """Whether the prediction at t_λ lies in the cone around the true RUL: 1, 0 or NaN.

    1 if (1-α) r* <= r <= (1+α) r* at the first row at or after t_λ ([S10], "α-λ Performance").
    The cone narrows with r*, unlike the band of :func:`prognostic_horizon`. NaN if the trajectory
    ends before t_λ. Arguments and errors as there; ``lam`` in [0, 1).

    Example:
        >>> import numpy as np
        >>> time = np.arange(0.0, 101.0, 10.0)
        >>> rul = 100.0 - time
        >>> alpha_lambda_accuracy(time, rul, 1.1 * rul, lam=0.5, alpha=0.2)
        1.0
        >>> alpha_lambda_accuracy(time, rul, 1.3 * rul, lam=0.5, alpha=0.2)
        0.0
    """
    t, true, pred = _trajectory(time, y_true, y_pred)
    row = _at_lambda(t, true, lam)
    if row is None:
        return float("nan")
    slack = 1e-9 * max(1.0, true[row])
    return float(abs(pred[row] - true[row]) <= alpha * true[row] + slack)


def relative_accuracy(
    time: npt.ArrayLike, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, lam: float = 0.5
) -> float:
    """RA_λ = 1 - |r* - r| / r* at the first row at or after t_λ ([S10], "Relative Accuracy").

    1 is perfect; there is no lower limit. NaN if the trajectory ends before t_λ or r* is 0 there.
    Arguments and errors as in :func:`prognostic_horizon`; ``lam`` in [0, 1).

    Example:
        >>> import numpy as np
        >>> time = np.arange(0.0, 101.0, 10.0)
        >>> rul = 100.0 - time
        >>> relative_accuracy(time, rul, rul + 5.0, lam=0.5)  # 5 of 50 wrong
        0.9
    """
    t, true, pred = _trajectory(time, y_true, y_pred)
    row = _at_lambda(t, true, lam)
    if row is None or true[row] == 0.0:
        return float("nan")
    return float(1.0 - abs(true[row] - pred[row]) / true[row])


def cumulative_relative_accuracy(
    time: npt.ArrayLike, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, min_points: int = 2
) -> float:
    """Mean relative accuracy over all rows with r* > 0 ([S10], "Cumulative Relative Accuracy").

    CRA = (1/|p|) Σ_{i in p} w_i RA_i with w = 1. The last rows before the failure divide by a small
    r* and can outweigh all others. NaN with fewer than ``min_points`` such rows. Arguments and
    errors as in :func:`prognostic_horizon`.

    Example:
        >>> import numpy as np
        >>> time = np.arange(0.0, 101.0, 10.0)
        >>> rul = 100.0 - time
        >>> round(cumulative_relative_accuracy(time, rul, 0.9 * rul), 3)
        0.9
    """
    _, true, pred = _trajectory(time, y_true, y_pred)
    alive = true > 0.0
    if alive.sum() < min_points:
        return float("nan")
    return float(np.mean(1.0 - np.abs(true - pred)[alive] / true[alive]))


def convergence(
    time: npt.ArrayLike, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, min_points: int = 3
) -> float:
    """How soon the absolute error falls: distance of its centroid from (t_P, 0); less is faster.

    C = √((x_c - t_P)² + y_c²), (x_c, y_c) the centre of the area under M(t) = |r - r*|, held
    constant from row to row: x_c = ½ Σ (t²_{i+1} - t²_i) M_i / A, y_c = ½ Σ (t_{i+1} - t_i) M_i² /
    A, A = Σ (t_{i+1} - t_i) M_i ([S08], [S10], "Convergence"). In the unit of ``time``. An error
    of zero throughout has no centre and has converged from the start: 0. NaN with fewer than
    ``min_points`` rows. Arguments and errors as in :func:`prognostic_horizon`.

    Example:
        >>> import numpy as np
        >>> time = np.arange(0.0, 101.0, 10.0)
        >>> rul = 100.0 - time
        >>> steady, improving = rul + 10.0, rul + 0.2 * rul
        >>> convergence(time, rul, improving) < convergence(time, rul, steady)
        True
    """
    t, true, pred = _trajectory(time, y_true, y_pred)
    if t.size < min_points:
        return float("nan")
    m, since = np.abs(pred - true)[:-1], t - t[0]
    step = np.diff(since)
    area = float(np.sum(step * m))
    if area == 0.0:
        return 0.0
    x = 0.5 * float(np.sum(np.diff(since**2) * m)) / area
    y = 0.5 * float(np.sum(step * m**2)) / area
    return float(np.hypot(x, y))

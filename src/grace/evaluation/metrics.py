"""Point metrics of remaining useful life, on plain arrays.

The error is ``d = y_pred - y_true`` throughout: positive means *late* (the unit fails
before the prediction says), negative means early. All values are in the unit of time of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PlainSerializer

__all__ = [
    "ZONE_EDGES",
    "ZoneError",
    "bias",
    "error_by_zone",
    "late_share",
    "mae",
    "nasa_mean",
    "nasa_score",
    "rmse",
]

Array = npt.NDArray[np.float64]
# JSON knows no infinity: it is written as a string, which pydantic reads back as the number.
JsonFloat = Annotated[
    float, PlainSerializer(lambda x: x if np.isfinite(x) else str(x), when_used="json")
]
ZONE_EDGES = (0.0, 20.0, 50.0, 80.0, 125.0)


def as_vector(values: npt.ArrayLike, name: str) -> Array:
    """Flatten (B,) or (B, 1) to a float64 vector (B,).

    Raises:
        ValueError: another shape, no entry, or a NaN or infinite entry.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise ValueError(f"{name} must have shape (B,) or (B, 1), got {array.shape}")
    array = array.reshape(-1)
    if array.size == 0:
        raise ValueError(f"{name} is empty: there is nothing to evaluate")
    if not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, but {name}[{where}] is {array[where]}")
    return array


def errors(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> Array:
    """Prediction minus truth, (B,).

    Both arguments may be (B,) or (B, 1); they are flattened first, so that no (B, B) matrix can
    come about by broadcasting.

    Raises:
        ValueError: sizes differ, or an argument is empty, not finite or of another shape.
    """
    true, pred = as_vector(y_true, "y_true"), as_vector(y_pred, "y_pred")
    if true.size != pred.size:
        raise ValueError(f"y_true has {true.size} entries and y_pred has {pred.size}")
    return pred - true


def nasa_terms(d: npt.ArrayLike) -> Array:
    """The NASA score of each error, same shape: exp(-d/13)-1 if d < 0, exp(d/10)-1 if d >= 0.

    Nothing is clipped: an error beyond 7097 late (9227 early) has a score larger than any float
    and is reported as ``inf``, without a warning.
    """
    d = np.asarray(d, dtype=np.float64)
    with np.errstate(over="ignore"):
        return np.asarray(np.expm1(np.where(d < 0, -d / 13.0, d / 10.0)))


class UnitMetric(NamedTuple):
    """A metric that is a function of a sum over rows and of the number of rows.

    ``term`` maps errors (B,) to terms (B,); ``combine`` maps sums and counts of any common shape
    to values; ``least`` and ``most`` bound the mean term. Because sums over units add up,
    such a metric is resampled by unit at the cost of one sum per unit, however many rows it has.
    """

    term: Callable[[Array], Array]
    combine: Callable[[Any, Any], Any]
    least: float = 0.0
    most: float = np.inf


def _mean(total: Any, n: Any) -> Any:
    return total / n


UNIT_METRICS: dict[str, UnitMetric] = {
    "rmse": UnitMetric(np.square, lambda total, n: np.sqrt(total / n)),
    "mae": UnitMetric(np.abs, _mean),
    "bias": UnitMetric(lambda d: d, _mean, least=-np.inf),
    "nasa_sum": UnitMetric(nasa_terms, lambda total, n: total),
    "nasa_mean": UnitMetric(nasa_terms, _mean),
    "late_share": UnitMetric(lambda d: (d > 0).astype(np.float64), _mean, most=1.0),
}


def _value(name: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    d = errors(y_true, y_pred)
    metric = UNIT_METRICS[name]
    return float(metric.combine(metric.term(d).sum(), d.size))


def rmse(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Root mean squared error over all entries at once (never a mean over batches).

    Args:
        y_true: true RUL, (B,) or (B, 1).
        y_pred: predicted RUL, (B,) or (B, 1).

    Raises:
        ValueError: sizes differ, or an argument is empty, not finite or of another shape.

    Example:
        >>> rmse([10, 30, 60], [15, 26, 68])
        5.916079783099616
    """
    return _value("rmse", y_true, y_pred)


def mae(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Mean absolute error; arguments and errors as in :func:`rmse`.

    Example:
        >>> mae([10, 30, 60], [15, 26, 71])
        6.666666666666667
    """
    return _value("mae", y_true, y_pred)


def bias(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Mean error, positive if late on average; arguments and errors as in :func:`rmse`.

    Example:
        >>> bias([10, 30, 60], [15, 26, 71])
        4.0
    """
    return _value("bias", y_true, y_pred)


def nasa_score(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Sum of the asymmetric PHM08 score: exp(-d/13)-1 if d < 0, exp(d/10)-1 if d >= 0.

    Source: Saxena, Goebel, Simon, Eklund, *Damage propagation modeling for aircraft engine
    run-to-failure simulation*, PHM 2008. The constants 13 and 10 are in cycles, and the sum grows
    with the number of entries: compare it only over the same units. ``inf`` if it exceeds the
    largest float (see :func:`nasa_terms`). Arguments and errors as in :func:`rmse`.

    Example:
        >>> early, late = nasa_score([50], [40]), nasa_score([50], [60])
        >>> round(early, 3), round(late, 3)
        (1.158, 1.718)
    """
    return _value("nasa_sum", y_true, y_pred)


def nasa_mean(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """:func:`nasa_score` divided by the number of entries; arguments as in :func:`rmse`.

    Example:
        >>> round(nasa_mean([50, 50], [40, 60]), 3)
        1.438
    """
    return _value("nasa_mean", y_true, y_pred)


def late_share(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Share of entries with d > 0, in [0, 1]; arguments and errors as in :func:`rmse`.

    Example:
        >>> late_share([10, 30, 60, 90], [15, 26, 68, 80])
        0.5
    """
    return _value("late_share", y_true, y_pred)


class ZoneError(BaseModel):
    """Errors of the entries whose true RUL lies in one zone; values are None if there are none.

    ``upper`` is None for the last zone, which is open upwards.

    Example:
        >>> zone = error_by_zone([10, 30, 60], [15, 26, 71])[0]
        >>> zone.zone, zone.n, zone.rmse, zone.late_share
        ('[0, 20]', 1, 5.0, 1.0)
    """

    model_config = ConfigDict(frozen=True)

    zone: str
    lower: float
    upper: float | None
    n: int
    rmse: float | None
    bias: float | None
    mae: float | None
    late_share: float | None


def error_by_zone(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, edges: Sequence[float] = ZONE_EDGES
) -> list[ZoneError]:
    """Error by zone of true RUL, from the failure upwards.

    Edges (0, 20, 50, 80, 125) give the zones [0, 20], (20, 50], (50, 80], (80, 125) and
    [125, ∞): the last edge is the label cap, and what lies at the cap is a zone of its own. Every
    entry is in exactly one zone, so Σ n·rmse² over zones is the sum of squares over all.

    Raises:
        ValueError: edges do not ascend, a true RUL is below the first, or as in :func:`rmse`.

    Example:
        >>> for zone in error_by_zone([10, 30, 60, 125], [15, 26, 71, 120]):
        ...     print(zone.zone, zone.n, zone.rmse)
        [0, 20] 1 5.0
        (20, 50] 1 4.0
        (50, 80] 1 11.0
        (80, 125) 0 None
        ≥ 125 1 5.0
    """
    bounds = np.asarray(edges, dtype=np.float64)
    if bounds.ndim != 1 or bounds.size < 2 or (np.diff(bounds) <= 0).any():
        raise ValueError(f"edges must ascend and be at least two, got {tuple(edges)}")
    d, true = errors(y_true, y_pred), as_vector(y_true, "y_true")
    if true.min() < bounds[0]:
        raise ValueError(f"y_true has {true.min():g}, below the first edge {bounds[0]:g}")
    index = np.searchsorted(bounds[1:-1], true, side="left")
    index[true >= bounds[-1]] = bounds.size - 1
    rows = []
    for k, lower in enumerate(bounds):
        upper = None if k == bounds.size - 1 else float(bounds[k + 1])
        if upper is None:
            zone = f"≥ {lower:g}"
        else:
            zone = f"{'[' if k == 0 else '('}{lower:g}, {upper:g}"
            zone += ")" if k == bounds.size - 2 else "]"
        part = d[index == k]
        values = {
            name: float(UNIT_METRICS[name].combine(UNIT_METRICS[name].term(part).sum(), part.size))
            if part.size
            else None
            for name in ("rmse", "bias", "mae", "late_share")
        }
        rows.append(ZoneError(zone=zone, lower=float(lower), upper=upper, n=part.size, **values))
    return rows

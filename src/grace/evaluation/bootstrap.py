"""Confidence intervals by resampling units: units are independent, rows of one unit are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from grace.evaluation.metrics import UNIT_METRICS, Array, JsonFloat, as_vector, errors

__all__ = ["RELIABLE_FROM", "Interval", "bootstrap_interval", "bootstrap_intervals"]

Metric = Callable[[Array, Array], float]
_NEGLIGIBLE = 1e-12  # rounding of sums of terms scaled to 1
_CELLS = 2**20  # resamples x units held at a time: 8 MB per array
# Units from which on the measured coverage of a nominal 95% interval is at least 0.92 for every
# error distribution of benchmarks/interval_coverage.py; None: for no number of units measured.
RELIABLE_FROM: dict[str, int | None] = {
    "rmse": 20, "mae": 20, "bias": 20, "nasa_sum": None, "nasa_mean": None, "late_share": 20,
}  # fmt: skip


class Interval(BaseModel):
    """A confidence interval of a figure, in the figure's own unit.

    ``note`` is empty, or says why the interval covers less often than ``level``.

    Example:
        >>> interval = Interval(low=9.2, high=13.6, level=0.95)
        >>> interval.low <= 10.8 <= interval.high
        True
    """

    model_config = ConfigDict(frozen=True)

    low: JsonFloat
    high: JsonFloat
    level: float = 0.95
    note: str = ""


def coverage_note(metric: str, n_units: int) -> str:
    """Why an interval of ``metric`` over so many units is too short; "" if it is not."""
    if metric not in RELIABLE_FROM:
        return "the coverage of intervals of this metric was not measured"
    least = RELIABLE_FROM[metric]
    if least is None:
        return (
            "a few units dominate the sum, so the interval covers less often than its nominal "
            "level, above all too low at its upper end"
        )
    if n_units < least:
        return f"{n_units} units; the nominal level is reached from about {least} units on"
    return ""


def unit_index(unit: npt.ArrayLike | None, n: int) -> tuple[npt.NDArray[np.int64], int]:
    """Number the units of n rows 0..U-1: indices (n,) and U. None: every row is its own unit.

    Raises:
        ValueError: ``unit`` has not n entries, or there are fewer than two units.
    """
    if unit is None:
        index, size = np.arange(n), n
    else:
        names, index = np.unique(np.asarray(unit).reshape(-1), return_inverse=True)
        size = names.size
        if index.size != n:
            raise ValueError(f"unit has {index.size} entries, the predictions have {n}")
    if size < 2:
        raise ValueError("an interval over units needs at least two units")
    return index.reshape(-1).astype(np.int64), size


def draws(n_units: int, n_resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Numbers of the units drawn, in chunks (b, U) of bounded size."""
    rng, done = np.random.default_rng(seed), 0
    while done < n_resamples:
        b = min(max(1, _CELLS // n_units), n_resamples - done)
        yield rng.integers(0, n_units, size=(b, n_units))
        done += b


def resampled_moments(data: Array, n_resamples: int, seed: int) -> tuple[Array, Array]:
    """Sums (R, P) and raw second moments (R, P, P) of resampled rows of ``data`` (U, P).

    O(U) memory and O(R·U) time: a resample enters only by how often each unit was drawn.
    """
    n, p = data.shape
    products = (data[:, :, None] * data[:, None, :]).reshape(n, p * p)
    columns = np.concatenate([data, products], axis=1)
    parts = []
    for drawn in draws(n, n_resamples, seed):
        b = len(drawn)
        flat = (drawn + n * np.arange(b)[:, None]).reshape(-1)
        counts = np.bincount(flat, minlength=b * n).reshape(b, n)
        parts.append(counts.astype(np.float64) @ columns)
    moments = np.concatenate(parts)
    return moments[:, :p], moments[:, p:].reshape(-1, p, p)


def studentised(
    value: Callable[[Array], Array],
    gradient: Callable[[Array], Array],
    data: Array,
    moments: tuple[Array, Array],
    level: float,
) -> tuple[float, float]:
    """Bootstrap-t limits of a function of sums over units.

    T = (f(S*) − f(S)) / se*, limits f(S) − se · q(T): Efron and Tibshirani, *An Introduction to
    the Bootstrap*, 1993, section 12.5. The standard error is that of the linearised function,
    se² = U/(U−1) · ∇fᵀ (Σ x xᵀ − S Sᵀ/U) ∇f, x the U rows of ``data``.

    Args:
        value: f, from sums (..., P) to (...).
        gradient: ∇f, from sums (..., P) to (..., P).
        data: what is summed, (U, P), totals scaled to a largest value of 1.
        moments: of :func:`resampled_moments`.
        level: nominal coverage.
    """
    n = len(data)

    def error(sums: Array, squares: Array) -> Array:
        centred = squares - sums[..., :, None] * sums[..., None, :] / n
        slope = gradient(sums)
        variance = np.einsum("...i,...ij,...j->...", slope, centred, slope)
        return np.asarray(np.sqrt(np.maximum(variance, 0.0) * n / (n - 1)))

    with np.errstate(all="ignore"):
        sums = data.sum(axis=0)
        best, residuals = float(value(sums)), data @ gradient(sums)
        spread = float(np.sqrt(n / (n - 1) * np.sum((residuals - residuals.mean()) ** 2)))
        drawn, spreads = np.asarray(value(moments[0])), error(*moments)
        # A resample of one unit drawn throughout has no spread, and no T.
        usable = spreads > 1e-9 * spread
        t = ((drawn - best) / spreads)[usable]
    t = t[np.isfinite(t)]
    if spread <= _NEGLIGIBLE or t.size == 0:
        best = best if abs(best) > _NEGLIGIBLE else 0.0
        return best, best
    tail = (1.0 - level) / 2.0
    below, above = np.quantile(t, [tail, 1.0 - tail])
    return best - spread * float(max(above, 0.0)), best - spread * float(min(below, 0.0))


def bootstrap_intervals(
    metrics: Sequence[str],
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    unit: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of several metrics from one set of resamples; see :func:`bootstrap_interval`.

    Raises:
        ValueError: as there.

    Example:
        >>> import numpy as np
        >>> true = np.linspace(5, 120, 60)
        >>> predicted = true + np.tile([6.0, -3.0], 30)
        >>> intervals = bootstrap_intervals(["mae", "rmse"], true, predicted, seed=0)
        >>> {name: interval.low < interval.high for name, interval in intervals.items()}
        {'mae': True, 'rmse': True}
    """
    unknown = [name for name in metrics if name not in UNIT_METRICS]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}; known: {', '.join(UNIT_METRICS)}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    d = errors(y_true, y_pred)
    index, size = unit_index(unit, d.size)
    counts = np.bincount(index, minlength=size).astype(np.float64)
    terms = {UNIT_METRICS[name].term: None for name in metrics}
    columns, scales = [], {}
    for term in terms:
        totals = np.bincount(index, weights=term(d), minlength=size)
        if not np.isfinite(totals).all():
            name = next(n for n in metrics if UNIT_METRICS[n].term is term)
            raise ValueError(f"{name} is not finite: no interval can be given")
        scales[term] = (
            float(np.abs(totals).max()) or 1.0
        )  # squares of large terms must not overflow
        columns.append(totals / scales[term])
    data = np.stack([*columns, counts], axis=1)
    moments = resampled_moments(data, n_resamples, seed)
    limits = {}
    for k, term in enumerate(terms):
        pair = [k, data.shape[1] - 1]
        part = (moments[0][:, pair], moments[1][:, pair][:, :, pair])
        low, high = studentised(mean_of, mean_gradient, data[:, pair], part, level)
        limits[term] = (low * scales[term], high * scales[term])
    made = {}
    for name in metrics:
        metric = UNIT_METRICS[name]
        low, high = (
            float(metric.combine(min(max(v, metric.least), metric.most) * d.size, d.size))
            for v in limits[metric.term]
        )
        note = coverage_note(name, size)
        made[name] = Interval(low=low, high=high, level=level, note=note)
    return made


def mean_interval(
    totals: Array, counts: Array, *, level: float, n_resamples: int, seed: int
) -> Interval:
    """Bootstrap-t interval of Σ totals / Σ counts over units, (U,) each."""
    scale = float(np.abs(totals).max()) or 1.0
    data = np.stack([totals / scale, counts], axis=1)
    moments = resampled_moments(data, n_resamples, seed)
    low, high = studentised(mean_of, mean_gradient, data, moments, level)
    return Interval(low=low * scale, high=high * scale, level=level)


def mean_of(sums: Array) -> Array:
    """Total divided by rows, from sums (..., 2)."""
    return np.asarray(sums[..., 0] / sums[..., 1])


def mean_gradient(sums: Array) -> Array:
    """Gradient of :func:`mean_of`."""
    total, n = sums[..., 0], sums[..., 1]
    return np.stack([1.0 / n, -total / n**2], axis=-1)


def bootstrap_interval(
    metric: str | Metric,
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    unit: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int,
) -> Interval:
    """Confidence interval of a metric over units.

    Units are drawn with replacement and bring all their rows (a cluster bootstrap); with one row
    per unit this is the ordinary bootstrap. The interval says how far the figure would move with
    other units of the same kind. It says nothing about other training seeds.

    Named metrics get a studentised interval (bootstrap-t) of the mean term, in O(units) memory.
    ``benchmarks/interval_coverage.py`` measures its coverage; docs/evaluation.md shows the table.
    Where it is below the nominal level (the NASA score, RMSE over few units), ``note`` says so.

    Args:
        metric: "rmse", "mae", "bias", "nasa_sum", "nasa_mean" or "late_share", or any function of
            (y_true, y_pred), which is called once per resample and gets a percentile interval.
        y_true: true RUL, (B,) or (B, 1).
        y_pred: predicted RUL, (B,) or (B, 1).
        unit: unit of each row, (B,); None: every row is a unit of its own.
        level: nominal coverage, in (0, 1).
        n_resamples: number of resamples.
        seed: seed of the resampling.

    Raises:
        ValueError: sizes differ, fewer than two units, an unknown metric name, or the metric is
            not finite on the data as they are.

    Example:
        >>> import numpy as np
        >>> true = np.linspace(5, 120, 60)
        >>> interval = bootstrap_interval("mae", true, true + np.tile([6.0, -3.0], 30), seed=0)
        >>> interval.low < 4.5 < interval.high
        True
    """
    if isinstance(metric, str):
        options = {"unit": unit, "level": level, "n_resamples": n_resamples, "seed": seed}
        return bootstrap_intervals([metric], y_true, y_pred, **options)[metric]  # type: ignore[arg-type]
    true, pred = as_vector(y_true, "y_true"), as_vector(y_pred, "y_pred")
    index, size = unit_index(unit, errors(true, pred).size)
    rows = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    if not np.isfinite(metric(true, pred)):
        raise ValueError("the metric is not finite: no interval can be given")
    values = []
    for chunk in draws(size, n_resamples, seed):
        for drawn in chunk:
            chosen = np.concatenate([rows[u] for u in drawn])
            values.append(metric(true[chosen], pred[chosen]))
    low, high = np.quantile(values, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(low=float(low), high=float(high), level=level, note=coverage_note("", size))

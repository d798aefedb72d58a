"""How well each channel shows degradation: monotonicity, trendability, prognosability."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.conditions import OperatingConditions
from grace.data.fleet import Fleet

__all__ = ["trend_metrics"]

Array = npt.NDArray[np.float64]
_POINTS = 50  # each life is reduced to so many means, so that noise and sampling do not count
_PAIRS = 2000


def trend_metrics(fleet: Fleet, *, seed: int = 0) -> pl.DataFrame:
    """Suitability of channels as prognostic parameters, each from 0 to 1.

    Values are taken relative to the mean of their operating condition, in standard deviations of
    it. Every life is reduced to at most 50 means of equal stretches of time. *Monotonicity* is the
    mean over units of |rises − falls| / (points − 1). *Trendability* is the mean absolute
    correlation between pairs of units over relative life (of the smallest tenth of the pairs, a
    robust minimum). *Prognosability* is exp(−s/m): s the standard deviation of the last values of
    the units that failed, m the mean absolute change from first to last value. Source: Coble and
    Hines, Identifying Optimal Prognostic Parameters from Data, PHM 2009.

    Args:
        fleet: units that failed are used; without any, all units, and prognosability is null.
        seed: which pairs are compared, where there are more than 2,000.

    Returns:
        ``channel``, ``monotonicity``, ``trendability``, ``prognosability``; null where a channel
        has too few values; the most telling channels first.

    Example:
        >>> import grace
        >>> fleet = grace.load_dataset("sim", n_train=6, n_test=2).train
        >>> trend_metrics(fleet).columns
        ['channel', 'monotonicity', 'trendability', 'prognosability']
    """
    failed = fleet.units["failed"].to_numpy().astype(bool)
    used = np.flatnonzero(failed) if failed.any() else np.arange(fleet.n_units)
    starts, lengths, times = fleet.starts(), fleet.lengths(), fleet.times()
    rng = np.random.default_rng(seed)
    condition = _conditions(fleet)
    rows = []
    for name in fleet.schema.sensors:
        values = _within_conditions(fleet.values([name])[:, 0], condition)
        curves = [
            _means(
                values[starts[u] : starts[u] + lengths[u]],
                times[starts[u] : starts[u] + lengths[u]],
            )
            for u in used
        ]
        rows.append(
            {
                "channel": name,
                "monotonicity": _monotonicity(curves),
                "trendability": _trendability(curves, rng),
                "prognosability": _prognosability(curves) if failed.any() else None,
            }
        )
    frame = pl.DataFrame(
        rows,
        schema={"channel": pl.String, "monotonicity": pl.Float64, "trendability": pl.Float64,
                "prognosability": pl.Float64},
    )  # fmt: skip
    score = pl.sum_horizontal(pl.exclude("channel").fill_null(0.0))
    return frame.sort(score, descending=True, maintain_order=True)


def _conditions(fleet: Fleet) -> npt.NDArray[np.int64]:
    """Operating condition of each row; all 0 where settings are absent, continuous or missing."""
    settings = fleet.values(fleet.schema.settings)
    if not settings.shape[1] or not np.isfinite(settings).all():
        return np.zeros(fleet.n_rows, dtype=np.int64)
    labels, _ = OperatingConditions("auto").fit(settings).assign(settings)
    return np.asarray(labels, dtype=np.int64)


def _within_conditions(values: Array, condition: npt.NDArray[np.int64]) -> Array:
    if not condition.any():
        return values
    out = np.full(values.shape, np.nan)
    for c in np.unique(condition):
        mine = (condition == c) & np.isfinite(values)
        if mine.any():
            spread = float(values[mine].std())
            out[mine] = (values[mine] - values[mine].mean()) / (spread if spread > 0 else 1.0)
    return out


def _means(values: Array, times: Array) -> Array:
    """Means over equal stretches of the unit's record, (n,), n up to 50, without empty ones."""
    known = np.isfinite(values)
    if known.sum() < 3:
        return np.empty(0)
    count = min(_POINTS, int(known.sum()))
    span = times[-1] - times[0]
    place = (times - times[0]) / span if span > 0 else np.linspace(0, 1, times.size)
    stretch = np.minimum((place * count).astype(np.int64), count - 1)[known]
    total = np.bincount(stretch, weights=values[known], minlength=count)
    number = np.bincount(stretch, minlength=count)
    return np.asarray(total[number > 0] / number[number > 0])


def _monotonicity(curves: list[Array]) -> float | None:
    found = [
        abs(int((np.diff(c) > 0).sum()) - int((np.diff(c) < 0).sum())) / (c.size - 1)
        for c in curves
        if c.size > 2
    ]
    return float(np.mean(found)) if found else None


def _trendability(curves: list[Array], rng: np.random.Generator) -> float | None:
    grid = np.linspace(0.0, 1.0, _POINTS)
    usable = [c for c in curves if c.size > 2]
    if len(usable) < 2:
        return None
    table = np.stack([np.interp(grid, np.linspace(0, 1, c.size), c) for c in usable])
    table = table - table.mean(axis=1, keepdims=True)
    size = np.sqrt((table**2).sum(axis=1, keepdims=True))
    table = np.divide(table, size, out=np.zeros_like(table), where=size > 1e-12)
    n = len(table)
    first, second = np.triu_indices(n, 1)
    if first.size > _PAIRS:
        kept = rng.choice(first.size, _PAIRS, replace=False)
        first, second = first[kept], second[kept]
    correlation = np.abs((table[first] * table[second]).sum(axis=1))
    lowest = np.sort(correlation)[: max(1, correlation.size // 10)]
    return float(np.clip(lowest.mean(), 0.0, 1.0))


def _prognosability(curves: list[Array]) -> float | None:
    usable = [c for c in curves if c.size > 2]
    if len(usable) < 2:
        return None
    first, last = (np.array([c[k] for c in usable]) for k in (0, -1))
    change = float(np.abs(last - first).mean())
    return float(np.exp(-last.std(ddof=1) / change)) if change > 0 else 0.0

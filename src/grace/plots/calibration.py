"""Calibration of a predictive distribution: coverage, reliability and PIT."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy import stats

from grace.formatting import percent
from grace.plots.canvas import Array, TableLike, as_frame, canvas, floats
from grace.plots.style import INK, MODEL, REFERENCE, legend_above
from grace.plots.zones import zone_names

__all__ = ["coverage_by_zone", "pit_histogram", "reliability_curve", "sample_pit", "sample_risk"]


def coverage_by_zone(
    data: TableLike,
    ax: Axes | None = None,
    *,
    nominal: float = 0.9,
    level: float = 0.95,
    time_unit: str = "cycles",
    what: str = "predicted RUL",
) -> Axes:
    """Observed coverage of prediction intervals by zone, with binomial intervals.

    Args:
        data: one row per zone, with the columns ``zone``, ``n`` (units) and ``covered`` (units
            whose truth lies in their interval).
        ax: axes to draw on; None draws a new figure.
        nominal: nominal coverage, drawn as a line.
        level: level of the binomial (Wilson) intervals.
        time_unit: unit of what the zones are of; "" if it has none, such as a condition.
        what: what the zones are of.

    Returns:
        The axes. An empty zone has no marker.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"zone": ["0–30", "30–80"], "n": [20, 30], "covered": [18, 28]}
        >>> grace.plots.coverage_by_zone(rows, time_unit="days").get_xlabel()
        'predicted RUL, days'
    """
    frame = as_frame(data, ("zone", "n", "covered"), "coverage_by_zone")
    n, covered = floats(frame, "n"), floats(frame, "covered")
    share, low, high = _wilson(covered, n, level)
    place = np.arange(n.size, dtype=np.float64)
    with canvas(ax, 390, 280) as ax:
        ax.axhline(
            nominal, color=INK, lw=1.0, ls=(0, (4, 2.5)), label=f"nominal {percent(nominal)}"
        )
        ax.vlines(place, low, high, color=MODEL, lw=1.6)
        ax.plot(place, share, "o", color=MODEL, ms=7, label=f"observed, {percent(level)} interval")
        for x, value in zip(place, share, strict=True):
            if np.isfinite(value):
                ax.annotate(
                    percent(value), (x, value), xytext=(8, 0), textcoords="offset points",
                    va="center", fontsize=9,
                )  # fmt: skip
        zone_names(ax, frame, time_unit, what)
        floor = np.nanmin(np.append(low, nominal))
        ax.set(ylabel="coverage", ylim=(max(0.0, float(floor) - 0.08), 1.03))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend_above(ax, columns=2)
    return ax


def reliability_curve(
    data: TableLike,
    ax: Axes | None = None,
    *,
    bins: int = 10,
    level: float = 0.95,
    horizon: str = "",
) -> Axes:
    """Observed failure frequency against predicted failure probability.

    Rows are grouped by quantiles of the predicted probability, so that every group has about the
    same number of rows.

    Args:
        data: one row per prediction, with the columns ``probability`` and ``failed`` (1 if the
            failure came within the horizon, 0 if not, NaN if unknown: left out).
        ax: axes to draw on; None draws a new figure.
        bins: largest number of groups.
        level: level of the binomial (Wilson) intervals. They take the rows as independent and are
            too narrow for several rows of one unit.
        horizon: the horizon as text, such as ``"20 days"``, for the label.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or no row has both values.

    Example:
        >>> import grace.plots
        >>> rows = {"probability": [0.1, 0.2, 0.8, 0.9], "failed": [0, 0, 1, 1]}
        >>> grace.plots.reliability_curve(rows, bins=2, horizon="20 days").get_xlabel()
        'predicted P(failure within 20 days)'
    """
    frame = as_frame(data, ("probability", "failed"), "reliability_curve")
    p, failed = floats(frame, "probability"), floats(frame, "failed")
    known = np.isfinite(p) & np.isfinite(failed)
    p, failed = p[known], failed[known]
    if not p.size:
        raise ValueError("reliability_curve: no row has both a probability and an outcome")
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)))
    group = np.clip(np.searchsorted(edges[1:-1], p, side="right"), 0, None)
    n = np.bincount(group).astype(np.float64)
    used = n > 0
    mean = np.bincount(group, p)[used] / n[used]
    share, low, high = _wilson(np.bincount(group, failed)[used].astype(np.float64), n[used], level)
    with canvas(ax, 330, 320) as ax:
        ax.plot([0, 1], [0, 1], color=INK, lw=1.0, ls=(0, (4, 2.5)), label="perfect")
        ax.vlines(mean, low, high, color=MODEL, lw=1.6, alpha=0.6)
        ax.plot(
            mean,
            share,
            "o-",
            color=MODEL,
            ms=6,
            lw=1.4,
            label=f"observed, {percent(level)} interval",
        )
        place = f"failure within {horizon}" if horizon else "failure"
        ax.set(
            xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=f"predicted P({place})",
            ylabel="observed frequency of failures",
        )  # fmt: skip
        ax.grid(visible=True, axis="both")
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend_above(ax, columns=2)
    return ax


def pit_histogram(
    data: npt.ArrayLike, ax: Axes | None = None, *, bins: int = 10, level: float = 0.95
) -> Axes:
    """Histogram of the probability integral transform, flat for a calibrated distribution.

    A hump in the middle means that predicted distributions are too wide, a U shape that they are
    too narrow, a slope that they are shifted.

    Args:
        data: predicted distribution functions at the true RUL, (n,), in [0, 1]; NaN is left out.
        ax: axes to draw on; None draws a new figure.
        bins: number of bins.
        level: level of the band in which the bars of a calibrated distribution lie (binomial, per
            bin).

    Returns:
        The axes.

    Raises:
        ValueError: no value is finite, or one lies outside [0, 1].

    Example:
        >>> import grace.plots
        >>> grace.plots.pit_histogram([0.1, 0.4, 0.6, 0.9], bins=4).get_ylabel()
        'number of units'
    """
    values = np.asarray(data, np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError("pit_histogram: no value is finite")
    if values.min() < 0 or values.max() > 1:
        raise ValueError("pit_histogram: values must lie in [0, 1]")
    counts, edges = np.histogram(values, bins, (0.0, 1.0))
    low, high = stats.binom.interval(level, values.size, 1.0 / bins)
    with canvas(ax, 390, 280) as ax:
        ax.axhspan(
            float(low),
            float(high),
            color=REFERENCE,
            alpha=0.25,
            lw=0,
            label=f"{percent(level)} band if calibrated",
        )
        ax.axhline(values.size / bins, color=INK, lw=1.0, ls=(0, (4, 2.5)))
        ax.bar(edges[:-1], counts, 0.92 / bins, align="edge", color=MODEL, lw=0)
        ax.set(
            xlim=(0, 1),
            ylim=(0, 1.1 * max(int(counts.max()), float(high), 1.0)),
            xlabel="PIT: predicted P(RUL ≤ true RUL)",
            ylabel="number of units",
        )
        legend_above(ax)
    return ax


def _wilson(successes: Array, n: Array, level: float) -> tuple[Array, Array, Array]:
    """Share and Wilson interval of counts; NaN where n is 0."""
    safe = np.where(n > 0, n, np.nan)
    share = successes / safe
    z2 = stats.norm.ppf(0.5 + level / 2) ** 2
    middle = (share + z2 / (2 * safe)) / (1 + z2 / safe)
    half = np.sqrt(z2 * (share * (1 - share) / safe + z2 / (4 * safe**2))) / (1 + z2 / safe)
    return share, middle - half, middle + half


def sample_pit(n: int = 60, seed: int = 0) -> Array:
    """Generated PIT values of n units."""
    return np.random.default_rng(seed).beta(1.25, 1.15, n)


def sample_risk(n: int = 60, seed: int = 0) -> pl.DataFrame:
    """Generated failure probabilities and outcomes of n units: probability, failed."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 1.2, n)
    rows: dict[str, Any] = {"probability": p, "failed": (rng.uniform(size=n) < p).astype(float)}
    return pl.DataFrame(rows)

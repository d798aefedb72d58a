"""The lives of a fleet, with units that are still running."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy import stats

from grace.formatting import count, number, percent
from grace.plots.canvas import TableLike, as_frame, canvas, floats
from grace.plots.style import INK, MODEL, legend_above

__all__ = ["kaplan_meier", "sample_lives"]


def kaplan_meier(
    data: TableLike, ax: Axes | None = None, *, time_unit: str = "cycles", level: float = 0.95
) -> Axes:
    """Kaplan–Meier estimate of the share of units that survive a given age.

    The interval is that of the log-log transformation (``scipy.stats.ecdf``).

    Args:
        data: one row per unit, with the columns ``life`` (age at failure, or at the last record)
            and ``failed`` (false: still running at that age). Units of unknown life are left out.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of ``life``.
        level: level of the pointwise interval.

    Returns:
        The axes. Small vertical marks are units still running.

    Raises:
        ValueError: a column is missing, or no life is finite.

    Example:
        >>> import grace.plots
        >>> rows = {"life": [100, 140, 150, 90], "failed": [True, True, False, False]}
        >>> grace.plots.kaplan_meier(rows, time_unit="hours").get_xlabel()
        'age, hours'
    """
    frame = as_frame(data, ("life", "failed"), "kaplan_meier")
    life, failed = floats(frame, "life"), floats(frame, "failed") > 0.5
    known = np.isfinite(life)
    life, failed = life[known], failed[known]
    if not life.size:
        raise ValueError("kaplan_meier: no unit has a known life")
    sample = stats.CensoredData(uncensored=life[failed], right=life[~failed])
    curve = stats.ecdf(sample).sf
    x = np.concatenate([[0.0], curve.quantiles])
    y = np.concatenate([[1.0], curve.probabilities])
    with canvas(ax, 390, 290) as ax:
        if failed.any():
            with warnings.catch_warnings():
                # Before the first failure the log-log interval is undefined: drawn as 0 to 1.
                warnings.simplefilter("ignore", RuntimeWarning)
                band = curve.confidence_interval(level, method="log-log")
            low, high = (
                np.concatenate([[1.0], np.nan_to_num(part.probabilities, nan=fallback)])
                for part, fallback in ((band.low, 0.0), (band.high, 1.0))
            )
            ax.fill_between(
                x, low, high, step="post", color=MODEL, alpha=0.16, lw=0,
                label=f"{percent(level)} interval",
            )  # fmt: skip
        ax.step(x, y, where="post", color=MODEL, lw=2.0, label="surviving")
        running = np.sort(life[~failed])
        if running.size:
            at = y[np.searchsorted(x, running, side="right") - 1]
            name = f"still running ({running.size:,})"
            ax.plot(running, at, "|", color=INK, ms=7, mew=1.0, label=name)
        below = np.flatnonzero(y <= 0.5)
        if below.size:
            median = x[below[0]]
            ax.plot([0, median, median], [0.5, 0.5, 0], color=INK, lw=0.8, ls=(0, (1, 3)))
            ax.annotate(
                f"median {number(median)}", (median, 0.0), xytext=(4, 5),
                textcoords="offset points", fontsize=9,
            )  # fmt: skip
        ax.set(
            xlim=(0, 1.02 * max(float(life.max()), 1e-9)),
            ylim=(0, 1.03),
            xlabel=f"age, {time_unit}",
            ylabel=f"surviving share of {count(life.size, 'unit')}",
        )
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend_above(ax)
    return ax


def sample_lives(n: int = 60, seed: int = 0) -> pl.DataFrame:
    """Generated lives of n units, a third of them still running: life and failed."""
    rng = np.random.default_rng(seed)
    life, seen = 200.0 * rng.weibull(3.0, n), rng.uniform(80, 320, n)
    rows: dict[str, Any] = {"life": np.minimum(life, seen), "failed": life <= seen}
    return pl.DataFrame(rows)

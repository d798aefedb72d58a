"""The distribution of prediction errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from grace.formatting import percent, signed_short
from grace.plots.canvas import Array, canvas
from grace.plots.style import EARLY, INK, LATE

__all__ = ["error_distribution", "sample_errors"]


def error_distribution(
    data: npt.ArrayLike, ax: Axes | None = None, *, time_unit: str = "cycles", bins: int = 24
) -> Axes:
    """Histogram of prediction errors: early to the left of zero, late to the right.

    Args:
        data: predicted minus true RUL, (n,); NaN is left out.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of RUL.
        bins: number of bins.

    Returns:
        The axes.

    Raises:
        ValueError: no error is finite.

    Example:
        >>> import grace.plots
        >>> grace.plots.error_distribution([-3.0, 1.5, 4.0], time_unit="h").get_xlabel()
        'predicted minus true RUL, h'
    """
    values = np.asarray(data, np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError("error_distribution: no error is finite")
    reach = max(float(np.abs(values).max()), 1e-9)
    # Zero is an edge, so that no bin mixes early and late predictions.
    edges = np.linspace(-reach, reach, 2 * max(bins // 2, 1) + 1)
    counts, _ = np.histogram(values, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    bias, late = float(values.mean()), float((values > 0).mean())
    with canvas(ax, 390, 280) as ax:
        colors = [LATE if x > 0 else EARLY for x in middle]
        ax.bar(middle, counts, width=0.92 * (edges[1] - edges[0]), color=colors, lw=0)
        ax.axvline(0.0, color=INK, lw=1.0)
        ax.axvline(bias, color=INK, lw=1.0, ls=(0, (4, 2.5)))
        ax.annotate(
            f"mean {signed_short(bias)}", (bias, 1.0), xycoords=("data", "axes fraction"),
            xytext=(4, -2), textcoords="offset points", va="top", fontsize=9,
        )  # fmt: skip
        for x, side, color in (
            (0.02, f"{percent(1 - late)} early", EARLY),
            (0.98, f"{percent(late)} late", LATE),
        ):
            ax.text(
                x, 0.86, side, transform=ax.transAxes, color=color, fontsize=9.5,
                fontweight="bold", ha="left" if x < 0.5 else "right", va="top",
            )  # fmt: skip
        ax.set(
            xlabel=f"predicted minus true RUL, {time_unit}",
            ylabel="number of predictions",
            xlim=(-reach, reach),
            ylim=(0, 1.25 * max(int(counts.max()), 1)),
        )
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax


def sample_errors(n: int = 60, seed: int = 0) -> Array:
    """Generated errors of n units."""
    return np.random.default_rng(seed).normal(1.5, 9.0, n)

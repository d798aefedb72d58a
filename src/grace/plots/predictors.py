"""Predictors compared: errors with intervals, weights in a stack."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from grace.formatting import number, percent
from grace.plots.canvas import TableLike, as_frame, canvas, floats, top_of, whiskers
from grace.plots.style import INK, MODEL, REFERENCE

__all__ = ["predictor_errors", "sample_candidates", "stack_weights"]


def predictor_errors(
    data: TableLike,
    ax: Axes | None = None,
    *,
    metric: str = "RMSE",
    time_unit: str = "cycles",
    highlight: str | None = None,
) -> Axes:
    """The error of each predictor with its interval, in the order given.

    Used for a model with its trivial baselines, and for the candidates of a stack.

    Args:
        data: one row per predictor, with the columns ``name`` and ``value``, and optionally
            ``low`` and ``high``, the limits of its interval, and ``weight`` in a stack.
        ax: axes to draw on; None draws a new figure.
        metric: name of the error, for the label.
        time_unit: unit of the error; "" for an error without unit.
        highlight: predictor drawn in colour; None takes the first.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"name": ["network", "constant"], "value": [12.3, 41.0]}
        >>> grace.plots.predictor_errors(rows, time_unit="days").get_xlabel()
        'RMSE, days'
    """
    frame = as_frame(data, ("name", "value"), "predictor_errors")
    names = [str(name) for name in frame["name"]]
    value, low, high, weight = (floats(frame, c) for c in ("value", "low", "high", "weight"))
    chosen = names[0] if highlight is None else highlight
    place = np.arange(len(names), dtype=np.float64)
    reach = top_of(value, high)
    with canvas(ax, 390, 58 + 34 * min(len(names), 40)) as ax:
        ours = np.array([name == chosen for name in names])
        for part, color, alpha in ((ours, MODEL, 1.0), (~ours, REFERENCE, 0.55)):
            ax.barh(place[part], np.nan_to_num(value[part]), 0.56, color=color, alpha=alpha, lw=0)
        whiskers(ax, low, high, place, color=INK, lw=1.4)
        ends = np.nan_to_num(np.fmax(value, high))
        for y, (end, v, w, mine) in enumerate(zip(ends, value, weight, ours, strict=True)):
            text = number(v) + (f"  (weight {percent(w)})" if np.isfinite(w) else "")
            ax.text(
                end + 0.02 * reach, y, text, va="center", fontsize=10,
                fontweight="bold" if mine else "normal",
            )  # fmt: skip
        ax.set_yticks(place, names)
        ax.tick_params(axis="y", labelcolor=INK, labelsize=10)
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        ax.spines["left"].set_visible(False)
        room = 1.45 if np.isfinite(weight).any() else 1.16
        ax.set(
            xlim=(0, room * reach),
            ylim=(len(names) - 0.5, -0.5),
            xlabel=f"{metric}, {time_unit}" if time_unit else metric,
            ylabel="predictor",
        )
    return ax


def stack_weights(data: TableLike, ax: Axes | None = None) -> Axes:
    """The weight of each candidate in a stack.

    Args:
        data: one row per candidate, with the columns ``name`` and ``weight`` (0 to 1).
        ax: axes to draw on; None draws a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"name": ["network", "boosting"], "weight": [0.7, 0.3]}
        >>> grace.plots.stack_weights(rows).get_xlabel()
        'weight in the stack'
    """
    frame = as_frame(data, ("name", "weight"), "stack_weights")
    names, weight = [str(n) for n in frame["name"]], floats(frame, "weight")
    place = np.arange(len(names), dtype=np.float64)
    with canvas(ax, 390, 58 + 30 * min(len(names), 40)) as ax:
        ax.barh(place, np.nan_to_num(weight), 0.56, color=MODEL, lw=0)
        for y, w in enumerate(weight):
            end = w if np.isfinite(w) else 0.0
            ax.text(end + 0.015, y, percent(w), va="center", fontsize=10)
        ax.set_yticks(place, names)
        ax.tick_params(axis="y", labelcolor=INK, labelsize=10)
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        ax.set(
            xlim=(0, 1.12),
            ylim=(len(names) - 0.5, -0.5),
            xlabel="weight in the stack",
            ylabel="candidate",
        )
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    return ax


_CANDIDATES = (
    "stack",
    "network",
    "gradient boosting",
    "trajectory similarity",
    "age only",
    "median life minus age",
    "constant",
)


def sample_candidates(n: int = 7, seed: int = 0) -> pl.DataFrame:
    """Generated errors and weights of n predictors: name, value, low, high and weight."""
    rng = np.random.default_rng(seed)
    names = [_CANDIDATES[k] if k < len(_CANDIDATES) else f"candidate {k + 1}" for k in range(n)]
    value = 11.0 + 1.6 * np.arange(n) + rng.uniform(0, 1, n)
    weight = 0.5 ** np.arange(1.0, n + 1)
    return pl.DataFrame(
        {
            "name": names,
            "value": value,
            "low": value * 0.86,
            "high": value * 1.19,
            "weight": weight / weight.sum(),
        }
    )

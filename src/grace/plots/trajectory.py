"""One unit over time: predicted and true RUL, an interval band, and health states."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from grace.formatting import percent
from grace.plots.canvas import Array, TableLike, as_frame, canvas, floats, thinned, top_of
from grace.plots.style import (
    INK,
    MODEL,
    PAPER,
    REFERENCE,
    legend_above,
    state_color,
)

__all__ = ["rul_interval", "rul_trajectory", "sample_trajectory"]


def rul_trajectory(
    data: TableLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    cap: float | None = None,
    thresholds: Sequence[float] = (),
    legend: bool = True,
) -> Axes:
    """Predicted and true RUL of one unit over time, with its health states below.

    Args:
        data: rows of one unit in time order, with the columns ``time`` and ``rul``, and optionally
            ``rul_true`` (uncapped; NaN where unknown) and ``health`` (predicted class, 0 healthy).
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of ``time`` and ``rul``.
        cap: largest value of the labels; the capped truth is drawn in addition.
        thresholds: limits of the health states, in descending order, from which the true states
            are derived.
        legend: whether to draw the legend.

    Returns:
        The axes. A strip with health states is an inset below them.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"time": [1, 2, 3], "rul": [31.0, 29.5, 28.0], "rul_true": [30, 29, 28]}
        >>> ax = grace.plots.rul_trajectory(rows, time_unit="days")
        >>> ax.get_ylabel()
        'RUL, days'
    """
    frame = as_frame(data, ("time", "rul"), "rul_trajectory")
    time, predicted, true = (floats(frame, name) for name in ("time", "rul", "rul_true"))
    keep = thinned(time.size)
    capped = true if cap is None else np.minimum(true, cap)
    states = floats(frame, "health")
    with canvas(ax, 390, 290) as ax:
        top = 1.12 * top_of(predicted, capped)
        if cap is not None:
            highest = top / 1.12
            top = min(max(top, 1.12 * top_of(true)), 1.35 * max(cap, highest))
        if np.isfinite(true).any():
            if cap is not None:
                ax.plot(time[keep], true[keep], color=REFERENCE, lw=1.2, ls=(0, (4, 2.5)),
                        label="true, uncapped")  # fmt: skip
            name = "true" if cap is None else "true, capped"
            ax.plot(time[keep], capped[keep], color=INK, lw=1.4, label=name)
        ax.plot(time[keep], predicted[keep], color=MODEL, lw=2.0, label="predicted")
        _last_value(ax, time, predicted)
        ax.set(ylim=(0, top), xmargin=0.0, ylabel=f"RUL, {time_unit}")
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if legend:
            legend_above(ax)
        if np.isfinite(states).any():
            _state_strip(ax, time, states, capped, thresholds, f"time, {time_unit}")
        else:
            ax.set_xlabel(f"time, {time_unit}")
    return ax


def rul_interval(
    data: TableLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    coverage: float | None = 0.9,
) -> Axes:
    """Predicted RUL of one unit over time with its prediction interval.

    Args:
        data: rows of one unit in time order, with the columns ``time``, ``rul``, ``lower`` and
            ``upper``, and optionally ``rul_true``.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of ``time`` and ``rul``.
        coverage: nominal coverage of the interval, for the legend.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"time": [1, 2], "rul": [30, 28], "lower": [20, 21], "upper": [44, 37]}
        >>> grace.plots.rul_interval(rows, time_unit="h").get_xlabel()
        'time, h'
    """
    frame = as_frame(data, ("time", "rul", "lower", "upper"), "rul_interval")
    time, rul, lower, upper, true = (
        floats(frame, name) for name in ("time", "rul", "lower", "upper", "rul_true")
    )
    keep = thinned(time.size)
    name = "interval" if coverage is None else f"{percent(coverage)} interval"
    with canvas(ax, 390, 280) as ax:
        if time.size == 1:
            ax.vlines(time, lower, upper, color=MODEL, lw=6, alpha=0.25, label=name)
        else:
            ax.fill_between(
                time[keep], lower[keep], upper[keep], color=MODEL, alpha=0.18, lw=0, label=name
            )
        ax.plot(time[keep], rul[keep], color=MODEL, lw=2.0, label="predicted")
        _last_value(ax, time, rul)
        if np.isfinite(true).any():
            ax.plot(time[keep], true[keep], color=INK, lw=1.4, ls=(0, (4, 2.5)), label="true")
        ax.set(
            ylim=(0, 1.08 * top_of(upper, rul, true)),
            xlabel=f"time, {time_unit}",
            ylabel=f"RUL, {time_unit}",
        )
        legend_above(ax)
    return ax


def _last_value(ax: Axes, time: Array, predicted: Array) -> None:
    last = predicted[-1]
    if not np.isfinite(last):
        return
    ax.plot(time[-1:], [last], "o", color=MODEL, ms=5.5, mec=PAPER, mew=1.0)
    ax.annotate(
        f"{last:.0f}", (time[-1], last), xytext=(6, 0), textcoords="offset points", va="center",
        color=MODEL, fontweight="bold", fontsize=10, annotation_clip=False,
    )  # fmt: skip


def _state_strip(
    ax: Axes, time: Array, states: Array, capped: Array, thresholds: Sequence[float], xlabel: str
) -> None:
    """Predicted states, and the true ones where they are known, as bars below the axes."""
    limits = np.asarray(thresholds, np.float64)
    n_states = max(limits.size + 1, int(np.nanmax(states)) + 1, 2)
    rows = [("predicted", states)]
    if limits.size and not np.isnan(capped).any():
        rows.append(("true", (capped[:, None] <= limits).sum(axis=1).astype(np.float64)))
    height = 0.1 * len(rows)
    strip = ax.inset_axes((0.0, -height - 0.06, 1.0, height), sharex=ax)
    for place, (_, values) in enumerate(rows):
        _bars(strip, time, values, place, n_states)
    strip.set_yticks([k + 0.45 for k in range(len(rows))], [name for name, _ in rows], fontsize=8)
    strip.set(ylim=(len(rows), -0.1), xlabel=xlabel)
    strip.grid(visible=False)
    strip.set_facecolor("none")
    for spine in strip.spines.values():
        spine.set_visible(False)
    strip.tick_params(bottom=False, left=False)
    strip.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.tick_params(labelbottom=False, bottom=False)


def _bars(ax: Axes, time: Array, states: Array, y: float, n_states: int) -> None:
    """One rectangle per stretch of equal state; none where the state is not known."""
    changes = np.flatnonzero(np.diff(np.nan_to_num(states, nan=-1.0))) + 1
    edges = np.concatenate([[0], changes, [states.size]])
    step = float(np.median(np.diff(time))) if time.size > 1 else 1.0
    for a, b in pairwise(edges):
        if np.isfinite(states[a]):
            left, right = float(time[a]), float(time[b - 1]) + step
            color = state_color(int(states[a]), n_states)
            ax.broken_barh([(left, right - left)], (y, 0.9), facecolors=color, lw=0)


def sample_trajectory(n: int = 120, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Generated rows of one unit: columns time, rul, lower, upper, rul_true and health."""
    rng = np.random.default_rng(seed)
    true = np.arange(n, 0, -1, dtype=np.float64) + 12.0
    scale = 2.0 + 0.16 * true
    rul = np.clip(
        true + np.cumsum(rng.normal(0, 0.12, n)) * scale * 0.2 + rng.normal(0, 2, n), 0, None
    )
    return {
        "time": np.arange(1.0, n + 1),
        "rul": rul,
        "lower": np.clip(rul - 1.6 * scale, 0, None),
        "upper": rul + 1.6 * scale,
        "rul_true": true,
        "health": (rul[:, None] <= np.array([80.0, 30.0])).sum(axis=1),
    }

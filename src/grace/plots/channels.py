"""Channels of a fleet: which of them trend, and where values are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from grace.formatting import percent
from grace.plots.canvas import TableLike, as_frame, canvas, floats
from grace.plots.style import EARLY, INK, LATE, MODEL, SECOND, legend_above

__all__ = ["channel_trends", "missing_values", "sample_missing", "sample_trends"]

_SCORES = (("monotonicity", MODEL), ("trendability", SECOND), ("prognosability", EARLY))


def channel_trends(data: TableLike, ax: Axes | None = None, *, most: int = 25) -> Axes:
    """How well each channel shows degradation, from 0 (not at all) to 1.

    Monotonicity: the channel moves in one direction over a life. Trendability: it moves in the same
    way in all units. Prognosability: it reaches similar values at failure. Source: Coble and Hines,
    Identifying Optimal Prognostic Parameters from Data, PHM 2009.

    Args:
        data: one row per channel, with the columns ``channel``, ``monotonicity``,
            ``trendability`` and ``prognosability``.
        ax: axes to draw on; None draws a new figure.
        most: largest number of channels drawn, those of the highest sum.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"channel": ["T50", "P2"], "monotonicity": [0.8, 0.1],
        ...         "trendability": [0.7, 0.0], "prognosability": [0.9, 0.2]}
        >>> grace.plots.channel_trends(rows).get_xlabel()
        'score, 0 to 1 (no unit)'
    """
    names = [name for name, _ in _SCORES]
    frame = as_frame(data, ("channel", *names), "channel_trends")
    total = np.sum([np.nan_to_num(floats(frame, name)) for name in names], axis=0)
    order = np.argsort(-total, kind="stable")[:most]
    place = np.arange(order.size, dtype=np.float64)
    with canvas(ax, 400, 80 + 26 * order.size) as ax:
        for k, (name, color) in enumerate(_SCORES):
            values = np.nan_to_num(floats(frame, name)[order])
            ax.barh(place + 0.26 * (k - 1), values, 0.24, color=color, lw=0, label=name)
        ax.set_yticks(place, [str(frame["channel"][int(i)]) for i in order])
        ax.tick_params(axis="y", labelcolor=INK)
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        rest = f" (the first {order.size} of {frame.height})" if frame.height > order.size else ""
        ax.set(
            xlim=(0, 1.0),
            ylim=(order.size - 0.4, -0.6),
            xlabel="score, 0 to 1 (no unit)",
            ylabel=f"channel{rest}",
        )
        legend_above(ax)
    return ax


def missing_values(
    data: TableLike,
    ax: Axes | None = None,
    *,
    unit: str = "unit",
    channels: Sequence[str] | None = None,
    most: int = 60,
) -> Axes:
    """Share of missing values of each channel in each unit.

    Args:
        data: rows of the fleet, with a column of units and numeric channels; null and NaN are
            missing.
        ax: axes to draw on; None draws a new figure.
        unit: column that names the unit.
        channels: columns to show; None shows every other numeric column.
        most: largest number of units drawn, those with most missing values; the rest is only
            counted.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows or channels.

    Example:
        >>> import grace.plots
        >>> rows = {"unit": ["a", "a", "b"], "temperature": [1.0, None, 3.0]}
        >>> grace.plots.missing_values(rows).get_ylabel()
        'unit'
    """
    frame = as_frame(data, (unit, *(channels or ())), "missing_values")
    shown = list(channels) if channels is not None else [
        name for name, kind in frame.schema.items() if name != unit and kind.is_numeric()
    ]  # fmt: skip
    if not shown:
        raise ValueError("missing_values: the data have no numeric channel")
    gaps = frame.group_by(unit, maintain_order=True).agg(
        pl.col(c).cast(pl.Float64).fill_nan(None).is_null().mean() for c in shown
    )
    shares = gaps.select(shown).to_numpy()
    order = np.sort(np.argsort(-shares.sum(axis=1), kind="stable")[:most])
    rest = f" ({order.size} of {gaps.height:,}, most missing values)" if gaps.height > most else ""
    colors = LinearSegmentedColormap.from_list("missing", [(0, 0, 0, 0.03), LATE])
    with canvas(ax, max(300, 120 + 26 * len(shown)), 110 + 12 * order.size) as ax:
        cells = ax.pcolormesh(shares[order], cmap=colors, vmin=0.0, vmax=1.0)
        cells.set_edgecolor("none")
        names = [str(gaps[unit][int(i)]) for i in order]
        step = max(1, len(names) // 30)
        ax.set_yticks(np.arange(0, len(names), step) + 0.5, names[::step])
        ax.set_xticks(np.arange(len(shown)) + 0.5, shown, rotation=60, ha="right")
        ax.tick_params(length=0, labelcolor=INK)
        ax.grid(visible=False)
        total = percent(float(shares.mean()), 1)
        ax.set(
            xlabel="channel",
            ylabel=f"unit{rest}",
            ylim=(order.size, 0),
            title=f"{total} of values missing on average; darker: more",
        )
    return ax


def sample_trends(n: int = 10, seed: int = 0) -> pl.DataFrame:
    """Generated scores of n channels."""
    rng = np.random.default_rng(seed)
    base = np.linspace(0.9, 0.05, n)
    columns: dict[str, Any] = {"channel": [f"sensor {k + 1}" for k in range(n)]}
    columns |= {name: np.clip(base + rng.normal(0, 0.08, n), 0, 1) for name, _ in _SCORES}
    return pl.DataFrame(columns)


def sample_missing(n: int = 24, seed: int = 0) -> pl.DataFrame:
    """Generated rows of n units with missing values in some channels."""
    rng = np.random.default_rng(seed)
    rows = 20
    columns: dict[str, Any] = {"unit": np.repeat([f"pump {k + 1}" for k in range(n)], rows)}
    for k in range(8):
        values = rng.normal(size=n * rows)
        values[rng.uniform(size=values.size) < (0.0, 0.02, 0.1, 0.35)[k % 4]] = np.nan
        columns[f"sensor {k + 1}"] = values
    return pl.DataFrame(columns)

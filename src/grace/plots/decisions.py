"""Maintenance decisions: cost against the alarm threshold, and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from grace.formatting import number, percent
from grace.plots.canvas import TableLike, as_frame, canvas, floats, top_of
from grace.plots.style import INK, LATE, MODEL, MUTED, PAPER, REFERENCE, legend_above

__all__ = ["cost_curve", "maintenance_plan", "sample_costs", "sample_plan"]


def cost_curve(
    data: TableLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    currency: str = "cost units",
    references: Mapping[str, float] | None = None,
    chosen: float | None = None,
) -> Axes:
    """Long-run cost per unit of operating time against the alarm threshold.

    Args:
        data: one row per threshold, with the columns ``threshold`` (probability, 0 to 1) and
            ``cost``, and optionally ``low`` and ``high``, the limits of its interval.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of operating time.
        currency: unit of cost.
        references: costs of other policies by name, drawn as horizontal lines.
        chosen: threshold to mark; None marks that of least cost.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"threshold": [0.1, 0.3, 0.9], "cost": [41.0, 35.0, 60.0]}
        >>> grace.plots.cost_curve(rows, time_unit="day", currency="EUR").get_ylabel()
        'cost per operating time, EUR/day'
    """
    frame = as_frame(data, ("threshold", "cost"), "cost_curve").sort("threshold")
    x, cost, low, high = (floats(frame, name) for name in ("threshold", "cost", "low", "high"))
    lines = dict(references or {})
    with canvas(ax, 430, 300) as ax:
        ax.fill_between(x, low, high, color=MODEL, alpha=0.16, lw=0)
        ax.plot(
            x, cost, color=MODEL, lw=2.0, marker="o" if x.size < 12 else "", label="alarm policy"
        )
        if np.isfinite(cost).any():
            best = int(np.nanargmin(cost if chosen is None else np.abs(x - chosen)))
            ax.plot(x[best], cost[best], "o", color=MODEL, ms=9, mec=PAPER, mew=1.5)
            ax.annotate(
                f"p* = {percent(x[best])}: {number(cost[best])}", (x[best], cost[best]),
                xytext=(0, -15),
                textcoords="offset points", ha="left" if x[best] < 0.5 else "right",
                fontweight="bold", fontsize=9.5,
            )  # fmt: skip
        for k, (name, value) in enumerate(lines.items()):
            dash = ((4, 2.5), (1, 2), (6, 2, 1, 2))[k % 3]
            color = (INK, LATE, REFERENCE)[k % 3]
            ax.axhline(value, color=color, lw=1.2, ls=(0, dash), label=name)
        ax.set(
            xlim=(0, 1),
            ylim=(0, 1.08 * top_of(cost, high, list(lines.values()))),
            xlabel="alarm threshold on P(failure)",
            ylabel=f"cost per operating time, {currency}/{time_unit}",
        )
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        legend_above(ax, columns=2)
    return ax


def maintenance_plan(
    data: TableLike, ax: Axes | None = None, *, time_unit: str = "days", most: int = 30
) -> Axes:
    """Timeline of planned replacements: one row per unit, in order of their slots.

    Args:
        data: one row per planned unit, with the columns ``unit`` and ``start`` (of its slot, time
            from now), and optionally ``end`` (of its slot), ``lower`` and ``upper`` (prediction
            interval of the failure, time from now) and ``probability`` of a failure before
            the slot.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of time.
        most: largest number of units drawn; the rest is only counted.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"unit": ["pump 3", "pump 1"], "start": [7, 0], "end": [14, 7]}
        >>> ax = grace.plots.maintenance_plan(rows, time_unit="days")
        >>> print(*(label.get_text() for label in ax.get_yticklabels()), sep=", ")
        pump 1, pump 3
    """
    frame = as_frame(data, ("unit", "start"), "maintenance_plan")
    order = np.argsort(floats(frame, "start"), kind="stable")[:most]
    start, end, lower, upper, chance = (
        floats(frame, c)[order] for c in ("start", "end", "lower", "upper", "probability")
    )
    names = [str(frame["unit"][int(i)]) for i in order]
    place = np.arange(start.size, dtype=np.float64)
    reach = top_of(start, end, upper)
    with canvas(ax, 480, 90 + 20 * start.size) as ax:
        known = np.isfinite(lower) & np.isfinite(upper)
        if known.any():
            ax.hlines(
                place[known], lower[known], upper[known], color=REFERENCE, lw=7, alpha=0.4,
                label="predicted failure, interval",
            )  # fmt: skip
        length = np.where(np.isfinite(end), end - start, 0.02 * reach)
        ax.barh(
            place,
            np.nan_to_num(length),
            0.62,
            left=np.nan_to_num(start),
            color=MODEL,
            lw=0,
            label="slot",
        )
        for y, value in zip(place, chance, strict=True):
            if np.isfinite(value):
                ax.annotate(
                    f"risk {percent(value)}", (1.0, y), xycoords=("axes fraction", "data"),
                    xytext=(5, 0), textcoords="offset points", va="center", fontsize=9,
                    color=MUTED, annotation_clip=False,
                )  # fmt: skip
        ax.set_yticks(place, names)
        ax.tick_params(axis="y", labelcolor=INK)
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        rest = f" (the first {start.size} of {frame.height:,})" if frame.height > start.size else ""
        ax.set(
            xlim=(0, 1.03 * reach),
            ylim=(start.size - 0.4, -0.6),
            xlabel=f"time from now, {time_unit}",
            ylabel=f"unit{rest}",
        )
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        legend_above(ax)
    return ax


def sample_costs(n: int = 40, seed: int = 0) -> pl.DataFrame:
    """Generated costs at n thresholds: threshold, cost, low and high."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0.02, 0.98, n) if n > 1 else np.array([0.3])
    cost = 30 + 90 * (x - 0.28) ** 2 + 6 / (x + 0.05) ** 0.5 + rng.normal(0, 0.2, n)
    return pl.DataFrame({"threshold": x, "cost": cost, "low": 0.9 * cost, "high": 1.13 * cost})


def sample_plan(n: int = 14, seed: int = 0) -> pl.DataFrame:
    """A generated plan of n units: unit, start, end, lower, upper and probability."""
    rng = np.random.default_rng(seed)
    start = 7.0 * (np.arange(n) // 3)
    rul = start + rng.uniform(9, 30, n)
    rows: dict[str, Any] = {
        "unit": [f"pump {k + 1}" for k in rng.permutation(n)],
        "start": start,
        "end": start + 7.0,
        "lower": np.clip(rul - 8, 0, None),
        "upper": rul + 12,
        "probability": rng.uniform(0.01, 0.12, n),
    }
    return pl.DataFrame(rows)

"""Errors by zone of true RUL."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from grace.formatting import percent, signed_short
from grace.plots.canvas import TableLike, as_frame, canvas, floats, top_of
from grace.plots.style import EARLY, INK, LATE, MODEL

__all__ = ["bias_by_zone", "error_by_zone", "sample_zones", "zone_names"]


def error_by_zone(
    data: TableLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    overall: float | None = None,
) -> Axes:
    """RMSE by zone of true RUL.

    Args:
        data: one row per zone, with the columns ``zone``, ``n`` and ``rmse`` (null for an empty
            zone); the list that :func:`grace.evaluation.error_by_zone` returns has this form.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of RUL.
        overall: RMSE over all zones, drawn as a line.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> from grace.evaluation import error_by_zone
        >>> zones = error_by_zone([10, 60, 125], [12, 50, 120], edges=(0, 50, 125))
        >>> grace.plots.error_by_zone(zones, time_unit="days").get_xlabel()
        'true RUL, days'
    """
    frame = as_frame(data, ("zone", "n", "rmse"), "error_by_zone")
    values = floats(frame, "rmse")
    with canvas(ax, 390, 280) as ax:
        ax.bar(range(values.size), np.nan_to_num(values), width=0.62, color=MODEL, lw=0)
        for x, value in enumerate(values):
            ax.annotate(
                f"{value:.1f}" if np.isfinite(value) else "none",
                (x, value if np.isfinite(value) else 0.0), xytext=(0, 3),
                textcoords="offset points", ha="center", fontsize=10, fontweight="bold",
            )  # fmt: skip
        if overall is not None and np.isfinite(overall):
            ax.axhline(overall, color=INK, lw=1.0, ls=(0, (4, 2.5)))
            ax.annotate(
                f"all\n{overall:.1f}", (1, overall), xycoords=("axes fraction", "data"),
                xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5,
                annotation_clip=False,
            )  # fmt: skip
        zone_names(ax, frame, time_unit)
        ax.yaxis.set_major_locator(MaxNLocator(5))
        top = top_of(values, np.nan if overall is None else overall)
        ax.set(ylabel=f"RMSE, {time_unit}", ylim=(0, 1.15 * top))
    return ax


def bias_by_zone(data: TableLike, ax: Axes | None = None, *, time_unit: str = "cycles") -> Axes:
    """Mean error by zone of true RUL: late upwards, early downwards.

    Args:
        data: one row per zone, with the columns ``zone``, ``n`` and ``bias``, and optionally
            ``late_share``; the list that :func:`grace.evaluation.error_by_zone` returns has this
            form.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of RUL.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> zones = {"zone": ["0–20", "20–50"], "n": [4, 9], "bias": [2.0, -1.5]}
        >>> len(grace.plots.bias_by_zone(zones).patches)
        2
    """
    frame = as_frame(data, ("zone", "n", "bias"), "bias_by_zone")
    values, late = floats(frame, "bias"), floats(frame, "late_share")
    reach = top_of(np.abs(values), default=1e-9)
    with canvas(ax, 390, 280) as ax:
        drawn = np.nan_to_num(values)
        colors = [LATE if v > 0 else EARLY for v in drawn]
        ax.bar(range(drawn.size), drawn, width=0.62, color=colors, lw=0)
        for x, (value, share) in enumerate(zip(values, late, strict=True)):
            if not np.isfinite(value):
                continue
            up = value > 0
            text = signed_short(value) + (f"\n{percent(share)} late" if np.isfinite(share) else "")
            ax.annotate(
                text, (x, value), xytext=(0, 3 if up else -3), textcoords="offset points",
                ha="center", va="bottom" if up else "top", fontsize=9, linespacing=1.25,
            )  # fmt: skip
        ax.axhline(0, color=INK, lw=1.0)
        zone_names(ax, frame, time_unit)
        ax.set(
            ylabel=f"mean error, {time_unit}  (late +, early −)", ylim=(-1.45 * reach, 1.45 * reach)
        )
    return ax


def zone_names(ax: Axes, frame: pl.DataFrame, time_unit: str, what: str = "true RUL") -> None:
    """Zones and numbers of units as ticks of the horizontal axis."""
    names = [str(z).strip("[]()").replace(", ", "–") for z in frame["zone"]]
    rows = zip(names, frame["n"].to_list(), strict=True)
    ax.set_xticks(range(len(names)), [f"{name}\nn = {n:,}" for name, n in rows])
    ax.tick_params(axis="x", length=0)
    label = f"{what}, {time_unit}" if time_unit else what
    ax.set(xlabel=label, xlim=(-0.5, len(names) - 0.5))


def sample_zones(n: int = 60, seed: int = 0) -> pl.DataFrame:
    """Generated errors of n units by zone: zone, n, rmse, bias, late_share and covered."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 150, n)
    error = rng.normal(1.0, 3.0 + 0.1 * true)
    edges = np.array([0.0, 20.0, 50.0, 80.0, 125.0, np.inf])
    names = ["0–20", "20–50", "50–80", "80–125", "≥ 125"]
    index = np.searchsorted(edges[1:-1], true, side="right")
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(names):
        part = error[index == k]
        known = part.size > 0
        rows.append(
            {
                "zone": name,
                "n": part.size,
                "rmse": float(np.sqrt((part**2).mean())) if known else None,
                "bias": float(part.mean()) if known else None,
                "late_share": float((part > 0).mean()) if known else None,
                "covered": int((np.abs(part) <= 1.645 * (3.0 + 0.1 * true[index == k])).sum()),
            }
        )
    return pl.from_dicts(
        rows, schema_overrides={"rmse": pl.Float64, "bias": pl.Float64, "late_share": pl.Float64}
    )

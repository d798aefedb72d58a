"""Figures of errors: beside the baselines, by zone, by health state, and over the life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from grace.evaluation import HealthSet, MetricSet, ZoneError
from grace.report.formatting import signed_short
from grace.report.style import (
    BESIDE,
    EARLY,
    INK,
    LATE,
    MODEL,
    PAPER,
    new_figure,
    state_names,
)

__all__ = [
    "cone_share_figure",
    "confusion_figure",
    "draw_zones",
    "horizon_figure",
    "predictors_figure",
    "zone_bias_figure",
    "zones_figure",
]

FEW = 10  # units below which a share is shown hollow


def predictors_figure(rows: Mapping[str, MetricSet], xlabel: str, *, height: float = 0) -> Figure:
    """RMSE of each predictor with its interval, the model (the first) in colour."""
    figure = new_figure(390, height or 58 + 34 * len(rows))
    ax = figure.add_subplot()
    ends = [m.intervals["rmse"].high if "rmse" in m.intervals else m.rmse for m in rows.values()]
    reach = max(ends)
    for y, (metrics, end) in enumerate(zip(rows.values(), ends, strict=True)):
        color = MODEL if y == 0 else BESIDE
        ax.barh(y, metrics.rmse, height=0.56, color=color, alpha=1.0 if y == 0 else 0.55, lw=0)
        interval = metrics.intervals.get("rmse")
        if interval is not None:
            ax.plot([interval.low, interval.high], [y, y], color=INK, lw=1.4)
            for x in (interval.low, interval.high):
                ax.plot([x, x], [y - 0.12, y + 0.12], color=INK, lw=1.4)
        ax.text(
            end + 0.02 * reach, y, f"{metrics.rmse:.2f}", va="center", fontsize=10,
            fontweight="bold" if y == 0 else "normal",
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(axis="y", labelcolor=INK, labelsize=10)
    ax.grid(visible=True, axis="x")
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(0, 1.14 * reach), ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    return figure


def zones_figure(zones: Sequence[ZoneError], overall: float, time_unit: str) -> Figure:
    """RMSE by zone of true RUL."""
    figure = new_figure(390, 280)
    draw_zones(figure.add_subplot(), zones, overall, time_unit)
    return figure


def draw_zones(ax: Axes, zones: Sequence[ZoneError], overall: float, time_unit: str) -> None:
    """The content of :func:`zones_figure`: bars with units per zone, the overall RMSE as a line."""
    values = [z.rmse if z.rmse is not None else 0.0 for z in zones]
    ax.bar(range(len(zones)), values, width=0.62, color=MODEL, lw=0)
    for x, (zone, value) in enumerate(zip(zones, values, strict=True)):
        label = "none" if zone.rmse is None else f"{value:.1f}"
        ax.annotate(
            label, (x, value), xytext=(0, 3), textcoords="offset points", ha="center",
            fontsize=10, fontweight="bold",
        )  # fmt: skip
    ax.axhline(overall, color=INK, lw=1.0, ls=(0, (4, 2.5)))
    ax.annotate(
        f"all\n{overall:.1f}", (1, overall), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", fontsize=9.5, annotation_clip=False,
    )  # fmt: skip
    _zone_axis(ax, zones, time_unit)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set(ylabel=f"RMSE, {time_unit}", ylim=(0, 1.15 * max([*values, overall, 1e-9])))


def zone_bias_figure(zones: Sequence[ZoneError], time_unit: str) -> Figure:
    """Mean error by zone: late upwards, early downwards, with the share of late predictions."""
    figure = new_figure(390, 280)
    ax = figure.add_subplot()
    values = np.array([z.bias if z.bias is not None else 0.0 for z in zones])
    reach = max(float(np.abs(values).max()), 1e-9)
    ax.bar(
        range(len(zones)), values, width=0.62, color=[LATE if v > 0 else EARLY for v in values],
        lw=0,
    )  # fmt: skip
    for x, (zone, value) in enumerate(zip(zones, values, strict=True)):
        if zone.bias is None or zone.late_share is None:
            continue
        up = value > 0
        ax.annotate(
            f"{signed_short(value)}\n{zone.late_share:.0%} late", (x, value),
            xytext=(0, 3 if up else -3), textcoords="offset points", ha="center",
            va="bottom" if up else "top", fontsize=9, linespacing=1.25,
        )  # fmt: skip
    ax.axhline(0, color=INK, lw=1.0)
    _zone_axis(ax, zones, time_unit)
    ax.set(ylabel=f"mean error, {time_unit}  (late +, early −)", ylim=(-1.45 * reach, 1.45 * reach))
    return figure


def _zone_axis(ax: Axes, zones: Sequence[ZoneError], time_unit: str) -> None:
    names = [z.zone.strip("[]()").replace(", ", "–") for z in zones]
    texts = [f"{name}\nn = {z.n}" for name, z in zip(names, zones, strict=True)]
    ax.set_xticks(range(len(zones)), texts)
    ax.tick_params(axis="x", length=0)
    ax.set(xlabel=f"true RUL, {time_unit}")


def confusion_figure(health: HealthSet, title: str) -> Figure:
    """Counts and row shares of true against called health state."""
    matrix = np.asarray(health.confusion)
    n = matrix.shape[0]
    figure = new_figure(390, 110 + 62 * n)
    ax = figure.add_subplot()
    totals = matrix.sum(axis=1, keepdims=True)
    share = matrix / np.maximum(totals, 1)
    for i in range(n):
        for j in range(n):
            ax.add_patch(
                Rectangle(
                    (j - 0.48, i - 0.46), 0.96, 0.92, color=MODEL,
                    alpha=0.06 + 0.9 * float(share[i, j]), lw=0,
                )
            )  # fmt: skip
            color = PAPER if share[i, j] > 0.5 else INK
            ax.text(
                j, i - 0.1, f"{matrix[i, j]:,}", ha="center", va="center", color=color, fontsize=12,
                fontweight="bold",
            )  # fmt: skip
            row = f"{share[i, j]:.0%}" if totals[i, 0] else "–"
            ax.text(j, i + 0.24, row, ha="center", va="center", color=color, fontsize=9)
    names = state_names(n)
    ax.set_xticks(range(n), names)
    ax.set_yticks(range(n), names)
    ax.tick_params(length=0, labelcolor=INK, labelsize=9.5)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="called", ylabel="truly", title=title)
    return figure


def cone_share_figure(
    table: Mapping[str, npt.NDArray[Any]], lambdas: Sequence[float], alpha: float
) -> Figure:
    """Share of units inside the α cone at each moment of life, and how many reach it."""
    figure = new_figure(390, 300)
    ax = figure.add_subplot()
    columns = [table[f"alpha_lambda_{lam:g}"] for lam in lambdas]
    known = [c[~np.isnan(c)] for c in columns]
    counts = np.array([c.size for c in known])
    shares = np.array([c.mean() if c.size else np.nan for c in known])
    most = max(int(counts.max()), 1)
    ax.fill_between(lambdas, counts / most, step="mid", color=BESIDE, alpha=0.22, lw=0)
    ax.plot(lambdas, shares, color=MODEL, lw=2.0)
    x, few = np.asarray(lambdas), counts < FEW
    ax.plot(x[~few], shares[~few], "o", color=MODEL, ms=5)
    ax.plot(x[few], shares[few], "o", mfc=PAPER, mec=MODEL, mew=1.4, ms=5)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1.04),
        xlabel="λ, share of the evaluated life",
        ylabel=f"units within ±{alpha:.0%}",
    )
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def horizon_figure(horizons: npt.NDArray[np.float64], share: float, time_unit: str) -> Figure:
    """How many units have been predicted within the band for how long before their failure."""
    figure = new_figure(390, 300)
    ax = figure.add_subplot()
    values = np.sort(horizons)
    x = np.concatenate([[0.0], values])
    left = 1.0 - np.arange(values.size + 1) / values.size
    ax.fill_between(x, left, step="post", color=MODEL, alpha=0.14, lw=0)
    ax.step(x, left, where="post", color=MODEL, lw=2.0)
    median = float(np.median(values))
    ax.axvline(median, color=INK, lw=1.0, ls=(0, (4, 2.5)))
    middle = median > 0.5 * values[-1]
    ax.annotate(
        f"median {median:.0f}", (median, 0.06), xytext=(-5 if middle else 5, 0),
        textcoords="offset points", ha="right" if middle else "left", fontsize=9,
    )  # fmt: skip
    ax.set(
        xlim=(0, max(float(values[-1]) * 1.02, 1.0)),
        ylim=(0, 1.04),
        xlabel=f"{time_unit} before failure",
        ylabel=f"units within ±{share:.0%} of life, and staying",
    )
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    return figure

"""Many units at their last record: against the truth, and in order of urgency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from grace.formatting import number, percent, printable
from grace.plots.canvas import Array, TableLike, as_frame, canvas, floats, top_of
from grace.plots.style import EARLY, INK, LATE, MODEL, MUTED, REFERENCE, legend_above

__all__ = ["fleet_ranking", "predictions_by_true_rul", "sample_fleet"]


def predictions_by_true_rul(
    data: TableLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    cap: float | None = None,
    thresholds: Sequence[float] = (),
) -> Axes:
    """Units sorted by true RUL, each prediction connected with its truth.

    Triangles that point upwards are late predictions (the unit fails before the prediction says),
    triangles that point downwards early ones. Units of unknown truth are left out.

    Args:
        data: one row per unit, with the columns ``rul`` and ``rul_true``.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of RUL.
        cap: the truth is drawn as at most this value.
        thresholds: RUL values to mark, such as limits of health states.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"rul": [12.0, 55.0, 90.0], "rul_true": [15.0, 50.0, 90.0]}
        >>> grace.plots.predictions_by_true_rul(rows, time_unit="hours").get_ylabel()
        'RUL, hours'
    """
    frame = as_frame(data, ("rul", "rul_true"), "predictions_by_true_rul")
    predicted, true = floats(frame, "rul"), floats(frame, "rul_true")
    true = true if cap is None else np.minimum(true, cap)
    known = np.isfinite(true) & np.isfinite(predicted)
    predicted, true = predicted[known], true[known]
    order = np.lexsort((predicted, true))
    predicted, true = predicted[order], true[order]
    place, late = np.arange(1.0, true.size + 1), predicted > true
    size = float(np.clip(5000 / max(true.size, 1), 9, 42))
    with canvas(ax, 860, 350) as ax:
        for limit in thresholds:
            ax.axhline(limit, color=REFERENCE, lw=0.8, ls=(0, (1, 3)), zorder=1)
        for side, color, marker, name in (
            (late, LATE, "^", "predicted, late"),
            (~late, EARLY, "v", "predicted, early"),
        ):
            x, y = _sticks(place[side], true[side], predicted[side])
            ax.plot(x, y, color=color, lw=1.1, alpha=0.55)
            ax.scatter(
                place[side], predicted[side], s=size, marker=marker, color=color, lw=0, zorder=3,
                label=f"{name} ({int(side.sum())})",
            )  # fmt: skip
        name = "true RUL" if cap is None else f"true RUL (at most {cap:g})"
        ax.step(place, true, where="mid", color=INK, lw=1.6, label=name, zorder=2)
        ax.set(
            xlabel="units, sorted by true RUL",
            ylabel=f"RUL, {time_unit}",
            xlim=(0.2, max(true.size, 1) + 0.8),
            ylim=(0, 1.05 * top_of(true, predicted)),
        )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(ax)
    return ax


def fleet_ranking(
    data: TableLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    horizon: float | None = None,
    most: int = 30,
) -> Axes:
    """Units by predicted RUL, the shortest first, with intervals and failure probabilities.

    Args:
        data: one row per unit, with the columns ``unit`` and ``rul``, and optionally ``lower`` and
            ``upper`` (interval) and ``probability`` of a failure within ``horizon``.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of RUL and horizon.
        horizon: what ``probability`` refers to; marked by a line.
        most: largest number of units drawn; the rest is only counted.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"unit": ["a", "b"], "rul": [40, 12], "lower": [20, 6], "upper": [70, 19]}
        >>> ax = grace.plots.fleet_ranking(rows, time_unit="days")
        >>> print(*(label.get_text() for label in ax.get_yticklabels()))
        b a
    """
    frame = as_frame(data, ("unit", "rul"), "fleet_ranking")
    order = np.argsort(floats(frame, "rul"), kind="stable")[:most]
    rul, lower, upper, chance = (
        floats(frame, name)[order] for name in ("rul", "lower", "upper", "probability")
    )
    names = [printable(str(frame["unit"][int(i)])) for i in order]
    place = np.arange(rul.size, dtype=np.float64)
    with canvas(ax, 430, 80 + 19 * rul.size) as ax:
        known = np.isfinite(lower) & np.isfinite(upper)
        ax.hlines(place[known], lower[known], upper[known], color=MODEL, lw=5, alpha=0.28)
        ax.plot(rul, place, "o", color=MODEL, ms=6)
        if horizon is not None:
            ax.axvline(horizon, color=LATE, lw=1.0, ls=(0, (4, 2.5)))
        if np.isfinite(chance).any():
            head = (
                "P(failure)"
                if horizon is None
                else f"P(RUL ≤ {number(horizon).removesuffix('.00')})"
            )
            _right(ax, -0.9, head, color=MUTED, fontsize=9)
            for y, value in zip(place, chance, strict=True):
                _right(ax, y, percent(value), fontsize=9)
        ax.set_yticks(place, names)
        ax.tick_params(axis="y", labelcolor=INK)
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        left = frame.height - rul.size
        rest = f" (the first {rul.size} of {frame.height:,})" if left else ""
        ax.set(
            xlim=(0, 1.05 * top_of(rul, upper)),
            ylim=(rul.size - 0.4, -1.3 if np.isfinite(chance).any() else -0.6),
            xlabel=f"predicted RUL, {time_unit}",
            ylabel=f"unit{rest}",
        )
    return ax


def _right(ax: Axes, y: float, text: str, **style: Any) -> None:
    ax.annotate(
        text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center", annotation_clip=False, **style,
    )  # fmt: skip


def _sticks(place: Array, true: Array, predicted: Array) -> tuple[Array, Array]:
    """All connections as one broken line, far smaller in a file than one line each."""
    gap = np.full(place.size, np.nan)
    x = np.stack([place, place, gap], axis=1).ravel()
    return x, np.stack([true, predicted, gap], axis=1).ravel()


def sample_fleet(n: int = 60, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Generated last rows: unit, rul, lower, upper, rul_true, and probability of RUL ≤ 20."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(3, 150, n)
    width = 3 + 0.22 * true
    rul = np.clip(true + rng.normal(0, 0.4, n) * width, 0, None)
    return {
        "unit": np.array([f"pump {k + 1}" for k in range(n)]),
        "rul": rul,
        "lower": np.clip(rul - width, 0, None),
        "upper": rul + width,
        "rul_true": true,
        "probability": 1.0 / (1.0 + np.exp((rul - 20.0) / (0.35 * width))),
    }

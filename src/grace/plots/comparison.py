"""Methods compared over many datasets or seeds: mean ranks, and two objectives at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from grace.plots.canvas import Array, TableLike, as_frame, canvas, floats
from grace.plots.style import INK, MODEL, MUTED, REFERENCE, legend_above

__all__ = ["critical_difference", "pareto_front", "sample_methods", "sample_ranks", "spread_out"]

_MOST_NAMES = 20  # named in a figure
_NAME_HEIGHT = 0.065  # of a name, as a share of the height of the axes


def critical_difference(
    data: TableLike,
    ax: Axes | None = None,
    *,
    critical_difference: float,
    groups: Sequence[Sequence[str]] | None = None,
) -> Axes:
    """Critical-difference diagram: mean ranks, and bars over methods that do not differ.

    Source: Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006.

    Args:
        data: one row per method, with the columns ``name`` and ``rank`` (mean rank, 1 is best).
        ax: axes to draw on; None draws a new figure.
        critical_difference: smallest significant difference of mean ranks (Nemenyi).
        groups: methods that do not differ; None derives the maximal groups from
            ``critical_difference``.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or no rank is finite.

    Example:
        >>> import grace.plots
        >>> ranks = {"name": ["a", "b", "c"], "rank": [1.2, 1.9, 2.9]}
        >>> ax = grace.plots.critical_difference(ranks, critical_difference=1.1)
        >>> ax.get_xlabel()
        'mean rank (1 is best); critical difference 1.10'
    """
    frame = as_frame(data, ("name", "rank"), "critical_difference")
    rank = floats(frame, "rank")
    order = np.argsort(rank, kind="stable")
    order = order[np.isfinite(rank[order])]
    if not order.size:
        raise ValueError("critical_difference: no mean rank is finite")
    names, rank = [str(frame["name"][int(i)]) for i in order], rank[order]
    if groups is None:
        bars = _groups(rank, critical_difference)
    else:
        members = [[names.index(str(n)) for n in group if str(n) in names] for group in groups]
        bars = [(min(m), max(m)) for m in members if len(m) > 1]
    with canvas(ax, 460, 90 + 22 * rank.size) as ax:
        place = np.arange(rank.size, dtype=np.float64)
        for k, (first, last) in enumerate(bars):
            x = -0.55 - 0.22 * k
            ax.plot([rank[first] - 0.02, rank[last] + 0.02], [x, x], color=INK, lw=3.5)
            ax.vlines(
                rank[[first, last]], x, place[[first, last]], color=REFERENCE, lw=0.6, alpha=0.5
            )
        ax.plot(rank, place, "o", color=MODEL, ms=7)
        for y, value in zip(place, rank, strict=True):
            ax.annotate(
                f"{value:.2f}", (value, y), xytext=(8, 0), textcoords="offset points", va="center",
                fontsize=9, color=MUTED,
            )  # fmt: skip
        ax.set_yticks(place, names)
        ax.tick_params(axis="y", labelcolor=INK)
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        low, high = min(1.0, float(rank.min())), max(float(rank.max()), 2.0)
        room = 0.06 * (high - low)
        ax.set(
            xlim=(low - room, high + 3 * room),
            ylim=(rank.size - 0.4, -0.9 - 0.22 * len(bars)),
            xlabel=f"mean rank (1 is best); critical difference {critical_difference:.2f}",
            ylabel="method",
        )
    return ax


def _groups(
    rank: np.ndarray[tuple[int, ...], np.dtype[np.float64]], cd: float
) -> list[tuple[int, int]]:
    """Maximal runs of sorted ranks whose ends differ by less than the critical difference."""
    last = [int(np.flatnonzero(rank - value < cd)[-1]) for value in rank]
    found = [(k, end) for k, end in enumerate(last) if end > k]
    return [b for a, b in pairwise([(-1, -1), *found]) if b[1] > a[1]]


def pareto_front(data: TableLike, ax: Axes | None = None, *, time_unit: str = "cycles") -> Axes:
    """Methods by RMSE and NASA score; the front joins those that no other beats in both means.

    Names are written next to the axes, at the height of their points as far as there is room; with
    more than 20 methods only those on the front are named.

    Args:
        data: one row per method, with the columns ``name``, ``rmse`` and ``nasa``, and optionally
            ``rmse_std`` and ``nasa_std`` over seeds, which are drawn as bars.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of RUL.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"name": ["grace", "amnl", "gaba"], "rmse": [12.1, 11.8, 12.5],
        ...         "nasa": [220, 300, 240]}
        >>> ax = grace.plots.pareto_front(rows)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('RMSE, cycles', 'NASA score (no unit)')
    """
    frame = as_frame(data, ("name", "rmse", "nasa"), "pareto_front")
    rmse, nasa, wide, high = (floats(frame, c) for c in ("rmse", "nasa", "rmse_std", "nasa_std"))
    known = np.isfinite(rmse) & np.isfinite(nasa)
    beaten = np.array(
        [
            bool(((rmse <= x) & (nasa <= y) & ((rmse < x) | (nasa < y)))[known].any())
            for x, y in zip(rmse, nasa, strict=True)
        ]
    )
    front = np.flatnonzero(known & ~beaten)
    front = front[np.argsort(rmse[front], kind="stable")]
    with canvas(ax, 520, 320) as ax:
        ax.errorbar(
            rmse, nasa, xerr=np.nan_to_num(wide), yerr=np.nan_to_num(high), fmt="none",
            ecolor=REFERENCE, elinewidth=1.0, alpha=0.7,
        )  # fmt: skip
        ax.step(rmse[front], nasa[front], where="post", color=MODEL, lw=1.2, ls=(0, (4, 2.5)))
        rest = np.setdiff1d(np.flatnonzero(known), front)
        ax.plot(rmse[rest], nasa[rest], "o", color=REFERENCE, ms=7, label="worse in both means")
        ax.plot(rmse[front], nasa[front], "o", color=MODEL, ms=8, label="on the front")
        ax.grid(visible=True, axis="both")
        ax.margins(0.1)
        ax.set(xlabel=f"RMSE, {time_unit}", ylabel="NASA score (no unit)")
        legend_above(ax)
        named = np.flatnonzero(known) if known.sum() <= _MOST_NAMES else front
        names = [str(frame["name"][int(i)]) for i in named]
        _names_aside(ax, names, rmse[named], nasa[named])
    return ax


def _names_aside(ax: Axes, names: Sequence[str], x: Array, y: Array) -> None:
    """Names in a column right of the axes, each with a line to its point at (x, y), both (n,)."""
    low, high = ax.get_ylim()
    order = np.lexsort((-x, y))  # of equal heights the point further right gets the lower name
    heights = spread_out((y[order] - low) / (high - low), _NAME_HEIGHT)
    for i, height in zip(order, heights, strict=True):
        ax.annotate(
            names[i], (x[i], y[i]), xytext=(1.05, float(height)), textcoords=ax.transAxes,
            fontsize=9, va="center", annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": REFERENCE, "lw": 0.6, "relpos": (0.0, 0.5),
                "shrinkA": 1.0, "shrinkB": 4.0,
            },
        )  # fmt: skip


def spread_out(places: Array, gap: float) -> Array:
    """Sorted places in [0, 1], (n,), moved apart to at least ``gap`` as far as there is room.

    Example:
        >>> spread_out(np.array([0.25, 0.25, 0.75]), 0.125).tolist()
        [0.25, 0.375, 0.75]
        >>> spread_out(np.array([0.9, 0.95, 1.0]), 0.25).tolist()
        [0.5, 0.75, 1.0]
    """
    moved = np.array(places, dtype=np.float64)
    if moved.size > 1:
        gap = min(gap, 1.0 / (moved.size - 1))
    for i in range(1, moved.size):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    limit = 1.0
    for i in reversed(range(moved.size)):
        moved[i] = limit = min(moved[i], limit)
        limit -= gap
    return moved


_METHODS = ("grace", "gaba", "amnl", "baseline", "uncertainty", "gradnorm", "dwa")


def _method_names(n: int) -> list[str]:
    return [_METHODS[k] if k < len(_METHODS) else f"method {k + 1}" for k in range(n)]


def sample_ranks(n: int = 6, seed: int = 0) -> pl.DataFrame:
    """Generated mean ranks of n methods over 12 blocks: name and rank."""
    scores = np.random.default_rng(seed).normal(size=(12, n)) + np.linspace(0, 1.8, n)
    ranks = scores.argsort(axis=1).argsort(axis=1).mean(axis=0) + 1.0
    return pl.DataFrame({"name": _method_names(n), "rank": ranks})


def sample_methods(n: int = 6, seed: int = 0) -> pl.DataFrame:
    """Generated errors of n methods: name, rmse, nasa and their standard deviations."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "name": _method_names(n),
            "rmse": rng.uniform(11, 14, n),
            "nasa": rng.uniform(210, 420, n),
            "rmse_std": rng.uniform(0.1, 0.4, n),
            "nasa_std": rng.uniform(5, 25, n),
        }
    )

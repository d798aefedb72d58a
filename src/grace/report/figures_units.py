"""Figures of single units: sorted by true life, over time, inside the cone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grace.report.run_data import Trajectory
from grace.report.style import (
    BESIDE,
    EARLY,
    GRID,
    INK,
    LATE,
    MODEL,
    PAPER,
    legend_above,
    new_figure,
    state_color,
)

__all__ = ["cone_figure", "draw_sorted", "draw_trajectory", "sorted_figure", "trajectory_figure"]

Array = npt.NDArray[np.float64]
_MOST_POINTS = 500  # drawn per line


def sorted_figure(
    evaluated: Sequence[Trajectory], cap: float | None, limits: Sequence[float], time_unit: str
) -> Figure:
    """Test units by true RUL, each prediction on a stick to its truth."""
    figure = new_figure(860, 350)
    ax = figure.add_subplot()
    draw_sorted(ax, evaluated, cap, limits, time_unit)
    return figure


def draw_sorted(
    ax: Axes,
    evaluated: Sequence[Trajectory],
    cap: float | None,
    limits: Sequence[float],
    time_unit: str,
) -> None:
    """The content of :func:`sorted_figure`; up-triangles are late, down-triangles early."""
    order = sorted(evaluated, key=lambda t: (t.true_capped[-1], t.predicted[-1]))
    true = np.array([t.true_capped[-1] for t in order])
    predicted = np.array([t.predicted[-1] for t in order])
    place = np.arange(1, true.size + 1)
    late = predicted > true
    size = float(np.clip(5000 / max(true.size, 1), 9, 42))
    for limit in limits:
        ax.axhline(limit, color=BESIDE, lw=0.8, ls=(0, (1, 3)), zorder=1)
    for side, color, marker, name in (
        (late, LATE, "^", "predicted, late"),
        (~late, EARLY, "v", "predicted, early"),
    ):
        ax.plot(*_sticks(place[side], true[side], predicted[side]), color=color, lw=1.1, alpha=0.55)
        ax.scatter(
            place[side], predicted[side], s=size, marker=marker, color=color, lw=0, zorder=3,
            label=f"{name} ({int(side.sum())})",
        )  # fmt: skip
    capped = "" if cap is None else f" (at most {cap:g})"
    ax.step(place, true, where="mid", color=INK, lw=1.6, label=f"true RUL{capped}", zorder=2)
    ax.set(
        xlabel="test units, by true remaining life",
        ylabel=f"RUL, {time_unit}",
        xlim=(0.2, true.size + 0.8),
        ylim=(0, None),
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(ax)


def trajectory_figure(
    trajectory: Trajectory, cap: float | None, n_states: int, limits: Sequence[float]
) -> Figure:
    """One unit: predicted and true RUL over time, health states below."""
    figure = new_figure(320, 235)
    if trajectory.states is None:
        draw_trajectory(figure.add_subplot(), None, trajectory, cap, n_states, limits)
    else:
        top, strip = figure.subplots(2, 1, sharex=True, height_ratios=(6.5, 1.25))
        draw_trajectory(top, strip, trajectory, cap, n_states, limits)
    return figure


def draw_trajectory(
    ax: Axes,
    strip: Axes | None,
    trajectory: Trajectory,
    cap: float | None,
    n_states: int,
    limits: Sequence[float],
) -> None:
    """The content of :func:`trajectory_figure`, without a title."""
    time, keep = trajectory.time, _thinned(trajectory.time.size)
    highest = np.nanmax([trajectory.predicted.max(), np.nanmax(trajectory.true_capped, initial=0)])
    top = 1.12 * highest
    if cap is not None:
        top = min(max(top, 1.12 * np.nanmax(trajectory.true, initial=0)), 1.35 * max(cap, highest))
    ax.plot(time[keep], trajectory.true[keep], color=BESIDE, lw=1.2, ls=(0, (4, 2.5)), label="true")
    ax.plot(time[keep], trajectory.true_capped[keep], color=INK, lw=1.4, label="true, capped")
    ax.plot(time[keep], trajectory.predicted[keep], color=MODEL, lw=2.0, label="predicted")
    last = trajectory.predicted[-1]
    ax.plot(time[-1:], [last], "o", color=MODEL, ms=5.5, mec=PAPER, mew=1.0)
    ax.annotate(
        f"{last:.0f}", (time[-1], last), xytext=(6, 0), textcoords="offset points",
        va="center", color=MODEL, fontweight="bold", fontsize=10, annotation_clip=False,
    )  # fmt: skip
    ax.set(ylim=(0, top), xmargin=0.0)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    if strip is None or trajectory.states is None:
        return
    ax.tick_params(bottom=False)
    truth = (trajectory.true_capped[:, None] <= np.asarray(limits)).sum(axis=1)
    rows = [(trajectory.states, 1.05)]
    if not np.isnan(trajectory.true_capped).any():
        rows.append((truth, 0.0))
    for states, y in rows:
        _strip(strip, time, states, y, n_states)
    names = ["predicted", "true"][: len(rows)]
    strip.set_yticks([y + 0.45 for _, y in rows], names, fontsize=8)
    strip.set(ylim=(0 if len(rows) == 2 else 1.0, 2.0))
    strip.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    strip.grid(False)
    for spine in strip.spines.values():
        spine.set_visible(False)
    strip.tick_params(bottom=False, left=False)


def cone_figure(trajectory: Trajectory, cap: float | None, alpha: float, time_unit: str) -> Figure:
    """One unit against the cone that narrows with its remaining life (α-λ)."""
    figure = new_figure(390, 300)
    ax = figure.add_subplot()
    evaluated = np.ones(trajectory.time.size, bool) if cap is None else trajectory.true <= cap
    time, true, predicted = (
        v[evaluated] for v in (trajectory.time, trajectory.true, trajectory.predicted)
    )
    end = time[-1] + true[-1]
    lam = (time - time[0]) / max(end - time[0], 1e-12)
    inside = np.abs(predicted - true) <= alpha * true + 1e-9
    ax.fill_between(
        lam, (1 - alpha) * true, (1 + alpha) * true, color=MODEL, alpha=0.16, lw=0,
        label=f"±{alpha:.0%} of the true RUL",
    )  # fmt: skip
    ax.plot(lam, true, color=INK, lw=1.4, label="true")
    ax.plot(lam, predicted, color=MODEL, lw=1.0, alpha=0.5)
    step = max(1, lam.size // 60)
    for part, color, name in ((inside, MODEL, "inside"), (~inside, LATE, "outside")):
        rows = np.flatnonzero(part)[::step]
        ax.plot(lam[rows], predicted[rows], "o", ms=4, color=color, mec=PAPER, mew=0.5, label=name)
    start = "first record" if evaluated[0] else f"RUL {true[0]:g}"
    ax.set(
        xlim=(0, 1.0),
        ylim=(0, None),
        xlabel=f"λ, share of the evaluated life ({start} = 0, failure = 1)",
        ylabel=f"RUL, {time_unit}",
    )
    ax.legend(loc="upper right", fontsize=9)
    return figure


def _strip(ax: Axes, time: Array, states: npt.NDArray[np.int64], y: float, n_states: int) -> None:
    """A bar of coloured runs: one rectangle per stretch of one state."""
    changes = np.flatnonzero(np.diff(states)) + 1
    edges = np.concatenate([[0], changes, [states.size]])
    step = float(np.median(np.diff(time))) if time.size > 1 else 1.0
    for a, b in pairwise(edges):
        left, right = time[a], time[b - 1] + step
        color = state_color(int(states[a]), n_states)
        ax.broken_barh([(left, right - left)], (y, 0.9), facecolors=color, lw=0)
    ax.set_facecolor("none")
    ax.patch.set_edgecolor(GRID)


def _sticks(place: npt.NDArray[np.int64], true: Array, predicted: Array) -> tuple[Array, Array]:
    """All sticks as one broken line: far smaller than one line each."""
    gap = np.full(place.size, np.nan)
    x = np.stack([place.astype(float), place.astype(float), gap], axis=1).ravel()
    return x, np.stack([true, predicted, gap], axis=1).ravel()


def _thinned(n: int) -> npt.NDArray[np.int64]:
    """Row numbers of at most ``_MOST_POINTS`` rows, first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_POINTS)).round().astype(np.int64))

"""Figures of the training: losses, validation error, task weights, gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from grace.report.style import (
    BESIDE,
    INK,
    LATE,
    MODEL,
    PAPER,
    SECOND,
    legend_above,
    log_scale,
    new_figure,
)

__all__ = ["training_figures"]

Records = Sequence[dict[str, Any]]
Values = npt.NDArray[np.float64]
_MOST_POINTS = 400


def training_figures(
    history: Records, telemetry: Records, chosen_epoch: int | None, time_unit: str
) -> Iterator[tuple[Figure, str, str]]:
    """The figures that the logs allow, each with a title and what it shows."""
    if history:
        yield (
            _losses(history),
            "Losses.",
            "Mean loss of both tasks per epoch. The RUL loss is in squared units of time, the "
            "health loss a cross-entropy: only their course compares.",
        )
        yield (
            _validation(history, chosen_epoch, time_unit),
            "Validation error.",
            "RMSE of the averaged weights after each epoch, on every cycle of the held-out units; "
            "the dot is the checkpoint kept."
            if "test" not in history[0]["rmse"]
            else "RMSE after each epoch: on every cycle of the held-out units, and on the test "
            "units' last cycles, which chose the checkpoint kept (dot).",
        )
    steps, raw = _series(telemetry, "lambda_raw")
    if raw.size:
        yield (
            _balancer(steps, telemetry),
            "Task weight.",
            "λ of the RUL task per step: as the gradients ask (raw), smoothed (EMA), and as "
            "applied after warm-up and floor. Health gets the rest.",
        )
    elif history and len(history[0].get("weights", [])) > 1:
        yield (
            _weights(telemetry, history),
            "Task weights.",
            "Task weights as applied. This method logs no raw weights.",
        )
    steps, norms = _series(telemetry, "task_grad_norms")
    if steps.size > 1:
        yield (
            _norms(steps, norms),
            "Gradient norms.",
            "Length of each task's gradient on the shared parameters (logarithmic).",
        )
        yield (
            _ratio(steps, norms, telemetry),
            "Gradient balance.",
            "RUL gradient over health gradient (logarithmic), and the cosine between the two: "
            "below 0 the tasks pull apart.",
        )
    steps, floor = _series(telemetry, "floor_share")
    if floor.any():
        yield (
            _floor(steps, floor[:, 0]),
            "Floor.",
            "Share of steps since warm-up on which the floor held a weight up; at 100 % the method "
            "is a fixed weighting.",
        )


def _panel() -> tuple[Figure, Axes]:
    figure = new_figure(390, 270)
    ax = figure.add_subplot()
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure, ax


def _losses(history: Records) -> Figure:
    figure, ax = _panel()
    epochs = [r["epoch"] + 1 for r in history]
    marker = "o" if len(epochs) < 30 else ""
    for key, color, name in (("rul_loss", MODEL, "RUL"), ("health_loss", SECOND, "health")):
        ax.plot(epochs, [r[key] for r in history], color=color, marker=marker, ms=4, label=name)
    ax.set(xlabel="epoch", ylabel="training loss")
    log_scale(ax)
    legend_above(ax)
    return figure


def _validation(history: Records, chosen: int | None, time_unit: str) -> Figure:
    figure, ax = _panel()
    epochs = [r["epoch"] + 1 for r in history]
    monitors = list(history[0]["rmse"])
    for name in monitors:
        color = LATE if name == "test" else MODEL
        label = "test, last cycles" if name == "test" else name
        values = [r["rmse"].get(name, float("nan")) for r in history]
        ax.plot(epochs, values, color=color, marker="o" if len(epochs) < 30 else "", ms=4,
                label=label)  # fmt: skip
        if chosen is not None and chosen + 1 in epochs and name == monitors[-1]:
            value = values[epochs.index(chosen + 1)]
            ax.plot([chosen + 1], [value], "o", ms=9, color=color, mec=PAPER, mew=1.5)
            ax.annotate(
                f"{value:.2f}", (chosen + 1, value), xytext=(0, -17), textcoords="offset points",
                ha="center", fontweight="bold",
            )  # fmt: skip
    ax.set(xlabel="epoch", ylabel=f"RMSE, {time_unit}", ylim=(0, None))
    legend_above(ax)
    return figure


def _balancer(steps: Values, telemetry: Records) -> Figure:
    figure, ax = _panel()
    _, raw = _series(telemetry, "lambda_raw")
    ax.plot(steps, raw[:, 0], "o", color=BESIDE, ms=3, label="raw")
    for key, color, width, name in (
        ("lambda_ema", SECOND, 1.4, "EMA"),
        ("weights", MODEL, 2.2, "applied"),
    ):
        where, values = _series(telemetry, key)
        if values.size:
            dash = (0, (4, 2)) if name == "EMA" else "-"
            order = 4 if name == "EMA" else 3
            ax.plot(where, values[:, 0], color=color, lw=width, ls=dash, label=name, zorder=order)
    ax.axhline(0.5, color=INK, lw=0.8, ls=(0, (1, 3)))
    ax.set(xlabel="step", ylabel="λ of the RUL task", ylim=(-0.03, 1.03))
    legend_above(ax)
    return figure


def _weights(telemetry: Records, history: Records) -> Figure:
    figure, ax = _panel()
    steps, weights = _series(telemetry, "weights")
    if not weights.size:
        steps = np.array([r["step"] for r in history], np.float64)
        weights = np.array([r["weights"] for r in history], np.float64)
    for k in range(weights.shape[1]):
        color = (MODEL, SECOND)[k] if k < 2 else BESIDE
        dash = "-" if k == 0 else (0, (4, 2))
        name = ("RUL", "health")[k] if k < 2 else f"task {k}"
        ax.plot(steps, weights[:, k], color=color, lw=2.0, ls=dash, label=name)
    ax.set(
        xlabel="step",
        ylabel="weight applied",
        ylim=(0, max(1.0, 1.05 * float(weights.max()))),
    )
    legend_above(ax)
    return figure


def _norms(steps: Values, norms: Values) -> Figure:
    figure, ax = _panel()
    marker = "o" if steps.size < 30 else ""
    for k, (color, name) in enumerate(((MODEL, "RUL"), (SECOND, "health"))):
        if k < norms.shape[1]:
            ax.plot(steps, norms[:, k], color=color, marker=marker, ms=4, lw=1.4, label=name)
    ax.set(xlabel="step", ylabel="gradient norm")
    log_scale(ax)
    legend_above(ax)
    return figure


def _ratio(steps: Values, norms: Values, telemetry: Records) -> Figure:
    figure = new_figure(390, 270)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    marker = "o" if steps.size < 30 else ""
    ratio = norms[:, 0] / np.maximum(norms[:, 1], 1e-30)
    top.plot(steps, ratio, color=MODEL, marker=marker, ms=4, lw=1.4)
    top.axhline(1.0, color=INK, lw=0.8, ls=(0, (1, 3)))
    top.set(ylabel="ratio")
    log_scale(top)
    top.tick_params(bottom=False)
    where, cosine = _series(telemetry, "cosine")
    if cosine.size:
        below.plot(where, cosine[:, 0], color=SECOND, marker=marker, ms=4, lw=1.4)
    below.axhline(0.0, color=INK, lw=0.8)
    below.set(xlabel="step", ylabel="cosine", ylim=(-1, 1))
    below.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


def _floor(steps: Values, share: Values) -> Figure:
    figure, ax = _panel()
    ax.fill_between(steps, share, color=MODEL, alpha=0.14, lw=0)
    ax.plot(steps, share, color=MODEL, lw=2.0)
    ax.set(xlabel="step", ylabel="share of steps on the floor", ylim=(0, 1.04))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _series(records: Records, key: str) -> tuple[Values, Values]:
    """Steps (n,) and values (n, K) of a logged quantity, thinned evenly; empty if never logged."""
    found = [
        (float(r["step"]), np.atleast_1d(np.asarray(r[key], np.float64)))
        for r in records
        if r.get(key) is not None
    ]
    if not found:
        return np.empty(0), np.empty((0, 0))
    keep = np.unique(
        np.linspace(0, len(found) - 1, min(len(found), _MOST_POINTS)).round().astype(int)
    )
    return np.array([found[i][0] for i in keep]), np.stack([found[i][1] for i in keep])

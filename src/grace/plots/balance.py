"""Task balance over training: weights, gradient norms, their ratio and cosine, the floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from grace.plots.canvas import Array, canvas, thinned
from grace.plots.style import INK, MODEL, REFERENCE, SECOND, legend_above, log_scale

__all__ = [
    "floor_share",
    "gaba_weights",
    "gradient_cosine",
    "gradient_norms",
    "gradient_ratio",
    "logged",
    "sample_telemetry",
    "task_weights",
]

Records = Sequence[Mapping[str, Any]]
_TASKS = ("RUL", "health")
_COLORS = (MODEL, SECOND, REFERENCE)


def logged(records: Records, key: str) -> tuple[Array, Array]:
    """Steps (n,) and values (n, K) of a logged quantity, thinned evenly; empty if never logged.

    Example:
        >>> from grace.plots.balance import logged
        >>> steps, values = logged([{"step": 0}, {"step": 10, "cosine": 0.1}], "cosine")
        >>> steps.tolist(), values.tolist()
        ([10.0], [[0.1]])
    """
    found = [
        (float(r["step"]), np.atleast_1d(np.asarray(r[key], np.float64)))
        for r in records
        if r.get(key) is not None
    ]
    if not found:
        return np.empty(0), np.empty((0, 0))
    keep = thinned(len(found), 400)
    return np.array([found[i][0] for i in keep]), np.stack([found[i][1] for i in keep])


def task_weights(
    data: Records, ax: Axes | None = None, *, tasks: Sequence[str] | None = None
) -> Axes:
    """The weight of each task as applied, per step.

    Args:
        data: one record per step, with the keys ``step`` and ``weights`` (K values), as in
            ``telemetry.jsonl`` or ``history.jsonl`` of a run folder.
        ax: axes to draw on; None draws a new figure.
        tasks: names of the tasks; None names them RUL, health, task 3, …

    Returns:
        The axes.

    Raises:
        ValueError: no record has weights.

    Example:
        >>> import grace.plots
        >>> records = [{"step": s, "weights": [0.3, 0.7]} for s in range(0, 30, 10)]
        >>> grace.plots.task_weights(records).get_ylabel()
        'task weight (no unit)'
    """
    steps, weights = _needed(data, "weights", "task_weights")
    with canvas(ax, 390, 270) as ax:
        for k, name in enumerate(_names(weights.shape[1], tasks)):
            dash = "-" if k == 0 else (0, (4, 2))
            ax.plot(steps, weights[:, k], color=_color(k), lw=2.0, ls=dash, label=name)
        finite = weights[np.isfinite(weights)]
        top = max(1.0, 1.05 * float(finite.max())) if finite.size else 1.0
        _finish(ax, "task weight (no unit)", (-0.03, top + 0.03))
        legend_above(ax)
    return ax


def gaba_weights(data: Records, ax: Axes | None = None, *, task: int = 0) -> Axes:
    """The weight of one task under gradient balancing: raw, smoothed, and as applied.

    Args:
        data: one record per step, with the keys ``step``, ``lambda_raw``, and optionally
            ``lambda_ema`` and ``weights`` (K values each), as in ``telemetry.jsonl``.
        ax: axes to draw on; None draws a new figure.
        task: index of the task; 0 is RUL, 1 health.

    Returns:
        The axes.

    Raises:
        ValueError: no record has ``lambda_raw``.

    Example:
        >>> import grace.plots
        >>> records = [{"step": s, "lambda_raw": [0.1, 0.9]} for s in range(3)]
        >>> grace.plots.gaba_weights(records).get_ylabel()
        'λ of the RUL task (no unit)'
    """
    steps, raw = _needed(data, "lambda_raw", "gaba_weights")
    with canvas(ax, 390, 270) as ax:
        ax.plot(steps, raw[:, task], "o", color=REFERENCE, ms=3, label="raw")
        parts: tuple[tuple[str, str, dict[str, Any], str], ...] = (
            ("lambda_ema", SECOND, {"lw": 1.4, "ls": (0, (4, 2)), "zorder": 4}, "smoothed (EMA)"),
            ("weights", MODEL, {"lw": 2.2}, "applied"),
        )
        for key, color, style, name in parts:
            where, values = logged(data, key)
            if values.size:
                ax.plot(where, values[:, task], color=color, label=name, **style)
        ax.axhline(1.0 / raw.shape[1], color=INK, lw=0.8, ls=(0, (1, 3)))
        name = _names(raw.shape[1], None)[task]
        _finish(ax, f"λ of the {name} task (no unit)", (-0.03, 1.03))
        legend_above(ax)
    return ax


def gradient_norms(
    data: Records, ax: Axes | None = None, *, tasks: Sequence[str] | None = None
) -> Axes:
    """Norm of each task's gradient on the shared parameters, on a logarithmic axis.

    Args:
        data: one record per step, with the keys ``step`` and ``task_grad_norms`` (K values).
        ax: axes to draw on; None draws a new figure.
        tasks: names of the tasks; None names them RUL, health, task 3, …

    Returns:
        The axes.

    Raises:
        ValueError: no record has ``task_grad_norms``.

    Example:
        >>> import grace.plots
        >>> records = [{"step": s, "task_grad_norms": [300.0, 0.8]} for s in range(3)]
        >>> grace.plots.gradient_norms(records).get_yscale()
        'log'
    """
    steps, norms = _needed(data, "task_grad_norms", "gradient_norms")
    with canvas(ax, 390, 270) as ax:
        for k, name in enumerate(_names(norms.shape[1], tasks)):
            style: dict[str, Any] = {
                "color": _color(k),
                "marker": _marker(steps),
                "ms": 4,
                "lw": 1.4,
            }
            ax.plot(steps, norms[:, k], label=name, **style)
        _finish(ax, "gradient norm (loss per parameter unit)")
        log_scale(ax)
        legend_above(ax)
    return ax


def gradient_ratio(data: Records, ax: Axes | None = None) -> Axes:
    """Norm of the first task's gradient over that of the second, on a logarithmic axis.

    Args:
        data: one record per step, with the keys ``step`` and ``task_grad_norms`` (K ≥ 2 values).
        ax: axes to draw on; None draws a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: no record has ``task_grad_norms`` of two tasks.

    Example:
        >>> import grace.plots
        >>> records = [{"step": s, "task_grad_norms": [300.0, 0.5]} for s in range(3)]
        >>> grace.plots.gradient_ratio(records).lines[0].get_ydata().tolist()
        [600.0, 600.0, 600.0]
    """
    steps, norms = _needed(data, "task_grad_norms", "gradient_ratio")
    if norms.shape[1] < 2:
        raise ValueError("gradient_ratio: the records have the norm of one task only")
    with canvas(ax, 390, 270) as ax:
        ratio = norms[:, 0] / np.where(norms[:, 1] > 0, norms[:, 1], np.nan)
        ax.plot(steps, ratio, color=MODEL, marker=_marker(steps), ms=4, lw=1.4)
        ax.axhline(1.0, color=INK, lw=0.8, ls=(0, (1, 3)))
        _finish(ax, "gradient norm, RUL over health")
        log_scale(ax)
    return ax


def gradient_cosine(data: Records, ax: Axes | None = None) -> Axes:
    """Cosine between the gradients of two tasks; below 0 they conflict.

    Args:
        data: one record per step, with the keys ``step`` and ``cosine``.
        ax: axes to draw on; None draws a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: no record has a cosine.

    Example:
        >>> import grace.plots
        >>> grace.plots.gradient_cosine([{"step": 0, "cosine": -0.2}]).get_xlabel()
        'step'
    """
    steps, cosine = _needed(data, "cosine", "gradient_cosine")
    with canvas(ax, 390, 270) as ax:
        ax.plot(steps, cosine[:, 0], color=SECOND, marker=_marker(steps), ms=4, lw=1.4)
        ax.axhline(0.0, color=INK, lw=0.8)
        _finish(ax, "cosine of the task gradients", (-1.0, 1.0))
    return ax


def floor_share(data: Records, ax: Axes | None = None) -> Axes:
    """Share of steps since warm-up on which a task weight was held at its lower limit.

    Args:
        data: one record per step, with the keys ``step`` and ``floor_share`` (0 to 1).
        ax: axes to draw on; None draws a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: no record has ``floor_share``.

    Example:
        >>> import grace.plots
        >>> grace.plots.floor_share([{"step": 0, "floor_share": 0.2}]).get_xlabel()
        'step'
    """
    steps, share = _needed(data, "floor_share", "floor_share")
    with canvas(ax, 390, 270) as ax:
        ax.fill_between(steps, share[:, 0], color=MODEL, alpha=0.14, lw=0)
        ax.plot(steps, share[:, 0], color=MODEL, marker=_marker(steps), ms=4, lw=2.0)
        _finish(ax, "share of steps at the floor", (0.0, 1.04))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return ax


def _needed(data: Records, key: str, what: str) -> tuple[Array, Array]:
    steps, values = logged(data, key)
    if not values.size:
        raise ValueError(f"{what}: no record has the key {key!r}")
    return steps, values


def _names(n: int, tasks: Sequence[str] | None) -> list[str]:
    known = _TASKS if tasks is None else tasks
    return [known[k] if k < len(known) else f"task {k + 1}" for k in range(n)]


def _color(k: int) -> str:
    return _COLORS[min(k, len(_COLORS) - 1)]


def _marker(steps: Array) -> str:
    return "o" if steps.size < 30 else ""


def _finish(ax: Axes, ylabel: str, ylim: tuple[float, float] | None = None) -> None:
    ax.set(xlabel="step", ylabel=ylabel)
    if ylim is not None:
        ax.set_ylim(ylim)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def sample_telemetry(n: int = 120, seed: int = 0) -> list[dict[str, Any]]:
    """Generated records of n steps, as in ``telemetry.jsonl``."""
    rng = np.random.default_rng(seed)
    records: list[dict[str, Any]] = []
    ema = 0.5
    for k in range(n):
        norms = [float(rng.lognormal(5.5, 0.3)), float(rng.lognormal(-0.4, 0.3))]
        raw = norms[1] / sum(norms)
        ema = 0.96 * ema + 0.04 * raw
        applied = max(ema, 0.05) / (max(ema, 0.05) + 1 - ema)
        records.append(
            {
                "step": 10 * k,
                "task_grad_norms": norms,
                "lambda_raw": [raw, 1 - raw],
                "lambda_ema": [ema, 1 - ema],
                "weights": [applied, 1 - applied],
                "cosine": float(np.clip(rng.normal(0.05, 0.2), -1, 1)),
                "floor_share": float(max(0.0, 1 - 70 / (k + 1))),
            }
        )
    return records

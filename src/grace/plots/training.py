"""Training curves: losses and validation error per epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from grace.plots.canvas import canvas, top_of
from grace.plots.style import LATE, MODEL, PAPER, REFERENCE, SECOND, legend_above, log_scale

__all__ = ["sample_history", "training_losses", "validation_error"]

Records = Sequence[Mapping[str, Any]]
_LOSSES = (("rul_loss", MODEL, "RUL"), ("health_loss", SECOND, "health"))


def training_losses(data: Records, ax: Axes | None = None) -> Axes:
    """Mean training loss of each task per epoch, on a logarithmic axis.

    Args:
        data: one record per epoch, with the keys ``epoch`` (from 0), ``rul_loss`` and
            ``health_loss``, as in ``history.jsonl`` of a run folder.
        ax: axes to draw on; None draws a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: there are no records.

    Example:
        >>> import grace.plots
        >>> records = [{"epoch": e, "rul_loss": 90 / (e + 1), "health_loss": 1} for e in range(3)]
        >>> grace.plots.training_losses(records).get_xlabel()
        'epoch'
    """
    epochs = _epochs(data, "training_losses")
    with canvas(ax, 390, 270) as ax:
        for key, color, name in _LOSSES:
            values = np.array([_float(r.get(key)) for r in data])
            if np.isfinite(values).any():
                ax.plot(epochs, values, color=color, marker=_marker(epochs), ms=4, label=name)
        ax.set(xlabel="epoch", ylabel="training loss (squared label units; nats)")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        log_scale(ax)
        legend_above(ax)
    return ax


def validation_error(
    data: Records,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    chosen_epoch: int | None = None,
) -> Axes:
    """RMSE per epoch on each set of units that was monitored.

    Args:
        data: one record per epoch, with the keys ``epoch`` (from 0) and ``rmse``, a mapping from
            the name of the monitored set to its RMSE, as in ``history.jsonl`` of a run folder.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of RUL.
        chosen_epoch: epoch (from 0) whose weights were kept; marked by a dot.

    Returns:
        The axes.

    Raises:
        ValueError: there are no records.

    Example:
        >>> import grace.plots
        >>> records = [{"epoch": e, "rmse": {"validation": 20 / (e + 1)}} for e in range(3)]
        >>> grace.plots.validation_error(records, chosen_epoch=2).get_ylabel()
        'RMSE, cycles'
    """
    epochs = _epochs(data, "validation_error")
    monitors = list(dict.fromkeys(name for r in data for name in (r.get("rmse") or {})))
    curves = {
        name: np.array([_float((r.get("rmse") or {}).get(name)) for r in data]) for name in monitors
    }
    with canvas(ax, 390, 270) as ax:
        for k, (name, values) in enumerate(curves.items()):
            color = LATE if name == "test" else MODEL if k == 0 else REFERENCE
            label = "test, last records" if name == "test" else name
            ax.plot(epochs, values, color=color, marker=_marker(epochs), ms=4, label=label)
            if chosen_epoch is None or chosen_epoch + 1 not in epochs or name != monitors[-1]:
                continue
            value = float(values[epochs.index(chosen_epoch + 1)])
            if np.isfinite(value):
                ax.plot([chosen_epoch + 1], [value], "o", ms=9, color=color, mec=PAPER, mew=1.5)
                ax.annotate(
                    f"{value:.2f}", (chosen_epoch + 1, value), xytext=(0, -17),
                    textcoords="offset points", ha="center", fontweight="bold",
                )  # fmt: skip
        top = 1.08 * top_of(*curves.values()) if curves else 1.0
        ax.set(xlabel="epoch", ylabel=f"RMSE, {time_unit}", ylim=(0, top))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if curves:
            legend_above(ax)
    return ax


def _epochs(data: Records, what: str) -> list[int]:
    if not len(data):
        raise ValueError(f"{what}: there are no records")
    return [int(r["epoch"]) + 1 for r in data]


def _marker(epochs: Sequence[int]) -> str:
    return "o" if len(epochs) < 30 else ""


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)


def sample_history(n: int = 40, seed: int = 0) -> list[dict[str, Any]]:
    """Generated records of n epochs, as in ``history.jsonl``."""
    rng = np.random.default_rng(seed)
    return [
        {
            "epoch": e,
            "step": 50 * (e + 1),
            "rul_loss": float(2200 * np.exp(-e / 6) + 90 + rng.normal(0, 6)),
            "health_loss": float(0.9 * np.exp(-e / 5) + 0.25 + rng.normal(0, 0.01)),
            "rmse": {"validation": float(30 * np.exp(-e / 5) + 11 + rng.normal(0, 0.4))},
        }
        for e in range(n)
    ]

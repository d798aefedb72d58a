"""Task weights of several runs over training, with the selected epochs."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from grace.plots.canvas import TableLike, as_frame, canvas, floats
from grace.plots.style import INK, LATE, MODEL, PALETTE, SECOND, legend_above, log_scale

__all__ = ["sample_paths", "weight_paths"]

_COLORS = (MODEL, LATE, PALETTE["early"].light, SECOND)
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))


def weight_paths(
    data: TableLike, ax: Axes | None = None, *, floor: float | None = None, task: str = "RUL"
) -> Axes:
    """Weight of one task at the end of each epoch, a line per run, on a logarithmic axis.

    Args:
        data: one row per run and epoch, with the columns ``name`` (of the method), ``run`` (any
            key), ``epoch`` and ``weight``, and optionally ``selected`` (the selected epoch of the
            run, the same in all its rows), which is marked.
        ax: axes to draw on; None draws a new figure.
        floor: weight that is drawn as a horizontal line; None draws none.
        task: name of the task.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"name": ["gaba"] * 3, "run": [1] * 3, "epoch": [1, 2, 3],
        ...         "weight": [0.5, 0.2, 0.05], "selected": [2, 2, 2]}
        >>> grace.plots.weight_paths(rows, floor=0.05).get_ylabel()
        'weight of the RUL task (no unit)'
    """
    frame = as_frame(data, ("name", "run", "epoch", "weight"), "weight_paths")
    with canvas(ax, 430, 280) as ax:
        if floor is not None:
            ax.axhline(floor, color=INK, lw=0.8, ls=(0, (1, 3)), label=f"floor, {floor:g}")
        for k, name in enumerate(frame["name"].unique(maintain_order=True).to_list()):
            color, dash = _COLORS[k % len(_COLORS)], _DASHES[k % len(_DASHES)]
            label: str | None = str(name)
            for (_,), part in frame.filter(pl.col("name") == name).group_by(
                "run", maintain_order=True
            ):
                epoch, weight, chosen = (floats(part, c) for c in ("epoch", "weight", "selected"))
                ax.plot(epoch, weight, color=color, lw=1.3, ls=dash, alpha=0.85, label=label)
                here = epoch == chosen
                ax.plot(epoch[here], weight[here], "o", color=color, ms=6, mec="white", mew=0.8)
                label = None  # one entry of the legend per method
        log_scale(ax)
        if bool(np.isfinite(floats(frame, "selected")).any()):
            ax.plot([], [], "o", color=INK, ms=5, label="selected epoch")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set(xlabel="epoch", ylabel=f"weight of the {task} task (no unit)")
        legend_above(ax)
    return ax


def sample_paths(n: int = 40, seed: int = 0) -> pl.DataFrame:
    """Generated weights of two methods with three runs of n epochs each."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in ("gaba", "grace"):
        for run in range(3):
            selected = int(rng.integers(1, n + 1))
            for epoch in range(1, n + 1):
                weight = max(0.5 * 0.82 ** max(0, epoch - 5), 0.0477) * rng.uniform(0.98, 1.02)
                rows.append((name, run, epoch, weight, selected))
    columns = ["name", "run", "epoch", "weight", "selected"]
    return pl.DataFrame(rows, schema=columns, orient="row")

"""Predicted against true health states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from grace.plots.canvas import canvas
from grace.plots.style import INK, MODEL, PAPER, state_names

__all__ = ["health_confusion", "sample_confusion"]


def health_confusion(
    data: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
    of: str = "units",
) -> Axes:
    """Confusion matrix of health states: counts, and shares of the true state.

    Args:
        data: counts, (C, C); rows are true states, columns predicted states, healthy first.
        ax: axes to draw on; None draws a new figure.
        names: names of the states; None takes the default names for C states.
        of: what is counted, for the labels.

    Returns:
        The axes.

    Raises:
        ValueError: the matrix is not square, or ``names`` has another length.

    Example:
        >>> import grace.plots
        >>> ax = grace.plots.health_confusion([[40, 2], [1, 17]])
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('predicted state (units)', 'true state (units)')
    """
    matrix = np.nan_to_num(np.asarray(data, np.float64)).astype(np.int64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"health_confusion: expected a square matrix, got {matrix.shape}")
    n = matrix.shape[0]
    labels = state_names(n) if names is None else list(names)
    if len(labels) != n:
        raise ValueError(f"health_confusion: {len(labels)} names for {n} states")
    totals = matrix.sum(axis=1, keepdims=True)
    share = matrix / np.maximum(totals, 1)
    with canvas(ax, 390, 110 + 62 * n) as ax:
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
                    j, i - 0.1, f"{matrix[i, j]:,}", ha="center", va="center", color=color,
                    fontsize=12, fontweight="bold",
                )  # fmt: skip
                row = f"{share[i, j]:.0%}" if totals[i, 0] else "–"
                ax.text(j, i + 0.24, row, ha="center", va="center", color=color, fontsize=9)
        ax.set_xticks(range(n), labels)
        ax.set_yticks(range(n), labels)
        ax.tick_params(length=0, labelcolor=INK, labelsize=9.5)
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.set(
            xlim=(-0.5, n - 0.5),
            ylim=(n - 0.5, -0.5),
            xlabel=f"predicted state ({of})",
            ylabel=f"true state ({of})",
        )
    return ax


def sample_confusion(n: int = 60, seed: int = 0) -> npt.NDArray[Any]:
    """A generated confusion matrix of n units and three states."""
    rng = np.random.default_rng(seed)
    chance = np.array([0.42, 0.04, 0.0, 0.05, 0.24, 0.04, 0.0, 0.02, 0.19])
    return rng.multinomial(n, chance).reshape(3, 3)

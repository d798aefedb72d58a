"""Error against a fixed task weight: for two tasks the whole family of constant weights."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from grace.plots.canvas import TableLike, as_frame, canvas, floats
from grace.plots.style import LATE, MODEL, REFERENCE, legend_above

__all__ = ["sample_sweep", "weight_sweep"]

_FLOOR = 0.05 / 1.05  # smallest weight that GABA gives the RUL task with its default floor


def weight_sweep(
    data: TableLike,
    ax: Axes | None = None,
    *,
    reference: float | None = None,
    reference_std: float | None = None,
    name: str = "GABA",
    floor: float = _FLOOR,
    time_unit: str = "cycles",
) -> Axes:
    """RMSE by the fixed weight of the RUL task, next to an adaptive weight.

    Weights are drawn at equal distances. The one nearest to ``floor``, within 0.001, is marked:
    there an adaptive weight that rests on its floor is this constant.

    Args:
        data: one row per weight, with the columns ``weight`` (in [0, 1]) and ``rmse``, and
            optionally ``rmse_std`` over seeds.
        ax: axes to draw on; None draws a new figure.
        reference: RMSE of the adaptive weight, a horizontal line; None draws none.
        reference_std: its standard deviation over seeds, a band.
        name: of the adaptive weight.
        floor: smallest RUL weight of the adaptive method.
        time_unit: unit of RUL.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"weight": [0.0477, 0.5, 1.0], "rmse": [10.2, 10.1, 10.4]}
        >>> ax = grace.plots.weight_sweep(rows, reference=10.15)
        >>> ax.get_ylabel()
        'RMSE, cycles'
    """
    frame = as_frame(data, ("weight", "rmse"), "weight_sweep")
    weight, rmse, wide = (floats(frame, c) for c in ("weight", "rmse", "rmse_std"))
    order = np.argsort(weight, kind="stable")
    order = order[np.isfinite(weight[order]) & np.isfinite(rmse[order])]
    weight, rmse, wide = weight[order], rmse[order], wide[order]
    place = np.arange(weight.size)
    with canvas(ax, 460, 250) as ax:
        if reference is not None:
            if reference_std is not None:
                ax.axhspan(
                    reference - reference_std, reference + reference_std, color=LATE, alpha=0.12,
                    lw=0,
                )  # fmt: skip
            ax.axhline(reference, color=LATE, lw=1.2, ls=(0, (4, 2.5)), label=name)
        ax.errorbar(
            place, rmse, yerr=np.nan_to_num(wide), color=MODEL, ecolor=REFERENCE, marker="o", ms=6,
            elinewidth=1.0, label="fixed weight",
        )  # fmt: skip
        near = np.flatnonzero(np.abs(weight - floor) < 1e-3)
        if near.size:
            ax.plot(
                place[near], rmse[near], "o", ms=11, mfc="none", mec=LATE, mew=1.5,
                label=f"{weight[near[0]]:g}, the floor of {name}",
            )  # fmt: skip
        ax.set_xticks(place, [f"{w:g}" for w in weight])
        ax.grid(visible=True, axis="y")
        ax.margins(x=0.05, y=0.14)
        ax.set(xlabel="fixed weight of the RUL task", ylabel=f"RMSE, {time_unit}")
        legend_above(ax)
    return ax


def sample_sweep(n: int = 8, seed: int = 0) -> pl.DataFrame:
    """Generated errors of n fixed weights: weight, rmse and rmse_std."""
    rng = np.random.default_rng(seed)
    weight = np.sort(np.r_[0.0477, rng.uniform(0.01, 1.0, n - 1).round(2)])
    return pl.DataFrame(
        {"weight": weight, "rmse": rng.uniform(10, 11, n), "rmse_std": rng.uniform(0.1, 0.3, n)}
    )

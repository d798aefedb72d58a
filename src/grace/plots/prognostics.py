"""How early a prediction is accurate: α-λ cone, share of units inside it, prognostic horizon."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from grace.formatting import percent
from grace.plots.canvas import Array, TableLike, as_frame, canvas, floats, top_of
from grace.plots.style import INK, LATE, MODEL, PAPER, REFERENCE

__all__ = ["FEW", "alpha_lambda_cone", "cone_share", "prognostic_horizon", "sample_cone_share"]

FEW = 10  # units below which a share is drawn as a hollow marker


def alpha_lambda_cone(
    data: TableLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    alpha: float = 0.2,
    cap: float | None = None,
) -> Axes:
    """One unit against the α-λ cone: a band around the true RUL that narrows with it.

    Source: Saxena et al., Metrics for Offline Evaluation of Prognostic Performance, 2010.

    Args:
        data: rows of one unit in time order, with the columns ``time``, ``rul`` and ``rul_true``.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of time and RUL.
        alpha: half width of the band as a share of the true RUL.
        cap: rows with a larger true RUL are left out.

    Returns:
        The axes.

    Raises:
        ValueError: a column is missing, or no row has a known true RUL (at most ``cap``).

    Example:
        >>> import grace.plots
        >>> rows = {"time": [0, 10, 20], "rul": [35, 21, 11], "rul_true": [30, 20, 10]}
        >>> grace.plots.alpha_lambda_cone(rows, time_unit="hours").get_ylabel()
        'RUL, hours'
    """
    frame = as_frame(data, ("time", "rul", "rul_true"), "alpha_lambda_cone")
    time, predicted, true = (floats(frame, name) for name in ("time", "rul", "rul_true"))
    used = np.isfinite(true) if cap is None else true <= cap
    if not used.any():
        limit = "" if cap is None else f" of at most {cap:g}"
        raise ValueError(f"alpha_lambda_cone: no row has a known true RUL{limit}")
    from_start = bool(used[0])
    time, predicted, true = time[used], predicted[used], true[used]
    end = time[-1] + true[-1]
    lam = (time - time[0]) / max(end - time[0], 1e-12)
    inside = np.abs(predicted - true) <= alpha * true + 1e-9
    with canvas(ax, 390, 300) as ax:
        ax.fill_between(
            lam, (1 - alpha) * true, (1 + alpha) * true, color=MODEL, alpha=0.16, lw=0,
            label=f"±{percent(alpha)} of the true RUL",
        )  # fmt: skip
        ax.plot(lam, true, color=INK, lw=1.4, label="true")
        ax.plot(lam, predicted, color=MODEL, lw=1.0, alpha=0.5)
        step = max(1, lam.size // 60)
        for part, color, name in ((inside, MODEL, "inside"), (~inside, LATE, "outside")):
            rows = np.flatnonzero(part)[::step]
            ax.plot(
                lam[rows], predicted[rows], "o", ms=4, color=color, mec=PAPER, mew=0.5, label=name
            )
        start = "first record" if from_start else f"RUL {true[0]:g}"
        ax.set(
            xlim=(0, 1.0),
            ylim=(0, 1.05 * top_of((1 + alpha) * true, predicted)),
            xlabel=f"λ, share of the evaluated life ({start} = 0, failure = 1)",
            ylabel=f"RUL, {time_unit}",
        )
        ax.legend(loc="upper right", fontsize=9)
    return ax


def cone_share(data: TableLike, ax: Axes | None = None, *, alpha: float = 0.2) -> Axes:
    """Share of units inside the α-λ cone at each moment of life, and how many are observed there.

    Args:
        data: one row per moment, with the columns ``lambda`` (0 to 1), ``share`` (0 to 1, NaN if
            no unit is observed) and ``n`` (units observed).
        ax: axes to draw on; None draws a new figure.
        alpha: half width of the cone, for the label.

    Returns:
        The axes. Markers are hollow where fewer than 10 units are observed.

    Raises:
        ValueError: a column is missing, or there are no rows.

    Example:
        >>> import grace.plots
        >>> rows = {"lambda": [0.0, 0.5, 0.9], "share": [0.4, 0.6, 0.8], "n": [50, 30, 8]}
        >>> grace.plots.cone_share(rows).get_ylabel()
        'units within ±20%'
    """
    frame = as_frame(data, ("lambda", "share", "n"), "cone_share")
    x, shares, counts = (floats(frame, name) for name in ("lambda", "share", "n"))
    few = counts < FEW
    with canvas(ax, 390, 300) as ax:
        ax.fill_between(x, counts / top_of(counts), step="mid", color=REFERENCE, alpha=0.22, lw=0)
        ax.plot(x, shares, color=MODEL, lw=2.0)
        ax.plot(x[~few], shares[~few], "o", color=MODEL, ms=5)
        ax.plot(x[few], shares[few], "o", mfc=PAPER, mec=MODEL, mew=1.4, ms=5)
        ax.set(
            xlim=(0, 1),
            ylim=(0, 1.04),
            xlabel="λ, share of the evaluated life",
            ylabel=f"units within ±{percent(alpha)}",
        )
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return ax


def prognostic_horizon(
    data: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    time_unit: str = "cycles",
    alpha: float = 0.2,
) -> Axes:
    """For how many units the prediction is accurate for how long before failure.

    Args:
        data: prognostic horizon of each unit, (n_units,); NaN is left out.
        ax: axes to draw on; None draws a new figure.
        time_unit: unit of the horizon.
        alpha: tolerance as a share of life, for the label.

    Returns:
        The axes.

    Raises:
        ValueError: no horizon is finite.

    Example:
        >>> import grace.plots
        >>> grace.plots.prognostic_horizon([20, 45, 60], time_unit="days").get_xlabel()
        'days before failure'
    """
    values = np.sort(np.asarray(data, np.float64).reshape(-1))
    values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError("prognostic_horizon: no unit has a finite horizon")
    x = np.concatenate([[0.0], values])
    left = 1.0 - np.arange(values.size + 1) / values.size
    median = float(np.median(values))
    with canvas(ax, 390, 300) as ax:
        ax.fill_between(x, left, step="post", color=MODEL, alpha=0.14, lw=0)
        ax.step(x, left, where="post", color=MODEL, lw=2.0)
        ax.axvline(median, color=INK, lw=1.0, ls=(0, (4, 2.5)))
        right = median > 0.5 * values[-1]
        ax.annotate(
            f"median {median:.0f}", (median, 0.06), xytext=(-5 if right else 5, 0),
            textcoords="offset points", ha="right" if right else "left", fontsize=9,
        )  # fmt: skip
        ax.set(
            xlim=(0, max(float(values[-1]) * 1.02, 1e-9)),
            ylim=(0, 1.04),
            xlabel=f"{time_unit} before failure",
            ylabel=f"units that stay within ±{percent(alpha)} of life",
        )
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.xaxis.set_major_locator(MaxNLocator(6))
    return ax


def sample_cone_share(n: int = 60, seed: int = 0) -> pl.DataFrame:
    """Generated shares of n units inside the cone: lambda, share and n."""
    rng = np.random.default_rng(seed)
    lam = np.round(np.arange(0.0, 1.0, 0.05), 2)
    counts = np.maximum((n * (1.0 - lam**2)).astype(int), 0)
    share: Array = np.full(lam.size, np.nan)
    some = counts > 0
    share[some] = rng.binomial(counts[some], 0.45 + 0.4 * lam[some]) / counts[some]
    rows: dict[str, Any] = {"lambda": lam, "share": share, "n": counts}
    return pl.DataFrame(rows)

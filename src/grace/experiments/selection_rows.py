"""Rows of the validation units on which a checkpoint is selected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from grace.data.windows import WindowSet

__all__ = ["truncated_windows"]

TRUNCATIONS = 10
LARGEST_RUL = 1.25  # of a truncation, in label caps


def truncated_windows(
    every: WindowSet,
    rul: npt.NDArray[np.float64],
    *,
    cap: float,
    truncations: int = TRUNCATIONS,
) -> WindowSet:
    """The windows at several truncations of each unit, equally many per unit.

    A test set of running units holds one truncated record per unit, with RUL spread over the range
    of interest and few above the cap; all rows of a unit that ran to failure have a large part of
    them above the cap, and more rows for longer lives. The truncations are spread evenly over true
    RUL from 0 to 1.25 caps (or to the RUL at the unit's first row): nothing is drawn at random.

    Args:
        every: one window per row, in the order of the fleet's rows.
        rul: true uncapped RUL at each of these rows, (M,).
        cap: label cap, in the unit of ``rul``.
        truncations: windows per unit; a unit with fewer rows repeats some of them.

    Raises:
        ValueError: ``rul`` has not one finite value per window, or ``truncations`` is below 1.
    """
    if rul.shape != (len(every),) or not np.isfinite(rul).all():
        raise ValueError(f"rul must be {len(every)} finite values, one per window")
    if truncations < 1:
        raise ValueError(f"truncations must be at least 1, got {truncations}")
    unit = every.unit.cpu().numpy()
    shares = (np.arange(truncations) + 0.5) / truncations
    chosen = []
    for u in np.unique(unit):
        rows = np.flatnonzero(unit == u)
        wanted = shares * min(LARGEST_RUL * cap, float(rul[rows].max()))
        chosen.append(rows[np.abs(rul[rows][None] - wanted[:, None]).argmin(axis=1)])
    index = torch.from_numpy(np.concatenate(chosen))
    return replace(
        every,
        begins=every.begins[index],
        ends=every.ends[index],
        rul=every.rul[index],
        health=every.health[index],
        unit=every.unit[index],
    )

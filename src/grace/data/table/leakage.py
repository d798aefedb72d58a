"""Columns that contain the label (probable leakage)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from grace.data.fleet import Fleet
from grace.data.table.issue_log import IssueLog

__all__ = ["probable_leakage", "refuse_leakage"]

_MIN_UNITS = 3
_EXACT = 1e-6  # residual of a straight line, relative to the spread of the column


def probable_leakage(fleet: Fleet) -> dict[str, str]:
    """Channels that a straight line through the true life left, or through the life, reproduces.

    Args:
        fleet: units of which at least three have a known end; lives must differ, since otherwise
            a clock cannot be distinguished from a countdown.

    Returns:
        Column and reason.
    """
    rul, lengths = fleet.rul(), fleet.lengths()
    starts, times = fleet.starts(), fleet.times()
    ended = fleet.units.get_column("rul_at_end").is_not_null().to_numpy()
    life = rul[starts]
    lives = life[ended]
    if len(lives) < _MIN_UNITS or np.ptp(lives) <= 1e-9 * max(1.0, float(np.abs(lives).max())):
        return {}
    known = np.isfinite(rul)
    found = {}
    for column in fleet.schema.channels:
        values = fleet.values([column])[:, 0]
        rows = known & np.isfinite(values)
        if rows.sum() < 2 * _MIN_UNITS:
            continue
        if _is_line(rul[rows], values[rows]) and not _is_line(times[rows], values[rows]):
            found[column] = "it counts down to the failure"
            continue
        heads = values[starts][ended]
        constant = np.array(
            [np.nanmax(values[s : s + n]) == np.nanmin(values[s : s + n])
             if np.isfinite(values[s : s + n]).any() else False
             for s, n in zip(starts[ended], lengths[ended], strict=True)]
        )  # fmt: skip
        if constant.all() and np.isfinite(heads).all() and _is_line(lives, heads):
            found[column] = "it is constant in each unit and gives its life"
    return found


def refuse_leakage(fleet: Fleet, confirmed: Collection[str], log: IssueLog) -> None:
    """Refuse channels that give the label away, unless they are confirmed.

    Raises:
        DataError: there are some; all are named with the reason.
    """
    for column, reason in probable_leakage(fleet).items():
        if column not in confirmed:
            log.fatal(
                f"column {column!r} is probably the label: {reason}.",
                f"leave it out, ignore=[{column!r}], or confirm it, confirm=[{column!r}].",
            )
    log.raise_if_fatal()


def _is_line(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> bool:
    """Whether y is a straight line in x that is not flat."""
    # Scaled first: squares of times or values beyond 1e154 would overflow.
    x = x / max(float(np.abs(x).max()), np.finfo(np.float64).tiny)
    y = y / max(float(np.abs(y).max()), np.finfo(np.float64).tiny)
    sx, sy = x.std(), y.std()
    if not (sx > 0 and sy > 1e-9):
        return False
    slope = float(((x - x.mean()) * (y - y.mean())).mean() / sx**2)
    residual = y - y.mean() - slope * (x - x.mean())
    return bool(residual.std() <= _EXACT * sy)

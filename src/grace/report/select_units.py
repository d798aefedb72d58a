"""Which test units a report shows over time, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from grace.prediction.artifact import ArtifactError
from grace.report.run_data import RunData, Trajectory

__all__ = ["SelectedUnit", "cone_unit", "select_units"]


ORDER = (
    "nearest to failure",
    "near failure",
    "smallest error",
    "median error",
    "most overestimated",
    "most underestimated",
)


class SelectedUnit(NamedTuple):
    """A unit to show, and the reason in a few words."""

    trajectory: Trajectory
    reason: str


def select_units(run_data: RunData, units: Sequence[Any] | None = None) -> list[SelectedUnit]:
    """The named units, or a selection: near failure, smallest, median and largest errors.

    Args:
        run_data: the run.
        units: unit identifiers, or their text.

    Raises:
        ArtifactError: a named unit is not in the predictions.
    """
    if units is not None:
        known = {str(t.unit): t for t in run_data.trajectories}
        absent = [str(u) for u in units if str(u) not in known]
        if absent:
            some = ", ".join(list(known)[:8])
            raise ArtifactError(
                f"{run_data.folder}: no test unit {', '.join(absent)}. Remedy: choose from the "
                f"{len(known)} units predicted, e.g. {some}."
            )
        named = [known[text] for text in dict.fromkeys(map(str, units))]
        return [SelectedUnit(t, _error_text(t)) for t in named]

    evaluated = run_data.evaluated
    if not evaluated:
        return [SelectedUnit(t, "remaining life unknown") for t in run_data.trajectories[:6]]
    by_life = sorted(evaluated, key=lambda t: t.true[-1])
    worn = [t for t in evaluated if t.true[-1] <= run_data.evaluation.protocol.health_thresholds[0]]
    by_error = sorted(worn if len(worn) > 5 else evaluated, key=lambda t: abs(t.error))
    signed = sorted(evaluated, key=lambda t: t.error)
    middle = len(by_error) // 2
    # Each reason takes the first unit of its list that no earlier reason has taken.
    lists_by_reason = {
        "most overestimated": signed[::-1],
        "most underestimated": signed,
        "nearest to failure": by_life,
        "near failure": by_life[len(by_life) // 20 :],
        "median error": by_error[middle:] + by_error[:middle],
        "smallest error": by_error,
    }
    taken: dict[str, SelectedUnit] = {}
    for reason, candidates in lists_by_reason.items():
        free = [t for t in candidates if str(t.unit) not in taken]
        if free:
            taken[str(free[0].unit)] = SelectedUnit(free[0], reason)
    by_reason = {c.reason: c for c in taken.values()}
    return [by_reason[reason] for reason in ORDER if reason in by_reason]


def cone_unit(run_data: RunData) -> Trajectory | None:
    """The unit for the α-λ plot: of the validation units, the one of median error."""
    cap = np.inf if run_data.cap is None else run_data.cap
    seen = [t for t in run_data.followed if int((t.true <= cap).sum()) >= 10]
    if not seen:
        return None
    nearest = sorted(seen, key=lambda t: t.true[-1])[: max(1, len(seen) // 10)]

    def mean_error(t: Trajectory) -> float:
        rows = t.true <= cap
        return float(np.abs(t.predicted[rows] - t.true[rows]).mean())

    return sorted(nearest, key=mean_error)[len(nearest) // 2]


def _error_text(trajectory: Trajectory) -> str:
    if np.isnan(trajectory.error):
        return "remaining life unknown"
    side = "late" if trajectory.error > 0 else "early"
    return f"{abs(trajectory.error):.0f} {side} at the last row"

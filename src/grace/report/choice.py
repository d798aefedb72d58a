"""Which test units a report shows over time, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from grace.prediction.artifact import ArtifactError
from grace.report.material import Material, Trajectory

__all__ = ["Chosen", "choose_units", "cone_unit"]


ORDER = (
    "nearest to failure",
    "near failure",
    "smallest error",
    "median error",
    "most overestimated",
    "most underestimated",
)


class Chosen(NamedTuple):
    """A unit to show, and the reason in a few words."""

    trajectory: Trajectory
    reason: str


def choose_units(material: Material, units: Sequence[Any] | None = None) -> list[Chosen]:
    """The named units; else the telling ones: near failure, best, typical, worst either way.

    Args:
        material: the run.
        units: unit identifiers, or their text.

    Raises:
        ArtifactError: a named unit is not in the predictions.
    """
    if units is not None:
        known = {str(t.unit): t for t in material.trajectories}
        absent = [str(u) for u in units if str(u) not in known]
        if absent:
            some = ", ".join(list(known)[:8])
            raise ArtifactError(
                f"{material.folder}: no test unit {', '.join(absent)}. Remedy: choose of the "
                f"{len(known)} units predicted, e.g. {some}."
            )
        named = [known[text] for text in dict.fromkeys(map(str, units))]
        return [Chosen(t, _error_text(t)) for t in named]

    judged = material.judged
    if not judged:
        return [Chosen(t, "remaining life unknown") for t in material.trajectories[:6]]
    by_life = sorted(judged, key=lambda t: t.true[-1])
    worn = [t for t in judged if t.true[-1] <= material.evaluation.protocol.health_thresholds[0]]
    by_error = sorted(worn if len(worn) > 5 else judged, key=lambda t: abs(t.error))
    signed = sorted(judged, key=lambda t: t.error)
    middle = len(by_error) // 2
    # Each wish takes the first unit of its list that no earlier wish has taken.
    wishes = {
        "most overestimated": signed[::-1],
        "most underestimated": signed,
        "nearest to failure": by_life,
        "near failure": by_life[len(by_life) // 20 :],
        "median error": by_error[middle:] + by_error[:middle],
        "smallest error": by_error,
    }
    taken: dict[str, Chosen] = {}
    for reason, candidates in wishes.items():
        free = [t for t in candidates if str(t.unit) not in taken]
        if free:
            taken[str(free[0].unit)] = Chosen(free[0], reason)
    by_reason = {c.reason: c for c in taken.values()}
    return [by_reason[reason] for reason in ORDER if reason in by_reason]


def cone_unit(material: Material) -> Trajectory | None:
    """The unit for the α-λ plot: of those followed closest to failure, the one of median error."""
    cap = np.inf if material.cap is None else material.cap
    seen = [t for t in material.judged if int((t.true <= cap).sum()) >= 10]
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

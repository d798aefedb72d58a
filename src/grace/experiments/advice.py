"""The rule by which `grace diagnose` recommends an outer balancer."""

from __future__ import annotations

import math

from grace.core.gaba import GABALoss
from grace.experiments.comparisons import CONTROL_WEIGHT
from grace.experiments.gaba_forecast import GABAForecast, limit_weight
from grace.formatting import count, number, percent

__all__ = ["CONFLICT", "FEW", "ON_FLOOR", "advise"]

CONFLICT = -0.1  # cosine below which the gradients of a step conflict
SIMILAR = 3.0  # norms within this factor count as balanced
# Measurements below which surgery is not recommended: the share of conflicts is too uncertain, and
# the first steps are not typical of the rest.
FEW = 8
# Share of the expected steps on the floor from which the constant is recommended. A convention: the
# benchmark cannot tell GABA and the constant apart, and the constant costs less per step.
ON_FLOOR = 1 / 3


def advise(
    ratio: float, cosine: float, conflict_share: float, measured: int, expected: GABAForecast
) -> tuple[str, str]:
    """Recommended outer balancer and the reason.

    GABA is recommended only where its weights follow the gradients: where its average ends off the
    floor and the training is long enough for it.

    Args:
        ratio: median ratio of the gradient norms, ‖∇RUL‖ / ‖∇health‖; NaN: a task has none.
        cosine: median cosine of the gradients.
        conflict_share: share of the measured steps with a cosine below :data:`CONFLICT`.
        measured: number of measured steps.
        expected: GABA over the steps after which the training is expected to end.

    Example:
        >>> from grace.experiments.gaba_forecast import GABAForecast
        >>> advise(700.0, 0.4, 0.1, 40, GABAForecast(684, 331, 0.5161, 0.0477))[0]
        'fixed:0.0477'
        >>> advise(700.0, 0.4, 0.1, 40, GABAForecast(300, None, 0.0, 0.0687))[0]
        'fixed:0.5'
    """
    if not math.isfinite(ratio):
        return "fixed:0.5", "One task has no gradient, so there is nothing to balance."
    if conflict_share > 0.5 and measured >= FEW:
        return "upgrad", (
            f"The gradients conflict (cosine below {number(CONFLICT)}) in "
            f"{percent(conflict_share)} of the {measured} measured steps (median cosine "
            f"{number(cosine)}): a method that changes their angle is worth a try."
        )
    outer, reason = _of_ratio(ratio, expected)
    if measured < FEW:
        reason += (
            f" Only {count(measured, 'step')} could be measured: allow more time before relying "
            f"on this. Gradient surgery is not considered with fewer than {FEW}."
        )
    return outer, reason


def _of_ratio(ratio: float, expected: GABAForecast) -> tuple[str, str]:
    """The advice where the gradients do not conflict."""
    larger = "RUL" if ratio >= 1 else "health"
    size = f"The {larger} gradient is {number(max(ratio, 1 / ratio))} times the other."
    steps = count(expected.steps, "step")
    if expected.floor_from is not None and expected.floor_share >= ON_FLOOR:
        weight = CONTROL_WEIGHT if ratio >= 1 else number(1 - float(CONTROL_WEIGHT))
        return f"fixed:{weight}", (
            f"{size} GABA's average would reach its floor at step {expected.floor_from:,} and stay "
            f"there for {percent(expected.floor_share)} of {steps}. fixed:{weight} is the constant "
            "GABA tends to, without its cost; before the floor the two differ."
        )
    if 1 / SIMILAR <= ratio <= SIMILAR:
        return "fixed:0.5", (
            f"The gradients are of similar size (ratio {number(ratio)}): equal weights are "
            "balanced already."
        )
    limit, end = limit_weight(ratio), expected.final_weight
    moves = f"from 0.50 to {number(end)} in {steps}"
    if min(ratio, 1 / ratio) / (1 + min(ratio, 1 / ratio)) < GABALoss().min_weight:
        reached = (
            "the training ends before GABA's average reaches its floor"
            if expected.floor_from is None
            else "the training ends soon after GABA's average reaches its floor"
        )
        return "fixed:0.5", (
            f"{size} But {reached}: its RUL weight would go {moves}, at a rate set by its options "
            "and not by the gradients. Equal weights are simpler and cost less."
        )
    if abs(end - limit) > abs(end - 0.5):
        return "fixed:0.5", (
            f"{size} But the training ends before GABA's average is half way to "
            f"{number(limit)}: its RUL weight would go {moves}. Equal weights are simpler and "
            "cost less."
        )
    return "gaba", (
        f"{size} GABA's weights would follow the gradients: the RUL weight would go {moves}, and "
        "no constant is known before."
    )

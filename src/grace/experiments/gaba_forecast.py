"""What GABA's weights would do in a planned training, from measured gradient ratios."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grace.core.gaba import GABALoss
from grace.training.config import TrainingConfig

__all__ = ["EARLY_STOP", "GABAForecast", "expected_steps", "forecast_gaba", "limit_weight"]

# Mean share of the planned epochs after which early stopping ended the 40 GABA and GRACE trainings
# of the benchmark on C-MAPSS (preset fast); a test compares it with the committed results.
EARLY_STOP = 0.57

Array = npt.NDArray[np.float64]


class GABAForecast(NamedTuple):
    """GABA with its default options over a number of steps.

    Args:
        steps: steps of the training.
        floor_from: first step (from 0) at which the average is below the floor; None: not reached.
        floor_share: share of ``steps`` on the floor.
        final_weight: RUL weight after the last step, floored and renormalised.
    """

    steps: int
    floor_from: int | None
    floor_share: float
    final_weight: float


def forecast_gaba(ratios: Array, steps: int, *, every: int = 1) -> GABAForecast:
    """Follow GABA's moving average over the measured ratios, then over their median.

    Args:
        ratios: (n,) ratios of the gradient norms, ‖∇RUL‖ / ‖∇health‖, in the order of the steps.
            Those that are not finite are left out; if none is left, the average does not move.
        steps: steps of the training.
        every: steps that each measured ratio stands for.

    Example:
        >>> import numpy as np
        >>> forecast_gaba(np.full(100, 500.0), 1000)  # 232 steps after the warm-up of 100
        GABAForecast(steps=1000, floor_from=332, floor_share=0.668, final_weight=0.0477)
        >>> forecast_gaba(np.full(100, 500.0), 300)
        GABAForecast(steps=300, floor_from=None, floor_share=0.0, final_weight=0.0687)
        >>> forecast_gaba(np.full(100, 2.0), 1000)
        GABAForecast(steps=1000, floor_from=None, floor_share=0.0, final_weight=0.3334)
    """
    balancer = GABALoss()
    beta, least, warmup = balancer.beta, balancer.min_weight, balancer.warmup_steps
    known = ratios[np.isfinite(ratios)]
    average, begins, on_floor = 0.5, None, 0
    if known.size:
        per_step = np.full(steps, np.median(known))
        measured = np.repeat(known, every)[:steps]
        per_step[: measured.size] = measured
        for step in range(warmup, steps):
            average = beta * average + (1.0 - beta) / (1.0 + per_step[step])
            if min(average, 1.0 - average) < least:
                begins = step if begins is None else begins
                on_floor += 1
    share = round(on_floor / max(1, steps), 4)
    return GABAForecast(steps, begins, share, round(_floored(average, least), 4))


def limit_weight(ratio: float) -> float:
    """The RUL weight that GABA tends to at a constant ratio of the gradient norms.

    Example:
        >>> round(limit_weight(3.0), 4), round(limit_weight(500.0), 4)
        (0.25, 0.0477)
    """
    return _floored(1.0 / (1.0 + ratio), GABALoss().min_weight)


def _floored(average: float, least: float) -> float:
    rul, health = max(average, least), max(1.0 - average, least)
    return float(rul / (rul + health))


def expected_steps(training: TrainingConfig, steps_per_epoch: int) -> int:
    """Steps after which the training ends if early stopping acts as on the benchmark.

    Without early stopping these are the planned steps. Early stopping cannot end a training before
    its patience is over.

    Args:
        training: of the planned training.
        steps_per_epoch: its optimiser steps in each epoch.

    Example:
        >>> config = TrainingConfig(epochs=60, early_stopping_patience=10)
        >>> expected_steps(config, 20), expected_steps(TrainingConfig(epochs=5), 20)
        (684, 100)
    """
    planned, patience = training.epochs * steps_per_epoch, training.early_stopping_patience
    if patience is None or patience + 1 >= training.epochs:
        return planned
    return max((patience + 1) * steps_per_epoch, round(EARLY_STOP * planned))

"""Records of a training: one per epoch, the best epoch of each monitor, and the result."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

__all__ = ["Best", "EpochRecord", "FitResult"]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of the training history.

    Args:
        epoch: index of the epoch, from 0.
        step: optimiser steps finished since the start of the training.
        lr: learning rate of the network's parameters.
        loss: combined loss, mean over the epoch's steps.
        rul_loss: loss of the RUL task, mean over the epoch's steps.
        health_loss: loss of the health task, mean over the epoch's steps.
        grad_norm: gradient norm before clipping, mean over the epoch's steps.
        weights: task weights (RUL, health, further tasks) at the end of the epoch.
        rmse: RMSE of each monitor on capped labels, in the unit of time.
        seconds: wall-clock time of the epoch.
        other_losses: losses of further tasks, mean over the epoch's steps.
    """

    epoch: int
    step: int
    lr: float
    loss: float
    rul_loss: float
    health_loss: float
    grad_norm: float
    weights: list[float]
    rmse: dict[str, float]
    seconds: float
    other_losses: list[float] = field(default_factory=list)


@dataclass
class Best:
    """The epoch with the lowest RMSE of one monitor, and the weights that were evaluated."""

    epoch: int = -1
    rmse: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class FitResult:
    """Result of a training: the best weights of each monitor, the history, and the device.

    ``precision`` is fixed when a training starts. A training that resumes on another machine keeps
    it, whatever ``auto`` would choose there. ``final`` holds the weights after the last epoch of a
    training that selects no epoch, else nothing.
    """

    best: dict[str, Best]
    history: list[EpochRecord]
    stopped_early: bool
    device: str
    precision: Literal["fp32", "bf16"]
    final: dict[str, Tensor] = field(default_factory=dict)

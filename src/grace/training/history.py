"""What training tells while it goes on, and what it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

__all__ = ["Best", "EpochRecord", "FitResult", "Progress"]


@dataclass(frozen=True)
class Progress:
    """Where training stands; given to the progress callback after every step and epoch."""

    epoch: int
    epochs: int
    step: int
    steps_per_epoch: int
    record: EpochRecord | None = None


@dataclass(frozen=True)
class EpochRecord:
    """One line of the training history. RMSEs are on capped labels, in the unit of RUL."""

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


@dataclass
class Best:
    """The best epoch by one monitor, and its evaluated weights."""

    epoch: int = -1
    rmse: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class FitResult:
    """What training leaves: the best weights per monitor, the history, and what it ran on.

    ``precision`` is decided once, when the run begins: one that is resumed on another machine goes
    on in it, whatever ``auto`` would be there.
    """

    best: dict[str, Best]
    history: list[EpochRecord]
    stopped_early: bool
    device: str
    precision: Literal["fp32", "bf16"]

"""Linear warm-up, then reduction on plateau or along half a cosine."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from grace.training.config import TrainingConfig

__all__ = ["LearningRate"]


class LearningRate:
    """The learning rate of every epoch.

    In the first ``warmup_epochs`` epochs e each group runs at ``f + (1 − f)·e/warmup_epochs`` of
    its rate. Afterwards, with the schedule ``plateau``, it is multiplied by ``plateau_factor``
    whenever the monitored RMSE has not improved for more than ``plateau_patience`` epochs. With
    ``cosine`` it is ``max((1 + cos πp)/2, min_lr/lr)`` of its rate, where p grows from 0 at the end
    of the warm-up to 1 after the last epoch (Loshchilov and Hutter 2017, without restarts).
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainingConfig) -> None:
        self.optimizer, self.config = optimizer, config
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.plateau = ReduceLROnPlateau(
            optimizer,
            mode="min",
            factor=config.plateau_factor,
            patience=config.plateau_patience,
            min_lr=config.min_lr,
        )

    @property
    def current(self) -> float:
        """Learning rate of the network's parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def before_epoch(self, epoch: int) -> None:
        """Set the rates of ``epoch`` (from 0)."""
        cfg = self.config
        if epoch <= cfg.warmup_epochs:
            ramp = epoch / cfg.warmup_epochs if cfg.warmup_epochs else 1.0
            factor = cfg.warmup_factor + (1.0 - cfg.warmup_factor) * ramp
        elif cfg.schedule == "cosine":
            share = (epoch - cfg.warmup_epochs) / max(1, cfg.epochs - cfg.warmup_epochs)
            factor = max(0.5 * (1.0 + math.cos(math.pi * share)), cfg.min_lr / cfg.lr)
        else:
            return
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def after_epoch(self, epoch: int, rmse: float) -> None:
        """Update the plateau schedule with the epoch's RMSE; warm-up epochs are not counted."""
        if self.config.schedule == "plateau" and epoch >= self.config.warmup_epochs:
            self.plateau.step(rmse)

    def state_dict(self) -> dict[str, Any]:
        """State of the plateau schedule (the rates themselves are in the optimiser's state)."""
        keep = ("best", "cooldown_counter", "num_bad_epochs", "last_epoch")
        return {name: getattr(self.plateau, name) for name in keep}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        for name, value in state.items():
            setattr(self.plateau, name, value)

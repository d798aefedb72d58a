"""Balancers to hold GABA against: fixed weights, and those that read losses or norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from grace.core.balancer import BaseMTLLoss, LossBalancer

__all__ = [
    "BaseMTLLoss",
    "DWALoss",
    "FixedWeightLoss",
    "GradNormLoss",
    "LossBalancer",
    "UncertaintyLoss",
]


class FixedWeightLoss(LossBalancer):
    """Constant weights, ``L = w_rul · L_rul + w_health · L_health``.

    0.5/0.5 is the outer half of Baseline and AMNL; 0.0477/0.9523 is the control for GABA, which
    ends there whenever its floor binds.

    Args:
        rul_weight: weight of the RUL task.
        health_weight: weight of the health task.
        other_weights: weights of further tasks.

    Raises:
        ValueError: a weight is negative, not finite, or all are zero.
    """

    def __init__(
        self,
        rul_weight: float = 0.5,
        health_weight: float = 0.5,
        *,
        other_weights: Sequence[float] = (),
    ) -> None:
        given = (rul_weight, health_weight, *other_weights)
        weights = torch.tensor(given, dtype=torch.float32)
        super().__init__(n_tasks=len(weights))
        self._given = given
        if (
            not bool(torch.isfinite(weights).all())
            or bool((weights < 0).any())
            or weights.sum() == 0
        ):
            raise ValueError(
                f"weights {weights.tolist()} must be finite, not negative, and not all zero"
            )
        self.applied_weights.copy_(weights)

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Σ w_i L_i."""
        return (self.applied_weights * losses).sum()

    def init_options(self) -> dict[str, Any]:
        """All weights; those of further tasks only if there are any."""
        rul, health, *others = self._given
        named: dict[str, Any] = {"rul_weight": rul, "health_weight": health}
        return named | ({"other_weights": tuple(others)} if others else {})


class UncertaintyLoss(LossBalancer):
    """Homoscedastic uncertainty (Kendall, Gal & Cipolla 2018, eq. 10).

    ``L = Σ_i ½·exp(−s_i)·L_i + ½·s_i`` for a regression and ``exp(−s_i)·L_i + ½·s_i`` for a
    classification task, with learned s_i = log σ_i². The first task is a regression, the others
    are classifications. The s_i are parameters: they must be given to an optimiser.
    """

    def __init__(self, n_tasks: int = 2) -> None:
        super().__init__(n_tasks)
        self.log_vars = nn.Parameter(torch.zeros(n_tasks))
        self.register_buffer("factor", torch.tensor([0.5] + [1.0] * (n_tasks - 1)))

    factor: Tensor

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """The negative log likelihood; differentiable in s."""
        weights = self.factor * torch.exp(-self.log_vars)
        return self._apply_weights(losses, weights) + 0.5 * self.log_vars.sum()

    def telemetry(self) -> dict[str, Tensor]:
        """The learned log variances."""
        return {"log_var": self.log_vars.detach()}


class DWALoss(LossBalancer):
    """Dynamic weight average (Liu, Johns & Davison 2019, section 3.3, eq. 7).

    λ_i = K · softmax_i(r_i/temperature) with r_i = L_i(t−1)/L_i(t−2) over epoch means; 1 in the
    first two epochs. Weights sum to K, as published.
    """

    previous: Tensor
    before_previous: Tensor
    epochs_seen: Tensor

    def __init__(self, n_tasks: int = 2, temperature: float = 2.0) -> None:
        super().__init__(n_tasks)
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be positive (published: 2)")
        self.temperature = temperature
        self.applied_weights.fill_(1.0)
        self.register_buffer("previous", torch.ones(n_tasks))
        self.register_buffer("before_previous", torch.ones(n_tasks))
        self.register_buffer("epochs_seen", torch.zeros((), dtype=torch.int64))

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Σ λ_i L_i with the weights of this epoch."""
        return (self.applied_weights * losses).sum()

    def on_epoch_end(self, mean_losses: Tensor) -> None:
        """Shift the history and set the weights of the next epoch."""
        with torch.no_grad():
            self.before_previous.copy_(self.previous)
            self.previous.copy_(mean_losses)
            self.epochs_seen += 1
            if int(self.epochs_seen) >= 2:
                ratio = self.previous / self.before_previous.clamp_min(1e-12)
                if bool(torch.isfinite(ratio).all()):
                    scaled = torch.softmax(ratio / self.temperature, dim=0)
                    self.applied_weights.copy_(self.n_tasks * scaled)

    def init_options(self) -> dict[str, Any]:
        """K and the temperature."""
        return {"n_tasks": self.n_tasks, "temperature": self.temperature}


class GradNormLoss(LossBalancer):
    """Gradient normalisation (Chen et al. 2018, algorithm 1).

    The weights w are learned so that G_i = w_i·‖∂L_i/∂W‖ approaches Ḡ·r_i^α, with W the last
    shared layer, r_i the inverse training rate (L_i/L_i(0) over its mean). As w_i > 0 is a factor
    of the norm, ∂G_i/∂w_i = ‖∂L_i/∂W‖ is known, and no second-order graph is needed: the loss
    returned carries Σ_i |G_i − target_i| as a function of w alone. w are parameters, to be given
    to an optimiser; they are kept positive and renormalised to sum to K, as published.

    Args:
        n_tasks: K.
        alpha: strength of the pull towards equal training rates.
    """

    signal = "norms"
    site = "last_layer"
    initial_losses: Tensor
    started: Tensor

    def __init__(self, n_tasks: int = 2, alpha: float = 1.5) -> None:
        super().__init__(n_tasks)
        self.alpha = alpha
        self.task_weights = nn.Parameter(torch.ones(n_tasks))
        self.applied_weights.fill_(1.0)
        self.register_buffer("initial_losses", torch.ones(n_tasks))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Σ w_i L_i, plus a term that moves w only."""
        norms = signal["norms"]
        with torch.no_grad():
            if self.training and not bool(self.started) and bool(torch.isfinite(losses).all()):
                self.initial_losses.copy_(losses.clamp_min(1e-12))
                self.started.fill_(True)
            positive = self.task_weights.clamp_min(1e-3)
            weights = positive * (self.n_tasks / positive.sum())
            if self.training:
                self.task_weights.copy_(weights)
            rate = losses / self.initial_losses
            target = (weights * norms).mean() * (rate / rate.mean()) ** self.alpha
        total = self._apply_weights(losses, weights)
        usable = bool(torch.isfinite(norms).all()) and bool(torch.isfinite(target).all())
        if not (self.training and usable):
            return total
        pull = (self.task_weights * norms - target).abs().sum()
        # Its value is taken out again: the loss that is logged is Σ w_i L_i.
        return total + (pull - pull.detach())

    def init_options(self) -> dict[str, Any]:
        """K and α."""
        return {"n_tasks": self.n_tasks, "alpha": self.alpha}

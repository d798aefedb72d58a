"""Balancers to compare GABA with: fixed weights, and those that read losses or norms."""

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

    Example:
        >>> balancer = FixedWeightLoss(0.25, 0.75)
        >>> balancer(torch.tensor(8.0), torch.tensor(4.0))
        tensor(5.)
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
    are classifications (or negative log likelihoods). The s_i are parameters: they must be passed
    to an optimiser.

    Known differences to the published method:

    * none in the objective; s_i = log σ_i² is learned instead of σ_i, as the authors recommend for
      numerical stability, and starts at 0;
    * the weighted MSE, Huber, NASA and quantile losses are treated as the squared error of the
      regression term, although they belong to other likelihoods.

    Args:
        n_tasks: number of tasks K.

    Example:
        >>> balancer = UncertaintyLoss()
        >>> total = balancer(torch.tensor(8.0), torch.tensor(0.5))
        >>> total.item(), balancer.weights.tolist()
        (4.5, [0.5, 1.0])
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
    first two epochs. Weights sum to K, as published. An epoch whose ratio is not finite leaves the
    weights as they are and is counted in the telemetry as ``skipped``.

    Known differences to the published method:

    * L_i(t−2) below 1e-12 is replaced by 1e-12, so that a task that is solved exactly does not
      divide by zero.

    Args:
        n_tasks: number of tasks K.
        temperature: softness of the softmax; large values give equal weights.

    Raises:
        ValueError: ``temperature`` is not positive.

    Example:
        >>> balancer = DWALoss()
        >>> for epoch_means in ([4.0, 1.0], [2.0, 1.0]):  # the first loss halves
        ...     balancer.on_epoch_end(torch.tensor(epoch_means))
        >>> balancer.weights
        tensor([0.8756, 1.1244])
    """

    previous: Tensor
    before_previous: Tensor
    epochs_seen: Tensor
    skipped_count: Tensor

    def __init__(self, n_tasks: int = 2, temperature: float = 2.0) -> None:
        super().__init__(n_tasks)
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be positive (published: 2)")
        self.temperature = temperature
        self.applied_weights.fill_(1.0)
        self.register_buffer("previous", torch.ones(n_tasks))
        self.register_buffer("before_previous", torch.ones(n_tasks))
        self.register_buffer("epochs_seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("skipped_count", torch.zeros((), dtype=torch.int64))

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
                else:
                    self.skipped_count += 1

    def telemetry(self) -> dict[str, Tensor]:
        """Number of epochs whose loss ratio was not finite."""
        return {"skipped": self.skipped_count}

    def init_options(self) -> dict[str, Any]:
        """K and the temperature."""
        return {"n_tasks": self.n_tasks, "temperature": self.temperature}


class GradNormLoss(LossBalancer):
    """Gradient normalisation (Chen et al. 2018, algorithm 1).

    The weights w are learned so that G_i = w_i·‖∂L_i/∂W‖ approaches Ḡ·r_i^α, with W the last
    shared layer, r_i the inverse training rate (L_i/L_i(0) over its mean). As w_i > 0 is a factor
    of the norm, ∂G_i/∂w_i = ‖∂L_i/∂W‖ is known, and no second-order graph is needed: the loss
    returned contains Σ_i |G_i − target_i| as a function of w alone. w are parameters, to be passed
    to an optimiser. If a norm or a target is not finite, w gets no gradient in that step and the
    step is counted in the telemetry as ``skipped``.

    Known differences to the published method:

    * w is clamped to at least 1e-3 before each renormalisation to Σw = K, so that a weight cannot
      become negative; published is the renormalisation alone, after the update instead of before
      the next one;
    * L_i(0) is the loss of the first step with finite losses, at least 1e-12.

    Args:
        n_tasks: number of tasks K.
        alpha: strength α of the restoring force towards equal training rates (published: 1.5).

    Example:
        >>> balancer = GradNormLoss()
        >>> norms = torch.tensor([10.0, 1.0])
        >>> balancer(torch.tensor(8.0), torch.tensor(2.0), task_grad_norms=norms).backward()
        >>> balancer.task_weights.grad  # gradient descent reduces the first weight
        tensor([10., -1.])
    """

    signal = "norms"
    site = "last_layer"
    initial_losses: Tensor
    started: Tensor
    skipped_count: Tensor

    def __init__(self, n_tasks: int = 2, alpha: float = 1.5) -> None:
        super().__init__(n_tasks)
        self.alpha = alpha
        self.task_weights = nn.Parameter(torch.ones(n_tasks))
        self.applied_weights.fill_(1.0)
        self.register_buffer("initial_losses", torch.ones(n_tasks))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.register_buffer("skipped_count", torch.zeros((), dtype=torch.int64))

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
        if not self.training:
            return total
        if not usable:
            self.skipped_count += 1
            return total
        pull = (self.task_weights * norms - target).abs().sum()
        # The value is subtracted again: the loss that is logged is Σ w_i L_i.
        return total + (pull - pull.detach())

    def telemetry(self) -> dict[str, Tensor]:
        """Number of steps whose norms or targets were not finite."""
        return {"skipped": self.skipped_count}

    def init_options(self) -> dict[str, Any]:
        """K and α."""
        return {"n_tasks": self.n_tasks, "alpha": self.alpha}

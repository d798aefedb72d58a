"""GABA: gradient-adaptive balancing, the outer half of GRACE."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from grace.core.balancer import LossBalancer, Site

__all__ = ["GABALoss", "closed_form_weights"]

ClosedForm = Literal["complement", "inverse"]


def closed_form_weights(norms: Tensor, closed_form: ClosedForm = "complement") -> Tensor:
    """Raw weights λ from the gradient norms g, both (K,); they sum to 1.

    ``complement``: λ_i = (S − g_i)/((K−1)·S) with S = Σ g_j. ``inverse``: λ_i ∝ 1/g_i. For K = 2
    they agree; for K ≥ 3 only ``inverse`` equalises λ_i·g_i. All norms zero gives 1/K.

    Example:
        >>> closed_form_weights(torch.tensor([3.0, 1.0]))
        tensor([0.2500, 0.7500])
    """
    size = norms.numel()
    total = norms.sum()
    if closed_form == "complement":
        # Scaled by the largest norm first: S itself can overflow.
        scaled = norms / norms.max().clamp_min(torch.finfo(norms.dtype).tiny)
        weights = (scaled.sum() - scaled) / ((size - 1) * scaled.sum())
    else:
        positive = norms.clamp_min(torch.finfo(norms.dtype).tiny)
        inverse = positive.min() / positive
        weights = inverse / inverse.sum()
    return torch.where(total > 0, weights, torch.full_like(norms, 1.0 / size))


class GABALoss(LossBalancer):
    """Weights that counter the imbalance of the task gradients on the shared parameters.

    Per step, with g_i = ‖∂L_i/∂θ_shared‖₂ of the losses that are actually combined:

    1. λ_i = (S − g_i)/((K−1)·S), S = Σ g_j; for K = 2 λ_rul = g_health/(g_rul + g_health);
    2. λ̂ ← β·λ̂ + (1−β)·λ from λ̂ = 1/K, no bias correction; unchanged, and counted, if a norm is
       zero or not finite;
    3. λ*_i = max(λ̂_i, λ_min)/Σ_j max(λ̂_j, λ_min) is the weight of loss i, a constant in θ;
    4. for the first ``warmup_steps`` steps λ* = 1/K and λ̂ is not updated.

    After renormalisation the smallest weight is λ_min/(1 + λ_min) for K = 2 (0.0476 at 0.05).
    At a norm ratio near 500 the floor is active after about 233 updates, and from then on GABA
    equals fixed weights near (0.0477, 0.9523): the telemetry reports the share of such steps as
    ``floor_share``. The norms are those of the inner loss in use, so a change of the inner loss
    changes λ as well.

    Known differences to the published method:

    * a zero or non-finite norm skips the update and is counted; the published text leaves the case
      open;
    * the smallest weight after renormalisation is λ_min/(1 + (K−1)·λ_min) or more, not λ_min;
    * ``closed_form="inverse"``, ``update_every`` and ``site`` are additions; their defaults are
      the published method;
    * the combined gradient is computed as Σ λ_i ∇L_i from the gradients taken for the norms, which
      equals a further backward pass because λ* is constant in θ.

    Args:
        n_tasks: K.
        beta: EMA decay per step.
        min_weight: floor λ_min, below 1/K.
        warmup_steps: steps with equal weights.
        closed_form: ``"complement"`` or ``"inverse"`` (see :func:`closed_form_weights`).
        update_every: measure the norms on every k-th step only; the EMA then decays by β^k, so
            that its memory in steps stays the same.
        site: where the norms are taken: ``"shared"`` (all shared parameters, as published),
            ``"last_layer"`` (the last shared layer) or ``"feature"`` (the shared feature z, nearly
            free). The latter two read other norms, hence other λ until the floor binds.

    Raises:
        ValueError: an option is out of range.

    Example:
        >>> gaba = GABALoss(beta=0.0, warmup_steps=0)
        >>> rul_loss, health_loss = torch.tensor(84.1), torch.tensor(0.6)
        >>> loss = gaba(rul_loss, health_loss, task_grad_norms=torch.tensor([3.0, 1.0]))
        >>> gaba.weights
        tensor([0.2500, 0.7500])
    """

    signal = "norms"
    ema_weights: Tensor
    raw_weights: Tensor
    step_count: Tensor
    skipped_count: Tensor
    floor_count: Tensor

    def __init__(
        self,
        n_tasks: int = 2,
        beta: float = 0.99,
        min_weight: float = 0.05,
        warmup_steps: int = 100,
        closed_form: ClosedForm = "complement",
        update_every: int = 1,
        site: Site = "shared",
    ) -> None:
        super().__init__(n_tasks)
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"beta={beta} must be in [0, 1) (published: 0.99)")
        if not 0.0 <= min_weight < 1.0 / n_tasks:
            raise ValueError(f"min_weight={min_weight} must be in [0, 1/{n_tasks})")
        if warmup_steps < 0 or update_every < 1:
            raise ValueError(
                f"warmup_steps={warmup_steps} must be ≥ 0 and update_every={update_every} ≥ 1"
            )
        if site not in ("shared", "last_layer", "feature"):
            raise ValueError(f"site={site!r}: choose 'shared', 'last_layer' or 'feature'")
        if closed_form not in ("complement", "inverse"):
            raise ValueError(f"closed_form={closed_form!r}: choose 'complement' or 'inverse'")
        self.beta, self.min_weight, self.warmup_steps = beta, min_weight, warmup_steps
        self.closed_form: ClosedForm = closed_form
        self.update_every, self.site = update_every, site
        self.register_buffer("ema_weights", torch.full((n_tasks,), 1.0 / n_tasks))
        self.register_buffer("raw_weights", torch.full((n_tasks,), 1.0 / n_tasks))
        for name in ("step_count", "skipped_count", "floor_count"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @property
    def needs_signal(self) -> bool:
        """Whether the coming step reads the norms (not in warm-up nor between updates)."""
        since = int(self.step_count) - self.warmup_steps
        return self.training and since >= 0 and since % self.update_every == 0

    def floored(self) -> Tensor:
        """λ*: the EMA with the floor applied, renormalised, (K,)."""
        raised = self.ema_weights.clamp_min(self.min_weight)
        return raised / raised.sum()

    @torch.no_grad()
    def update(self, norms: Tensor) -> Tensor:
        """Take the (K,) norms of this step into account and return λ*."""
        if not self.training:
            return self.applied_weights
        warm = int(self.step_count) >= self.warmup_steps
        if warm and self.needs_signal:
            norms = norms.to(self.ema_weights)
            self.raw_weights.copy_(closed_form_weights(norms, self.closed_form))
            if bool(torch.isfinite(norms).all()) and bool((norms > 0).all()):
                decay = self.beta**self.update_every
                self.ema_weights.mul_(decay).add_(self.raw_weights, alpha=1.0 - decay)
            else:
                self.skipped_count += 1
        if warm:
            self.floor_count += int(bool((self.ema_weights < self.min_weight).any()))
        self.step_count += 1
        return self.floored() if warm else torch.full_like(self.ema_weights, 1.0 / self.n_tasks)

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Σ λ*_i L_i with λ* detached."""
        return self._apply_weights(losses, self.update(signal["norms"]))

    def telemetry(self) -> dict[str, Tensor]:
        """Raw λ, λ̂, whether the floor is active, the share of steps on it, skipped updates."""
        after_warmup = (self.step_count - self.warmup_steps).clamp_min(1)
        return {
            "lambda_raw": self.raw_weights,
            "lambda_ema": self.ema_weights,
            "floor_active": (self.ema_weights < self.min_weight).any(),
            "floor_share": self.floor_count / after_warmup,
            "skipped": self.skipped_count,
        }

    def init_options(self) -> dict[str, Any]:
        """All options."""
        return {
            "n_tasks": self.n_tasks,
            "beta": self.beta,
            "min_weight": self.min_weight,
            "warmup_steps": self.warmup_steps,
            "closed_form": self.closed_form,
            "update_every": self.update_every,
            "site": self.site,
        }

"""The outer axis: what every balancer has in common, and the balancers that read losses or norms.

A balancer turns the K task losses of a step into one loss, ``L = Σ_i λ_i · L_i``. It declares the
signal it reads; whoever drives it (``grace.training.step``) supplies that signal:

=========== ==================================================== =============================
signal      what it is given                                     balancers
=========== ==================================================== =============================
losses      the K losses                                         fixed, uncertainty, dwa
norms       ‖∂L_i/∂(site)‖ at the ``site`` it declares: all      gaba, gradnorm
            shared parameters, the last shared layer, or z
gramian     ⟨∂L_i/∂θ, ∂L_j/∂θ⟩ over the shared parameters        the gradient surgeons
=========== ==================================================== =============================

In evaluation mode (``.eval()``) a balancer applies its weights without updating its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from grace.core.gradient_utils import compute_task_grad_norm

__all__ = [
    "BaseMTLLoss",
    "DWALoss",
    "FixedWeightLoss",
    "GradNormLoss",
    "UncertaintyLoss",
]

Signal = Literal["losses", "norms", "gramian"]
Site = Literal["shared", "last_layer", "feature"]


class BaseMTLLoss(nn.Module):
    """A way to weigh K task losses: ``forward(rul_loss, health_loss, **extras) -> total``.

    Subclasses implement :meth:`combine`. All state that must survive a restart is in buffers or
    parameters, each registered with its final shape.

    Args:
        n_tasks: K.
    """

    signal: ClassVar[Signal] = "losses"
    site: Site = "shared"
    applied_weights: Tensor

    def __init__(self, n_tasks: int = 2) -> None:
        super().__init__()
        if n_tasks < 2:
            raise ValueError(f"n_tasks={n_tasks}: balancing needs at least two tasks")
        self.n_tasks = n_tasks
        self.register_buffer("applied_weights", torch.full((n_tasks,), 1.0 / n_tasks))

    @property
    def needs_signal(self) -> bool:
        """Whether the coming call reads its norms or Gramian, or can do without this time."""
        return self.training and self.signal != "losses"

    @property
    def weights(self) -> Tensor:
        """The weights λ applied by the last call, (K,), detached."""
        return self.applied_weights

    def forward(
        self,
        rul_loss: Tensor,
        health_loss: Tensor,
        *other_losses: Tensor,
        shared_params: Sequence[Tensor] | None = None,
        task_grad_norms: Tensor | None = None,
        gramian: Tensor | None = None,
    ) -> Tensor:
        """Combine the task losses of one step.

        Args:
            rul_loss: scalar loss of the RUL task.
            health_loss: scalar loss of the health task.
            other_losses: scalar losses of further tasks, up to ``n_tasks`` in all.
            shared_params: θ_shared, from which a balancer that reads norms takes them itself if
                ``task_grad_norms`` is not given (two extra backward passes).
            task_grad_norms: (K,) norms the caller has taken already.
            gramian: (K, K) inner products of the task gradients.

        Returns:
            Scalar loss; its gradient in θ is Σ λ_i ∇L_i with constant λ unless the class says
            otherwise.

        Raises:
            ValueError: the number of losses is not ``n_tasks``, or the signal is missing.
        """
        losses = torch.stack([rul_loss, health_loss, *other_losses])
        if losses.shape != (self.n_tasks,):
            raise ValueError(
                f"{type(self).__name__}(n_tasks={self.n_tasks}) was given losses of shape "
                f"{tuple(losses.shape)}: pass {self.n_tasks} scalar losses"
            )
        extras: dict[str, Any] = {}
        if self.signal == "norms":
            extras["norms"] = self._norms(losses, task_grad_norms, shared_params)
        elif self.signal == "gramian":
            if gramian is None and self.needs_signal:
                raise ValueError(f"{type(self).__name__} reads the Gramian: pass gramian=(K, K)")
            unread = losses.new_zeros(self.n_tasks, self.n_tasks)
            extras["gramian"] = unread if gramian is None else gramian.detach()
        return self.combine(losses, **extras)

    def _norms(
        self, losses: Tensor, norms: Tensor | None, shared_params: Sequence[Tensor] | None
    ) -> Tensor:
        if norms is not None:
            if norms.shape != (self.n_tasks,):
                raise ValueError(
                    f"task_grad_norms has shape {tuple(norms.shape)}, expected ({self.n_tasks},)"
                )
            return norms.detach()
        if not self.needs_signal:
            return torch.ones_like(losses).detach()
        if shared_params is None:
            raise ValueError(
                f"{type(self).__name__} reads gradient norms: pass task_grad_norms=(K,) or "
                "shared_params=get_shared_params(model)"
            )
        return torch.stack([compute_task_grad_norm(loss, shared_params) for loss in losses])

    def combine(self, losses: Tensor, **signal: Tensor) -> Tensor:
        """Total loss from the (K,) losses and the declared signal. Implemented by subclasses."""
        raise NotImplementedError

    def _apply_weights(self, losses: Tensor, weights: Tensor) -> Tensor:
        """Σ λ_i L_i, remembering λ for :attr:`weights`."""
        if self.training:
            self.applied_weights.copy_(weights.detach())
        return (weights * losses).sum()

    def on_epoch_end(self, mean_losses: Tensor) -> None:
        """Told once per epoch the mean of each task loss over the epoch, (K,)."""

    def telemetry(self) -> dict[str, Tensor]:
        """What a log should hold beside λ: name → scalar or (K,) tensor, detached."""
        return {}

    def reset(self) -> None:
        """Back to the state of a new balancer."""
        for name, value in type(self)(**self.init_options()).state_dict().items():
            self.state_dict()[name].copy_(value)

    def init_options(self) -> dict[str, Any]:
        """The arguments that build an equal balancer."""
        return {"n_tasks": self.n_tasks}

    def extra_repr(self) -> str:
        """Show the options."""
        return ", ".join(f"{k}={v}" for k, v in self.init_options().items())


class FixedWeightLoss(BaseMTLLoss):
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


class UncertaintyLoss(BaseMTLLoss):
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


class DWALoss(BaseMTLLoss):
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


class GradNormLoss(BaseMTLLoss):
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

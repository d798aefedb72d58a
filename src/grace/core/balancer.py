"""The outer axis: what every balancer has in common.

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

__all__ = ["BaseMTLLoss", "LossBalancer", "Signal", "Site"]

Signal = Literal["losses", "norms", "gramian"]
Site = Literal["shared", "last_layer", "feature"]


class LossBalancer(nn.Module):
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


BaseMTLLoss = LossBalancer  # the published name

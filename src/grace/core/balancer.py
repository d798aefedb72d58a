"""The outer axis: what all balancers have in common.

A balancer combines the K task losses of a step into one loss, ``L = Σ_i λ_i · L_i``. It declares
the signal it reads; the training step (``grace.training.step``) supplies that signal:

=========== ==================================================== =============================
signal      what is passed                                       balancers
=========== ==================================================== =============================
losses      the K losses                                         fixed, uncertainty, dwa
norms       (K,) norms of the task gradients                     gaba, gradnorm
gramian     (K, K) inner products of the task gradients          gradient surgery
=========== ==================================================== =============================

The gradients are taken at the balancer's ``site``: all shared parameters, the last shared layer,
or the shared feature z. In evaluation mode (``.eval()``) a balancer applies its weights without
updating its state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from grace.core.gradient_utils import compute_task_grad_norm

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BaseMTLLoss", "LossBalancer", "Signal", "Site"]

Signal = Literal["losses", "norms", "gramian"]
Site = Literal["shared", "last_layer", "feature"]


class LossBalancer(nn.Module):
    """Base class: combines K task losses, ``forward(rul_loss, health_loss, **extras) -> total``.

    Subclasses implement :meth:`combine`. All state that must survive a restart is in buffers or
    parameters, each registered with its final shape. The state stays in float32 or float64: a
    conversion to a shorter type (``.half()``, ``.to(torch.bfloat16)``) moves it to the device and
    keeps its type, because a moving average with β = 0.99 does not advance in bfloat16.

    Args:
        n_tasks: number of tasks K, at least 2.

    Raises:
        ValueError: ``n_tasks`` is less than 2.

    Example:
        >>> class SmallerLossFirst(LossBalancer):
        ...     def combine(self, losses, **signal):
        ...         return self._apply_weights(losses, torch.softmax(-losses.detach(), dim=0))
        >>> balancer = SmallerLossFirst()
        >>> total = balancer(torch.tensor(1.0), torch.tensor(1.0))
        >>> balancer.weights
        tensor([0.5000, 0.5000])
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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def convert(tensor: Tensor) -> Tensor:
            converted = fn(tensor)
            shorter = converted.is_floating_point() and converted.element_size() < 4
            return tensor.to(converted.device) if shorter else converted

        return super()._apply(convert, recurse)  # type: ignore[no-any-return]

    @property
    def needs_signal(self) -> bool:
        """Whether the next call reads its norms or Gramian (a balancer can skip steps)."""
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
            shared_params: θ_shared, from which a balancer that reads norms computes them if
                ``task_grad_norms`` is not given (one more backward pass per task). Under
                data-parallel training these are the norms of one rank: pass norms instead.
            task_grad_norms: (K,) norms, if the caller has computed them already.
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
        """Σ λ_i L_i; stores λ for :attr:`weights`."""
        if self.training:
            self.applied_weights.copy_(weights.detach())
        return (weights * losses).sum()

    def on_epoch_end(self, mean_losses: Tensor) -> None:
        """Receive the mean of each task loss over the epoch that has ended, (K,)."""

    def on_fit_start(self, *, target_std: float) -> None:
        """Receive, before training, the standard deviation of the RUL labels it trains on."""

    def telemetry(self) -> dict[str, Tensor]:
        """Values to log in addition to λ: name → scalar or (K,) tensor, detached."""
        return {}

    def reset(self) -> None:
        """Restore the state of a new balancer."""
        for name, value in type(self)(**self.init_options()).state_dict().items():
            self.state_dict()[name].copy_(value)

    def init_options(self) -> dict[str, Any]:
        """Arguments that build an equal balancer."""
        return {"n_tasks": self.n_tasks}

    def extra_repr(self) -> str:
        """Show the options."""
        return ", ".join(f"{k}={v}" for k, v in self.init_options().items())


BaseMTLLoss = LossBalancer
"""The published name of :class:`LossBalancer`."""

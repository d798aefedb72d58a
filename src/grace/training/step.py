"""One training step: forward, inner losses, outer balancer, backward, clip, update, average."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from grace.core.gradient_utils import (
    TaskGradients,
    combine_gradients,
    compute_task_grad_norm,
    get_head_params,
    get_shared_params,
    gramian,
    last_shared_layer_params,
    task_gradients,
)
from grace.core.inner import health_loss
from grace.core.methods import Method
from grace.data.windows import Batch
from grace.models import DualTaskModel

__all__ = ["NonFiniteLossError", "StepLog", "TrainState", "training_step"]


class NonFiniteLossError(RuntimeError):
    """A loss or gradient became NaN or infinite; the message names the units.

    ``units`` are the indices of the units whose samples are not finite by themselves, or of the
    whole batch if every sample is.
    """

    def __init__(self, problem: str, units: Sequence[int]) -> None:
        self.problem, self.units = problem, tuple(sorted(set(units)))
        super().__init__(problem)

    def located(self, place: str, unit_ids: Sequence[Any]) -> NonFiniteLossError:
        """The same error with where it happened and the units' names."""
        names = [str(unit_ids[i]) for i in self.units]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return NonFiniteLossError(
            f"{place}: {self.problem}, unit {', '.join(names[:8])}{more}. The last checkpoint, if "
            "an epoch was finished, is kept. Remedy: check these units' values, lower the "
            "learning rate, or set features.clip.",
            self.units,
        )


@dataclass
class StepLog:
    """What a step tells: scalars and (K,) tensors, detached."""

    loss: Tensor
    rul_loss: Tensor
    health_loss: Tensor
    grad_norm: Tensor
    weights: Tensor
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TrainState:
    """What a step works on.

    ``average`` may be None (no weight average). ``offset_group`` (C,) is the index of the sensor
    whose offset each channel holds, −1 for none; channels of one sensor move together under
    ``offset_noise``.
    """

    model: DualTaskModel
    method: Method
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None
    grad_clip: float | None = 1.0
    bf16: bool = False
    input_noise: float = 0.0
    offset_noise: float = 0.0
    offset_group: Tensor | None = None

    def __post_init__(self) -> None:
        self.shared = get_shared_params(self.model)
        self.trained = [*self.shared, *get_head_params(self.model)]
        self.last_layer = last_shared_layer_params(self.model)


def training_step(
    s: TrainState, batch: Batch, *, diagnose: bool = False, log: bool = True
) -> StepLog:
    """Take one optimiser step on a batch.

    Args:
        s: model, method, optimiser and their settings; updated in place.
        batch: x (B, T, C), capped RUL (B,), health class (B,).
        diagnose: measure the task gradients even if the method does not need them.
        log: fill the diagnostics with what is at hand; without it they stay empty.

    Raises:
        NonFiniteLossError: a loss or the gradient norm is NaN or infinite; no parameter was
            updated (running statistics may have been: go back to a checkpoint).
    """
    s.model.train()
    s.method.outer.train()
    x = _augmented(s, batch.x)
    with torch.autocast(x.device.type, dtype=torch.bfloat16) if s.bf16 else nullcontext():
        z = s.model.features(x)
        rul, logits = s.model.heads(z)
    losses = [s.method.inner(rul.float(), batch.rul), health_loss(logits.float(), batch.health)]
    if not bool(torch.isfinite(torch.stack(losses)).all()):
        raise _not_finite(f"losses are {[loss.item() for loss in losses]}", batch, rul, logits)

    s.optimizer.zero_grad(set_to_none=True)
    total, diagnostics = _backward(s, losses, z, diagnose, log)
    limit = s.grad_clip if s.grad_clip is not None else float("inf")
    grad_norm = nn.utils.clip_grad_norm_(s.trained, limit)
    if not bool(torch.isfinite(grad_norm)):
        raise _not_finite(f"gradient norm is {grad_norm.item()}", batch, rul, logits)
    s.optimizer.step()
    if s.average is not None:
        s.average.update_parameters(s.model)
    weights = s.method.outer.weights.clone()
    return StepLog(
        total.detach(), losses[0].detach(), losses[1].detach(), grad_norm, weights, diagnostics
    )


def _augmented(s: TrainState, x: Tensor) -> Tensor:
    """x (B, T, C) with noise of its own on every value, and per window on every sensor's level."""
    if s.input_noise:
        x = x + s.input_noise * torch.randn_like(x)
    if s.offset_noise and s.offset_group is not None:
        sensors = int(s.offset_group.max()) + 1
        offset = s.offset_noise * torch.randn(len(x), sensors + 1, device=x.device)
        offset[:, -1] = 0.0  # channels without a level have index −1
        x = x + offset[:, s.offset_group][:, None]
    return x


def _backward(
    s: TrainState, losses: list[Tensor], z: Tensor, diagnose: bool, log: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Fill ``.grad`` with the gradient of the balanced loss, by the cheapest exact way."""
    outer, n_shared = s.method.outer, len(s.shared)
    reads = outer.needs_signal  # asked once: it may have to wait for the device
    reads_all = reads and (outer.signal == "gramian" or outer.site == "shared")
    extras: dict[str, Tensor] = {}
    gradients: TaskGradients | None = None
    if reads_all or diagnose:
        # λ is constant in θ, so these gradients, combined, are the backward pass.
        gradients = task_gradients(losses, s.trained, retain_graph=not reads_all)
    if reads and outer.signal == "gramian":
        assert gradients is not None
        extras["gramian"] = gramian(gradients, first=n_shared)
    elif reads and outer.signal == "norms":
        if gradients is not None and reads_all:
            extras["task_grad_norms"] = gradients.norms(first=n_shared)
        else:
            site = [z] if outer.site == "feature" else s.last_layer
            extras["task_grad_norms"] = torch.stack(
                [compute_task_grad_norm(loss, site) for loss in losses]
            )
    total: Tensor = outer(*losses, **extras)
    if reads_all and gradients is not None:
        for parameter, gradient in zip(
            s.trained, combine_gradients(gradients, outer.weights), strict=True
        ):
            parameter.grad = gradient
    else:
        total.backward()
    if not (log or diagnose):
        return total, {}
    diagnostics = {k: v.detach().clone() for k, v in outer.telemetry().items()}
    if gradients is not None:
        diagnostics |= _gradient_diagnostics(gradients, n_shared)
    return total, diagnostics


def _gradient_diagnostics(gradients: TaskGradients, n_shared: int) -> dict[str, Tensor]:
    """Norms of the task gradients on the shared parameters, their ratio, and their cosine."""
    products = gramian(gradients, first=n_shared)
    norms = products.diagonal().sqrt()
    return {
        "task_grad_norms": norms.float(),
        "norm_ratio": (norms[0] / norms[1]).float(),
        "cosine": (products[0, 1] / (norms[0] * norms[1])).float(),
    }


def _not_finite(problem: str, batch: Batch, rul: Tensor, logits: Tensor) -> NonFiniteLossError:
    """The error, naming units with bad data; without any, those with bad predictions; else all."""
    data = batch.x.isfinite().flatten(1).all(1) & batch.rul.isfinite()
    good = rul.isfinite() & logits.isfinite().all(1) if bool(data.all()) else data
    return NonFiniteLossError(problem, (batch.unit if good.all() else batch.unit[~good]).tolist())

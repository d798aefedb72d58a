"""One training step: forward, inner losses, outer balancer, backward, clip, update, average.

Data-parallel training: wrap the model in ``DistributedDataParallel`` and give every rank its share
of the global batch. Losses, task gradients, norms and Gramian are then those of the global batch,
so that weights and balancer state stay identical on all ranks. Batch normalisation still uses the
statistics of the local batch; on GPUs ``SyncBatchNorm`` replaces them by global ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from grace.core.distributed import Ranks
from grace.core.gradient_utils import (
    TaskGradients,
    combine_gradients,
    get_head_params,
    get_shared_params,
    gramian,
    last_shared_layer_params,
    task_gradients,
    unwrap,
    wrappers,
)
from grace.core.inner import health_loss
from grace.core.methods import Method
from grace.data.windows import Batch
from grace.models import DualTaskModel

__all__ = ["NonFiniteLossError", "StepLog", "TaskLoss", "TrainState", "training_step"]

TaskLoss = Callable[[Tensor, Batch], Tensor]
"""Scalar loss of a further task from the shared feature z (B, shared_dim) and the batch."""


class NonFiniteLossError(RuntimeError):
    """A loss or gradient became NaN or infinite; the message names the units.

    ``units`` are the indices of the units whose own values are not finite. If all values are
    finite, they are all units of the batch; none if the cause is on another rank.

    Example:
        >>> str(NonFiniteLossError("losses are [nan, 0.5]", [3]))
        'losses are [nan, 0.5]'
    """

    def __init__(self, problem: str, units: Sequence[int]) -> None:
        self.problem, self.units = problem, tuple(sorted(set(units)))
        super().__init__(problem)

    def located(self, place: str, unit_ids: Sequence[Any]) -> NonFiniteLossError:
        """The same error with where it happened and the units' names."""
        names = [str(unit_ids[i]) for i in self.units]
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        where = f"unit {', '.join(names[:8])}{more}" if names else "on another rank"
        return NonFiniteLossError(
            f"{place}: {self.problem}, {where}. The last checkpoint, if "
            "an epoch was finished, is kept. Remedy: check these units' values, lower the "
            "learning rate, or set features.clip.",
            self.units,
        )


@dataclass
class StepLog:
    """What a step reports: scalars and (K,) tensors, detached.

    Attributes:
        loss: the balanced loss.
        losses: the K task losses, RUL first, health second.
        grad_norm: norm of the whole gradient before clipping.
        weights: λ, (K,).
        diagnostics: the balancer's telemetry and, where gradients were read, their norms.
    """

    loss: Tensor
    losses: Tensor
    grad_norm: Tensor
    weights: Tensor
    diagnostics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def rul_loss(self) -> Tensor:
        """Inner loss of the RUL task."""
        return self.losses[0]

    @property
    def health_loss(self) -> Tensor:
        """Loss of the health task."""
        return self.losses[1]

    def as_dict(self) -> dict[str, Tensor]:
        """All values by name; the losses of further tasks as ``other_losses``, (K − 2,)."""
        named = {"loss": self.loss, "rul_loss": self.rul_loss, "health_loss": self.health_loss}
        others = {"other_losses": self.losses[2:]} if len(self.losses) > 2 else {}
        return {
            **named,
            **others,
            "grad_norm": self.grad_norm,
            "weights": self.weights,
            **self.diagnostics,
        }


@dataclass
class TrainState:
    """What a step works on.

    Attributes:
        model: the network, possibly in ``DistributedDataParallel`` or ``torch.compile``.
        method: inner loss and balancer.
        optimizer: holds the parameters of the network and of the balancer.
        average: moving average of the weights; None for none.
        grad_clip: limit on the norm of the whole gradient; None for none.
        bf16: compute the forward pass in bfloat16 (autocast).
        input_noise: standard deviation of noise added to every input value.
        offset_noise: standard deviation of noise per window on the offset of every sensor.
        offset_group: (C,) index of the sensor whose offset each channel holds, −1 for none;
            channels of one sensor move together under ``offset_noise``.
        other_tasks: losses of further tasks on z; the balancer's K is 2 plus their number. Their
            parameters are trained if they are in a child module of the network named ``*head``.

    Raises:
        ValueError: the model has no head, is wrapped in ``DataParallel`` (which splits batches
            inside the forward pass, where task gradients cannot be reduced), or K does not match.
    """

    model: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None
    grad_clip: float | None = 1.0
    bf16: bool = False
    input_noise: float = 0.0
    offset_noise: float = 0.0
    offset_group: Tensor | None = None
    other_tasks: Sequence[TaskLoss] = ()

    def __post_init__(self) -> None:
        if any(isinstance(m, nn.DataParallel) for m in wrappers(self.model)):
            raise ValueError("DataParallel is not supported: use DistributedDataParallel")
        n_tasks = 2 + len(self.other_tasks)
        if self.method.outer.n_tasks != n_tasks:
            raise ValueError(
                f"the balancer weighs {self.method.outer.n_tasks} tasks, but there are {n_tasks}: "
                "build it with n_tasks=2 plus the number of other_tasks"
            )
        network = unwrap(self.model)
        assert isinstance(network, DualTaskModel)
        self.network: DualTaskModel = network
        self.shared = get_shared_params(network)
        self.trained = [*self.shared, *get_head_params(network)]
        self.last_layer = last_shared_layer_params(network)
        self.ranks = Ranks(self.model)
        self.ranks.copy_first(self.method.outer)


def training_step(
    s: TrainState, batch: Batch, *, diagnose: bool = False, log: bool = True
) -> StepLog:
    """Take one optimiser step on a batch.

    Args:
        s: model, method, optimiser and their settings; updated in place.
        batch: x (B, T, C), capped RUL (B,), health class (B,); under data-parallel training the
            share of this rank. With further tasks, the RUL may be unknown (NaN, class −1): such
            windows add nothing to the first two losses, which stay means over the whole batch.
        diagnose: measure the task gradients even if the method does not need them.
        log: fill the diagnostics with the values that are available; without it they stay empty.

    Raises:
        NonFiniteLossError: a loss or the gradient norm is NaN or infinite, on any rank; no
            parameter was updated (running statistics may have been: restore a checkpoint).
    """
    s.network.train()
    s.method.outer.train()
    x = _augmented(s, batch.x)
    with torch.autocast(x.device.type, dtype=torch.bfloat16) if s.bf16 else nullcontext():
        z = s.network.features(x)
        rul, logits = s.network.heads(z)
        others = [task(z, batch) for task in s.other_tasks]
    losses = [*_labelled_losses(s, rul.float(), logits.float(), batch)]
    losses += [loss.float() for loss in others]
    share = s.ranks.share(len(x), x)
    values = torch.stack(losses).detach()
    values = s.ranks.sum([values * share])[0] if s.ranks.count > 1 else values
    if not bool(torch.isfinite(values).all()):
        raise _not_finite(f"losses are {values.tolist()}", s, batch, rul, logits)

    s.optimizer.zero_grad(set_to_none=True)
    if s.ranks.count > 1:
        # The value of the global batch, by which balancers update their state, with the graph of
        # the local one.
        losses = [x + (v - x).detach() for x, v in zip(losses, values, strict=True)]
    total, diagnostics = _backward(s, losses, z, share, diagnose=diagnose, log=log)
    limit = s.grad_clip if s.grad_clip is not None else float("inf")
    grad_norm = nn.utils.clip_grad_norm_(s.trained, limit)
    if not bool(torch.isfinite(grad_norm)):
        problem = f"gradient norm is {grad_norm.item()}"
        raise _not_finite(problem, s, batch, rul, logits)
    s.optimizer.step()
    s.ranks.average_buffers(s.network)
    if s.average is not None:
        s.average.update_parameters(s.network)
    weights = s.method.outer.weights.clone()
    return StepLog(total.detach(), values, grad_norm, weights, diagnostics)


def _labelled_losses(
    s: TrainState, rul: Tensor, logits: Tensor, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Losses of the RUL and health tasks; only where there are further tasks may labels lack."""
    unknown = batch.health < 0 if s.other_tasks else None
    if unknown is None or not bool(unknown.any()):
        return s.method.inner(rul, batch.rul), health_loss(logits, batch.health)
    known = ~unknown
    if not bool(known.any()):
        return rul.sum() * 0.0, logits.sum() * 0.0
    # A mean over the whole batch, so that losses of ranks add up whatever each of them knows.
    share = known.float().mean()
    inner = s.method.inner(rul[known], batch.rul[known])
    return inner * share, health_loss(logits[known], batch.health[known]) * share


def _augmented(s: TrainState, x: Tensor) -> Tensor:
    """x (B, T, C) with independent noise on every value, and per window on every sensor's level."""
    if s.input_noise:
        x = x + s.input_noise * torch.randn_like(x)
    if s.offset_noise and s.offset_group is not None:
        sensors = int(s.offset_group.max()) + 1
        offset = s.offset_noise * torch.randn(len(x), sensors + 1, device=x.device)
        offset[:, -1] = 0.0  # channels without a level have index −1
        x = x + offset[:, s.offset_group][:, None]
    return x


def _backward(
    s: TrainState, losses: list[Tensor], z: Tensor, share: float, *, diagnose: bool, log: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Fill ``.grad`` with the gradient of the balanced loss, in the cheapest exact way."""
    outer, n_shared = s.method.outer, len(s.shared)
    reads = outer.needs_signal  # asked once: the answer may have to wait for the device
    reads_all = reads and outer.site == "shared"
    diagnostics: dict[str, Tensor] = {}
    products: Tensor | None = None  # of the task gradients at the balancer's site
    norms: Tensor | None = None
    gradients: TaskGradients | None = None
    if reads_all or diagnose:
        # λ is constant in θ, so these gradients, combined, are the backward pass.
        gradients = task_gradients(losses, s.trained, retain_graph=not reads_all)
        gradients = s.ranks.gradients(gradients, share)
    if reads_all and gradients is not None:
        if outer.signal == "gramian":
            products = gramian(gradients, first=n_shared)
        else:
            norms = gradients.norms(first=n_shared)
    elif reads:
        products, norms = _at_site(s, losses, z, share)
        diagnostics[f"{outer.site}_grad_norms"] = norms
    with s.ranks.same_random_numbers(z.device) if outer.signal == "gramian" else nullcontext():
        total: Tensor = outer(*losses, task_grad_norms=norms, gramian=products)
    if reads_all and gradients is not None:
        for parameter, gradient in zip(
            s.trained, combine_gradients(gradients, outer.weights), strict=True
        ):
            parameter.grad = gradient
    else:
        total.backward()
        s.ranks.reduce_grad(s.trained, share)
    if not (log or diagnose):
        return total, {}
    diagnostics |= {k: v.detach().clone() for k, v in outer.telemetry().items()}
    if gradients is not None:
        diagnostics |= _gradient_diagnostics(gradients, n_shared)
    return total, diagnostics


def _at_site(s: TrainState, losses: list[Tensor], z: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Gramian (K, K) and norms (K,) of the task gradients at the last layer or at z."""
    if s.method.outer.site == "last_layer":
        gradients = task_gradients(losses, s.last_layer, retain_graph=True)
        gradients = s.ranks.gradients(gradients, share)
        return gramian(gradients), gradients.norms()
    gradients = task_gradients(losses, [z], retain_graph=True)
    if s.ranks.count == 1:
        return gramian(gradients), gradients.norms()
    # Each rank holds the rows of its own samples, so inner products add up over the ranks.
    (products,) = s.ranks.sum([share**2 * gramian(gradients)])
    return products, products.diagonal().sqrt().float()


def _gradient_diagnostics(gradients: TaskGradients, n_shared: int) -> dict[str, Tensor]:
    """Norms of the task gradients on the shared parameters, ratios and cosines of task pairs.

    For K = 2 ratio and cosine are scalars; for K ≥ 3 the ratios are those of the first task to
    each other task, (K − 1,), and the cosines those of the pairs (0, 1), (0, 2), …, (1, 2), ….
    """
    products = gramian(gradients, first=n_shared)
    norms = products.diagonal().sqrt()
    rows, columns = torch.triu_indices(len(norms), len(norms), offset=1, device=norms.device)
    cosines = products[rows, columns] / (norms[rows] * norms[columns])
    ratios = norms[0] / norms[1:]
    return {
        "task_grad_norms": norms.float(),
        "norm_ratio": (ratios[0] if len(norms) == 2 else ratios).float(),
        "cosine": (cosines[0] if len(norms) == 2 else cosines).float(),
    }


def _not_finite(
    problem: str,
    s: TrainState,
    batch: Batch,
    rul: Tensor,
    logits: Tensor,
) -> NonFiniteLossError:
    """The error with the units that have bad data; without any, bad predictions; else all."""
    data = batch.x.isfinite().flatten(1).all(1) & (batch.rul.isfinite() | (batch.health < 0))
    good = rul.isfinite() & logits.isfinite().all(1) if bool(data.all()) else data
    if s.ranks.count > 1 and bool(good.all()):
        return NonFiniteLossError(f"{problem} (no value of this rank is the cause)", ())
    return NonFiniteLossError(problem, (batch.unit if good.all() else batch.unit[~good]).tolist())

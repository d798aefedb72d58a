"""Task gradients on the shared parameters: taken once, measured, and combined.

None of these functions touches ``.grad``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "TaskGradients",
    "combine_gradients",
    "compute_task_grad_norm",
    "get_head_params",
    "get_shared_params",
    "gramian",
    "last_shared_layer_params",
    "task_gradients",
]


def _is_head(child_name: str) -> bool:
    return child_name.endswith(("head", "heads"))


def get_shared_params(model: nn.Module) -> list[nn.Parameter]:
    """Trainable parameters that belong to no head.

    A head is a direct child whose name ends in ``head`` or ``heads``; for ``DualTaskModel`` the
    shared parameters are those of ``cnn``, ``lstm``, ``attn`` and ``funnel``.

    Raises:
        ValueError: nothing is shared, so there is nothing to balance on.
    """
    shared = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not _is_head(name.split(".", 1)[0])
    ]
    if not shared:
        raise ValueError(
            f"{type(model).__name__} has no trainable parameter outside its heads "
            "(children named '*head'): task balancing needs a shared trunk"
        )
    return shared


def get_head_params(model: nn.Module) -> list[nn.Parameter]:
    """Trainable parameters of all heads, in the order of the model."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and _is_head(name.split(".", 1)[0])
    ]


def last_shared_layer_params(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of the last shared module that has any: the site of GradNorm's norms."""
    layers = [
        module
        for name, module in model.named_modules()
        if name
        and not _is_head(name.split(".", 1)[0])
        and any(p.requires_grad for p in module.parameters(recurse=False))
    ]
    if not layers:
        return get_shared_params(model)
    return [p for p in layers[-1].parameters(recurse=False) if p.requires_grad]


def _global_norm(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    present = [g for g in gradients if g is not None]
    if not present:
        return torch.zeros((), dtype=torch.float32, device=like.device)
    norms: list[Tensor] = list(torch._foreach_norm(present))
    total: Tensor = torch.linalg.vector_norm(torch.stack([n.float() for n in norms]))
    return total


def compute_task_grad_norm(
    loss: Tensor, shared_params: Sequence[Tensor], retain_graph: bool = True
) -> Tensor:
    """Euclidean norm of ∂loss/∂θ over all ``shared_params`` together, a detached scalar.

    Args:
        loss: scalar task loss with a graph.
        shared_params: θ_shared; parameters the loss does not depend on count as zero.
        retain_graph: keep the graph for the next task or the backward pass.
    """
    gradients = torch.autograd.grad(
        loss, list(shared_params), retain_graph=retain_graph, allow_unused=True
    )
    return _global_norm(gradients, loss).detach()


class TaskGradients(NamedTuple):
    """Gradients of K task losses over the same parameters.

    ``per_task[i][p]`` is ∂L_i/∂θ_p, or None where L_i does not depend on θ_p.
    """

    per_task: tuple[tuple[Tensor | None, ...], ...]

    def norms(self, first: int | None = None) -> Tensor:
        """Norm per task, (K,), over all parameters or only the ``first`` ones."""
        some = next(g for row in self.per_task for g in row if g is not None)
        return torch.stack([_global_norm(row[:first], some) for row in self.per_task])


def task_gradients(
    losses: Sequence[Tensor], params: Sequence[Tensor], *, retain_graph: bool = False
) -> TaskGradients:
    """Gradients of each loss over ``params``, all from the same forward graph.

    The graph is freed after the last loss unless ``retain_graph`` is set.
    """
    last = len(losses) - 1
    return TaskGradients(
        tuple(
            torch.autograd.grad(
                loss, list(params), retain_graph=retain_graph or i < last, allow_unused=True
            )
            for i, loss in enumerate(losses)
        )
    )


def combine_gradients(gradients: TaskGradients, weights: Tensor) -> list[Tensor | None]:
    """Σ_i λ_i ∇L_i per parameter: what a backward pass of Σ_i λ_i L_i would give.

    Exact when the weights are constants in θ, which makes that third backward pass superfluous.

    Args:
        gradients: the task gradients, K tasks.
        weights: λ, (K,).
    """
    combined: dict[int, Tensor] = {}
    for weight, row in zip(weights.detach().unbind(), gradients.per_task, strict=True):
        present = {p: gradient for p, gradient in enumerate(row) if gradient is not None}
        if not present:
            continue
        scaled = torch._foreach_mul(list(present.values()), weight)
        parts = dict(zip(present, scaled, strict=True))
        if both := [p for p in parts if p in combined]:
            torch._foreach_add_([combined[p] for p in both], [parts[p] for p in both])
        combined |= {p: part for p, part in parts.items() if p not in combined}
    return [combined.get(p) for p in range(len(gradients.per_task[0]))]


def gramian(gradients: TaskGradients, first: int | None = None) -> Tensor:
    """Inner products of the task gradients, (K, K), over all or only the ``first`` parameters.

    Float64 because at norm ratios of 500:1 the methods that invert this matrix lose the small
    task in float32.
    """
    tasks = [row[:first] for row in gradients.per_task]
    size = len(tasks)
    some = next(g for row in tasks for g in row if g is not None)
    entries = torch.zeros(size, size, dtype=torch.float64, device=some.device)
    for i in range(size):
        for j in range(i, size):
            dots = [
                torch.sum(a.double() * b.double())
                for a, b in zip(tasks[i], tasks[j], strict=True)
                if a is not None and b is not None
            ]
            if dots:
                entries[i, j] = entries[j, i] = torch.stack(dots).sum()
    return entries

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
    "unwrap",
    "wrappers",
]


# Names under which torch.compile, Lightning Fabric and the wrappers of torch.nn keep a model.
_WRAPPED_AS = ("_orig_mod", "_original_module", "module")


def wrappers(model: nn.Module) -> list[nn.Module]:
    """``model`` and the modules nested in it by wrapping, outermost first, the network last.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2))
        >>> [type(module).__name__ for module in wrappers(nn.DataParallel(network))]
        ['DataParallel', 'Sequential']
    """
    found = [model]
    while True:
        children = dict(found[-1].named_children())
        # A wrapper has its network as the only kind of child; a network has layers with names.
        inner = [children[name] for name in _WRAPPED_AS if name in children]
        if not inner or not children.keys() <= {*_WRAPPED_AS, "_forward_module"}:
            return found
        found.append(inner[0])


def unwrap(model: nn.Module) -> nn.Module:
    """The network inside wrappers such as ``DistributedDataParallel``, or ``model`` itself.

    Removes, in any nesting, ``torch.compile``, ``DataParallel``, ``DistributedDataParallel``,
    ``AveragedModel`` and the wrapper of Lightning Fabric.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(2, 2))
        >>> unwrap(nn.DataParallel(network)) is network
        True
    """
    return wrappers(model)[-1]


def _is_head(parameter_name: str, heads: Sequence[str] | None) -> bool:
    child = parameter_name.split(".", 1)[0]
    return child.endswith(("head", "heads")) if heads is None else child in heads


def _split(
    model: nn.Module, heads: Sequence[str] | None
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters outside and inside the heads of the unwrapped model."""
    network = unwrap(model)
    children = [name for name, _ in network.named_children()]
    if heads is not None and (unknown := [name for name in heads if name not in children]):
        raise ValueError(
            f"heads={list(heads)}: {type(network).__name__} has no child module "
            f"{', '.join(unknown)}; its children are {', '.join(children) or 'none'}"
        )
    if not any(_is_head(name, heads) for name in children):
        raise ValueError(
            f"no head found in {type(network).__name__} (children: {', '.join(children) or 'none'})"
            ": name the heads '*head', or pass the names of the child modules as heads=[...]"
        )
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    shared = [p for name, p in named if not _is_head(name, heads)]
    if not shared:
        raise ValueError(
            f"{type(network).__name__} has no trainable parameter outside its heads: "
            "task balancing needs a shared trunk"
        )
    return shared, [p for name, p in named if _is_head(name, heads)]


def get_shared_params(
    model: nn.Module, *, heads: Sequence[str] | None = None
) -> list[nn.Parameter]:
    """Trainable parameters that belong to no head.

    For ``DualTaskModel`` these are the parameters of ``cnn``, ``lstm``, ``attn`` and ``funnel``.

    Args:
        model: the network; wrappers (see :func:`unwrap`) are removed first.
        heads: names of the direct child modules that are heads; None means all whose name ends in
            ``head`` or ``heads``.

    Raises:
        ValueError: no head is found, a name in ``heads`` is unknown, or nothing is shared.

    Example:
        >>> from torch import nn
        >>> net = nn.ModuleDict({"trunk": nn.Linear(3, 2), "rul_head": nn.Linear(2, 1)})
        >>> [tuple(p.shape) for p in get_shared_params(net)]
        [(2, 3), (2,)]
    """
    return _split(model, heads)[0]


def get_head_params(model: nn.Module, *, heads: Sequence[str] | None = None) -> list[nn.Parameter]:
    """Trainable parameters of all heads, in the order of the model.

    Arguments and errors are those of :func:`get_shared_params`.

    Example:
        >>> from torch import nn
        >>> net = nn.ModuleDict({"trunk": nn.Linear(3, 2), "rul_head": nn.Linear(2, 1)})
        >>> [tuple(p.shape) for p in get_head_params(net)]
        [(1, 2), (1,)]
    """
    return _split(model, heads)[1]


def last_shared_layer_params(
    model: nn.Module, *, heads: Sequence[str] | None = None
) -> list[nn.Parameter]:
    """Parameters of the last shared module that has any: where GradNorm reads its norms.

    "Last" is the order in which the modules are registered. Arguments and errors are those of
    :func:`get_shared_params`.

    Example:
        >>> from torch import nn
        >>> trunk = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> net = nn.ModuleDict({"trunk": trunk, "rul_head": nn.Linear(2, 1)})
        >>> [tuple(p.shape) for p in last_shared_layer_params(net)]
        [(2, 4), (2,)]
    """
    shared = get_shared_params(model, heads=heads)
    layers = [
        module
        for name, module in unwrap(model).named_modules()
        if name
        and not _is_head(name, heads)
        and any(p.requires_grad for p in module.parameters(recurse=False))
    ]
    if not layers:
        return shared
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

    Example:
        >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> compute_task_grad_norm(w.square().sum() / 2, [w])
        tensor(5.)
    """
    gradients = torch.autograd.grad(
        loss, list(shared_params), retain_graph=retain_graph, allow_unused=True
    )
    return _global_norm(gradients, loss).detach()


class TaskGradients(NamedTuple):
    """Gradients of K task losses over the same parameters.

    ``per_task[i][p]`` is ∂L_i/∂θ_p, or None where L_i does not depend on θ_p.

    Example:
        >>> TaskGradients(((torch.tensor([3.0, 4.0]),), (torch.tensor([0.0, 1.0]),))).norms()
        tensor([5., 1.])
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

    Example:
        >>> w = torch.tensor(3.0, requires_grad=True)
        >>> task_gradients([w * w, 2.0 * w], [w]).per_task
        ((tensor(6.),), (tensor(2.),))
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

    Example:
        >>> gradients = TaskGradients(((torch.tensor([3.0, 4.0]),), (torch.tensor([0.0, 1.0]),)))
        >>> combine_gradients(gradients, torch.tensor([1.0, 10.0]))
        [tensor([ 3., 14.])]
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

    Example:
        >>> gramian(TaskGradients(((torch.tensor([3.0, 4.0]),), (torch.tensor([0.0, 1.0]),))))
        tensor([[25.,  4.],
                [ 4.,  1.]], dtype=torch.float64)
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

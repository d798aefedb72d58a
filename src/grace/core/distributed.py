"""Data-parallel training: sums and means over the ranks of a process group.

``torch.autograd.grad`` bypasses the hooks of ``DistributedDataParallel``. A method that reads task
gradients therefore has to reduce them itself, before norms and Gramian are computed: otherwise
every rank finds other weights and the replicas drift apart without an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from grace.core.gradient_utils import TaskGradients, wrappers

__all__ = ["Ranks"]


class Ranks:
    """The processes that train replicas of one model, each on its share of the global batch.

    Args:
        model: the model. With ``DistributedDataParallel`` among its wrappers, its process group is
            used; without, there is one rank and every method returns its argument.

    Example:
        >>> from torch import nn
        >>> ranks = Ranks(nn.Linear(2, 1))
        >>> ranks.count
        1
    """

    def __init__(self, model: nn.Module) -> None:
        parallel = [m for m in wrappers(model) if isinstance(m, DistributedDataParallel)]
        self.group = parallel[0].process_group if parallel else None
        self.count = 1 if self.group is None else torch.distributed.get_world_size(self.group)

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum over the ranks of each tensor, in one communication per dtype; detached.

        Every rank has to pass tensors of the same shapes in the same order.
        """
        if self.count == 1:
            return [t.detach() for t in tensors]
        result = [t.detach() for t in tensors]
        for dtype in dict.fromkeys(t.dtype for t in result):
            places = [i for i, t in enumerate(result) if t.dtype == dtype]
            flat = torch.cat([result[i].reshape(-1) for i in places])
            torch.distributed.all_reduce(flat, group=self.group)
            parts = flat.split([result[i].numel() for i in places])
            for i, part in zip(places, parts, strict=True):
                result[i] = part.view(result[i].shape)
        return result

    def share(self, batch_size: int, like: Tensor) -> float:
        """The share of this rank in the global batch: 1/count if the local batches are equal."""
        if self.count == 1:
            return 1.0
        (total,) = self.sum([torch.tensor(float(batch_size), device=like.device)])
        return batch_size / float(total)

    def gradients(self, gradients: TaskGradients, share: float) -> TaskGradients:
        """Task gradients of the global batch from those of the local batches.

        Args:
            gradients: the gradients of the local mean losses; the same parameters are unused
                (None) on every rank.
            share: see :meth:`share`.
        """
        if self.count == 1:
            return gradients
        present = [g * share for row in gradients.per_task for g in row if g is not None]
        reduced = iter(self.sum(present))
        return TaskGradients(
            tuple(
                tuple(None if g is None else next(reduced) for g in row)
                for row in gradients.per_task
            )
        )

    @torch.no_grad()
    def reduce_grad(self, parameters: Iterable[nn.Parameter], share: float) -> None:
        """Replace ``.grad`` of the local mean loss by that of the global batch."""
        if self.count == 1:
            return
        filled = [p for p in parameters if p.grad is not None]
        for parameter, gradient in zip(
            filled, self.sum([p.grad * share for p in filled if p.grad is not None]), strict=True
        ):
            parameter.grad = gradient

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Set the floating-point buffers of ``model`` to their mean over the ranks.

        The running statistics of batch normalisation differ between ranks, because each rank sees
        other samples. The number of processed batches is an integer and equal on all ranks.
        """
        if self.count == 1:
            return
        buffers = [b for b in model.buffers() if b.is_floating_point()]
        for buffer, total in zip(buffers, self.sum(buffers), strict=True):
            buffer.copy_(total / self.count)

    @torch.no_grad()
    def copy_first(self, module: nn.Module) -> None:
        """Set parameters and buffers of ``module`` to those of the first rank."""
        if self.group is not None:
            for tensor in module.state_dict().values():
                torch.distributed.broadcast(tensor, group=self.group, group_src=0)

    @contextmanager
    def same_random_numbers(self, device: torch.device) -> Iterator[None]:
        """Inside, every rank draws the CPU random numbers of the first rank.

        For methods that draw random numbers, such as PCGrad; the other ranks then continue with
        their own generator.
        """
        if self.group is None:
            yield
            return
        own = torch.get_rng_state()
        state = own.to(device, copy=True)
        torch.distributed.broadcast(state, group=self.group, group_src=0)
        torch.set_rng_state(state.cpu())
        try:
            yield
        finally:
            if torch.distributed.get_rank(self.group) != 0:
                torch.set_rng_state(own)

"""Exponential moving average of the weights. The averaged weights are evaluated and saved."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["weight_average"]

Tensors = tuple[Tensor, ...] | list[Tensor]


def weight_average(model: nn.Module, decay: float, *, warmup: bool = False) -> AveragedModel:
    """An exponential average of parameters and buffers; the first update copies the model.

    Args:
        model: the network that is trained.
        decay: β in ``avg ← β·avg + (1 − β)·θ``; 0 follows the model.
        warmup: use min(β, (1 + t)/(10 + t)) at update t, so that an average over fewer than
            1/(1 − β) steps is not dominated by the initial weights.
    """

    @torch.no_grad()
    def update(averages: Tensors, current: Tensors, count: Tensor | int) -> None:
        steps = int(count)
        beta = min(decay, (1 + steps) / (10 + steps)) if warmup else decay
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(current), 1.0 - beta)
        else:  # integer counters of batch norm
            torch._foreach_copy_(list(averages), list(current))

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    for module in average.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # copying split the contiguous block that cuDNN needs
    return average

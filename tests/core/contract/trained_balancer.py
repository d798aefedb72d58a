"""Any balancer of the registry, and a network trained with it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grace.core.baselines import FixedWeightLoss, LossBalancer
from grace.core.methods import OUTER_METHODS

Make = Callable[..., Any]


def make(name: str, n_tasks: int = 2) -> LossBalancer:
    try:
        if name == "fixed" and n_tasks == 3:
            return FixedWeightLoss(0.2, 0.3, other_weights=(0.5,))
        options: dict[str, Any] = {} if name == "fixed" else {"n_tasks": n_tasks}
        if name == "gaba":
            options |= {"warmup_steps": 2, "beta": 0.8}
        return OUTER_METHODS[name].build(**options)
    except ImportError as error:
        # CAGrad needs a solver of its own; the others need TorchJD and nothing else.
        if name != "cagrad" and importlib.util.find_spec("torchjd"):
            raise
        pytest.skip(f"{name}: {error}")


class Run:
    """A network and a balancer that are trained together, one step at a time."""

    def __init__(self, balancer: LossBalancer, model: nn.Module, signal: Make) -> None:
        self.balancer, self.model, self.signal = balancer, model, signal
        groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr": 0.01}]
        if own := list(balancer.parameters()):
            groups.append({"params": own, "lr": 0.05})
        self.optimizer = torch.optim.SGD(groups)

    def step(self, seed: int, ratio: float | None = None) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad()
        losses = self.model.losses(seed, ratio)
        total = self.balancer(*losses, **self.signal(self.balancer, losses, self.model))
        total.backward()
        self.optimizer.step()
        if seed % 2:  # an epoch is two steps here
            self.balancer.on_epoch_end(torch.stack(losses).detach().float())
        return total.detach(), self.balancer.weights.clone()


def state_of(balancer: LossBalancer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in balancer.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

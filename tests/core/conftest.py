"""A small network with K heads, and the signals a driver owes each balancer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grace.core.baselines import LossBalancer
from grace.core.gradient_utils import get_shared_params, gramian, task_gradients


class Toy(nn.Module):
    """Trunk of two layers and K heads on its feature; float64, so that formulas can be checked."""

    def __init__(self, n_tasks: int = 2, dtype: torch.dtype = torch.float64, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4))
        self.rul_head = nn.Linear(4, 1)
        self.health_head = nn.Linear(4, 3)
        self.more_heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(n_tasks - 2))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        self.to(dtype)

    def losses(self, seed: int = 0, ratio: float | None = None) -> list[Tensor]:
        """K losses on a random batch; ``ratio`` sets ‖g_0‖/‖g_1‖ over the trunk exactly."""
        generator = torch.Generator().manual_seed(1000 + seed)
        kind = self.rul_head.weight.dtype
        x = torch.randn(9, 5, generator=generator).to(kind)
        y = (3.0 * torch.randn(9, generator=generator)).to(kind)
        c = torch.randint(0, 3, (9,), generator=generator)
        z = self.trunk(x)
        losses = [
            (self.rul_head(z).squeeze(-1) - y).square().mean(),
            nn.functional.cross_entropy(self.health_head(z), c),
        ]
        losses += [(head(z).squeeze(-1) + y * (i + 1)).abs().mean()
                   for i, head in enumerate(self.more_heads)]  # fmt: skip
        if ratio is not None:
            norms = task_gradients(losses, get_shared_params(self), retain_graph=True).norms()
            losses[0] = losses[0] * float(ratio * norms[1] / norms[0])
        return losses


def signal_of(balancer: LossBalancer, losses: list[Tensor], model: nn.Module) -> dict[str, Any]:
    """What the balancer declares it reads, taken from a graph that stays alive."""
    if balancer.signal == "losses":
        return {}
    gradients = task_gradients(losses, get_shared_params(model), retain_graph=True)
    if balancer.signal == "norms":
        return {"task_grad_norms": gradients.norms()}
    return {"gramian": gramian(gradients)}


@pytest.fixture(scope="session")
def toy() -> Callable[..., Toy]:
    return Toy


@pytest.fixture(scope="session")
def signal() -> Callable[..., dict[str, Any]]:
    return signal_of

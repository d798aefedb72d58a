"""A head of hazards on the shared feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["SurvivalHead"]


class SurvivalHead(nn.Module):
    """z → hazards over bins of remaining life: in_dim → 64 → 32 → K logits, ReLU between.

    Trained with :func:`grace.core.survival.survival_nll`, as a third task of the network
    (``survival.enabled=true`` in the configuration of a run) or on its frozen feature. The last
    bias starts at a hazard that spreads failures evenly over the bins: h_k = 1/(K − k).

    Args:
        edges: (K + 1,) edges of the bins, increasing from 0, in the unit of the RUL; kept as a
            buffer.
        in_dim: width of z.

    Example:
        >>> head = SurvivalHead(torch.tensor([0.0, 10.0, 20.0, 40.0]))
        >>> head(torch.zeros(5, 32)).shape
        torch.Size([5, 3])
    """

    edges: Tensor

    def __init__(self, edges: Tensor, in_dim: int = 32) -> None:
        super().__init__()
        if edges.dim() != 1 or len(edges) < 2 or edges[0] != 0 or not (edges.diff() > 0).all():
            raise ValueError("edges must increase from 0")
        bins = len(edges) - 1
        self.register_buffer("edges", edges.detach().clone().float())
        self.layers = nn.Sequential(
            nn.Linear(in_dim, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, bins)
        )
        even = 1.0 / torch.arange(bins, 0, -1, dtype=torch.float32)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.copy_(torch.logit(even.clamp(max=0.95)))

    def forward(self, z: Tensor) -> Tensor:
        """z (B, in_dim) → logits of the hazards (B, K)."""
        logits: Tensor = self.layers(z)
        return logits

    def hazards(self, z: Tensor) -> Tensor:
        """z (B, in_dim) → hazards (B, K) in (0, 1)."""
        return torch.sigmoid(self(z))

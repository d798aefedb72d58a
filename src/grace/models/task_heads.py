"""The two heads on the shared feature z: remaining useful life and health state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["HealthHead", "RULHead"]


class RULHead(nn.Module):
    """32 → 64 → 32 → 16 → 1, ReLU between and at the output: a RUL is not negative.

    The ReLU at the output is dead as long as every prediction is negative, so a new head must be
    given a positive output by :meth:`start_at` before training.

    Args:
        in_dim: width of z.

    Example:
        >>> head = RULHead(in_dim=32)
        >>> head.start_at(80.0)
        >>> head(torch.randn(4, 32)).shape
        torch.Size([4])
    """

    def __init__(self, in_dim: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_dim, 64),
            nn.ReLU(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 16),
            nn.ReLU(),
            nn.Linear(16, 1),
            nn.ReLU(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """z (B, in_dim) → RUL (B,), ≥ 0."""
        out: Tensor = self.layers(z)
        return out.squeeze(-1)

    @torch.no_grad()
    def start_at(self, mean_rul: float) -> None:
        """Set the last bias to the mean training RUL, in learned units."""
        last = self.layers[-2]
        assert isinstance(last, nn.Linear)
        last.bias.fill_(mean_rul)


class HealthHead(nn.Module):
    """32 → 32 → 16 → C, ReLU between, raw logits.

    Args:
        in_dim: width of z.
        num_classes: health states C.

    Example:
        >>> HealthHead(in_dim=32, num_classes=3)(torch.randn(4, 32)).shape
        torch.Size([4, 3])
    """

    def __init__(self, in_dim: int = 32, num_classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_dim, 32),
            nn.ReLU(),
            nn.Linear(32, 16),
            nn.ReLU(),
            nn.Linear(16, num_classes),
        )

    def forward(self, z: Tensor) -> Tensor:
        """z (B, in_dim) → logits (B, C)."""
        logits: Tensor = self.layers(z)
        return logits

"""Other trunks with the contract of the network: windows (B, T, C) → feature z (B, shared_dim).

The heads, the funnel and the step of training are those of :class:`grace.models.DualTaskModel`; a
trunk gives the feature of the window's last step. Sizes are of the order of preset ``fast``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from grace.models import DualTaskModel

_WIDTH = 64


class CausalBlock(nn.Module):
    """Two dilated causal convolutions with a residual (Bai et al. 2018, section 3.3)."""

    def __init__(self, before: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.padding = 2 * dilation
        self.first = nn.Conv1d(before, _WIDTH, kernel_size=3, dilation=dilation)
        self.second = nn.Conv1d(_WIDTH, _WIDTH, kernel_size=3, dilation=dilation)
        self.norms = nn.ModuleList(nn.BatchNorm1d(_WIDTH) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv1d(before, _WIDTH, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) → (B, width, T)."""
        out = x
        for convolution, norm in zip((self.first, self.second), self.norms, strict=True):
            out = norm(convolution(functional.pad(out, (self.padding, 0))))
            out = self.dropout(functional.relu(out))
        return functional.relu(out + self.skip(x))


class TCNTrunk(nn.Module):
    """Temporal convolutional network: dilations 1, 2, 4, 8, a view of 61 steps."""

    def __init__(self, c_in: int, dropout: float) -> None:
        super().__init__()
        widths = (c_in, *[_WIDTH] * 3)
        self.blocks = nn.Sequential(*(CausalBlock(w, 2**i, dropout) for i, w in enumerate(widths)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, width), the last step."""
        out: Tensor = self.blocks(x.transpose(1, 2))[..., -1]
        return out


class TransformerTrunk(nn.Module):
    """Two encoder layers, norm first, with learned positions counted back from the last step."""

    def __init__(self, c_in: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Linear(c_in, _WIDTH)
        self.position = nn.Parameter(torch.randn(512, _WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(
            _WIDTH, 4, 2 * _WIDTH, dropout, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, width), the last step."""
        steps = self.encoder(self.embed(x) + self.position[: x.shape[1]].flip(0))
        out: Tensor = self.norm(steps[:, -1])
        return out


TRUNKS = {"tcn": TCNTrunk, "transformer": TransformerTrunk}


class OtherTrunk(DualTaskModel):
    """The network with another trunk before its funnel.

    Args:
        trunk: a name of ``TRUNKS``.
        c_in, num_classes, options: as of :class:`~grace.models.DualTaskModel`.
    """

    def __init__(self, trunk: str, c_in: int, num_classes: int, **options: Any) -> None:
        width = {"lstm_hidden": _WIDTH // 2}
        super().__init__(c_in=c_in, num_classes=num_classes, **(options | width))
        self.cnn, self.lstm, self.attn = nn.Identity(), nn.Identity(), nn.Identity()
        self.trunk = TRUNKS[trunk](c_in, 0.3 * options["dropout_scale"])

    def features(self, x: Tensor) -> Tensor:
        """x (B, T, c_in) → the shared feature z (B, shared_dim)."""
        z: Tensor = self.funnel(self.trunk(x))
        return z

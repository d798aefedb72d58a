"""The shared trunk: CNN → BiLSTM → attention → funnel.

Notation: B batch, T window length, C input channels, D = 2·hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from grace.models.optimized import Dropout, last_query_attention, lstm_layer_by_layer

__all__ = ["AttentionBlock", "BiLSTMEncoder", "CNNFrontend", "FCFunnel"]


class CNNFrontend(nn.Module):
    """Three times [Conv1d (kernel 3, padding 1) → BatchNorm → ReLU → Dropout] along time.

    Args:
        c_in: input channels C.
        dropout_p: dropout after each convolution.
        channels: output channels of the convolutions.

    Example:
        >>> import torch
        >>> CNNFrontend(c_in=14)(torch.randn(2, 30, 14)).shape
        torch.Size([2, 30, 64])
    """

    def __init__(
        self, c_in: int, dropout_p: float = 0.15, channels: Sequence[int] = (64, 128, 64)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((c_in, *channels), channels, strict=False):
            layers += [
                nn.Conv1d(before, after, kernel_size=3, padding=1),
                nn.BatchNorm1d(after),
                nn.ReLU(),
                Dropout(dropout_p),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, channels[-1])."""
        out: Tensor = self.layers(x.transpose(1, 2))
        return out.transpose(1, 2)


class BiLSTMEncoder(nn.Module):
    """Stacked bidirectional LSTM with dropout between the layers.

    Each layer is PyTorch's own kernel; the guide to performance compares it with a hand-written
    one. In training on a CPU the layers are called one by one, with a faster dropout in between
    (:func:`~grace.models.optimized.lstm_layer_by_layer`).

    Args:
        input_size: channels per step.
        hidden_size: hidden units per direction.
        num_layers: stacked layers.
        dropout_p: dropout between layers (none after the last).

    Attributes:
        plain: always call ``self.lstm`` as a module; False by default.

    Example:
        >>> import torch
        >>> BiLSTMEncoder(64, 256)(torch.randn(2, 30, 64)).shape
        torch.Size([2, 30, 512])
    """

    plain = False

    def __init__(
        self,
        input_size: int = 64,
        hidden_size: int = 256,
        num_layers: int = 2,
        dropout_p: float = 0.3,
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            input_size,
            hidden_size,
            num_layers=num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout_p if num_layers > 1 else 0.0,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, input_size) → (B, T, 2·hidden_size)."""
        fast = not self.plain and x.device.type == "cpu" and self.training
        if fast and self.lstm.dropout > 0:
            return lstm_layer_by_layer(self.lstm, x)
        out: Tensor = self.lstm(x)[0]
        return out


class AttentionBlock(nn.Module):
    """Self-attention with residual and layer norm: ``LayerNorm(x + Dropout(MHA(x, x, x)))``.

    The funnel uses only the last step, so :meth:`last_step` computes only the last query: the same
    numbers for 1/T of the attention and a fraction of the projections
    (:func:`~grace.models.optimized.last_query_attention`).

    Args:
        d_model: channels D.
        num_heads: heads; must divide ``d_model``.
        dropout_p: dropout on the attention's output.

    Raises:
        ValueError: ``num_heads`` does not divide ``d_model``.

    Example:
        >>> import torch
        >>> block, x = AttentionBlock(d_model=16, num_heads=2).eval(), torch.randn(3, 9, 16)
        >>> block(x).shape, block.last_step(x).shape
        (torch.Size([3, 9, 16]), torch.Size([3, 16]))
        >>> torch.allclose(block(x)[:, -1], block.last_step(x), atol=1e-6)
        True
    """

    def __init__(self, d_model: int = 512, num_heads: int = 8, dropout_p: float = 0.1) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ValueError(f"num_heads={num_heads} must divide d_model={d_model}")
        self.mha = nn.MultiheadAttention(d_model, num_heads, batch_first=True)
        self.dropout = Dropout(dropout_p)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D), every query."""
        attended = self.mha(x, x, x, need_weights=False)[0]
        out: Tensor = self.norm(x + self.dropout(attended))
        return out

    def last_step(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, D): ``forward(x)[:, -1]``, computed for the last query only."""
        last, attended = last_query_attention(self.mha, x)
        out: Tensor = self.norm(last + self.dropout(attended))
        return out


class FCFunnel(nn.Module):
    """Last step → 256 → 64 (ReLU and Dropout after each) → 32, no activation after the last.

    Args:
        d_model: input channels D.
        hidden: widths of the hidden layers.
        out_dim: width of the shared feature z.
        dropout_p: dropout after each hidden layer.

    Example:
        >>> import torch
        >>> FCFunnel()(torch.randn(2, 30, 512)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        d_model: int = 512,
        hidden: Sequence[int] = (256, 64),
        out_dim: int = 32,
        dropout_p: float = 0.3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((d_model, *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(), Dropout(dropout_p)]
        layers.append(nn.Linear((d_model, *hidden)[-1], out_dim))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D), of which the last step is taken, or (B, D) → z (B, out_dim)."""
        z: Tensor = self.layers(x[:, -1] if x.dim() == 3 else x)
        return z

"""The shared trunk: CNN → BiLSTM → attention → funnel.

Notation: B batch, T window length, C input channels, D = 2·hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from grace.models.dropout import Dropout, dropout

__all__ = ["AttentionBlock", "BiLSTMEncoder", "CNNFrontend", "FCFunnel"]


class CNNFrontend(nn.Module):
    """Three times [Conv1d (kernel 3, padding 1) → BatchNorm → ReLU → Dropout] along time.

    Args:
        c_in: input channels C.
        dropout_p: dropout after each convolution.
        channels: output channels of the convolutions.
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

    Each layer runs on the framework's own kernel; see the guide to performance for what a
    hand-written one gains and loses beside it.

    Args:
        input_size: channels per step.
        hidden_size: hidden units per direction.
        num_layers: stacked layers.
        dropout_p: dropout between layers (none after the last).
    """

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
        if x.device.type == "cpu" and self.training and self.lstm.dropout > 0:
            return self._layer_by_layer(x)
        out: Tensor = self.lstm(x)[0]
        return out

    def _layer_by_layer(self, x: Tensor) -> Tensor:
        """The framework's kernel per layer, with the cheaper dropout in between."""
        lstm, hidden = self.lstm, x.transpose(0, 1)
        zeros = hidden.new_zeros(2, x.shape[0], lstm.hidden_size)
        weights: list[Tensor] = lstm._flat_weights  # type: ignore[assignment]
        per_layer = len(weights) // lstm.num_layers
        for layer in range(lstm.num_layers):
            if layer:
                hidden = dropout(hidden, lstm.dropout)
            own = weights[layer * per_layer : (layer + 1) * per_layer]
            # arguments: has_biases, num_layers, dropout, train, bidirectional, batch_first
            hidden = torch.lstm(hidden, (zeros, zeros), own, True, 1, 0.0, True, True, False)[0]
        return hidden.transpose(0, 1)


class _TakeLast(torch.autograd.Function):
    """x (B, T, D) → (x[:, -1], x).

    The gradient of the last step is added where it belongs; a plain index would spread it over a
    tensor of zeros as large as x first.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, -1].clone(), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        of_last, of_x = grads  # of_x is fresh from _Attend, and nobody else's
        of_x[:, -1] += of_last
        return of_x


class _Attend(torch.autograd.Function):
    """softmax(probe·xᵀ)·x for probes (B, H, D) and x (B, T, D) → (B, H, D).

    Scores and mean both depend on x; one product gives the sum of the two gradients.
    """

    @staticmethod
    def forward(ctx: Any, probe: Tensor, x: Tensor) -> Tensor:
        weights = torch.bmm(probe, x.transpose(1, 2)).softmax(-1)
        ctx.save_for_backward(probe, x, weights)
        return torch.bmm(weights, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = grads
        probe, x, weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: keep to what has one
            plain = torch.bmm(torch.bmm(probe, x.transpose(1, 2)).softmax(-1), x)
            of_probe, of_x = torch.autograd.grad(plain, (probe, x), grad, create_graph=True)
            return of_probe, of_x
        of_weights = torch.bmm(grad, x.transpose(1, 2))
        of_scores = weights * (of_weights - (weights * of_weights).sum(-1, keepdim=True))
        left = torch.cat([of_scores, weights], dim=1).transpose(1, 2)
        of_x = torch.bmm(left, torch.cat([probe, grad], dim=1))
        return torch.bmm(of_scores, x), of_x


class AttentionBlock(nn.Module):
    """Self-attention with residual and layer norm: ``LayerNorm(x + Dropout(MHA(x, x, x)))``.

    Only the last step leaves the trunk, so :meth:`last_step` computes only the last query: the
    same numbers for 1/T of the attention and a fraction of the projections.

    Args:
        d_model: channels D.
        num_heads: heads; must divide ``d_model``.
        dropout_p: dropout on the attention's output.
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
        """(B, T, D) → (B, D): ``forward(x)[:, -1]``, by the last query alone.

        The key and value projections are re-associated around the single query: with
        s = (W_k,h^T q_h)·x_t the keys are never formed (the key bias shifts every score alike and
        cancels in the softmax), and the values are averaged before they are projected.
        """
        size, _, d_model = x.shape
        heads = self.mha.num_heads
        width = d_model // heads
        w_q, w_k, w_v = self.mha.in_proj_weight.view(3, heads, width, d_model)
        b_q, _, b_v = self.mha.in_proj_bias.view(3, d_model)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))  # once, not in every product
        if x.dtype != torch.float32:
            x = x.contiguous()  # half-precision products would copy it, each of them
        last, x = _TakeLast.apply(x)
        query = functional.linear(last, w_q.reshape(d_model, d_model), b_q) / math.sqrt(width)
        by_head = query.view(size, heads, width).transpose(0, 1)
        probe = torch.bmm(by_head, w_k).transpose(0, 1)  # (B, H, D): the query seen by the inputs
        pooled = _Attend.apply(probe, x).transpose(0, 1)  # (H, B, D); the weights sum to 1
        values = torch.bmm(pooled, w_v.transpose(1, 2)).transpose(0, 1)
        attended = self.mha.out_proj(values.reshape(size, d_model) + b_v)
        out: Tensor = self.norm(last + self.dropout(attended))
        return out


class FCFunnel(nn.Module):
    """Last step → 256 → 64 (ReLU and Dropout after each) → 32, no activation after the last.

    Args:
        d_model: input channels D.
        hidden: widths between.
        out_dim: width of the shared feature z.
        dropout_p: dropout after each hidden layer.
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

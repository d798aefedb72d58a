"""Faster forms of attention, LSTM and dropout that the network uses by default.

Each computes what the plain form of PyTorch computes, with the same weights. Two things do not
work with them: module hooks, because the parts are not called as modules, and the transforms of
``torch.func``. ``DualTaskModel(plain=True)`` uses the plain form instead. The guide to performance
has the measured gain.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Dropout", "dropout", "last_query_attention", "lstm_layer_by_layer"]

_LEVELS = 1 << 16


class _TakeLast(torch.autograd.Function):
    """x (B, T, D) → (x[:, -1], x).

    The gradient of the last step is added in place; indexing would first write it into a tensor of
    zeros as large as x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, -1].clone(), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        of_last, of_x = grads  # of_x was allocated by _Attend and is used nowhere else
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
        if torch.is_grad_enabled():  # second derivative: use operations that have one
            plain = torch.bmm(torch.bmm(probe, x.transpose(1, 2)).softmax(-1), x)
            of_probe, of_x = torch.autograd.grad(plain, (probe, x), grad, create_graph=True)
            return of_probe, of_x
        of_weights = torch.bmm(grad, x.transpose(1, 2))
        of_scores = weights * (of_weights - (weights * of_weights).sum(-1, keepdim=True))
        left = torch.cat([of_scores, weights], dim=1).transpose(1, 2)
        of_x = torch.bmm(left, torch.cat([probe, grad], dim=1))
        return torch.bmm(of_scores, x), of_x


def last_query_attention(mha: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention of the last step only.

    The key and value projections are re-associated around the single query: with
    s = (W_k,h^T q_h)·x_t the keys are never formed (the key bias adds the same constant to every
    score and cancels in the softmax), and the values are averaged before they are projected.

    Args:
        mha: attention with one projection matrix for query, key and value, and biases.
        x: (B, T, D).

    Returns:
        The last step ``x[:, -1]`` and ``mha(x, x, x)[0][:, -1]``, both (B, D).

    Example:
        >>> mha, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8)
        >>> last, attended = last_query_attention(mha, x)
        >>> torch.allclose(attended, mha(x, x, x)[0][:, -1], atol=1e-6)
        True
    """
    size, _, d_model = x.shape
    heads = mha.num_heads
    width = d_model // heads
    w_q, w_k, w_v = mha.in_proj_weight.view(3, heads, width, d_model)
    b_q, _, b_v = mha.in_proj_bias.view(3, d_model)
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))  # once, not in every product
    if x.dtype != torch.float32:
        x = x.contiguous()  # each half-precision product would copy it
    last, x = _TakeLast.apply(x)
    query = functional.linear(last, w_q.reshape(d_model, d_model), b_q) / math.sqrt(width)
    by_head = query.view(size, heads, width).transpose(0, 1)
    probe = torch.bmm(by_head, w_k).transpose(0, 1)  # (B, H, D): the query seen by the inputs
    pooled = _Attend.apply(probe, x).transpose(0, 1)  # (H, B, D); the weights sum to 1
    values = torch.bmm(pooled, w_v.transpose(1, 2)).transpose(0, 1)
    return last, mha.out_proj(values.reshape(size, d_model) + b_v)


def lstm_layer_by_layer(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """``lstm(x)[0]`` with :func:`dropout` between the layers.

    Args:
        lstm: bidirectional, batch first, with biases, in training mode.
        x: (B, T, input_size).

    Returns:
        (B, T, 2·hidden_size).

    Example:
        >>> lstm = nn.LSTM(4, 8, num_layers=2, batch_first=True, bidirectional=True)
        >>> x = torch.randn(3, 5, 4)
        >>> torch.allclose(lstm_layer_by_layer(lstm, x), lstm(x)[0], atol=1e-6)
        True
    """
    hidden = x.transpose(0, 1)
    zeros = hidden.new_zeros(2, x.shape[0], lstm.hidden_size)
    # By name: `lstm._flat_weights` is out of date inside torch.func.functional_call.
    weights: list[Tensor] = [getattr(lstm, name) for name in lstm._flat_weights_names]
    per_layer = len(weights) // lstm.num_layers
    for layer in range(lstm.num_layers):
        if layer:
            hidden = dropout(hidden, lstm.dropout)
        own = weights[layer * per_layer : (layer + 1) * per_layer]
        # arguments: has_biases, num_layers, dropout, train, bidirectional, batch_first
        hidden = torch.lstm(hidden, (zeros, zeros), own, True, 1, 0.0, True, True, False)[0]
    return hidden.transpose(0, 1)


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """``torch.nn.functional.dropout`` that draws 16 random bits per element instead of a float.

    On a CPU the mask costs a tenth of PyTorch's. p is rounded to a multiple of 2⁻¹⁶ and the scale
    is the inverse of the rounded one, so the expectation is exact in float32 and float64; in
    bfloat16 and float16 the scale is rounded to the type of x (by up to 2⁻⁸ and 2⁻¹¹ of itself).
    Seeded by ``torch.manual_seed``, with other draws than PyTorch's. Off the CPU, while a graph is
    captured, and where p rounds to 0 or 1, it calls PyTorch's.

    Args:
        x: any shape.
        p: probability of zeroing an element.
        training: identity if False.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> dropout(torch.ones(1000), 0.5).unique()
        tensor([0., 2.])
    """
    dropped = round(p * _LEVELS)
    captured = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    if not training or x.device.type != "cpu" or captured or not 0 < dropped < _LEVELS:
        return functional.dropout(x, p, training)
    # One 64-bit draw over the full range of the integer serves four elements.
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    uniform = draws.view(torch.int16)[: x.numel()].view(x.shape)
    kept = uniform >= dropped - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` computed by :func:`dropout`.

    Attributes:
        plain: use PyTorch's own dropout; False by default.
    """

    plain = False

    def forward(self, input: Tensor) -> Tensor:
        """Same shape as ``input``."""
        if self.plain:
            return super().forward(input)
        return dropout(input, self.p, self.training)

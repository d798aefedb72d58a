"""The floor of a training step: the operations it cannot do without, counted from layer shapes.

Two operations per multiply-add. B batch, T steps, H hidden units per direction, D = 2H, h heads:

========== ======================================================================================
block      operations of the forward pass
========== ======================================================================================
cnn        Σ over layers of 2·B·T·3·c_before·c_after
lstm       Σ over layers and both directions of 2·B·4H·(T·inputs + (T−1)·H): the first step has no
           recurrent product, its state is zero
attn       the last query alone: 4·(2·B·D²) for query, key-side, value and output projection, and
           2·(2·B·h·T·D) for scores and weighted mean
funnel,    Σ over layers of 2·B·before·after
heads
========== ======================================================================================

A backward pass of one loss costs, per block, as much for the gradient of the weights (wgrad) and
as much again for that of the inputs (dgrad), except that nobody needs the gradient of the
network's input (first convolution). So a step with fixed weights needs F + D + W, and one with
exact norms of K tasks on all shared parameters F + K·(D + W): the K gradients are all different.
Elementwise work, memory traffic, batch norm, the optimiser and the data feed count as zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["BlockCost", "Shapes", "block_costs", "step_floor"]


@dataclass(frozen=True)
class Shapes:
    """The sizes of ``DualTaskModel``, reference by default."""

    c_in: int = 14
    length: int = 30
    conv_channels: Sequence[int] = (64, 128, 64)
    lstm_hidden: int = 256
    lstm_layers: int = 2
    num_heads: int = 8
    funnel_hidden: Sequence[int] = (256, 64)
    shared_dim: int = 32
    num_classes: int = 3


@dataclass(frozen=True)
class BlockCost:
    """Operations of one block per batch: forward, input gradient, weight gradient."""

    forward: float
    dgrad: float
    wgrad: float

    @property
    def backward(self) -> float:
        """Operations of one backward pass."""
        return self.dgrad + self.wgrad


def _pairs(*widths: int) -> Iterator[tuple[int, int]]:
    return itertools.pairwise(widths)


def block_costs(batch: int, s: Shapes | None = None) -> dict[str, BlockCost]:
    """Operations per block for a batch of ``batch`` windows."""
    s = s or Shapes()
    steps, hidden, width = s.length, s.lstm_hidden, 2 * s.lstm_hidden
    convolutions = [
        2.0 * batch * steps * 3 * before * after
        for before, after in _pairs(s.c_in, *s.conv_channels)
    ]
    inputs = [s.conv_channels[-1], *[width] * (s.lstm_layers - 1)]
    lstm = sum(
        2 * 2.0 * batch * 4 * hidden * (steps * size + (steps - 1) * hidden) for size in inputs
    )
    attention = 4 * 2.0 * batch * width**2
    mixing = 2 * 2.0 * batch * s.num_heads * steps * width
    funnel = sum(2.0 * batch * a * b for a, b in _pairs(width, *s.funnel_hidden, s.shared_dim))
    heads = sum(2.0 * batch * a * b for a, b in _pairs(s.shared_dim, 64, 32, 16, 1))
    heads += sum(2.0 * batch * a * b for a, b in _pairs(s.shared_dim, 32, 16, s.num_classes))
    cnn = sum(convolutions)
    # Scores and weighted mean have no weights, but two operands each: 2 × forward all the same.
    return {
        "cnn": BlockCost(cnn, cnn - convolutions[0], cnn),
        "lstm": BlockCost(lstm, lstm, lstm),
        "attn": BlockCost(attention + mixing, attention + mixing, attention + mixing),
        "funnel+heads": BlockCost(funnel + heads, funnel + heads, funnel + heads),
    }


def step_floor(batch: int, s: Shapes | None = None, *, backwards: int = 1) -> float:
    """Operations of one step with ``backwards`` different gradients of the trunk."""
    costs = block_costs(batch, s).values()
    return sum(c.forward for c in costs) + backwards * sum(c.backward for c in costs)

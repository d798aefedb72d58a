"""The straightforward form: GRACE as one would write it down first, to measure and check against.

Nothing here comes from ``grace``: the framework's LSTM, attention over every query, two
``torch.autograd.grad`` calls for the norms, a third backward pass of the weighted sum, GABA in
Python floats, the stock AdamW and weight average. The names in the ``state_dict`` are those of
``grace.models.DualTaskModel``, so that weights go from one to the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["ReferenceGaba", "ReferenceModel", "ReferenceStep", "ReferenceTrainer"]


class _Block(nn.Module):
    """A plain container, so that parameter names match."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def _mlp(*widths: int, dropout: float | None = None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
        layers += [] if dropout is None else [nn.Dropout(dropout)]
    return nn.Sequential(*layers[: -1 if dropout is None else -2])


class ReferenceModel(nn.Module):
    """CNN → BiLSTM → self-attention over all steps → last step → funnel → two heads."""

    def __init__(
        self,
        c_in: int = 14,
        lstm_hidden: int = 256,
        num_heads: int = 8,
        shared_dim: int = 32,
        num_classes: int = 3,
        *,
        conv_channels: Sequence[int] = (64, 128, 64),
        lstm_layers: int = 2,
        funnel_hidden: Sequence[int] = (256, 64),
        dropout_scale: float = 1.0,
    ) -> None:
        super().__init__()
        width, drop = 2 * lstm_hidden, dropout_scale
        convolutions: list[nn.Module] = []
        for before, after in zip((c_in, *conv_channels), conv_channels, strict=False):
            convolutions += [
                nn.Conv1d(before, after, 3, padding=1),
                nn.BatchNorm1d(after),
                nn.ReLU(),
                nn.Dropout(0.15 * drop),
            ]
        self.cnn = _Block(layers=nn.Sequential(*convolutions))
        self.lstm = _Block(
            lstm=nn.LSTM(
                conv_channels[-1],
                lstm_hidden,
                lstm_layers,
                batch_first=True,
                bidirectional=True,
                dropout=0.3 * drop if lstm_layers > 1 else 0.0,
            )
        )
        self.attn = _Block(
            mha=nn.MultiheadAttention(width, num_heads, batch_first=True), norm=nn.LayerNorm(width)
        )
        self.attn_dropout = nn.Dropout(0.1 * drop)
        self.funnel = _Block(layers=_mlp(width, *funnel_hidden, shared_dim, dropout=0.3 * drop))
        self.rul_head = _Block(layers=nn.Sequential(*_mlp(shared_dim, 64, 32, 16, 1), nn.ReLU()))
        self.health_head = _Block(layers=_mlp(shared_dim, 32, 16, num_classes))

    def features(self, x: Tensor) -> Tensor:
        """x (B, T, C) → z (B, shared_dim)."""
        h = self.cnn.layers(x.transpose(1, 2)).transpose(1, 2)
        h, _ = self.lstm.lstm(h)
        attended, _ = self.attn.mha(h, h, h, need_weights=False)
        h = self.attn.norm(h + self.attn_dropout(attended))
        z: Tensor = self.funnel.layers(h[:, -1])
        return z

    def heads(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z → (RUL (B,), logits (B, classes))."""
        return self.rul_head.layers(z).squeeze(-1), self.health_head.layers(z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, C) → (RUL (B,), logits (B, classes))."""
        return self.heads(self.features(x))

    def shared(self) -> list[nn.Parameter]:
        """Parameters of everything that is no head."""
        return [p for n, p in self.named_parameters() if "head" not in n.split(".")[0]]


@dataclass
class ReferenceGaba:
    """GABA for two tasks in Python floats."""

    beta: float = 0.99
    min_weight: float = 0.05
    warmup_steps: int = 100
    ema: list[float] = field(default_factory=lambda: [0.5, 0.5])
    steps: int = 0

    def weights(self, g_rul: float, g_health: float) -> list[float]:
        """λ* from the two gradient norms."""
        self.steps += 1
        if self.steps <= self.warmup_steps:
            return [0.5, 0.5]
        total = g_rul + g_health
        if math.isfinite(total) and g_rul > 0 and g_health > 0:
            raw = [g_health / total, g_rul / total]
            self.ema = [
                self.beta * e + (1 - self.beta) * r for e, r in zip(self.ema, raw, strict=True)
            ]
        raised = [max(e, self.min_weight) for e in self.ema]
        return [r / sum(raised) for r in raised]


@dataclass
class ReferenceStep:
    """What one step measured."""

    losses: list[float]
    norms: list[float]
    weights: list[float]
    grad_norm: float


class ReferenceTrainer:
    """One training step of GRACE, written down line by line.

    Args:
        model: the straightforward network.
        gaba: the balancer.
        lr: of AdamW.
        grad_clip: limit of the gradient norm; infinite leaves the gradients alone.
        bf16: autocast the network.
        update: take the optimiser step (off: the gradients alone are wanted).
    """

    def __init__(
        self,
        model: nn.Module,
        gaba: ReferenceGaba,
        *,
        lr: float = 1e-3,
        grad_clip: float = 1.0,
        bf16: bool = False,
        update: bool = True,
    ) -> None:
        self.model, self.gaba = model, gaba
        self.grad_clip, self.bf16, self.update = grad_clip, bf16, update
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
        self.average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True)
            if update
            else None
        )

    def losses(self, x: Tensor, rul: Tensor, health: Tensor) -> list[Tensor]:
        """Weighted MSE of RUL and cross-entropy of health."""
        autocast = torch.autocast(x.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with autocast:
            pred, logits = self.model(x)
        pred = pred.float() if self.bf16 else pred
        weight = 1 + torch.clamp(1 - rul / 125.0, 0, 1)
        return [
            (weight * (pred - rul) ** 2).mean(),
            functional.cross_entropy(logits.float() if self.bf16 else logits, health),
        ]

    def step(self, x: Tensor, rul: Tensor, health: Tensor) -> ReferenceStep:
        """Forward, two gradient calls, a third backward, clip, optimiser, average."""
        self.model.train()
        losses = self.losses(x, rul, health)
        norms = []
        for loss in losses:
            gradients = torch.autograd.grad(loss, self.model.shared(), retain_graph=True)
            norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
        weights = self.gaba.weights(*norms)
        self.optimizer.zero_grad()
        (weights[0] * losses[0] + weights[1] * losses[1]).backward()
        total = nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
        if self.update and self.average is not None:
            self.optimizer.step()
            self.average.update_parameters(self.model)
        return ReferenceStep([loss.item() for loss in losses], norms, weights, total.item())

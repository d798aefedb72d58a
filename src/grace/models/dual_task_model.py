"""One network, two heads."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from grace.models.backbone import AttentionBlock, BiLSTMEncoder, CNNFrontend, FCFunnel
from grace.models.optimized import Dropout
from grace.models.survival_head import SurvivalHead
from grace.models.task_heads import HealthHead, RULHead

__all__ = ["DualTaskModel"]


class DualTaskModel(nn.Module):
    """CNN → BiLSTM → attention → funnel → z, and from z a RUL and a health head.

    The defaults are the reference model: 3,496,900 parameters at ``c_in=14``, 3,497,476 at 17.
    Window length is free; only ``c_in`` and ``num_classes`` change with the domain. A survival
    head on z can be added (:meth:`add_survival_head`); what the model returns stays the same.

    Args:
        c_in: input channels.
        lstm_hidden: hidden units per direction; 2·lstm_hidden is the attention's width.
        num_heads: attention heads.
        shared_dim: width of the shared feature z.
        num_classes: health states.
        conv_channels: widths of the convolutions.
        lstm_layers: stacked LSTM layers.
        funnel_hidden: widths of the funnel.
        dropout_scale: factor on every dropout rate of the trunk (0.15 CNN, 0.3 LSTM, 0.1
            attention, 0.3 funnel); 1 is the reference, 0 switches dropout off.
        plain: compute with PyTorch's own modules only, instead of the faster forms of
            :mod:`grace.models.optimized`. Weights, outputs and gradients are the same up to
            rounding (the masks of dropout are drawn differently); module hooks on every part and
            the transforms of ``torch.func`` work. Can be set at any time: ``model.plain = True``.

    Example:
        >>> import torch
        >>> model = DualTaskModel(c_in=14)
        >>> rul, logits = model(torch.randn(8, 30, 14))
        >>> rul.shape, logits.shape
        (torch.Size([8]), torch.Size([8, 3]))
        >>> sum(p.numel() for p in model.parameters())
        3496900

        Attention weights of the last step, read by hooks in the plain form:

        >>> def with_weights(module, args, kwargs):
        ...     return args, {**kwargs, "need_weights": True}
        >>> def keep(module, args, output):
        ...     seen.append(output[1][:, -1])
        >>> seen, model = [], DualTaskModel(c_in=14, plain=True).eval()
        >>> _ = model.attn.mha.register_forward_pre_hook(with_weights, with_kwargs=True)
        >>> _ = model.attn.mha.register_forward_hook(keep)
        >>> _ = model(torch.randn(8, 30, 14))
        >>> seen[0].shape  # one weight per step of the window, summing to 1
        torch.Size([8, 30])
    """

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
        plain: bool = False,
    ) -> None:
        super().__init__()
        width, drop = 2 * lstm_hidden, dropout_scale
        self.c_in = c_in
        self.cnn = CNNFrontend(c_in, dropout_p=0.15 * drop, channels=conv_channels)
        self.lstm = BiLSTMEncoder(conv_channels[-1], lstm_hidden, lstm_layers, dropout_p=0.3 * drop)
        self.attn = AttentionBlock(width, num_heads, dropout_p=0.1 * drop)
        self.funnel = FCFunnel(width, funnel_hidden, shared_dim, dropout_p=0.3 * drop)
        self.rul_head = RULHead(shared_dim)
        self.health_head = HealthHead(shared_dim, num_classes)
        self.survival_head: SurvivalHead | None = None
        self.shared_dim = shared_dim
        self.plain = plain

    def add_survival_head(self, edges: Tensor) -> SurvivalHead:
        """Give the network a third head: hazards of failure over bins of remaining life.

        Its initial weights come from torch's global generator; those of the other parts stay.

        Args:
            edges: (K + 1,) edges of the bins in learned units, increasing from 0.

        Raises:
            ValueError: the edges do not increase from 0.

        Example:
            >>> import torch
            >>> model = DualTaskModel(lstm_hidden=8, num_heads=2)
            >>> head = model.add_survival_head(torch.tensor([0.0, 10.0, 20.0]))
            >>> model.survival_head.hazards(model.features(torch.randn(5, 30, 14))).shape
            torch.Size([5, 2])
        """
        self.survival_head = SurvivalHead(edges, self.shared_dim)
        return self.survival_head

    @property
    def plain(self) -> bool:
        """Whether PyTorch's own modules compute everything."""
        return self._plain

    @plain.setter
    def plain(self, plain: bool) -> None:
        self._plain = plain
        self.lstm.plain = plain
        for module in self.modules():
            if isinstance(module, Dropout):
                module.plain = plain

    def features(self, x: Tensor) -> Tensor:
        """x (B, T, c_in) → the shared feature z (B, shared_dim)."""
        if x.dim() != 3 or x.shape[-1] != self.c_in:
            raise ValueError(
                f"input has shape {tuple(x.shape)}; this model takes (B, T, {self.c_in})"
            )
        steps = self.lstm(self.cnn(x))
        z: Tensor = self.funnel(self.attn(steps) if self.plain else self.attn.last_step(steps))
        return z

    def heads(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, shared_dim) → (RUL (B,), health logits (B, num_classes))."""
        return self.rul_head(z), self.health_head(z)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, c_in) → (RUL (B,), health logits (B, num_classes)).

        Raises:
            ValueError: x is not (B, T, c_in).
        """
        return self.heads(self.features(x))

"""The inner axis: how the samples inside the RUL task are weighted.

Every inner loss is a function ``(pred, target, **options) -> scalar`` over (B,) or (B, 1) in the
unit of RUL. Adding one means writing the function and one line in ``INNER_LOSSES``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from numbers import Real
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from grace.core.weighted_mse import check_positive, flatten_pair, moderate_weighted_mse_loss

__all__ = [
    "INNER_LOSSES",
    "InnerLoss",
    "build_inner_loss",
    "health_loss",
    "huber_loss",
    "mse_loss",
    "nasa_loss",
    "quantile_loss",
]


class InnerLoss(Protocol):
    """A RUL loss: predictions and targets in, one scalar out.

    Example:
        >>> loss: InnerLoss = build_inner_loss("huber", delta=5.0)
        >>> loss(torch.tensor([15.0, 26.0]), torch.tensor([10.0, 30.0]))
        tensor(10.2500)
    """

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (B,) or (B, 1) predictions against targets of the same size."""


def mse_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared error; (B,) or (B, 1) each, refuses different sizes.

    Example:
        >>> mse_loss(torch.tensor([15.0, 26.0]), torch.tensor([[10.0], [30.0]]))  # (B,) and (B, 1)
        tensor(20.5000)
    """
    pred, target = flatten_pair(pred, target)
    return (pred - target).square().mean()


def huber_loss(pred: Tensor, target: Tensor, delta: float = 10.0) -> Tensor:
    """Squared up to ``delta`` (in the unit of RUL), linear beyond (Huber 1964).

    Raises:
        ValueError: ``delta`` is not a positive number, or the sizes differ.

    Example:
        >>> huber_loss(torch.tensor([15.0, 60.0]), torch.tensor([10.0, 30.0]), delta=10.0)
        tensor(131.2500)
    """
    check_positive("delta", delta)
    pred, target = flatten_pair(pred, target)
    return functional.huber_loss(pred, target, delta=delta)


def nasa_loss(pred: Tensor, target: Tensor, max_error: float = 60.0) -> Tensor:
    """Mean of the asymmetric score of the PHM08 challenge (Saxena et al. 2008).

    ``exp(−d/13) − 1`` for d = ŷ − y < 0, ``exp(d/10) − 1`` for d ≥ 0. Beyond ``max_error`` cycles
    it continues on its tangent: the exponential of an untrained network's error of 125 would be
    2·10⁵ and its gradient would drown every other sample.

    Raises:
        ValueError: ``max_error`` is not a positive number, or the sizes differ.

    Example:
        >>> early, late = torch.tensor([20.0]), torch.tensor([40.0])
        >>> nasa_loss(early, torch.tensor([30.0])) < nasa_loss(late, torch.tensor([30.0]))
        tensor(True)
    """
    check_positive("max_error", max_error)
    pred, target = flatten_pair(pred, target)
    error = pred - target
    scaled = torch.where(error < 0, -error / 13.0, error / 10.0)
    knee = torch.where(error < 0, max_error / 13.0, max_error / 10.0)
    near = torch.minimum(scaled, knee)
    return (torch.exp(near) * (1.0 + scaled - near) - 1.0).mean()


def quantile_loss(pred: Tensor, target: Tensor, q: float = 0.5) -> Tensor:
    """Pinball loss (Koenker & Bassett 1978): its minimiser is the ``q``-quantile of RUL.

    Raises:
        ValueError: ``q`` is not inside (0, 1), or the sizes differ.

    Example:
        >>> true = torch.tensor([30.0])
        >>> [quantile_loss(torch.tensor([pred]), true, q=0.3) for pred in (40.0, 20.0)]
        [tensor(7.), tensor(3.)]
    """
    if not (isinstance(q, Real) and 0.0 < q < 1.0):
        raise ValueError(
            f"q={q!r} is no quantile: choose 0 < q < 1, e.g. 0.3 for early predictions"
        )
    pred, target = flatten_pair(pred, target)
    shortfall = target - pred
    return torch.maximum(q * shortfall, (q - 1.0) * shortfall).mean()


def health_loss(logits: Tensor, health: Tensor) -> Tensor:
    """Cross-entropy of the health branch on raw logits (B, C), int64 class indices (B,).

    Example:
        >>> health_loss(torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([0]))
        tensor(0.0360)
    """
    return functional.cross_entropy(logits, health)


INNER_LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": mse_loss,
    "weighted_mse": moderate_weighted_mse_loss,
    "huber": huber_loss,
    "nasa": nasa_loss,
    "quantile": quantile_loss,
}


def build_inner_loss(name: str, **options: Any) -> InnerLoss:
    """The inner loss called ``name`` with its options bound.

    Raises:
        ValueError: the name or an option is unknown (the message lists those there are), or an
            option's value is out of range.

    Example:
        >>> loss = build_inner_loss("weighted_mse", max_rul=150.0)
        >>> loss(torch.tensor([15.0]), torch.tensor([0.0]))  # weight 2 at the failure
        tensor(450.)
    """
    if name not in INNER_LOSSES:
        raise ValueError(f"unknown inner loss {name!r}: choose from {', '.join(INNER_LOSSES)}")
    function = INNER_LOSSES[name]
    allowed = [p for p in inspect.signature(function).parameters if p not in ("pred", "target")]
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"inner loss {name!r} has no option {option!r}: "
                + (f"it takes {', '.join(allowed)}" if allowed else "it takes none")
            )
    if not options:
        return function
    loss = functools.partial(function, **options)
    try:
        loss(torch.ones(2), torch.zeros(2))  # a value out of range is an error now, not in training
    except (TypeError, ValueError) as error:
        raise ValueError(f"inner loss {name!r}: {error}") from error
    return loss

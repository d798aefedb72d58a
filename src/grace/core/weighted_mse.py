"""The failure-biased inner loss of AMNL and GRACE."""

from __future__ import annotations

import math
from numbers import Real

from torch import Tensor

__all__ = ["check_positive", "failure_weights", "flatten_pair", "moderate_weighted_mse_loss"]


def flatten_pair(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both arguments as (B,); each may be (B,) or (B, 1).

    Raises:
        ValueError: the sizes differ. (B,) against (B, 1) would otherwise broadcast to (B, B) and
            train on a meaningless loss without a word.
    """
    if pred.numel() != target.numel():
        raise ValueError(
            f"pred has shape {tuple(pred.shape)} and target {tuple(target.shape)}: "
            "give one value per sample in both, as (B,) or (B, 1)"
        )
    return pred.reshape(-1), target.reshape(-1)


def check_positive(name: str, value: object) -> None:
    """Refuse an option that is not a positive finite number, text that looks like one included.

    Raises:
        ValueError: names the option and its value.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and 0.0 < float(value) < math.inf):  # type: ignore[arg-type]
        raise ValueError(f"{name}={value!r} must be a positive number, in the unit of RUL")


def failure_weights(target: Tensor, max_rul: float = 125.0) -> Tensor:
    """Weight of each sample, ``w(y) = 1 + clip(1 − y/max_rul, 0, 1)``, in [1, 2], shape of y.

    Raises:
        ValueError: ``max_rul`` is not a positive number.
    """
    check_positive("max_rul", max_rul)
    return 1.0 + (1.0 - target / max_rul).clamp(0.0, 1.0)


def moderate_weighted_mse_loss(pred: Tensor, target: Tensor, max_rul: float = 125.0) -> Tensor:
    """Mean squared error in which a sample counts up to twice as it nears failure.

    ``mean(w(y) · (ŷ − y)²)`` with ``w(y) = 1 + clip(1 − y/max_rul, 0, 1)``: a plain mean, not
    divided by Σw, so that the loss is larger than the MSE wherever failure is near.

    Args:
        pred: predicted RUL, (B,) or (B, 1).
        target: true RUL in the same unit, (B,) or (B, 1).
        max_rul: RUL from which on the weight is 1, in the same unit.

    Returns:
        Scalar loss.

    Raises:
        ValueError: ``pred`` and ``target`` differ in size, or ``max_rul`` is not positive.

    Example:
        >>> import torch
        >>> pred, target = torch.tensor([15.0, 26.0]), torch.tensor([10.0, 30.0])
        >>> round(moderate_weighted_mse_loss(pred, target).item(), 3)
        38.08
    """
    pred, target = flatten_pair(pred, target)
    return (failure_weights(target, max_rul) * (pred - target).square()).mean()

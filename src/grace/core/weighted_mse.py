"""The failure-biased inner loss of AMNL and GRACE."""

from __future__ import annotations

import math
from numbers import Real

from torch import Tensor

__all__ = ["check_positive", "failure_weights", "flatten_pair", "moderate_weighted_mse_loss"]


def flatten_pair(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both arguments as (B,); each may be (B,) or (B, 1).

    Raises:
        ValueError: another shape, or different sizes. (B,) and (B, 1) would otherwise broadcast
            to (B, B), which gives a wrong loss without an error.

    Example:
        >>> import torch
        >>> pred, target = flatten_pair(torch.zeros(4, 1), torch.zeros(4))
        >>> pred.shape, target.shape
        (torch.Size([4]), torch.Size([4]))
    """
    if not (_is_column(pred) and _is_column(target) and pred.numel() == target.numel()):
        raise ValueError(
            f"pred has shape {tuple(pred.shape)} and target {tuple(target.shape)}: "
            "give one value per sample in both, as (B,) or (B, 1)"
        )
    return pred.reshape(-1), target.reshape(-1)


def _is_column(values: Tensor) -> bool:
    return values.dim() == 1 or (values.dim() == 2 and values.shape[1] == 1)


def check_positive(name: str, value: object) -> None:
    """Raise if an option is not a positive finite number; a number as text is refused too.

    Raises:
        ValueError: names the option and its value.

    Example:
        >>> check_positive("max_rul", 125.0)
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and 0.0 < float(value) < math.inf):  # type: ignore[arg-type]
        raise ValueError(f"{name}={value!r} must be a positive number, in the unit of RUL")


def failure_weights(target: Tensor, max_rul: float = 125.0) -> Tensor:
    """Weight of each sample, ``w(y) = 1 + clip(1 − y/max_rul, 0, 1)``, in [1, 2], shape of y.

    Args:
        target: true RUL, any shape.
        max_rul: RUL from which on the weight is 1, in the unit of ``target``.

    Raises:
        ValueError: ``max_rul`` is not a positive number.

    Example:
        >>> import torch
        >>> failure_weights(torch.tensor([5.0, 40.0, 90.0, 125.0]))
        tensor([1.9600, 1.6800, 1.2800, 1.0000])
    """
    check_positive("max_rul", max_rul)
    return 1.0 + (1.0 - target / max_rul).clamp(0.0, 1.0)


def moderate_weighted_mse_loss(pred: Tensor, target: Tensor, max_rul: float = 125.0) -> Tensor:
    """Mean squared error in which a sample counts up to twice as it nears failure.

    ``mean(w(y) · (ŷ − y)²)`` with ``w(y) = 1 + clip(1 − y/max_rul, 0, 1)``: a plain mean, not
    divided by Σw, so that the loss is larger than the MSE wherever failure is near. This is the
    inner loss of AMNL and GRACE.

    Known differences to the published method:

    * none in the formula; shapes (B,) and (B, 1) may be mixed, and other shapes are refused;
    * RUL above ``max_rul`` has weight exactly 1, RUL below 0 exactly 2;
    * ``max_rul`` is an option, which the training configuration sets to the cap of the labels.

    Args:
        pred: predicted RUL, (B,) or (B, 1).
        target: true RUL in the same unit, (B,) or (B, 1).
        max_rul: RUL from which on the weight is 1, in the same unit.

    Returns:
        Scalar loss.

    Raises:
        ValueError: ``pred`` or ``target`` is neither (B,) nor (B, 1), their sizes differ, or
            ``max_rul`` is not positive.

    Example:
        >>> import torch
        >>> pred, target = torch.tensor([15.0, 26.0]), torch.tensor([10.0, 30.0])
        >>> round(moderate_weighted_mse_loss(pred, target).item(), 3)
        38.08
    """
    pred, target = flatten_pair(pred, target)
    return (failure_weights(target, max_rul) * (pred - target).square()).mean()

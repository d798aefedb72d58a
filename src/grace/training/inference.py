"""Predictions of a network over a set of windows."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from grace.data.windows import WindowSet

__all__ = ["predict_windows", "scoring_batch"]


def scoring_batch(device: torch.device) -> int:
    """Windows per forward pass: small enough for the caches of a CPU, large enough for a GPU."""
    return 256 if device.type == "cpu" else 4096


@torch.inference_mode()
def predict_windows(
    model: nn.Module, windows: WindowSet, *, batch_size: int | None = None, bf16: bool = False
) -> tuple[Tensor, Tensor]:
    """RUL (M,) and health probabilities (M, C) of all windows, in order, on the CPU.

    Runs in evaluation mode on the device the windows are on, and leaves the model's mode as it
    was. Memory grows with ``batch_size``, not with M.

    Args:
        model: a ``DualTaskModel``.
        windows: M windows.
        batch_size: windows per forward pass; None chooses by device.
        bf16: autocast to bfloat16.
    """
    was_training = model.training
    model.eval()
    device = windows.ends.device
    ruls, probabilities = [], []
    with torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
        for index in torch.arange(len(windows), device=device).split(
            batch_size or scoring_batch(device)
        ):
            rul, logits = model(windows.gather(index))
            ruls.append(rul.float().cpu())
            probabilities.append(torch.softmax(logits.float(), dim=-1).cpu())
    model.train(was_training)
    return torch.cat(ruls), torch.cat(probabilities)

"""The least memory of a training, estimated before the network is built."""

from __future__ import annotations

import torch

from grace.data.memory import available_memory, format_bytes
from grace.training.config import RunConfig
from grace.training.device import resolve_device
from grace.training.errors import ConfigError
from grace.training.rng import preserve_rng_state

__all__ = ["check_fits_in_memory", "estimate_bytes"]

_FLOAT = 4
# Weights, gradients, the optimiser's two moments, and one saved set of weights.
_COPIES = 5


def estimate_bytes(config: RunConfig, *, n_windows: int, n_channels: int) -> float:
    """Lower estimate of the memory of a training: weights and their copies, and one batch.

    Args:
        config: of the run.
        n_windows: training windows.
        n_channels: model inputs C.

    Returns:
        Bytes; infinite if the number of weights does not fit in 64 bits.
    """
    cpu = torch.device("cpu")
    try:
        with preserve_rng_state(cpu), torch.device("meta"):
            network = config.model.build(n_channels, config.labels.n_classes)
        n_weights = float(sum(p.numel() for p in network.parameters()))
    except (RuntimeError, OverflowError, TypeError):  # torch refuses sizes beyond 64 bits
        return float("inf")
    model, batch = config.model, min(config.training.batch_size, n_windows)
    # Per step of a window: the input, each convolution's output, and each LSTM layer's output with
    # its four gates in both directions, which the backward pass needs.
    per_step = n_channels + sum(model.conv_channels) + 10 * model.lstm_hidden * model.lstm_layers
    return _FLOAT * (_COPIES * n_weights + float(batch) * config.windows.length * per_step)


def check_fits_in_memory(config: RunConfig, *, n_windows: int, n_channels: int) -> None:
    """Refuse a network or batch that cannot fit in the memory that is free.

    Raises:
        ConfigError: the estimate exceeds it; the message gives both, and the keys to lower.
    """
    needed = estimate_bytes(config, n_windows=n_windows, n_channels=n_channels)
    device = resolve_device(config.training.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
    if needed > free:
        raise ConfigError(
            f"training needs at least {format_bytes(needed)} of memory, but {device.type} has "
            f"{format_bytes(free)} free. Remedy: lower model.lstm_hidden, model.conv_channels, "
            "training.batch_size or windows.length"
        )

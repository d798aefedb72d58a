"""Named starting points of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """Values laid over the defaults, and what they are for."""

    summary: str
    values: Mapping[str, Any]


_CAUSAL_FEATURES = {"age": True, "departure": True, "ewm_alphas": (0.1,)}

PRESETS: dict[str, Preset] = {
    "fast": Preset(
        "small network, causal features; minutes on a laptop CPU",
        {
            "features": {**_CAUSAL_FEATURES, "clip": 10.0},
            "windows": {"length": 50, "min_history": 1},
            "model": {
                "lstm_hidden": 64,
                "num_heads": 4,
                "conv_channels": (32, 64, 32),
                "funnel_hidden": (64, 64),
            },
            "training": {
                "epochs": 12,
                "batch_size": 128,
                "warmup_epochs": 1,
                "plateau_patience": 2,
                "early_stopping_patience": 6,
                "ema_warmup": True,
            },
        },
    ),
    "default": Preset(
        "the reference network with causal features; hours on a CPU, minutes on a GPU",
        {
            "features": {**_CAUSAL_FEATURES, "clip": 10.0},
            "windows": {"length": 50, "min_history": 1},
            "training": {
                "epochs": 60,
                "warmup_epochs": 2,
                "plateau_patience": 5,
                "early_stopping_patience": 15,
                "ema_warmup": True,
            },
        },
    ),
    "paper": Preset(
        "the published setting: 14 sensors, window 30, 500 epochs",
        {},
    ),
}

"""Named starting points of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DEFAULT_PRESET", "PRESETS", "Preset"]

DEFAULT_PRESET = "fast"  # the one that a laptop finishes in minutes


@dataclass(frozen=True)
class Preset:
    """Values that replace the defaults of the configuration, and a line on their use.

    ``stacked``: not one network, but networks and other candidates of several folds, combined by
    their out-of-fold errors (:class:`grace.RULModel`).
    """

    summary: str
    values: Mapping[str, Any]
    stacked: bool = False


_CAUSAL_FEATURES = {
    "age": True,
    "baseline_deviation": True,
    "ewm_alphas": (0.1, 0.03),
    "clip": 6.0,
}

# Chosen on held-out training engines of FD001 and FD002, never on a test set. An epoch is a random
# sample of the windows: neighbouring windows are near copies, and short epochs let the weight
# average and the schedule react before the network overfits.
_REGULARISED = {
    "batch_size": 256,
    "lr": 2e-3,
    "weight_decay": 0.02,
    "warmup_epochs": 2,
    "plateau_patience": 4,
    "ema_decay": 0.99,
    "ema_warmup": True,
    "input_noise": 0.2,
    "offset_noise": 0.5,
}

_FAST: Mapping[str, Any] = {
    "features": _CAUSAL_FEATURES,
    "windows": {"length": 30, "min_history": 20},
    "model": {
        "lstm_hidden": 48,
        "num_heads": 4,
        "conv_channels": (32, 64, 32),
        "funnel_hidden": (96, 48),
        "dropout_scale": 0.17,
    },
    "training": {
        **_REGULARISED,
        "steps_per_epoch": 20,
        "epochs": 60,
        "early_stopping_patience": 10,
    },
}

PRESETS: dict[str, Preset] = {
    "fast": Preset(
        "small network, causal features; minutes on a laptop CPU",
        _FAST,
    ),
    "reference": Preset(
        "the reference network with causal features; an hour on a CPU, minutes on a GPU",
        {
            "features": _CAUSAL_FEATURES,
            "windows": {"length": 30, "min_history": 20},
            "training": {
                **_REGULARISED,
                "lr": 1e-3,
                "precision": "auto",  # ends where fp32 does: benchmarks/fidelity.py precision
                "steps_per_epoch": 50,
                "epochs": 60,
                "early_stopping_patience": 12,
            },
        },
    ),
    "paper": Preset(
        "the published setting: 14 sensors, window 30, up to 500 epochs",
        {},
    ),
    "best": Preset(
        "most accurate: networks, boosting and similarity of five folds, stacked",
        # No units are held out within a fold: benchmarks/accuracy.py says what that gives.
        {
            **_FAST,
            "training": {
                **_FAST["training"],
                "epochs": 24,
                "schedule": "cosine",
                "early_stopping_patience": None,
            },
        },
        stacked=True,
    ),
}

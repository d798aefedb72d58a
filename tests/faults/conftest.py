"""A run of seconds, as values of a configuration file and as a configuration."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from grace.training.config import RunConfig, deep_merge

TINY: dict[str, Any] = {
    "dataset": "sim",
    "dataset_options": {
        "n_train": 7, "n_test": 5, "n_conditions": 1, "onset": [5, 30], "wear_out": [40, 60],
        "test_rul": [5, 40], "short_test_fraction": 0.4,
    },
    "seed": 3,
    "validation_fraction": 0.3,
    "evaluate_baselines": False,
    "features": {"sensors": ["s2", "s3", "s4", "s7", "s11"]},
    "windows": {"length": 10, "stride": 3, "min_history": 1},
    "labels": {"cap": 60, "health_thresholds": [40, 15]},
    "model": {
        "lstm_hidden": 4, "num_heads": 2, "shared_dim": 6, "conv_channels": [4, 6, 4],
        "funnel_hidden": [8, 6],
    },
    "training": {
        "epochs": 2, "batch_size": 32, "steps_per_epoch": 3, "warmup_epochs": 1, "log_every": 1,
        "diagnose_every": 4, "device": "cpu", "deterministic": True, "ema_warmup": True,
    },
}  # fmt: skip


@pytest.fixture
def tiny_values() -> dict[str, Any]:
    return copy.deepcopy(TINY)


@pytest.fixture
def tiny(tiny_values: dict[str, Any]) -> Callable[..., RunConfig]:
    """A configuration; keyword arguments are laid over it."""
    return lambda **over: RunConfig.load(preset="fast", overrides=deep_merge(tiny_values, over))

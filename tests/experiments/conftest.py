"""Runs of seconds: two epochs of a tiny network on a simulated fleet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from grace.data import Dataset
from grace.data.readers import load_dataset
from grace.experiments.run import run
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
    "features": {"age": True, "sensors": ["s2", "s3", "s4", "s7", "s11"]},
    "windows": {"length": 10, "stride": 3, "min_history": 1},
    "labels": {"cap": 60, "health_thresholds": [40, 15]},
    "model": {
        "lstm_hidden": 4, "num_heads": 2, "shared_dim": 6, "conv_channels": [4, 6, 4],
        "funnel_hidden": [8, 6],
    },
    "method": {"name": "grace", "outer_options": {"warmup_steps": 3}},
    "training": {
        "epochs": 2, "batch_size": 32, "warmup_epochs": 1, "log_every": 1, "diagnose_every": 4,
        "device": "cpu", "deterministic": True, "ema_warmup": True,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny() -> Callable[..., RunConfig]:
    """A configuration; keyword arguments are laid over it."""
    return lambda **over: RunConfig.load(preset="paper", overrides=deep_merge(TINY, over))


@pytest.fixture(scope="session")
def bare(tiny: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    """As ``tiny``, without options of the method, so that any method fits."""

    def make(**over: Any) -> RunConfig:
        config = tiny(**over)
        method = config.method.model_copy(update={"outer_options": {}})
        return config.model_copy(update={"method": method})

    return make


@pytest.fixture(scope="session")
def data(tiny: Callable[..., RunConfig]) -> Dataset:
    return load_dataset("sim", **tiny().dataset_options)


@pytest.fixture(scope="session")
def done(
    tiny: Callable[..., RunConfig], data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    return run(tiny(), tmp_path_factory.mktemp("run") / "a", dataset=data)


@pytest.fixture(scope="session")
def with_baselines(
    tiny: Callable[..., RunConfig], data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    return run(tiny(evaluate_baselines=True), tmp_path_factory.mktemp("run") / "c", dataset=data)

"""An artifact with random weights: what it predicts is nonsense, and must be the same nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grace.data import Dataset
from grace.data.preprocessing import Preprocessor
from grace.data.readers import load_dataset
from grace.prediction import Artifact
from grace.training.config import RunConfig

VALUES: dict[str, Any] = {
    "features": {"age": True, "baseline_deviation": True, "ewm_alphas": [0.1], "clip": 10.0},
    "windows": {"length": 12, "min_history": 1},
    "model": {
        "lstm_hidden": 4,
        "num_heads": 2,
        "conv_channels": [4, 6, 4],
        "funnel_hidden": [8, 6],
    },
}


@pytest.fixture(scope="session")
def data() -> Dataset:
    return load_dataset("sim", n_train=6, n_test=6, n_conditions=3, short_test_fraction=0.5)


@pytest.fixture(scope="session")
def artifact(data: Dataset) -> Artifact:
    config = RunConfig.load(overrides=VALUES)
    prep = Preprocessor(
        config.features, default_sensors=data.default_sensors, default_conditions=3
    ).fit(data.train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = config.model.build(len(prep.transform(data.train).names), config.labels.n_classes)
        with torch.no_grad():  # so that predictions differ from row to row
            for parameter in model.parameters():
                parameter.mul_(2.0)
    model.rul_head.start_at(60.0)
    return Artifact(model.eval(), prep, config, {"note": "random weights", "chosen_epoch": 3})


@pytest.fixture
def folder(artifact: Artifact, tmp_path: Path) -> Path:
    artifact.save(tmp_path / "run")
    return tmp_path / "run"

"""A fleet that trains in a second, and everything needed to train on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from grace.core.methods import build_method
from grace.data import Dataset
from grace.data.labels import LabelConfig
from grace.data.preprocessing import Preprocessor, PreprocessorConfig
from grace.data.readers import load_dataset
from grace.data.windows import Batch, WindowConfig, WindowSet
from grace.models import DualTaskModel
from grace.training.config import TrainingConfig
from grace.training.trainer import Trainer


@dataclass
class Small:
    """Windows of four engines to train on and of two to evaluate on, 40 windows per epoch or so."""

    train: WindowSet
    held_out: WindowSet

    def model(self, seed: int = 0, *, dropout: float = 1.0) -> DualTaskModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = DualTaskModel(
                c_in=self.train.n_channels, lstm_hidden=4, num_heads=2, shared_dim=6,
                conv_channels=(4, 6, 4), funnel_hidden=(8, 6), lstm_layers=2, dropout_scale=dropout,
            )  # fmt: skip
        model.rul_head.start_at(float(self.train.rul.mean()))
        return model

    def batch(self, seed: int = 0, size: int = 16) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        return self.train.batch(torch.randperm(len(self.train), generator=generator)[:size])

    def trainer(self, method: str = "grace", **options: Any) -> Trainer:
        """A trainer with small settings; options of the balancer in ``outer``."""
        outer = options.pop("outer", {"warmup_steps": 4} if method in ("grace", "gaba") else {})
        rest = {
            k: options.pop(k)
            for k in ("run_dir", "fingerprint", "callbacks", "seed")
            if k in options
        }
        values = {
            "epochs": 3, "batch_size": 32, "warmup_epochs": 1, "log_every": 1, "device": "cpu",
            "diagnose_every": 3, "ema_warmup": True, "deterministic": True, **options,
        }  # fmt: skip
        return Trainer(
            self.model(),
            build_method(method, outer_options=outer),
            TrainingConfig(**values),
            **rest,
        )


@pytest.fixture(scope="session")
def tiny_data() -> Dataset:
    return load_dataset(
        "sim", n_train=6, n_test=3, n_conditions=1, onset=(5, 30), wear_out=(40, 60)
    )


@pytest.fixture(scope="session")
def small(tiny_data: Dataset) -> Small:
    ids = tiny_data.train.unit_ids
    prep = Preprocessor(
        PreprocessorConfig(sensors=("s2", "s3", "s4", "s7")), default_conditions=1
    ).fit(tiny_data.train.select(ids[:4]))
    sets = []
    for units, stride in ((ids[:4], 3), (ids[4:], 5)):
        fleet = tiny_data.train.select(units)
        sets.append(
            WindowSet.build(
                prep.transform(fleet),
                fleet,
                LabelConfig(cap=60.0, health_thresholds=(40.0, 15.0)),
                WindowConfig(length=8, stride=stride, min_history=1),
            )
        )
    return Small(*sets)


@pytest.fixture(scope="session")
def make_trainer(small: Small) -> Callable[..., Trainer]:
    return small.trainer

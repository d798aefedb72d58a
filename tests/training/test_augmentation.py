"""Noise on the inputs while training: what it moves and what it leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch

from grace.core.methods import build_method
from grace.data import Fleet, FleetSchema
from grace.data.labels import LabelConfig
from grace.data.preprocessing import Preprocessor, PreprocessorConfig
from grace.data.windows import WindowConfig, WindowSet
from grace.models import DualTaskModel
from grace.training.step import TrainState, training_step


def windows(**features: Any) -> tuple[WindowSet, tuple[str, ...]]:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"unit": [1] * 40 + [2] * 40, "cycle": [*range(40), *range(40)]}
        | {s: rng.normal(size=80) for s in ("load", "a", "b")}
    )
    fleet = Fleet.from_frame(frame, FleetSchema(settings=("load",), sensors=("a", "b")))
    table = Preprocessor(PreprocessorConfig(n_conditions=1, **features)).fit(fleet).transform(fleet)
    return WindowSet.build(table, fleet, LabelConfig(), WindowConfig(length=8)), table.names


def seen_by_the_model(data: WindowSet, **noise: float) -> torch.Tensor:
    """What a training step feeds the network, less the clean input; (B, T, C)."""
    model = DualTaskModel(
        data.n_channels, 8, 2, 8, conv_channels=(8, 8, 8), funnel_hidden=(8,), dropout_scale=0.0
    )
    fed: list[torch.Tensor] = []
    model.cnn.register_forward_pre_hook(lambda _, given: fed.append(given[0].detach()))
    stepper = TrainState(
        model,
        build_method("baseline"),
        torch.optim.SGD(model.parameters(), lr=0.0),
        offset_group=data.offset_group,
        **noise,
    )
    batch = data.batch(torch.arange(16))
    torch.manual_seed(0)
    training_step(stepper, batch)
    return fed[0] - batch.x


def test_level_noise_shifts_a_sensor_as_a_whole_and_nothing_else() -> None:
    data, names = windows(use_settings=True, baseline_deviation=True, ewm_alphas=(0.1,), age=True)
    moved = seen_by_the_model(data, offset_noise=0.5)
    of = {name: moved[..., i] for i, name in enumerate(names)}
    for name in ("load", "a_deviation", "b_deviation", "age"):
        assert not of[name].any()
    for sensor in ("a", "b"):
        torch.testing.assert_close(of[sensor], of[sensor][:, :1].expand(-1, 8), atol=1e-6, rtol=0)
        torch.testing.assert_close(of[sensor], of[f"{sensor}_ewm0.1"], atol=1e-6, rtol=0)
        assert of[sensor][:, 0].unique().numel() == 16  # another shift for every window
    assert not torch.allclose(of["a"], of["b"])


def test_without_levels_there_is_nothing_to_shift() -> None:
    data, _ = windows(include_sensors=False, baseline_deviation=True, ewm_alphas=(0.1,))
    assert not seen_by_the_model(data, offset_noise=0.5).any()


def test_input_noise_is_of_every_value_its_own() -> None:
    data, _ = windows()
    moved = seen_by_the_model(data, input_noise=0.3)
    assert moved.unique().numel() > 0.99 * moved.numel()
    assert abs(float(moved.std()) - 0.3) < 0.05


def test_off_by_default() -> None:
    data, _ = windows()
    assert not seen_by_the_model(data).any()

"""Gradients before training: the floor of GABA, the advice, and what is left untouched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from grace.cli import app
from grace.core.gaba import GABALoss
from grace.data import Dataset
from grace.experiments.diagnose import EVERY, advise, diagnose, floor_share
from grace.training.config import RunConfig

Tiny = Callable[..., RunConfig]


@settings(max_examples=20)  # each steps the balancer 600 times
@example(1.0).via("equal norms")
@example(700.0).via("the published ratio")
@given(ratio=st.floats(0.001, 1000.0))
def test_the_floor_is_where_the_balancer_itself_reaches_it(ratio: float) -> None:
    steps = 600
    begins, share = floor_share(np.full(10, ratio), steps)
    balancer, counted, first = GABALoss(), 0, None
    for step in range(steps):
        balancer.update(torch.tensor([ratio, 1.0]))
        active = bool((balancer.ema_weights < balancer.min_weight).any())
        counted += active
        first = step if active and first is None else first
    if abs(min(1 / (1 + ratio), ratio / (1 + ratio)) - balancer.min_weight) > 1e-3:
        assert share == pytest.approx(counted / steps, abs=3 / steps)
        assert (begins is None) == (first is None)
        assert begins is None or abs(begins - first) <= 2  # the buffer is float32


def test_measured_steps_come_before_their_median() -> None:
    early, late = [1.0] * 100, [500.0] * 150
    begins, _ = floor_share(np.array(early + late), 2000)
    assert begins is not None
    assert begins > 100 * EVERY  # not while the ratio is 1
    assert floor_share(np.array([np.nan]), 100) == (None, 0.0)


@pytest.mark.parametrize(
    ("ratio", "conflict", "floor", "method"),
    [
        (1.5, 0.0, 0.0, "fixed:0.5"),
        (20.0, 0.0, 0.2, "gaba"),
        (700.0, 0.0, 0.7, "fixed:0.0477"),
        (1 / 700, 0.0, 0.7, "fixed:0.95"),
        (1.5, 0.8, 0.0, "upgrad"),
        (float("nan"), 0.0, 0.0, "fixed:0.5"),
    ],
)
def test_advice(ratio: float, conflict: float, floor: float, method: str) -> None:
    outer, reason = advise(ratio, 0.1, conflict, floor)
    assert outer == method
    assert reason.endswith(".")


def test_the_test_set_and_the_generators_are_left_alone(tiny: Tiny, data: Dataset) -> None:
    config = tiny(training={"epochs": 3})
    state = torch.get_rng_state()
    found = diagnose(config, dataset=data)
    assert torch.equal(torch.get_rng_state(), state)
    other = Dataset(**{**vars(data), "test": data.test.select(data.test.unit_ids[:1])})
    again = diagnose(config, dataset=other)
    assert found._replace(seconds=0) == again._replace(seconds=0)
    assert found.steps > 0
    assert found.epochs == 3
    assert found.measured == len(range(0, found.steps, EVERY))
    assert found.ratio_low <= found.ratio <= found.ratio_high
    assert -1 <= found.cosine <= 1
    assert found.method.startswith("weighted_mse+")


def test_the_time_is_limited(tiny: Tiny, data: Dataset) -> None:
    found = diagnose(tiny(training={"epochs": 8}), dataset=data, seconds=0.0)
    assert "Only 1 step could be measured" in found.reason
    assert found.steps == 1
    assert found.measured == 1
    # planned is the whole training, not the part that was measured
    assert found.planned_steps == 8 * diagnose(tiny(), dataset=data).steps // 2


def test_the_command() -> None:
    args = ["diagnose", "--set", "dataset_options={n_train: 8, n_test: 2}", "--seconds", "1"]
    shown = CliRunner().invoke(app, args, env={"COLUMNS": "80"})
    assert shown.exit_code == 0, shown.output
    for name in ("gradient ratio:", "cosine:", "GABA on its floor:", "recommended:"):
        assert name in shown.output
    wrong = CliRunner().invoke(app, ["diagnose", "--dataset", "nothing"])
    assert wrong.exit_code == 2


def test_a_table_is_measured_without_a_test_set(data: Dataset) -> None:
    config = RunConfig.load(overrides={"method": {"name": "gaba"}, "seed": 3})
    found = diagnose(config, dataset=data.train, seconds=2.0)
    assert found.measured > 0
    assert found.dataset == data.train.name
    assert found.method.startswith("mse+")


def test_the_command_reads_a_table_with_its_schema(data: Dataset, tmp_path: Path) -> None:
    table = tmp_path / "pumps.csv"
    data.train.frame.write_csv(table)
    keys = {"unit": data.train.schema.unit, "time": data.train.schema.time, "time_unit": "cycles"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(keys | {"fate": "end_of_record"}))
    call = ["diagnose", "--data", str(table), "--seconds", "1"]
    done = CliRunner().invoke(app, [*call, "--schema", str(tmp_path / "s.yaml")])
    assert done.exit_code == 0, done.output
    assert "recommended:" in done.output
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 2
    assert "--suggest" in refused.output

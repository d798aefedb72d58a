"""Gradients before training: the floor of GABA, the advice, and what is left untouched."""

from __future__ import annotations

import re
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
from grace.cli.diagnose import _lines
from grace.core.gaba import GABALoss
from grace.data import Dataset
from grace.experiments.advice import FEW, advise
from grace.experiments.diagnose import EVERY, diagnose
from grace.experiments.gaba_forecast import GABAForecast, expected_steps, forecast_gaba
from grace.training.config import RunConfig, TrainingConfig
from grace.training.errors import ConfigError

Tiny = Callable[..., RunConfig]


@settings(max_examples=20)  # each steps the balancer 600 times
@example(1.0).via("equal norms")
@example(700.0).via("the published ratio")
@given(ratio=st.floats(0.001, 1000.0))
def test_the_floor_is_where_the_balancer_itself_reaches_it(ratio: float) -> None:
    steps = 600
    _, begins, share, weight = forecast_gaba(np.full(10, ratio), steps)
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
    assert weight == pytest.approx(float(balancer.floored()[0]), abs=2e-4)


def test_measured_steps_come_before_their_median() -> None:
    early, late = [1.0] * 100, [500.0] * 150
    begins = forecast_gaba(np.array(early + late), 2000, every=EVERY).floor_from
    assert begins is not None
    assert begins > 100 * EVERY  # not while the ratio is 1
    assert forecast_gaba(np.array([np.nan]), 100) == (100, None, 0.0, 0.5)


def test_early_stopping_shortens_the_expected_training() -> None:
    def config(epochs: int, patience: int | None) -> TrainingConfig:
        return TrainingConfig(epochs=epochs, early_stopping_patience=patience)

    assert expected_steps(config(60, 10), 20) == round(0.57 * 1200)
    assert expected_steps(config(60, None), 20) == 1200
    assert expected_steps(config(15, 10), 20) == 220  # the patience comes first
    assert expected_steps(config(8, 10), 20) == 160


CASES = [
    (1.5, 0.0, 1200, "fixed:0.5", "similar size"),
    (10.0, 0.0, 1200, "gaba", "follow the gradients"),
    (10.0, 0.0, 120, "fixed:0.5", "half way"),
    (700.0, 0.0, 1200, "fixed:0.0477", "the constant GABA tends to"),
    (1 / 700, 0.0, 1200, "fixed:0.95", "the constant GABA tends to"),
    (900.8, 0.0, 300, "fixed:0.5", "ends before GABA's average reaches its floor"),
    (900.8, 0.0, 400, "fixed:0.5", "ends soon after"),
    (1.5, 0.8, 1200, "upgrad", "cosine below −0.10"),
    (float("nan"), 0.0, 1200, "fixed:0.5", "nothing to balance"),
]


@pytest.mark.parametrize(("ratio", "conflict", "steps", "method", "why"), CASES)
def test_advice(ratio: float, conflict: float, steps: int, method: str, why: str) -> None:
    expected = forecast_gaba(np.array([ratio]), steps)
    outer, reason = advise(ratio, 0.1, conflict, 40, expected)
    assert outer == method
    assert why in reason
    assert reason.endswith(".")
    if np.isfinite(ratio) and method != "upgrad" and "similar" not in why:
        assert f"{steps:,} steps" in reason  # a share without its training says nothing


def test_the_constant_needs_a_part_of_the_expected_training_on_the_floor() -> None:
    for share, method in ((0.32, "fixed:0.5"), (0.34, "fixed:0.0477")):
        expected = GABAForecast(500, 332, share, 0.0477)
        assert advise(700.0, 0.1, 0.0, 40, expected)[0] == method


@pytest.mark.parametrize("measured", [1, FEW - 1])
def test_surgery_is_not_recommended_from_a_few_measurements(measured: int) -> None:
    expected = forecast_gaba(np.array([700.0]), 1200)
    outer, reason = advise(700.0, -0.5, 1.0, measured, expected)
    assert outer == "fixed:0.0477"
    assert "could be measured" in reason
    assert f"not considered with fewer than {FEW}" in reason
    assert advise(700.0, -0.5, 1.0, FEW, expected)[0] == "upgrad"


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
    assert not found.method.endswith("upgrad")


def test_the_command() -> None:
    args = ["diagnose", "--set", "dataset_options={n_train: 8, n_test: 2}", "--seconds", "1"]
    shown = CliRunner().invoke(app, args, env={"COLUMNS": "80"})
    assert shown.exit_code == 0, shown.output
    for name in ("gradient ratio:", "cosine:", "GABA's RUL weight:", "GABA's floor:"):
        assert name in shown.output
    assert "recommended:" in shown.output
    assert re.search(
        r"planned training: +[\d,]+ steps; with early stopping about \d+", shown.output
    )
    assert "in conflict (below −0.10) in" in shown.output
    assert "57% of the planned steps are assumed" in " ".join(shown.output.split())
    wrong = CliRunner().invoke(app, ["diagnose", "--dataset", "nothing"])
    assert wrong.exit_code == 2


def test_the_command_takes_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def stop(config: RunConfig, **_: object) -> None:
        seeds.append(config.seed)
        raise ConfigError("enough")

    monkeypatch.setattr("grace.experiments.diagnose.diagnose", stop)
    assert CliRunner().invoke(app, ["diagnose", "--seed", "7"]).exit_code == 2
    assert seeds == [7]


def test_a_training_too_short_for_the_average_is_said(data: Dataset, tmp_path: Path) -> None:
    """The planned training of a small fleet is shorter than what GABA's average needs."""
    found = diagnose(RunConfig.load(), dataset=data.train, seconds=1.0)
    found = found._replace(ratio=900.8, floor_from=None, planned_steps=300, expected_steps=220)
    shown = dict(_lines(found._replace(final_weight=0.067, expected_weight=0.15)))
    assert shown["planned training"] == "300 steps; with early stopping about 220"
    assert shown["GABA's RUL weight"] == "0.50 at first, 0.15 after 220 steps, 0.067 after 300"
    assert shown["GABA's floor"] == ("not reached: the training ends before the average reaches it")
    moderate = dict(_lines(found._replace(ratio=3.0)))
    assert moderate["GABA's floor"].endswith("the RUL weight tends to 0.25")


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

"""A run with the survival head: the same two-task network, and distributions from its artifact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from grace.data import Dataset
from grace.experiments.run import evaluate_run, run
from grace.experiments.training_data import build_training_data, survival_edges
from grace.prediction import Artifact, ArtifactError, Predictor
from grace.training.config import RunConfig

Tiny = Callable[..., RunConfig]
ON: dict[str, Any] = {"survival": {"enabled": True}}


@pytest.fixture(scope="module")
def folder(tiny: Tiny, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny(**ON, training={"epochs": 4, "lr": 0.01})
    return run(config, tmp_path_factory.mktemp("run") / "survival", dataset=data).folder


def censored(data: Dataset) -> Dataset:
    """The same data, two of the training units taken out of service at half of their record."""
    frame, schema = data.train.frame, data.train.schema
    stopped = list(data.train.unit_ids[:2])
    row = pl.int_range(pl.len()).over(schema.unit)
    early = pl.col(schema.unit).is_in(stopped) & (row >= pl.len().over(schema.unit) // 2)
    units = data.train.units.with_columns(
        failed=pl.col("failed") & ~pl.col("unit").is_in(stopped),
        rul_at_end=pl.when(~pl.col("unit").is_in(stopped)).then(pl.col("rul_at_end")),
    )
    fleet = type(data.train).from_frame(frame.filter(~early), schema, units=units)
    return replace(data, train=fleet)


def test_the_two_task_network_begins_with_the_same_weights(tiny: Tiny, data: Dataset) -> None:
    two, three = (build_training_data(c, data) for c in (tiny(), tiny(**ON)))
    weights = three.model.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in two.model.state_dict().items())
    assert two.model.survival_head is None
    assert torch.equal(two.train.ends, three.train.ends)  # nothing is censored
    head = three.model.survival_head
    assert head is not None
    assert three.train.rul_uncapped is not None
    assert float(head.edges[-1]) > float(three.train.rul_uncapped.max())
    one_cycle = tiny().labels.to_learned(1.0)
    assert float(head.edges[1]) == pytest.approx(one_cycle)


def test_windows_of_running_units_are_trained_on(tiny: Tiny, data: Dataset) -> None:
    fewer = censored(data)
    two, three = (build_training_data(c, fewer) for c in (tiny(), tiny(**ON)))
    assert not two.train.rul.isnan().any()
    extra = three.train.rul.isnan()
    assert int(extra.sum()) == len(three.train) - len(two.train) > 0
    assert three.train.survived is not None
    assert bool((three.train.survived[extra] > 0).all())


def test_an_artifact_with_a_head_answers_every_question(folder: Path, data: Dataset) -> None:
    predictor = Predictor.load(folder)
    q = predictor.predict_quantiles(data.test, [0.05, 0.5, 0.95])
    interval = predictor.predict_interval(data.test, 0.9)
    assert interval["unit"].to_list() == list(data.test.unit_ids)
    np.testing.assert_allclose(interval["lower"].to_numpy(), q["q0.05"].to_numpy())
    np.testing.assert_allclose(interval["upper"].to_numpy(), q["q0.95"].to_numpy())
    middle = q["q0.5"].to_numpy()
    frame, distribution = predictor.predict_distribution(data.test)
    np.testing.assert_allclose(distribution.cdf(middle), 0.5, atol=1e-9)
    p = predictor.prob_failure_within(data.test, float(middle[0]))["probability"]
    assert p[0] == pytest.approx(0.5)
    draws = predictor.sample(data.test, 2000, seed=0)
    below = draws.group_by("unit", maintain_order=True).agg((pl.col("rul") <= middle[0]).mean())
    np.testing.assert_allclose(below["rul"].to_numpy(), p.to_numpy(), atol=0.06)
    assert frame["age"].to_list() == (data.test.lengths() - 1.0).tolist()
    every = predictor.predict_interval(data.test, every_row=True)
    assert every.height == data.test.n_rows
    # The two-task outputs are those of `predict`, whatever the head says.
    assert "rul" in predictor.predict(data.test).columns


def test_the_distribution_is_calibrated_on_the_validation_units(
    folder: Path, data: Dataset
) -> None:
    artifact = Artifact.load(folder)
    assert artifact.calibration is not None
    assert artifact.calibration.pooled
    assert artifact.calibration.zones[0].units == len(artifact.provenance["units"]["validation"])
    raw = Predictor(replace(artifact, calibration=None))
    _, plain = raw.predict_distribution(data.test)
    _, calibrated = Predictor(artifact).predict_distribution(data.test)
    # Calibration keeps the median and moves the intervals.
    np.testing.assert_allclose(calibrated.median, plain.median, rtol=0.02)
    assert not np.allclose(calibrated.interval(0.9)[1], plain.interval(0.9)[1])


def test_an_artifact_without_a_head_names_the_remedy(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    prepared = build_training_data(tiny(), data)
    predictor = Predictor(Artifact(prepared.model.eval(), prepared.preprocessor, tiny(), {}))
    with pytest.raises(ArtifactError, match=r"survival\.enabled=true"):
        predictor.predict_interval(data.test)


def test_a_run_with_a_head_can_be_evaluated_again(folder: Path, data: Dataset) -> None:
    assert evaluate_run(folder, dataset=data)[1] == []


def test_running_units_go_through_a_whole_run(tiny: Tiny, data: Dataset, tmp_path: Path) -> None:
    result = run(tiny(**ON), tmp_path / "r", dataset=censored(data))
    interval = Predictor.load(result.folder).predict_interval(data.test)
    assert np.isfinite(interval["upper"].to_numpy()).all()


def test_the_bins_follow_sampling_step_and_longest_life(tiny: Tiny, data: Dataset) -> None:
    """Rows two cycles apart, and a unit with a pause of 40: the median step is two."""
    schema = data.train.schema
    row = pl.int_range(pl.len()).over(schema.unit)
    late = (pl.col(schema.unit) == data.train.unit_ids[0]) & (row > 4)
    time = 2 * row + pl.when(late).then(40).otherwise(0)
    frame = data.train.frame.with_columns(time.cast(pl.Float64).alias(schema.time))
    fleet = type(data.train).from_frame(frame, schema, units=data.train.units)
    built = build_training_data(tiny(**ON), replace(data, train=fleet))
    windows, config = built.train, tiny(**ON)
    edges = survival_edges(windows, built.train_fleet, config)
    assert windows.rul_uncapped is not None
    longest = float(windows.rul_uncapped.nan_to_num().max())
    step = min(config.labels.to_learned(2.0), longest / 50.0)
    assert float(edges[0]) == 0.0
    assert float(edges[1]) == pytest.approx(step)
    assert float(edges[-1]) >= 1.3 * longest * (1 - 1e-6)
    assert float(edges[-2]) < 1.3 * longest
    widths = edges.diff()
    assert (widths[1:] >= widths[:-1] * (1 - 1e-5)).all()


def test_the_head_begins_as_the_seed_says(tiny: Tiny, data: Dataset) -> None:
    def head(seed: int) -> dict[str, torch.Tensor]:
        torch.rand(3)  # whatever was drawn before has no part in it
        made = build_training_data(tiny(**ON, seed=seed), data).model.survival_head
        assert made is not None
        return {k: v for k, v in made.state_dict().items() if "weight" in k}

    one, again, other = head(1), head(1), head(2)
    assert all(torch.equal(v, again[k]) for k, v in one.items())
    assert any(not torch.equal(v, other[k]) for k, v in one.items())

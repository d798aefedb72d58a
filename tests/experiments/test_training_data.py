"""What a run trains on and is selected on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grace.data import Dataset, Fleet
from grace.data.preprocessing import Preprocessor
from grace.data.readers import load_dataset
from grace.experiments.run import run
from grace.experiments.selection_rows import truncated_windows
from grace.experiments.training_data import build_training_data
from grace.prediction import Artifact
from grace.training.config import RunConfig

Tiny = Callable[..., RunConfig]


def test_the_preprocessing_has_seen_the_training_units_only(done: Any, data: Dataset) -> None:
    artifact = Artifact.load(done.folder)

    def fitted(fleet: Fleet) -> dict[str, Any]:
        prep = Preprocessor(artifact.config.features, default_conditions=data.n_conditions)
        return prep.fit(fleet).to_dict()

    learned = artifact.preprocessor.to_dict()
    split = artifact.provenance["units"]
    assert len(split["validation"]) == 2
    assert fitted(data.train.select(split["train"])) == learned
    assert fitted(data.train) != learned


def test_the_first_prediction_is_the_mean_training_label(tiny: Tiny, data: Dataset) -> None:
    """A ReLU output that starts below zero has no gradient."""
    made = build_training_data(tiny(), data)
    bias = made.model.rul_head.state_dict()
    last = [v for k, v in bias.items() if k.endswith("bias")][-1]
    assert last.item() == pytest.approx(made.train.rul.mean().item())
    with torch.no_grad():
        rul, _ = made.model.eval()(made.train.gather(torch.arange(8)))
    assert (rul > 0.5 * made.train.rul.mean()).all()


def test_selection_on_truncated_validation_units(tiny: Tiny, data: Dataset, tmp_path: Path) -> None:
    every, cut = (
        build_training_data(tiny(validation_rows=rows), data) for rows in ("all", "truncated")
    )
    windows = cut.monitors["validation"]
    assert torch.bincount(windows.unit).tolist() == [10, 10]
    assert torch.equal(cut.train.ends, every.train.ends)
    fleet = data.train.select(every.split.validation)
    rul = fleet.rul()[windows.ends.numpy()].reshape(2, 10)
    assert (np.diff(rul, axis=1) > 0).all()  # spread over the range, no point twice
    assert rul.max() <= 1.25 * 60.0 + 1.0
    learned = np.minimum(rul, 60.0) * 125.0 / 60.0
    np.testing.assert_allclose(windows.rul.numpy().reshape(2, 10), learned, rtol=1e-6)
    result = run(tiny(validation_rows="truncated"), tmp_path, dataset=data)
    assert "truncated at several points" in result.evaluation.protocol.sentence()
    with pytest.raises(ValueError, match="one per window"):
        truncated_windows(every.monitors["validation"], fleet.rul()[1:], cap=60.0)


def test_a_running_unit_in_training_is_learned_from(tiny: Tiny, tmp_path: Path) -> None:
    options = {**tiny().dataset_options, "censored_fraction": 0.4, "n_train": 8}
    result = run(tiny(dataset_options=options, training={"epochs": 1}), tmp_path)
    assert np.isfinite(result.evaluation.rmse)


def test_dense_validation_records_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    from grace.experiments import training_data

    config = RunConfig.load(preset="fast", overrides={"features": {"n_conditions": 1}})
    data = load_dataset("sim", n_train=8, n_test=2)
    whole = training_data.build_training_data(config, data).monitors["validation"]
    monkeypatch.setattr(training_data, "_MONITORED", 100)
    thin = training_data.build_training_data(config, data).monitors["validation"]
    step = -(-len(whole) // 100)
    assert thin.ends.tolist() == whole.ends[::step].tolist()
    assert 50 <= len(thin) <= 100

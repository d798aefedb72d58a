"""A run of preset ``best``, with quick candidates instead of all of them."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from grace.candidates import CANDIDATES, FoldMean
from grace.data import Dataset
from grace.data.readers import load_dataset
from grace.estimator import RULModel
from grace.estimator.stacking import fit_stack
from grace.experiments import read_metrics, run
from grace.experiments.predictions_file import read_predictions
from grace.experiments.stacked_run import (
    evaluate_stacked_run,
    is_stacked_run,
    load_stacked_run,
    run_stacked,
)
from grace.prediction import ArtifactError
from grace.training import ConfigError, RunConfig

CONFIG = RunConfig.load(
    preset="best",
    overrides={"seed": 3, "evaluate_baselines": False, "dataset_options": {"n_train": 12}},
)
FITTING = import_module("grace.estimator.fitting")
QUICK = ("median_life", "linear", "similarity")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("sim", n_train=12, n_test=4)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FITTING, "STACKED_CANDIDATES", tuple(QUICK))


@pytest.fixture(scope="module")
def folder(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("runs") / "best"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FITTING, "STACKED_CANDIDATES", tuple(QUICK))
        run_stacked(CONFIG, target, dataset=data)
    return target


def test_the_models_of_the_folds_predict(folder: Path, data: Dataset) -> None:
    model, config = load_stacked_run(folder)
    assert config == CONFIG
    assert all(isinstance(c, FoldMean) for c in model.candidates_.values())
    assert {len(c.members) for c in model.candidates_.values()} == {model_folds(model)}  # type: ignore[attr-defined]
    assert RULModel.load(folder).predict(data.test).equals(model.predict(data.test))


@pytest.mark.parametrize(
    ("units", "epochs", "batch", "learned_from"), [(12, 15, 64, 10), (45, 15, 64, 36)]
)
def test_reasons_are_those_of_the_networks_of_the_folds(
    units: int, epochs: int, batch: int, learned_from: int
) -> None:
    """45 units: an estimate from the whole fleet would be that of 40 units or more."""
    fleet = load_dataset("sim", n_train=units, n_test=1).train
    model = RULModel(preset="best", candidates=["median_life", "linear"], seed=0).fit(fleet)
    reasons = model.learned.reasons
    assert not {"validation_fraction", "features.trend_rows"} & set(reasons)
    assert reasons["training.epochs"].startswith(f"{epochs} epochs")
    assert "no units are held out" in reasons["training.epochs"]
    assert f"at most {batch} with" in reasons["training.batch_size"]
    assert reasons["training.steps_per_epoch"].startswith("20 steps per epoch")
    assert f"learns from {learned_from} of known" in reasons["training.steps_per_epoch"]
    assert reasons["labels.cap"].startswith("0.6 of the median known life")


def test_two_units_have_reasons_too() -> None:
    """A fold of them has one unit, too few to derive settings from."""
    fleet = load_dataset("sim", n_train=2, n_test=1).train
    model = RULModel(preset="best", candidates=["median_life"], seed=0).fit(fleet)
    assert "training.epochs" in model.learned.reasons


def model_folds(model: RULModel) -> int:
    assert model.oof_ is not None
    return model.oof_["fold"].n_unique()


def test_the_shift_is_that_of_the_out_of_fold_predictions(folder: Path) -> None:
    model, _ = load_stacked_run(folder)
    assert model.oof_ is not None
    stack, shift, shifted = fit_stack(model.oof_, model.labels_)
    assert model.learned.early is not None
    assert model.learned.early.to_state() == shift.to_state()
    assert model.stack_.weights_ == stack.weights_
    np.testing.assert_array_equal(model.oof_["stack"], shifted)


def test_metrics_and_predictions_agree(folder: Path, data: Dataset) -> None:
    evaluation, _ = read_metrics(folder)
    test = read_predictions(folder / "predictions.parquet")
    last = test.group_by("unit", maintain_order=True).last()
    assert (
        last["time"].to_list()
        == data.test.times()[data.test.starts() + data.test.lengths() - 1].tolist()
    )
    d = (last["rul"] - last["rul_true_capped"]).to_numpy()
    assert evaluation.rmse == pytest.approx(float(np.sqrt(np.mean(d**2))))
    assert evaluation.protocol.mark == ""
    assert evaluation.protocol.n_train == 12
    assert "checkpoint" not in evaluation.protocol.sentence()
    assert "out-of-fold predictions, test set read once" in evaluation.protocol.sentence()
    model, _ = load_stacked_run(folder)
    np.testing.assert_allclose(last["rul"], model.predict(data.test)["rul"])
    limits = model.predict_interval(data.test, 0.9)
    np.testing.assert_allclose(last["lower"], limits["lower"])
    assert (last["lower"] <= last["upper"]).all()
    held = read_predictions(folder / "validation_predictions.parquet")
    assert set(held["unit"].to_list()) <= set(data.train.unit_ids)


def test_the_test_units_have_no_part_in_the_model(
    folder: Path, data: Dataset, tmp_path: Path
) -> None:
    """Other truths of the test units give the same model and other figures."""
    units = data.test.units.with_columns(pl.col("rul_at_end") + 40.0)
    other = type(data)(**{**vars(data), "test": data.test.from_frame(
        data.test.frame, data.test.schema, units=units, name=data.test.name)})  # fmt: skip
    run_stacked(CONFIG, tmp_path / "other", dataset=other)
    a, b = RULModel.load(folder), RULModel.load(tmp_path / "other")
    assert a.predict(data.test).equals(b.predict(data.test))
    assert read_metrics(folder)[0].rmse != read_metrics(tmp_path / "other")[0].rmse


def test_a_finished_run_is_not_repeated_nor_mixed_up(
    folder: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(RULModel, "fit", refuse)
    assert run_stacked(CONFIG, folder, dataset=data).resumed_complete
    with pytest.raises(ArtifactError, match="another configuration"):
        run_stacked(CONFIG.model_copy(update={"seed": 4}), folder, dataset=data)
    with monkeypatch.context() as patch:
        patch.setattr(CANDIDATES["linear"], "revision", 2)
        with pytest.raises(ArtifactError, match="another configuration"):
            run_stacked(CONFIG, folder, dataset=data)
    own = folder.parent / "own"
    own.mkdir()
    (own / "metrics.json").write_text("mine")
    with pytest.raises(ArtifactError, match="holds no run"):
        run_stacked(CONFIG, own, dataset=data, overwrite=True)
    assert (own / "metrics.json").read_text() == "mine"
    with pytest.raises(ConfigError, match="run_stacked"):
        run(CONFIG, folder.parent / "single", dataset=data)


def test_an_interrupted_run_goes_on_where_it_stopped(
    folder: Path, data: Dataset, tmp_path: Path
) -> None:
    calls: list[tuple[str, int]] = []

    def stop(name: str, fold: int) -> None:
        calls.append((name, fold))
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stacked(CONFIG, tmp_path / "run", dataset=data, progress=stop)
    damaged = sorted((tmp_path / ".run.fit").glob("*-linear-0.json"))
    assert len(damaged) == 1
    damaged[0].write_text("{")
    again: list[tuple[str, int]] = []
    run_stacked(CONFIG, tmp_path / "run", dataset=data, progress=lambda n, k: again.append((n, k)))
    total = len(QUICK) * model_folds(RULModel.load(folder))
    assert ("linear", 0) in again  # its model was damaged
    assert len(again) == total - 4 + 1
    one, two = (RULModel.load(f).predict(data.test) for f in (folder, tmp_path / "run"))
    assert one.equals(two)
    assert not (tmp_path / ".run.fit").exists()


def test_evaluated_again_and_replaced(folder: Path, data: Dataset, tmp_path: Path) -> None:
    assert is_stacked_run(folder)
    evaluation, differing = evaluate_stacked_run(folder, dataset=data)
    assert differing == []
    assert evaluation.rmse == read_metrics(folder)[0].rmse
    target = tmp_path / "run"
    shutil.copytree(folder, target)
    other = CONFIG.model_copy(update={"seed": 5})
    run_stacked(other, target, dataset=data, overwrite=True)
    assert load_stacked_run(target)[1].seed == 5
    with pytest.raises(ArtifactError, match="other data"):
        evaluate_stacked_run(folder, dataset=load_dataset("sim", n_train=13, n_test=4))

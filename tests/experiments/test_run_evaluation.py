"""The figures of a run: of which predictions, beside which baselines, and computed again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from grace.data import Dataset
from grace.data.readers import load_dataset
from grace.evaluation import BASELINES, ConstantBaseline, prognostics_summary
from grace.experiments.run import evaluate_run, read_metrics, run
from grace.experiments.run_evaluation import differences
from grace.prediction import Artifact, ArtifactError, Predictor
from grace.prediction.artifact import write_artifact_json
from grace.training.config import RunConfig

Tiny = Callable[..., RunConfig]


def test_predictions_are_those_of_the_artifact_beside_the_truth(done: Any, data: Dataset) -> None:
    stored = pl.read_parquet(done.folder / "predictions.parquet")
    fresh = Predictor.load(done.folder).predict(data.test, every_row=True)
    assert stored.select(fresh.columns).equals(fresh)
    np.testing.assert_array_equal(stored["rul_true"], data.test.rul())
    np.testing.assert_array_equal(stored["rul_true_capped"], np.minimum(data.test.rul(), 60.0))


def test_the_figures_are_those_of_the_predictions(done: Any, data: Dataset) -> None:
    last = pl.read_parquet(done.folder / "predictions.parquet").group_by("unit").last()
    assert last.height == data.test.n_units
    error = (last["rul"] - last["rul_true_capped"]).to_numpy()
    assert done.evaluation.rmse == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    score = np.where(error < 0, np.exp(-error / 13) - 1, np.exp(error / 10) - 1).sum()
    assert done.evaluation.nasa == pytest.approx(score, rel=1e-6)
    raw = (last["rul"] - last["rul_true"]).to_numpy()
    assert done.evaluation.model.last_cycle.raw.rmse == pytest.approx(np.sqrt((raw**2).mean()))


def test_every_figure_carries_its_protocol(done: Any, data: Dataset) -> None:
    protocol = done.evaluation.protocol
    assert (protocol.select_on, protocol.mark) == ("validation", "")
    assert (protocol.label_cap, protocol.seeds) == (60.0, (3,))
    assert protocol.n_train + protocol.n_validation == data.train.n_units
    assert protocol.n_test == data.test.n_units
    assert done.validation_selected is None
    evaluation, validated = read_metrics(done.folder)
    assert evaluation == done.evaluation
    assert validated is None


def test_trivial_baselines_are_reported(with_baselines: Any) -> None:
    names = with_baselines.evaluation.baselines
    assert {"constant", "age_only"} <= set(names)
    stored = pl.read_parquet(with_baselines.folder / "predictions.parquet")
    assert {f"baseline_{n}" for n in names} <= set(stored.columns)


def test_evaluating_again_gives_the_same(done: Any) -> None:
    fresh, differing = evaluate_run(done.folder)
    assert differing == []
    assert fresh.rmse == pytest.approx(done.evaluation.rmse, rel=1e-6)


def test_any_figure_that_was_changed_is_named(done: Any, tmp_path: Path) -> None:
    shutil.copytree(done.folder, tmp_path / "copy")
    path = tmp_path / "copy" / "metrics.json"
    content = json.loads(path.read_text())
    content["evaluation"]["model"]["last_cycle"]["raw"]["nasa_sum"] *= 0.5
    path.write_text(json.dumps(content))
    _, differing = evaluate_run(tmp_path / "copy")
    assert differing == ["model.last_cycle.raw.nasa_sum"]


def test_what_counts_as_the_same_figure() -> None:
    stored = {"rmse": 100.0, "bias": 0.0, "rows": [{"n": 3, "mae": math.nan}]}

    def changed(**values: Any) -> list[str]:
        return differences(stored, stored | values)

    assert changed() == []
    assert changed(rmse=100.05, bias=0.0005) == []
    assert changed(rmse=100.2, bias=0.01) == ["rmse", "bias"]
    assert changed(rows=[{"n": 4, "mae": 1.0}]) == ["rows[0].n", "rows[0].mae"]
    assert changed(rows=[]) == ["rows"]
    assert changed(rmse="100") == ["rmse"]
    assert differences(stored, {"rmse": 100.0}, "model") == ["model"]


def test_rows_carry_the_condition_they_were_normalised_for(tiny: Tiny, tmp_path: Path) -> None:
    options = tiny().dataset_options | {"n_conditions": 3}
    config = tiny(dataset_options=options, training={"epochs": 1})
    folder = run(config, tmp_path / "run").folder
    fleet = load_dataset("sim", **options).test
    conditions = Artifact.load(folder).preprocessor.conditions_
    expected, _ = conditions.assign(fleet.values(fleet.schema.settings))
    stored = pl.read_parquet(folder / "predictions.parquet")["condition"].to_list()
    assert stored == expected.tolist()
    assert len(set(stored)) == 3


def test_baselines_learn_from_the_training_units_alone(with_baselines: Any, data: Dataset) -> None:
    result, folder = with_baselines, with_baselines.folder
    units = Artifact.load(folder).provenance["units"]
    train = data.train.select(units["train"])
    mean, wrong = (np.minimum(f.rul(), 60.0).mean() for f in (train, data.train))
    assert abs(mean - wrong) > 0.1
    for name in ("predictions.parquet", "validation_predictions.parquet"):
        constant = pl.read_parquet(folder / name)["baseline_constant"].to_numpy()
        np.testing.assert_allclose(constant, mean)
    assert set(result.evaluation.baseline_prognostics) == set(result.evaluation.baselines)


def test_a_new_baseline_is_used_by_runs(
    tiny: Tiny, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Oldest(ConstantBaseline):
        name = "largest_label"

        def _predict(self, rows: Any, starts: Any, lengths: Any, age: Any) -> Any:
            return np.full(len(rows), self.max_)

    monkeypatch.setitem(BASELINES, "largest_label", Oldest)
    result = run(tiny(evaluate_baselines=True, training={"epochs": 1}), tmp_path, dataset=data)
    assert list(BASELINES) == [n for n in result.evaluation.baselines if "all_inputs" not in n]
    assert (pl.read_parquet(tmp_path / "predictions.parquet")["baseline_largest_label"] == 60).all()
    assert evaluate_run(tmp_path)[1] == []


def test_prognostics_are_over_validation_units_against_the_uncapped_rul(
    with_baselines: Any, data: Dataset
) -> None:
    result, folder = with_baselines, with_baselines.folder
    held = pl.read_parquet(folder / "validation_predictions.parquet")
    units = Artifact.load(folder).provenance["units"]["validation"]
    assert held["unit"].unique(maintain_order=True).to_list() == units
    fleet = data.train.select(units)
    np.testing.assert_array_equal(held["rul_true"], fleet.rul())
    assert held["rul_true"].max() > 60.0  # capped truth would have other rows
    found = result.evaluation.prognostics
    assert (found.n_to_failure, found.cap) == (2, 60.0)
    arrays = (held[c].to_numpy() for c in ("unit", "time", "rul_true", "rul"))
    by_hand = prognostics_summary(*arrays, cap=60.0, units=found.units)
    assert by_hand == found
    capped = (held[c].to_numpy() for c in ("unit", "time", "rul_true_capped", "rul"))
    assert prognostics_summary(*capped, cap=60.0, units=found.units) != found
    for name in ("constant",):
        trivial = result.evaluation.baseline_prognostics[name].metrics
        assert trivial["horizon"].mean == 0.0
        assert trivial["alpha_lambda_0.5"].mean == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("evaluation"), "evaluation"),
        (lambda c: c.update(version=1), "version 1 is not"),
        (lambda c: c["evaluation"]["model"].pop("last_cycle"), "evaluation.model.last_cycle"),
        (lambda c: c.update(surplus=1), "surplus"),
    ],
)
def test_metrics_of_another_form_are_refused(
    done: Any, tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    content = json.loads((done.folder / "metrics.json").read_text())
    assert (content["format"], content["version"]) == ("grace.metrics", 2)
    change(content)
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=message) as caught:
        read_metrics(tmp_path)
    assert "metrics.json" in str(caught.value)
    assert "Remedy" in str(caught.value)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_metrics(tmp_path)


def test_evaluating_on_other_data_is_refused(done: Any, tmp_path: Path) -> None:
    shutil.copytree(done.folder, tmp_path / "copy")
    path = tmp_path / "copy" / "artifact.json"
    content = json.loads(path.read_text())
    content["config"]["dataset_options"]["n_test"] = 4
    content.pop("sha256")
    write_artifact_json(path.parent, content)
    with pytest.raises(ArtifactError, match="other data"):
        evaluate_run(tmp_path / "copy")

"""A run from end to end: what it leaves, when it refuses, and when it reads the test set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from grace.data import DataError, Dataset, Fleet
from grace.data.issues import Source
from grace.data.readers import load_dataset
from grace.experiments.run import evaluate_run, read_metrics, run, run_name
from grace.experiments.run_dir import lock_run_dir
from grace.prediction import Artifact, ArtifactError, Predictor
from grace.prediction.export import metadata
from grace.report import write_report
from grace.training.callbacks import Callback, StepEnd, TrainStart
from grace.training.checkpoint import CheckpointError
from grace.training.config import RunConfig
from grace.training.jsonl_logger import read_jsonl

Tiny = Callable[..., RunConfig]
MARK = "test-selected, optimistic"


@pytest.fixture(scope="module")
def on_test(tiny: Tiny, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = tiny(select_on="test", training={"epochs": 4, "lr": 0.02})
    return run(config, tmp_path_factory.mktemp("run") / "b", dataset=data)


def test_what_a_run_leaves(done: Any, data: Dataset) -> None:
    names = {p.name for p in done.folder.iterdir()}
    assert {
        "artifact.json", "weights.safetensors", "metrics.json", "predictions.parquet",
        "history.jsonl", "telemetry.jsonl",
    } <= names  # fmt: skip
    assert not [n for n in names if n.endswith(".tmp")]
    assert not done.resumed_complete
    assert len(read_jsonl(done.folder / "history.jsonl")) == 2
    provenance = Artifact.load(done.folder).provenance
    for name in ("name", "description", "citation"):
        assert provenance["dataset"][name] == getattr(data, name)
    assert provenance["data_hash"]["test"] == data.test.content_hash()
    units = provenance["units"]
    assert sorted(units["train"] + units["validation"]) == sorted(data.train.unit_ids)
    assert provenance["epochs_trained"] == 2


def test_a_finished_run_is_not_repeated(done: Any, tiny: Tiny, data: Dataset) -> None:
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in done.folder.iterdir()}

    class Refuse(Callback):
        def on_train_start(self, start: TrainStart) -> None:
            raise AssertionError("a finished run was trained again")

    again = run(tiny(), done.folder, dataset=data, callbacks=[Refuse()])
    assert again.resumed_complete
    assert again.evaluation == done.evaluation
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in done.folder.iterdir()} == before


@pytest.mark.parametrize("change", ["seed", "rate", "data"])
def test_another_run_in_a_finished_folder_is_refused(
    done: Any, tiny: Tiny, data: Dataset, change: str
) -> None:
    config = {"seed": tiny(seed=4), "rate": tiny(training={"lr": 2e-3}), "data": tiny()}[change]
    if change == "data":
        bent = data.train.frame.with_columns(pl.col("s2") + 1.0)
        data = replace(data, train=replace(data.train, frame=bent))
    before = (done.folder / "artifact.json").read_bytes()
    with pytest.raises(ArtifactError, match="finished run of another configuration"):
        run(config, done.folder, dataset=data)
    assert (done.folder / "artifact.json").read_bytes() == before


def test_another_run_in_an_unfinished_folder_is_refused(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    class Stop(Callback):
        def on_step_end(self, step: StepEnd) -> None:
            if step.epoch == 1:
                raise StopError

    with pytest.raises(StopError):
        run(tiny(), tmp_path, dataset=data, callbacks=[Stop()])
    assert (tmp_path / "checkpoint.pt").exists()
    with pytest.raises(ArtifactError, match="unfinished"):
        Predictor.load(tmp_path)
    with pytest.raises(CheckpointError, match="another configuration"):
        run(tiny(seed=4), tmp_path, dataset=data)


def test_test_selection_is_marked_and_its_optimism_told(on_test: Any) -> None:
    assert on_test.evaluation.protocol.mark == MARK
    assert MARK in on_test.evaluation.protocol.sentence()
    validated = on_test.validation_selected
    assert validated.protocol.mark == ""
    gap = validated.optimism_gap
    assert gap.rmse_capped == pytest.approx(on_test.evaluation.rmse - validated.rmse)
    assert gap.rmse_capped <= 1e-9  # chosen on the test set, it cannot be worse there
    assert read_metrics(on_test.folder) == (on_test.evaluation, validated)


def test_test_selection_takes_the_epoch_that_is_best_on_the_test_set(on_test: Any) -> None:
    history = read_jsonl(on_test.folder / "history.jsonl")
    curve = [r["rmse"]["test"] for r in history]
    provenance = Artifact.load(on_test.folder).provenance
    assert provenance["chosen_epoch"] == curve.index(min(curve))
    assert on_test.evaluation.rmse == pytest.approx(min(curve), rel=1e-4)


def test_names_of_runs(tiny: Tiny) -> None:
    fast = RunConfig.load(preset="fast", overrides={"seed": 3})
    assert run_name(fast) == "sim-grace-fast-seed3"
    assert (
        run_name(RunConfig.load(preset="paper", overrides={"seed": 3})) == "sim-grace-paper-seed3"
    )
    assert run_name(tiny(select_on="test")).startswith("sim-grace-paper-seed3-test-selected-")
    values = tiny().model_dump() | {"method": {"name": "mse+fixed:0.0477"}}
    assert not set(run_name(RunConfig.model_validate(values))) & set("/:\\ ")


def test_another_configuration_has_another_name(tiny: Tiny) -> None:
    configs = [
        RunConfig(),
        RunConfig.load(),
        RunConfig(preset="fast"),
        RunConfig(preset="of my own"),
        tiny(),
        tiny(training={"lr": 2e-3}),
        tiny(dataset_options={"n_train": 8}),
        tiny(method={"outer_options": {"beta": 0.9}}),
        tiny(select_on="test"),
        tiny(validation_rows="truncated"),
        tiny(validation_fraction=0.4),
        tiny(seed=4),
        tiny(method={"name": "gaba"}),
    ]
    assert len({run_name(c) for c in configs}) == len(configs)
    # what changes no result changes no name
    assert run_name(tiny(training={"log_every": 7})) == run_name(tiny())


class Watched(Fleet):
    """A fleet that notes every access to its rows."""

    accesses: list[str]

    def __getattribute__(self, name: str) -> Any:
        if name in ("frame", "units") and "accesses" in object.__getattribute__(self, "__dict__"):
            object.__getattribute__(self, "accesses").append(name)
        return super().__getattribute__(name)


def test_the_test_set_is_not_looked_at_while_training(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    test = Watched(data.test.frame, data.test.units, data.test.schema, data.test.name)
    object.__setattr__(test, "accesses", [])
    looks: dict[str, int] = {}
    stages: list[str] = []

    def stage(text: str) -> None:
        if stages:
            looks[stages[-1].split()[0]] = len(test.accesses)
        stages.append(text)
        test.accesses.clear()

    run(tiny(), tmp_path, dataset=replace(data, test=test), on_stage=stage)
    assert looks["reading"] > 0  # its hash, for the record: shows that the watch works
    assert looks["splitting"] == 0
    assert looks["training"] == 0
    assert stages[-1] == "reading the test set"
    assert len(test.accesses) > 0


def test_another_test_set_leaves_the_trained_network_alone(
    done: Any, tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    bent = data.test.frame.with_columns(pl.col("s2", "s3") * 2.0 + 50.0)
    fates = data.test.units.with_columns(pl.col("rul_at_end") + 7.0)
    other = replace(data, test=replace(data.test, frame=bent, units=fates))
    result = run(tiny(), tmp_path, dataset=other)
    weights = "weights.safetensors"
    assert (tmp_path / weights).read_bytes() == (done.folder / weights).read_bytes()
    assert result.evaluation.rmse != done.evaluation.rmse


def test_a_run_trained_again_replaces_the_finished_one(
    done: Any, tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(done.folder, folder)
    stages: list[str] = []
    config = tiny(training={"epochs": 1})
    again = run(config, folder, dataset=data, overwrite=True, on_stage=stages.append)
    assert again.folder == folder
    assert Artifact.load(folder).config.training.epochs == 1
    assert len(read_jsonl(folder / "history.jsonl")) == 1
    assert any("train" in stage for stage in stages)
    assert [p.name for p in tmp_path.iterdir()] == ["again"]
    _, differing = evaluate_run(folder)
    assert differing == []


def test_test_labels_do_not_steer_a_test_selected_training(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    """Schedule, early stopping and every weight are the same whatever the test labels are.

    With patience 0 and 2 both react within these epochs, and the two label sets lead a training
    that follows the test set to different epochs (checked below).
    """
    training = {
        "epochs": 12, "early_stopping_patience": 3, "plateau_patience": 0, "warmup_epochs": 0,
        "lr": 0.03,
    }  # fmt: skip
    fates = data.test.units.with_columns(rul_at_end=pl.lit(3.0))
    other = replace(data, test=replace(data.test, units=fates))
    config = tiny(select_on="test", training=training)
    a = run(config, tmp_path / "a", dataset=data)
    b = run(config, tmp_path / "b", dataset=other)
    histories = [read_jsonl(tmp_path / x / "history.jsonl") for x in "ab"]
    kept = [
        [(r["lr"], r["loss"], r["grad_norm"], r["rmse"]["validation"]) for r in history]
        for history in histories
    ]
    assert kept[0] == kept[1]
    assert a.evaluation.rmse != b.evaluation.rmse
    # Both decisions would have fallen otherwise on the test set, or this test could not fail.
    by_test, by_validation = (
        [[r["rmse"][m] for r in history] for history in histories] for m in ("test", "validation")
    )
    improved = [[v < min(c[:i], default=np.inf) for i, v in enumerate(c)] for c in by_test]
    expected = [
        v < min(by_validation[0][:i], default=np.inf) for i, v in enumerate(by_validation[0])
    ]
    assert expected not in improved
    assert len({r["lr"] for r in histories[0]}) > 1  # the schedule did react


@pytest.mark.usefixtures("undrawn")
def test_data_that_was_passed_is_recorded_as_such(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    source = Source("frame", "pumps")
    mine = replace(
        data,
        name="pumps",
        train=replace(data.train, source=source),
        test=replace(data.test, source=source),
    )
    run(tiny(training={"epochs": 1}), tmp_path, dataset=mine)
    artifact = Artifact.load(tmp_path)
    assert artifact.provenance["source"]["train"]["kind"] == "frame"
    assert artifact.provenance["source"]["test"]["name"] == "pumps"
    assert metadata(artifact)["dataset"] == "pumps"
    with pytest.raises(ArtifactError, match=r"passed to it \(frame 'pumps'\)"):
        evaluate_run(tmp_path)
    assert evaluate_run(tmp_path, dataset=mine)[1] == []
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "grace train --config" not in page
    assert "dataset=data" in page


def test_a_named_dataset_passed_to_a_run_is_found_again(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    other = load_dataset("sim", seed=5, n_train=6, n_test=3, n_conditions=1)
    run(tiny(training={"epochs": 1}), tmp_path, dataset=other)
    with pytest.raises(ArtifactError, match="other data"):  # the options are the configuration's
        evaluate_run(tmp_path)
    assert evaluate_run(tmp_path, dataset=other)[1] == []


def test_a_fleet_of_ones_own_goes_under_its_own_name(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    mine = replace(data, name="pumps", synthetic=False)
    unknown = mine.test.units.with_columns(
        rul_at_end=pl.when(pl.col("unit") == mine.test.unit_ids[0])
        .then(None)
        .otherwise("rul_at_end")
    )
    mine = replace(mine, test=replace(mine.test, units=unknown))
    result = run(tiny(), tmp_path, dataset=mine)
    sentence = result.evaluation.protocol.sentence()
    assert sentence.startswith("pumps: ")
    assert f"{mine.test.n_units - 1} units evaluated" in sentence
    nobody = replace(mine, test=replace(mine.test, units=unknown.with_columns(rul_at_end=None)))
    with pytest.raises(DataError, match="no test unit has a known RUL"):
        run(tiny(), tmp_path / "other", dataset=nobody)


def test_two_processes_cannot_train_in_one_folder(tiny: Tiny, tmp_path: Path) -> None:
    with lock_run_dir(tmp_path / "run"):
        with pytest.raises(ArtifactError, match="another process is training here"):
            run(tiny(), tmp_path / "run")
        with pytest.raises(ArtifactError, match="another process"):
            run(tiny(), tmp_path / "run", overwrite=True)
    assert not run(tiny(), tmp_path / "run").resumed_complete
    with lock_run_dir(tmp_path / "run"):  # a finished run can be read meanwhile
        assert run(tiny(), tmp_path / "run").resumed_complete

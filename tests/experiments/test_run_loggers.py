"""Loggers of a run: its configuration at the start, its metrics of the test set at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_mlflow import FakeClient

from grace.data import Dataset
from grace.experiments import grid, grid_configs, run
from grace.training.callbacks import Callback, RunEnd, StepEnd, TrainStart
from grace.training.config import RunConfig
from grace.training.history import EpochRecord, FitResult
from grace.training.mlflow_logger import MLflowLogger
from grace.training.tensorboard_logger import TensorBoardLogger

Tiny = Callable[..., RunConfig]


class Keep(Callback):
    """Keeps the events of the start and the end of a run."""

    def __init__(self) -> None:
        self.starts: list[TrainStart] = []
        self.ends: list[RunEnd] = []
        self.errors: list[BaseException] = []

    def on_train_start(self, start: TrainStart) -> None:
        self.starts.append(start)

    def on_run_end(self, end: RunEnd) -> None:
        self.ends.append(end)

    def on_exception(self, error: BaseException) -> None:
        self.errors.append(error)


def last_cycle(folder: Path, key: str = "evaluation") -> dict[str, Any]:
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = content[key]["model"]["last_cycle"]
    return found


def test_runs_of_two_methods_can_be_told_apart(bare: Tiny, data: Dataset, tmp_path: Path) -> None:
    client = FakeClient()
    configs = grid_configs(
        bare(training={"epochs": 1}),
        datasets=["sim"],
        methods=["baseline", "gaba"],
        seeds=[3],
        controls=False,
    )
    for config in configs.values():
        logger, folder = MLflowLogger(client=client), tmp_path / config.method.name
        done = run(config, folder, dataset=data, callbacks=[logger])
    first, second = client.runs.values()
    assert [first["name"], second["name"]] == ["baseline", "gaba"]
    params = second["params"]
    assert {k for k in params if params[k] != first["params"][k]} == {"method.name"}
    assert params["dataset"] == data.name
    assert (params["seed"], params["preset"], params["training.epochs"]) == ("3", "paper", "1")
    assert (params["model.lstm_hidden"], params["device"]) == ("4", "cpu")
    metrics = {key: value for key, value, _ in second["metrics"]}
    last = last_cycle(done.folder)
    assert metrics["validation_selected/test_rmse_capped"] == last["capped"]["rmse"]
    assert metrics["validation_selected/test_nasa_capped"] == last["capped"]["nasa_sum"]
    assert not [key for key in metrics if key.startswith("test_selected/")]


def test_a_test_selected_run_logs_both_selections(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    seen = Keep()
    done = run(tiny(select_on="test"), tmp_path / "a", dataset=data, callbacks=[seen])
    (end,) = seen.ends
    assert end.folder == done.folder
    for selected_on, key in (("test", "evaluation"), ("validation", "validation_selected")):
        last = last_cycle(done.folder, key)
        assert end.metrics[f"{selected_on}_selected/test_rmse_raw"] == last["raw"]["rmse"]


def test_a_run_that_replaces_another_has_the_name_of_its_folder(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    seen = Keep()
    for overwrite in (False, True):
        config = tiny(training={"epochs": 1})
        run(config, tmp_path / "pumps", dataset=data, callbacks=[seen], overwrite=overwrite)
    assert [start.name for start in seen.starts] == ["pumps", "pumps"]


def test_a_logger_that_fails_at_the_end_leaves_a_run_that_continues(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    class Refuses(Callback):
        def on_run_end(self, end: RunEnd) -> None:
            raise ConnectionError("no tracking server")

    class NoStep(Keep):
        def on_step_end(self, step: StepEnd) -> None:
            raise AssertionError("a finished training was repeated")

    with pytest.raises(ConnectionError):
        run(tiny(), tmp_path / "a", dataset=data, callbacks=[Refuses()])
    seen = NoStep()
    run(tiny(), tmp_path / "a", dataset=data, callbacks=[seen])
    assert len(seen.ends) == 1


@pytest.mark.parametrize("during", ["train", "run"])
def test_a_failure_of_the_training_or_after_it_reaches_every_logger_once(
    during: str, tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    class Fails(Callback):
        def on_train_end(self, result: FitResult) -> None:
            if during == "train":
                raise OSError("no space left")

        def on_run_end(self, end: RunEnd) -> None:
            raise OSError("no space left")

    client, seen = FakeClient(), Keep()
    loggers = [MLflowLogger(client=client), seen, Fails()]
    with pytest.raises(OSError, match="no space"):
        run(tiny(), tmp_path / "a", dataset=data, callbacks=loggers)
    (logged,) = client.runs.values()
    assert logged["status"] == "FAILED"
    assert [str(error) for error in seen.errors] == ["no space left"]
    run(tiny(), tmp_path / "a", dataset=data, callbacks=[MLflowLogger(client=client)])
    assert {one["status"] for one in client.runs.values()} == {"FINISHED"}


@pytest.mark.exhaustive
def test_mlflow_itself_stores_what_the_fake_client_does(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow")

    class Interrupts(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            if record.epoch == 1:
                raise KeyboardInterrupt

    server = f"sqlite:///{tmp_path / 'mlflow.db'}"
    fake, real = FakeClient(), mlflow.MlflowClient(tracking_uri=server)
    for client in (fake, real):
        folder = tmp_path / type(client).__name__ / "pumps"
        loggers = [MLflowLogger("fleet", client=client), Interrupts()]
        with pytest.raises(KeyboardInterrupt):
            run(tiny(training={"epochs": 3}), folder, dataset=data, callbacks=loggers)
        if client is real:
            (stored,) = real.search_runs([real.get_experiment_by_name("fleet").experiment_id])
            assert stored.info.status == "KILLED"
        run(tiny(training={"epochs": 3}), folder, dataset=data, callbacks=loggers[:1])
    (stored,) = real.search_runs([real.get_experiment_by_name("fleet").experiment_id])
    (expected,) = fake.runs.values()
    assert (stored.info.run_name, stored.info.status) == ("pumps", "FINISHED")
    assert stored.data.params == expected["params"]
    for key in {key for key, _, _ in expected["metrics"]}:
        kept = [(m.value, m.step) for m in real.get_metric_history(stored.info.run_id, key)]
        assert sorted(kept) == sorted((v, i) for k, v, i in expected["metrics"] if k == key)


def test_tensorboard_has_configuration_and_test_metrics(
    tiny: Tiny, data: Dataset, tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = run(tiny(), tmp_path / "a", dataset=data, callbacks=[TensorBoardLogger()])
    read = accumulator.EventAccumulator(str(done.folder / "tensorboard"))
    read.Reload()
    (text,) = read.Tensors("configuration/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "| method.name | grace |" in shown
    assert "| seed | 3 |" in shown
    (value,) = read.Scalars("validation_selected/test_rmse_capped")
    assert value.value == pytest.approx(last_cycle(done.folder)["capped"]["rmse"], rel=1e-5)


@pytest.mark.usefixtures("quick_workers")
def test_each_run_of_a_grid_has_its_logger(bare: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    base = bare(training={"epochs": 1})
    configs = grid_configs(base, datasets=["sim"], methods=["amnl", "fixed:0.1"], seeds=[1])
    result = grid(configs, tmp_path, threads_per_run=1, loggers=["tensorboard"])
    assert not result.failed, result.failed
    for name in configs:
        assert list((tmp_path / name / "tensorboard").glob("events.out.tfevents.*"))


def test_an_unknown_logger_is_refused_before_a_grid_starts(bare: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose from tensorboard, mlflow"):
        grid({"a": bare()}, tmp_path / "grid", loggers=["wandb"])
    assert not (tmp_path / "grid").exists()

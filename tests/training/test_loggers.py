"""TensorBoard and MLflow: what is logged, once per step, also by a training that was resumed."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_mlflow import FakeClient

from grace.training.callbacks import Callback, StepEnd
from grace.training.errors import ConfigError
from grace.training.history import FitResult
from grace.training.loggers import LOGGERS, build_logger
from grace.training.mlflow_logger import MLflowLogger
from grace.training.tensorboard_logger import TensorBoardLogger
from grace.training.trainer import Trainer

Make = Callable[..., Trainer]


class Stop(Callback):
    def __init__(self, step: int, error: type[BaseException] = RuntimeError) -> None:
        self.step, self.error = step, error

    def on_step_end(self, step: StepEnd) -> None:
        if step.step == self.step:
            raise self.error


def fit(trainer: Trainer, small: Any) -> FitResult:
    return trainer.fit(small.train, {"validation": small.held_out}, select="validation")


def test_mlflow_gets_parameters_and_metrics(small: Any, make_trainer: Make, tmp_path: Path) -> None:
    client = FakeClient()
    logger = MLflowLogger("bearings", client=client)
    result = fit(make_trainer(epochs=2, run_dir=tmp_path / "r1", callbacks=[logger]), small)
    (run,) = client.runs.values()
    assert client.experiments == {"bearings": run["experiment"]}
    assert (run["name"], run["status"]) == ("r1", "FINISHED")
    assert run["params"]["training.epochs"] == "2"
    assert run["params"]["seed"] == "0"
    assert (run["params"]["device"], run["params"]["precision"]) == ("cpu", "fp32")
    last = result.history[-1]
    assert ("rmse/validation", last.rmse["validation"], last.step - 1) in run["metrics"]
    assert ("epoch/loss", last.loss, last.step - 1) in run["metrics"]
    best = result.best["validation"]
    assert ("best_rmse/validation", best.rmse, best.epoch) in run["metrics"]
    assert [s for k, _, s in run["metrics"] if k == "step/weights/1"] == list(range(last.step))
    fit(make_trainer(epochs=1, callbacks=[MLflowLogger("bearings", client=client)]), small)
    assert len(client.experiments) == 1
    assert len(client.runs) == 2


def test_mlflow_continues_its_run_and_logs_no_step_twice(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    client, whole = FakeClient(), FakeClient()
    for folder, stops, target in (("a", (5, None), client), ("b", (None,), whole)):
        for stop in stops:
            callbacks = [MLflowLogger(client=target), *([] if stop is None else [Stop(stop)])]
            trainer = make_trainer(epochs=3, run_dir=tmp_path / folder, callbacks=callbacks)
            if stop is None:
                fit(trainer, small)
                continue
            with pytest.raises(RuntimeError):
                fit(trainer, small)
            assert [r["status"] for r in client.runs.values()] == ["FAILED"]
    (resumed,), (straight,) = client.runs.values(), whole.runs.values()
    assert resumed["status"] == "FINISHED"
    assert resumed["metrics"] == straight["metrics"]


def test_an_interrupt_marks_the_mlflow_run_as_killed(small: Any, make_trainer: Make) -> None:
    client = FakeClient()
    callbacks = [MLflowLogger(client=client), Stop(1, KeyboardInterrupt)]
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(callbacks=callbacks), small)
    assert [r["status"] for r in client.runs.values()] == ["KILLED"]


def test_mlflow_takes_any_key_value_and_number_of_parameters(
    small: Any, make_trainer: Make
) -> None:
    client = FakeClient()
    odd = {"a: b?": "x" * 9000, "k" * 300: None, **{f"p{i}": i for i in range(250)}}
    trainer = make_trainer(epochs=1, callbacks=[MLflowLogger(client=client)])
    trainer.name, trainer.parameters = "pumps", odd
    fit(trainer, small)
    (run,) = client.runs.values()
    assert run["name"] == "pumps"
    assert len(run["params"]) == len(odd) + 2
    assert run["params"]["a_ b_"] == "x" * 6000
    assert run["params"]["k" * 250] == "None"


def test_the_experiment_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MLflowLogger(client=FakeClient()).experiment == "grace"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pumps")
    assert MLflowLogger(client=FakeClient()).experiment == "pumps"
    assert MLflowLogger("mine", client=FakeClient()).experiment == "mine"


def test_an_experiment_that_another_run_created_meanwhile_is_used(
    small: Any, make_trainer: Make
) -> None:
    class Raced(FakeClient):
        def create_experiment(self, name: str) -> str:
            super().create_experiment(name)
            raise RuntimeError("RESOURCE_ALREADY_EXISTS")

    client = Raced()
    fit(make_trainer(epochs=1, callbacks=[MLflowLogger(client=client)]), small)
    assert [r["experiment"] for r in client.runs.values()] == list(client.experiments.values())


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_has_one_value_per_step_after_resuming(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(RuntimeError):
        fit(
            make_trainer(epochs=3, run_dir=tmp_path, callbacks=[TensorBoardLogger(), Stop(5)]),
            small,
        )
    result = fit(make_trainer(epochs=3, run_dir=tmp_path, callbacks=[TensorBoardLogger()]), small)
    curves = events(tmp_path / "tensorboard")
    steps = result.history[-1].step
    assert [s for s, _ in curves["step/loss"]] == list(range(steps))
    assert [s for s, _ in curves["step/weights/0"]] == list(range(steps))
    assert curves["rmse/validation"] == [
        (r.step - 1, pytest.approx(r.rmse["validation"])) for r in result.history
    ]


def test_tensorboard_without_a_folder_says_so(small: Any, make_trainer: Make) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(ValueError, match="no folder"):
        fit(make_trainer(callbacks=[TensorBoardLogger()]), small)


@pytest.mark.parametrize("name", list(LOGGERS))
def test_a_missing_package_is_one_line_with_the_remedy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.startswith(("mlflow", "torch.utils.tensorboard")):
            raise ImportError(module)
        return original(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=rf"pip install '\.\[{name}\]'"):
        build_logger(name)


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose from tensorboard, mlflow"):
        build_logger("wandb")

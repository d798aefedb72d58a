"""TensorBoard and MLflow: what is logged, once per step, also by a training that was resumed."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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


class FakeClient:
    """Stores what an ``mlflow.MlflowClient`` is asked to store."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}

    def get_experiment_by_name(self, name: str) -> Any:
        known = self.experiments.get(name)
        return None if known is None else SimpleNamespace(experiment_id=known)

    def create_experiment(self, name: str) -> str:
        self.experiments[name] = f"experiment {len(self.experiments)}"
        return self.experiments[name]

    def create_run(self, experiment_id: str, run_name: str | None = None) -> Any:
        run_id = f"run {len(self.runs)}"
        self.runs[run_id] = {"name": run_name, "status": "RUNNING", "params": {}, "metrics": []}
        self.runs[run_id]["experiment"] = experiment_id
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def update_run(self, run_id: str, status: str | None = None) -> None:
        self.runs[run_id]["status"] = status

    def set_terminated(self, run_id: str, status: str | None = None) -> None:
        self.runs[run_id]["status"] = status

    def log_param(self, run_id: str, key: str, value: Any) -> None:
        self.runs[run_id]["params"][key] = value

    def log_metric(self, run_id: str, key: str, value: float, step: int | None = None) -> None:
        self.runs[run_id]["metrics"].append((key, value, step))

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=s) for k, _, s in self.runs[run_id]["metrics"] if k == key]


def test_mlflow_gets_parameters_and_metrics(small: Any, make_trainer: Make, tmp_path: Path) -> None:
    client = FakeClient()
    logger = MLflowLogger("bearings", client=client)
    result = fit(make_trainer(epochs=2, run_dir=tmp_path / "r1", callbacks=[logger]), small)
    (run,) = client.runs.values()
    assert client.experiments == {"bearings": run["experiment"]}
    assert (run["name"], run["status"]) == ("r1", "FINISHED")
    assert run["params"]["training.epochs"] == 2
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

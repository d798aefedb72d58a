"""Callbacks: the order of the hooks, what they receive, and what a resumed training repeats."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from grace.training.callbacks import Callback, CallbackList, RunEnd, StepEnd, TrainStart
from grace.training.history import EpochRecord, FitResult
from grace.training.jsonl_logger import JSONLLogger, read_jsonl
from grace.training.trainer import Trainer

Make = Callable[..., Trainer]


def fit(trainer: Trainer, small: Any) -> FitResult:
    return trainer.fit(small.train, {"validation": small.held_out}, select="validation")


class Recorder(Callback):
    """Keeps every call as (hook, value); stops at a given call."""

    def __init__(self, stop: tuple[str, int] | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.stop = stop

    def _note(self, hook: str, value: Any, key: int = 0) -> None:
        self.calls.append((hook, value))
        if self.stop == (hook, key):
            raise KeyError("stopped by the callback")

    def on_train_start(self, start: TrainStart) -> None:
        self._note("start", start)

    def on_step_end(self, step: StepEnd) -> None:
        self._note("step", step, step.step)

    def on_epoch_end(self, record: EpochRecord) -> None:
        self._note("epoch", record, record.epoch)

    def on_train_end(self, result: FitResult) -> None:
        self._note("end", result)

    def on_run_end(self, end: RunEnd) -> None:
        self._note("run end", end)

    def on_exception(self, error: BaseException) -> None:
        self.calls.append(("exception", error))

    def values(self, hook: str) -> list[Any]:
        return [value for name, value in self.calls if name == hook]


def test_hooks_are_called_in_order_with_what_was_computed(small: Any, make_trainer: Make) -> None:
    seen = Recorder()
    result = fit(make_trainer(epochs=2, log_every=2, callbacks=[seen]), small)
    n = math.ceil(len(small.train) / 32)
    order = [name for name, _ in seen.calls]
    assert order == ["start", *["step"] * n, "epoch", *["step"] * n, "epoch", "end"]
    (start,) = seen.values("start")
    assert (start.epochs, start.steps_per_epoch, start.monitors) == (2, n, ("validation",))
    assert (start.first_epoch, start.first_step, start.history, start.run_dir) == (0, 0, (), None)
    assert start.name == ""
    assert start.parameters["seed"] == 0
    assert start.parameters["training.epochs"] == 2
    steps = seen.values("step")
    assert [s.step for s in steps] == list(range(2 * n))
    assert [s.step_in_epoch for s in steps] == [*range(1, n + 1)] * 2
    assert [s.epoch for s in steps] == [0] * n + [1] * n
    assert [s.logged for s in steps] == [s % 2 == 0 for s in range(2 * n)]
    assert seen.values("epoch") == result.history
    mean = torch.stack([s.log.loss for s in steps[:n]]).double().mean().item()
    assert mean == pytest.approx(result.history[0].loss)
    assert seen.values("end") == [result]


def test_a_callback_does_not_change_the_training(small: Any, make_trainer: Make) -> None:
    class DrawsRandomNumbers(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            torch.rand(7)

    plain, watched = (
        fit(make_trainer(callbacks=c, seed=5), small) for c in ([], [DrawsRandomNumbers()])
    )
    for name, value in plain.best["validation"].weights.items():
        assert torch.equal(value, watched.best["validation"].weights[name])


@pytest.mark.parametrize("stop", [("start", 0), ("step", 1), ("epoch", 1), ("end", 0)])
def test_an_exception_in_a_callback_reaches_the_caller(
    small: Any, make_trainer: Make, stop: tuple[str, int]
) -> None:
    first, second = Recorder(stop), Recorder()
    with pytest.raises(KeyError, match="stopped by the callback") as caught:
        fit(make_trainer(callbacks=[first, second]), small)
    for seen in (first, second):
        assert seen.calls[-1] == ("exception", caught.value)
    assert first.calls[-2][0] == stop[0]
    # Callbacks are called in the order given: the second was not called for the failed hook.
    assert len(second.values(stop[0])) == len(first.values(stop[0])) - 1


def test_an_interrupt_is_reported_to_callbacks(small: Any, make_trainer: Make) -> None:
    class Interrupt(Callback):
        def on_step_end(self, step: StepEnd) -> None:
            raise KeyboardInterrupt

    seen = Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(callbacks=[seen, Interrupt()]), small)
    assert isinstance(seen.values("exception")[0], KeyboardInterrupt)
    assert not seen.values("end")


class Counter(Callback):
    """A callback with a state of its own: it counts the steps it has seen."""

    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, step: StepEnd) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


@pytest.mark.parametrize("stop", [("step", 5), ("epoch", 1), ("epoch", 2)])
def test_a_resumed_training_continues_after_its_last_checkpoint(
    small: Any, make_trainer: Make, tmp_path: Path, stop: tuple[str, int]
) -> None:
    options = {"epochs": 4, "run_dir": tmp_path, "checkpoint_every": 2}
    n = math.ceil(len(small.train) / 32)
    interrupted = Recorder(("step", 2 * n + 1) if stop[0] == "step" else stop)
    with pytest.raises(KeyError):
        fit(make_trainer(**options, callbacks=[Counter(), interrupted]), small)
    seen, counter, other = Recorder(), Counter(), Counter()
    result = fit(make_trainer(**options, callbacks=[counter, seen, other]), small)
    (start,) = seen.values("start")
    # Epoch 1 is repeated if its callbacks failed: its checkpoint was not written yet.
    first = 0 if stop == ("epoch", 1) else 2
    assert (start.first_epoch, start.first_step) == (first, first * n)
    assert list(start.history) == result.history[:first]
    assert [s.step for s in seen.values("step")] == list(range(first * n, 4 * n))
    assert seen.values("epoch") == result.history[first:]
    # The state comes from the checkpoint, so repeated steps are not counted twice.
    assert counter.steps == 4 * n
    assert other.steps == (4 - first) * n  # without a stored state: the second of its class
    assert [r["step"] for r in read_jsonl(tmp_path / "telemetry.jsonl")] == list(range(4 * n))
    assert read_jsonl(tmp_path / "history.jsonl") == [asdict(r) for r in result.history]


def test_a_finished_training_still_calls_start_and_end(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    first = fit(make_trainer(epochs=2, run_dir=tmp_path), small)
    seen = Recorder()
    fit(make_trainer(epochs=2, run_dir=tmp_path, callbacks=[seen]), small)
    assert [name for name, _ in seen.calls] == ["start", "end"]
    assert list(seen.values("start")[0].history) == first.history


def test_states_of_two_callbacks_of_one_class_are_kept_apart() -> None:
    a, b = Counter(), Counter()
    a.steps, b.steps = 3, 8
    state = CallbackList([a, Recorder(), b]).state_dict()
    c, d = Counter(), Counter()
    CallbackList([c, d]).load_state_dict(state)
    assert (c.steps, d.steps) == (3, 8)


def test_the_json_lines_logger_writes_nothing_without_a_folder(
    small: Any, make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(make_trainer(epochs=1, callbacks=[JSONLLogger()]), small)
    assert list(tmp_path.iterdir()) == []


def test_the_json_lines_logger_may_have_a_folder_of_its_own(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    result = fit(make_trainer(epochs=2, callbacks=[JSONLLogger(folder)]), small)
    assert read_jsonl(folder / "history.jsonl") == [asdict(r) for r in result.history]

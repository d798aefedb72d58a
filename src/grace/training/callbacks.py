"""Hooks into the training loop, for progress displays, loggers and experiments of your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from grace.models import DualTaskModel
from grace.training.config import TrainingConfig
from grace.training.history import EpochRecord, FitResult
from grace.training.step import StepLog

__all__ = ["Callback", "CallbackList", "RunEnd", "StepEnd", "TrainStart"]


@dataclass(frozen=True, eq=False)
class TrainStart:
    """What is known when the loop starts or resumes.

    Args:
        config: the training configuration.
        model: the network that is trained, on its device.
        history: records of the epochs that are already finished; empty for a new training.
        steps_per_epoch: number of optimiser steps in each epoch.
        monitors: names of the window sets that are evaluated after each epoch.
        run_dir: folder of the run, or None if nothing is written to disk.
        device: name of the device.
        precision: number format of the network's forward pass.
        name: of the run, that of its folder; empty if a ``Trainer`` is used without a name.
        parameters: the configuration on one level, by dotted key: ``dataset``, ``method.name``,
            ``seed``, ``preset``, ``training.lr`` and all others. A ``Trainer`` that is used
            without a run gives its seed and the keys of ``training``.

    Example:
        >>> class PrintStart(Callback):
        ...     def on_train_start(self, start):
        ...         print(f"{start.steps_per_epoch} steps per epoch, device {start.device}")
    """

    config: TrainingConfig
    model: DualTaskModel
    history: tuple[EpochRecord, ...]
    steps_per_epoch: int
    monitors: tuple[str, ...]
    run_dir: Path | None
    device: str
    precision: Literal["fp32", "bf16"]
    name: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Maximum number of epochs; early stopping may end the training before."""
        return self.config.epochs

    @property
    def first_epoch(self) -> int:
        """The epoch (from 0) with which the loop continues; 0 for a new training."""
        return len(self.history)

    @property
    def first_step(self) -> int:
        """The global step (from 0) with which the loop continues; 0 for a new training."""
        return self.history[-1].step if self.history else 0


@dataclass(frozen=True, eq=False)
class StepEnd:
    """One finished optimiser step.

    Args:
        epoch: index of the epoch, from 0.
        step: global index of the step, from 0; it continues over epochs and after resuming.
        step_in_epoch: number of steps of this epoch that are finished, from 1.
        log: losses, gradient norm and task weights as tensors on the training device. Reading a
            value (``.item()``) makes a GPU wait, so read only when needed.
        logged: True every ``log_every`` steps, when ``log.diagnostics`` is filled.

    Example:
        >>> class PrintWeights(Callback):
        ...     def on_step_end(self, step):
        ...         if step.logged:  # reading a tensor makes a GPU wait
        ...             print(step.step, step.log.weights.tolist())
    """

    epoch: int
    step: int
    step_in_epoch: int
    log: StepLog
    logged: bool


@dataclass(frozen=True, eq=False)
class RunEnd:
    """The evaluation on the test set, after the training.

    Args:
        metrics: by name. The part before the slash says which rows selected the checkpoint:
            ``validation_selected/test_rmse_capped``, ``validation_selected/test_nasa_capped`` and
            so on; ``test_selected/…`` in addition if the run selects on the test set, which is
            optimistic. RMSE is in the unit of time of the data, the NASA score is the sum over
            the test units.
        folder: of the run.

    Example:
        >>> class PrintTest(Callback):
        ...     def on_run_end(self, end):
        ...         print(end.metrics["validation_selected/test_rmse_capped"])
    """

    metrics: Mapping[str, float]
    folder: Path


class Callback:
    """Base class of callbacks; override the hooks you need.

    Callbacks are called in the order given. An exception raised in a hook ends the training and
    reaches the caller; the last checkpoint stays on disk, and the same training continues from it.

    A training that resumes repeats the steps after its last checkpoint. A callback that writes
    records must therefore drop those with ``step >= start.first_step`` in :meth:`on_train_start`.
    A callback with a state of its own returns it from :meth:`state_dict`: it is stored in the
    checkpoint and given back before :meth:`on_train_start`.

    Example:
        >>> from grace.training import Callback
        >>> class PrintLoss(Callback):
        ...     def on_epoch_end(self, record):
        ...         print(f"epoch {record.epoch + 1}: loss {record.loss:.1f}")
        >>> run(config, "runs/first", callbacks=[PrintLoss()])  # doctest: +SKIP
    """

    def on_train_start(self, start: TrainStart) -> None:
        """Called once, before the first step; also when a resumed training has none left."""

    def on_step_end(self, step: StepEnd) -> None:
        """Called after each optimiser step."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Called after each epoch was evaluated, before its checkpoint is written."""

    def on_train_end(self, result: FitResult) -> None:
        """Called once, after the last epoch and its checkpoint."""

    def on_run_end(self, end: RunEnd) -> None:
        """Called by :func:`grace.run` after the evaluation, before the artifact is written.

        A ``Trainer`` that is used without a run does not call it.
        """

    def on_exception(self, error: BaseException) -> None:
        """Called when the training, or the evaluation of a run after it, ends with an exception.

        The exception is raised again afterwards.
        """

    def state_dict(self) -> dict[str, Any]:
        """State to store in the checkpoint: tensors and plain values only."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class CallbackList(Callback):
    """Calls every callback in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)

    def on_train_start(self, start: TrainStart) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.on_train_start(start)

    def on_step_end(self, step: StepEnd) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.on_step_end(step)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.on_epoch_end(record)

    def on_train_end(self, result: FitResult) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.on_train_end(result)

    def on_run_end(self, end: RunEnd) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.on_run_end(end)

    def on_exception(self, error: BaseException) -> None:
        """Call all."""
        for callback in self.callbacks:
            callback.on_exception(error)

    def state_dict(self) -> dict[str, Any]:
        """States of the callbacks that have one, by class name and position."""
        return {key: state for key, one in self._keyed() if (state := one.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore each callback that has a stored state."""
        for key, callback in self._keyed():
            if key in state:
                callback.load_state_dict(state[key])

    def _keyed(self) -> list[tuple[str, Callback]]:
        seen: dict[str, int] = {}
        keyed = []
        for callback in self.callbacks:
            name = type(callback).__qualname__
            seen[name] = seen.get(name, -1) + 1
            keyed.append((f"{name}.{seen[name]}", callback))
        return keyed

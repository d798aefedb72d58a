"""Before training: the gradients of the tasks compared, and a recommended method."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from grace.candidates.network import network_configuration
from grace.data.defaults import derive_defaults
from grace.data.fleet import Dataset, Fleet
from grace.data.labels import LabelConfig
from grace.experiments.advice import CONFLICT, advise
from grace.experiments.gaba_forecast import expected_steps, forecast_gaba
from grace.experiments.training_data import build_training_data, load_data
from grace.training.callbacks import Callback, StepEnd
from grace.training.config import RunConfig, deep_merge
from grace.training.trainer import Trainer

__all__ = ["Diagnosis", "diagnose"]

EVERY = 4  # steps between measurements
EPOCHS = 8


class Diagnosis(NamedTuple):
    """Gradients of the two tasks on the shared parameters, over the first epochs.

    Args:
        dataset: name of the data.
        steps: optimiser steps taken.
        epochs: epochs they make up; the last may be unfinished.
        measured: steps at which the gradients were measured.
        seconds: wall-clock time.
        ratio: median of ‖∇RUL‖ / ‖∇health‖.
        ratio_low: its 10% quantile.
        ratio_high: its 90% quantile.
        cosine: median cosine between the two gradients.
        conflict_share: share of the measured steps with a cosine below −0.1.
        planned_steps: steps of the whole training, if it does not stop early.
        expected_steps: steps of the training if early stopping acts as on the benchmark, see
            :func:`~grace.experiments.gaba_forecast.expected_steps`.
        floor_from: first of the planned steps at which GABA's average would be below its floor;
            None: not reached.
        floor_share: share of the planned steps that GABA would spend on its floor.
        expected_floor_share: the same of the expected steps.
        final_weight: GABA's RUL weight after the planned steps.
        expected_weight: GABA's RUL weight after the expected steps.
        method: recommended outer balancer with the given inner loss.
        reason: why, in one or two sentences.
    """

    dataset: str
    steps: int
    epochs: int
    measured: int
    seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    cosine: float
    conflict_share: float
    planned_steps: int
    expected_steps: int
    floor_from: int | None
    floor_share: float
    expected_floor_share: float
    final_weight: float
    expected_weight: float
    method: str
    reason: str


class _EnoughError(Exception):
    """The time is up."""


class _Recorder(Callback):
    def __init__(self, seconds: float, on_step: Callable[[int, int], None] | None) -> None:
        self.until = time.monotonic() + seconds
        self.on_step = on_step
        self.steps = self.epochs = 0
        self.norms: list[list[float]] = []
        self.cosines: list[float] = []

    def on_step_end(self, step: StepEnd) -> None:
        """Keep norms and cosine of a measured step."""
        self.steps, self.epochs = step.step + 1, step.epoch + 1
        found = step.log.diagnostics
        if step.step % EVERY == 0 and "task_grad_norms" in found and "cosine" in found:
            self.norms.append(found["task_grad_norms"].tolist())
            self.cosines.append(float(found["cosine"]))
        if self.on_step is not None:
            self.on_step(step.step + 1, step.epoch + 1)
        if time.monotonic() > self.until:
            raise _EnoughError


def diagnose(
    config: RunConfig,
    *,
    dataset: Dataset | Fleet | None = None,
    data_root: str | Path | None = None,
    seconds: float = 40.0,
    on_step: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Train the first epochs with constant equal weights and measure the task gradients.

    Only training units are used; the test set is not read.

    Args:
        config: of the training that is planned. Its inner loss is used, because it decides the
            norm of the RUL gradient; its outer balancer is replaced by equal weights.
        dataset: the data; None loads ``config.dataset``. For a fleet, everything but method and
            seed is derived from it, as the network of :class:`~grace.RULModel` does.
        data_root: where the data is; None searches the usual places.
        seconds: at most so long a training; at least one measurement is made.
        on_step: called after each step with the number of steps and epochs so far.

    Raises:
        DataError: the data cannot be used.
        ConfigError: an option of the dataset does not exist.

    Example:
        >>> config = RunConfig.load(overrides={"dataset_options": {"n_train": 8, "n_test": 2}})
        >>> found = diagnose(config, seconds=1.0)
        >>> found.measured > 0 and 0.0 <= found.floor_share <= 1.0
        True
    """
    began = time.perf_counter()
    if isinstance(dataset, Fleet):
        config, data = _of_fleet(config, dataset)
    else:
        data = dataset if dataset is not None else load_data(config, data_root)
    inner = config.method.build().inner_name
    changed = {
        "method": {"name": f"{inner}+fixed:0.5"},
        "select_on": "validation",
        "evaluate_baselines": False,
        "training": {"epochs": min(EPOCHS, config.training.epochs), "diagnose_every": EVERY,
                     "log_every": EVERY},
    }  # fmt: skip
    values = deep_merge(config.model_dump(mode="json"), changed)
    values["method"]["outer_options"] = {}
    short = RunConfig.load(preset=config.preset, overrides=values)
    training_data = build_training_data(short, data)
    monitors = {"validation": training_data.monitors["validation"].last_of_each_unit()}
    recorder = _Recorder(seconds, on_step)
    trainer = Trainer(
        training_data.model,
        short.method.build(n_tasks=short.n_tasks),
        short.training,
        seed=config.seed,
        callbacks=[recorder],
    )
    with contextlib.suppress(_EnoughError):
        trainer.fit(training_data.train, monitors, select="validation")
    norms = np.asarray(recorder.norms, dtype=np.float64)
    cosines = np.asarray(recorder.cosines, dtype=np.float64)
    positive = (norms > 0).all(axis=1)
    ratios = norms[positive, 0] / norms[positive, 1] if positive.any() else np.array([math.nan])
    per_epoch = -(-len(training_data.train) // short.training.batch_size)
    per_epoch = min(config.training.steps_per_epoch or per_epoch, per_epoch)
    planned = forecast_gaba(ratios, config.training.epochs * per_epoch, every=EVERY)
    expected = forecast_gaba(ratios, expected_steps(config.training, per_epoch), every=EVERY)
    low, middle, high = (float(v) for v in np.quantile(ratios, (0.1, 0.5, 0.9)))
    cosine = float(np.nanmedian(cosines))
    conflict = float(np.mean(cosines < CONFLICT))
    outer, reason = advise(middle, cosine, conflict, len(norms), expected)
    return Diagnosis(
        dataset=data.name,
        steps=recorder.steps,
        epochs=recorder.epochs,
        measured=len(norms),
        seconds=time.perf_counter() - began,
        ratio=middle,
        ratio_low=low,
        ratio_high=high,
        cosine=cosine,
        conflict_share=conflict,
        planned_steps=planned.steps,
        expected_steps=expected.steps,
        floor_from=planned.floor_from,
        floor_share=planned.floor_share,
        expected_floor_share=expected.floor_share,
        final_weight=planned.final_weight,
        expected_weight=expected.final_weight,
        method=f"{inner}+{outer}",
        reason=reason,
    )


def _of_fleet(config: RunConfig, fleet: Fleet) -> tuple[RunConfig, Dataset]:
    """Configuration for a fleet, and the fleet as a dataset whose test set is never read."""
    labels = LabelConfig.model_validate(derive_defaults(fleet).values["labels"])
    made = network_configuration(fleet, labels, config.method.name, config.preset, seed=config.seed)
    if made.features.n_conditions is None:
        features = made.features.model_copy(
            update={"n_conditions": "auto" if fleet.schema.settings else 1}
        )
        made = made.model_copy(update={"features": features})
    empty = fleet.select([])
    return made, Dataset(fleet.name, fleet, empty, fleet.schema.sensors, 1, "a table")

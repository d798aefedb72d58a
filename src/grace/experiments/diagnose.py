"""Before training: the gradients of the tasks compared, and a recommended method."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from grace.candidates.network import network_configuration
from grace.core.gaba import GABALoss
from grace.data.defaults import derive_defaults
from grace.data.fleet import Dataset, Fleet
from grace.data.labels import LabelConfig
from grace.experiments.comparisons import CONTROL_WEIGHT
from grace.experiments.training_data import build_training_data, load_data
from grace.formatting import count, number, percent
from grace.training.callbacks import Callback, StepEnd
from grace.training.config import RunConfig, deep_merge
from grace.training.trainer import Trainer

__all__ = ["Diagnosis", "advise", "diagnose", "floor_share"]

EVERY = 4  # steps between measurements
EPOCHS = 8
SIMILAR = 3.0  # norms within this factor count as balanced
FEW = 8  # measurements below which the advice says so
CONFLICT = -0.1  # cosine below which the gradients of a step conflict

Array = npt.NDArray[np.float64]


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
        floor_from: first step at which GABA's average would be below its floor; None: never.
        floor_share: share of the planned steps that GABA would spend on its floor.
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
    floor_from: int | None
    floor_share: float
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
    planned = config.training.epochs * min(config.training.steps_per_epoch or per_epoch, per_epoch)
    begins, share = floor_share(ratios, planned)
    low, middle, high = (float(v) for v in np.quantile(ratios, (0.1, 0.5, 0.9)))
    cosine = float(np.nanmedian(cosines))
    conflict = float(np.mean(cosines < CONFLICT))
    outer, reason = advise(middle, cosine, conflict, share)
    if len(norms) < FEW:
        reason += (
            f" Only {count(len(norms), 'step')} could be measured in {number(seconds)} s of "
            "training: allow more time before relying on this."
        )
    return Diagnosis(
        data.name, recorder.steps, recorder.epochs, len(norms), time.perf_counter() - began,
        middle, low, high, cosine, conflict, planned, begins, share, f"{inner}+{outer}", reason,
    )  # fmt: skip


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


def floor_share(ratios: Array, steps: int) -> tuple[int | None, float]:
    """When GABA with its default options reaches its floor, and the share of steps on it.

    GABA's average is followed over the measured ratios, each standing for :data:`EVERY` steps,
    and over their median for the steps that were not measured.

    Args:
        ratios: (n,) ratios of the gradient norms, ‖∇RUL‖ / ‖∇health‖, in the order of the steps.
        steps: steps of the training.

    Example:
        >>> import numpy as np
        >>> floor_share(np.full(100, 500.0), 1000)  # 232 steps after the warm-up of 100
        (332, 0.668)
        >>> floor_share(np.full(100, 2.0), 1000)
        (None, 0.0)
    """
    balancer = GABALoss()
    beta, least, warmup = balancer.beta, balancer.min_weight, balancer.warmup_steps
    known = ratios[np.isfinite(ratios)]
    if not known.size:
        return None, 0.0
    per_step = np.full(steps, np.median(known))
    measured = np.repeat(known, EVERY)[:steps]
    per_step[: measured.size] = measured
    average, begins, on_floor = 0.5, None, 0
    for step in range(warmup, steps):
        average = beta * average + (1.0 - beta) / (1.0 + per_step[step])
        if min(average, 1.0 - average) < least:
            begins = step if begins is None else begins
            on_floor += 1
    return begins, round(on_floor / max(1, steps), 4)


def advise(ratio: float, cosine: float, conflict_share: float, floor: float) -> tuple[str, str]:
    """Recommended outer balancer and the reason.

    Args:
        ratio: median ratio of the gradient norms.
        cosine: median cosine of the gradients.
        conflict_share: share of steps in conflict.
        floor: share of steps that GABA would spend on its floor.
    """
    if not math.isfinite(ratio):
        return "fixed:0.5", "One task has no gradient, so there is nothing to balance."
    larger = "RUL" if ratio >= 1 else "health"
    times = number(max(ratio, 1 / ratio))
    if conflict_share > 0.5:
        return "upgrad", (
            f"The gradients conflict in {percent(conflict_share)} of the steps (median cosine "
            f"{number(cosine)}): a method that changes their angle is worth its cost."
        )
    if floor > 0.5:
        weight = CONTROL_WEIGHT if ratio >= 1 else number(1 - float(CONTROL_WEIGHT))
        return f"fixed:{weight}", (
            f"The {larger} gradient is {times} times the other. GABA would be constant on its "
            f"floor for {percent(floor)} of the steps; this constant is the same method without "
            "its cost."
        )
    if 1 / SIMILAR <= ratio <= SIMILAR:
        return "fixed:0.5", (
            f"The gradients are of similar size (ratio {number(ratio)}): equal weights are "
            "balanced already."
        )
    return "gaba", (
        f"The {larger} gradient is {times} times the other, and GABA would adapt for "
        f"{percent(1 - floor)} of the steps before it reaches its floor."
    )

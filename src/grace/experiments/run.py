"""One run, end to end: data → split → preprocessing → training → evaluation → artifact."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grace._version import __version__, source_hash
from grace.data.fleet import Dataset
from grace.data.splits import UnitSplit
from grace.evaluation import Evaluation
from grace.experiments.metrics_file import read_metrics
from grace.experiments.run_artifact import check_provenance
from grace.experiments.run_dir import (
    RunResult,
    check_replaceable,
    clear_run,
    discard_stage,
    finish_replacement,
    load_finished_run,
    lock_run_dir,
    replace_run,
    staging_dir,
)
from grace.experiments.run_evaluation import RunEvaluator, differences
from grace.experiments.run_output import evaluate_and_save
from grace.experiments.training_data import (
    build_training_data,
    load_run_data,
    load_stored_data,
)
from grace.prediction.artifact import ArtifactError
from grace.prediction.predictor import Predictor
from grace.training.callbacks import Callback, CallbackList
from grace.training.checkpoint import CheckpointError, load_checkpoint
from grace.training.config import RunConfig
from grace.training.device import resolve_device
from grace.training.errors import ConfigError
from grace.training.parameters import flatten
from grace.training.presets import PRESETS
from grace.training.trainer import Trainer

__all__ = [
    "RunResult",
    "evaluate_run",
    "read_metrics",
    "run",
    "run_name",
]


def run_name(config: RunConfig) -> str:
    """Folder name of a run, e.g. ``FD001-grace-fast-seed42``; other configuration, other name.

    A configuration whose values differ from those of its preset gets six digits of a hash of them,
    which is the same for every seed and method without options.

    Example:
        >>> run_name(RunConfig.load(preset="fast", overrides={"seed": 1}))
        'sim-grace-fast-seed1'
        >>> run_name(RunConfig()) == run_name(RunConfig.load())
        False
    """
    method = config.method.name.replace(":", "_")
    name = f"{config.dataset}-{method}-{config.preset}-seed{config.seed}"
    name += "-test-selected" if config.select_on == "test" else ""
    changed = _settings_hash(config)
    if config.preset in PRESETS:
        usual = RunConfig.load(preset=config.preset, overrides={"dataset": config.dataset})
        changed = "" if _settings_hash(usual) == changed else changed
    return f"{name}-{changed}" if changed else name


def _settings_hash(config: RunConfig) -> str:
    """Hash of everything that the rest of a run's name does not show."""
    shown = {"seed": 0, "select_on": "validation"}
    method = config.method.model_copy(update={"name": ""})
    return config.model_copy(update={**shown, "method": method}).fingerprint()[:6]


def run(
    config: RunConfig,
    folder: str | Path,
    *,
    data_root: str | Path | None = None,
    dataset: Dataset | None = None,
    callbacks: Sequence[Callback] = (),
    on_stage: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> RunResult:
    """Train, evaluate and save; or go on where an interrupted run of this folder stopped.

    Args:
        config: what to do.
        folder: where checkpoint, artifact and logs go. A finished run of the same configuration
            and data is not repeated.
        data_root: where the data is; None searches the usual places.
        dataset: data already loaded, instead of ``config.dataset``.
        callbacks: called during training, see :class:`~grace.training.callbacks.Callback`.
        on_stage: called with a short text when the next stage of the run starts.
        overwrite: train anew even if the folder holds a run. A finished run is replaced when the
            new one is complete, not before; an unfinished one is deleted once data, configuration
            and device have been checked.

    Raises:
        DataError: the data cannot be used.
        ConfigError: the device, or an option of the dataset, does not exist.
        CheckpointError: the folder holds an unfinished run of another configuration or data.
        ArtifactError: the folder holds a finished run of another configuration or data, or another
            process is at work in it.
        NonFiniteLossError: training diverged.

    Example:
        >>> import grace
        >>> config = grace.RunConfig.load(overrides={
        ...     "dataset_options": {"n_train": 8, "n_test": 4}, "model": {"lstm_hidden": 8},
        ...     "training": {"epochs": 1}, "evaluate_baselines": False,
        ... })
        >>> result = run(config, "runs/first")  # returns at once where the folder holds this run
        >>> result.evaluation.protocol.n_test
        4
    """
    if config.preset in PRESETS and PRESETS[config.preset].stacked:
        raise ConfigError(
            f"preset {config.preset!r} is more than one network: use grace train, "
            "grace.experiments.stacked_run.run_stacked or grace.RULModel"
        )
    folder, stage = Path(folder), on_stage or (lambda text: None)
    stage(f"reading {dataset.name if dataset else config.dataset}")
    data, hashes = load_run_data(config, data_root, dataset)
    fingerprint = _fingerprint(config, hashes)
    finish_replacement(folder)
    done = None if overwrite else load_finished_run(folder, fingerprint)
    if done is not None:
        return done
    resolve_device(config.training.device)  # before anything is deleted
    if overwrite:
        check_replaceable(folder)
    with lock_run_dir(folder):
        if overwrite and (folder / "artifact.json").exists():
            return _retrain(config, folder, data, hashes, fingerprint, stage, callbacks)
        if overwrite:
            clear_run(folder)
        return _run(config, folder, data, hashes, fingerprint, stage, callbacks)


def _retrain(
    config: RunConfig,
    folder: Path,
    data: Dataset,
    hashes: dict[str, str],
    fingerprint: str,
    stage: Callable[[str], None],
    callbacks: Sequence[Callback],
) -> RunResult:
    """Train next to the finished run of ``folder``, and replace that run at the end."""
    staging = staging_dir(folder)
    with lock_run_dir(staging):
        begun = staging / "checkpoint.pt"
        try:
            if begun.exists():
                load_checkpoint(begun, fingerprint=fingerprint)
        except CheckpointError:
            clear_run(staging)  # left by an interrupted replacement with another configuration
        result = _run(
            config, staging, data, hashes, fingerprint, stage, callbacks, name=folder.name
        )
        replace_run(folder)
    discard_stage(folder)
    return replace(result, folder=folder)


def _run(
    config: RunConfig,
    folder: Path,
    data: Dataset,
    hashes: dict[str, str],
    fingerprint: str,
    stage: Callable[[str], None],
    callbacks: Sequence[Callback],
    *,
    name: str = "",
) -> RunResult:
    """Train or resume, evaluate, save; ``name`` is the run's if it is not that of the folder."""
    began = time.perf_counter()
    code = source_hash()  # now, not after hours in which the files may have been edited
    stage("splitting units and fitting the preprocessing")
    training_data = build_training_data(config, data)
    stage(
        f"training {config.method.name} on {len(training_data.train)} windows of "
        f"{len(training_data.split.train)} units"
    )
    # For loggers; "dataset" is what the run uses, which the caller may have given as an object.
    parameters = flatten(
        {**config.model_dump(mode="json"), "dataset": data.name, "version": __version__}
    )
    trainer = Trainer(
        training_data.model,
        config.method.build(n_tasks=config.n_tasks),
        config.training,
        seed=config.seed,
        run_dir=folder,
        fingerprint=fingerprint,
        callbacks=callbacks,
        name=name,
        parameters=parameters,
    )
    # The schedule and early stopping never see the test set, whatever chooses the checkpoint.
    fit = trainer.fit(training_data.train, training_data.monitors, select="validation")
    stage("reading the test set")
    known = {"fingerprint": fingerprint, "code": code, "data_hash": hashes}
    try:
        return evaluate_and_save(
            config, folder, data, training_data, fit, known, began=began, callbacks=callbacks
        )
    except BaseException as error:
        CallbackList(callbacks).on_exception(error)
        raise


def evaluate_run(
    folder: str | Path,
    *,
    data_root: str | Path | None = None,
    dataset: Dataset | None = None,
) -> tuple[Evaluation, list[str]]:
    """Predict the test set again with the artifact of a finished run, and evaluate it.

    Args:
        folder: of the run.
        data_root: where the data is; None searches the usual places.
        dataset: the data itself, for a run that was given its data.

    Returns:
        The evaluation, and the names of the figures in which it differs from the one stored with
        the run (by more than another machine's rounding explains); empty if in none.

    Raises:
        ArtifactError: the folder is no finished run, its data was passed to it and is not given
            here, or the data is not that of the run.

    Example:
        >>> evaluation, _ = evaluate_run("runs/first")
        >>> evaluation.protocol.time_unit
        'cycles'
    """
    folder = Path(folder)
    finish_replacement(folder)
    predictor = Predictor.load(folder)
    config, provenance = predictor.artifact.config, predictor.artifact.provenance
    check_provenance(folder, provenance, needed=("data_hash", "source", "units"))
    data = dataset or _data_of_run(folder, config, provenance, data_root)
    hashes = {"train": data.train.content_hash(), "test": data.test.content_hash()}
    if hashes != provenance["data_hash"]:
        raise ArtifactError(
            f"{folder}: the run used other data than {data.name} as it is now (content hashes "
            "differ). Remedy: give the data of the run; for C-MAPSS, `grace data verify` names the "
            "file that differs."
        )
    units = provenance["units"]
    split = UnitSplit(tuple(units["train"]), tuple(units["validation"]))
    evaluator = RunEvaluator.build(config, data, split, predictor.artifact.preprocessor)
    fresh, *_ = evaluator.evaluate(predictor, select_on=config.select_on)
    stored, _ = read_metrics(folder)
    return fresh, differences(stored.model_dump(), fresh.model_dump())


def _data_of_run(
    folder: Path, config: RunConfig, provenance: dict[str, Any], data_root: str | Path | None
) -> Dataset:
    """The named dataset that a run used.

    Raises:
        ArtifactError: it used data of another source, which only the user can give.
    """
    source = provenance["source"]["train"]
    if source["kind"] != "dataset":
        raise ArtifactError(
            f"{folder}: the run used data that was passed to it ({source['kind']} "
            f"{source['name']!r}), not a named dataset, so it cannot be read again from here. "
            "Remedy: evaluate_run(folder, dataset=…) with the same data."
        )
    if source["name"] != config.dataset:  # passed to the run instead of the configured one
        config = config.model_copy(update={"dataset": source["name"], "dataset_options": {}})
    return load_stored_data(config, folder, data_root)


def _fingerprint(config: RunConfig, hashes: dict[str, str]) -> str:
    parts = (__version__, config.fingerprint(), hashes["train"], hashes["test"])
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

"""One run, end to end: data → split → preprocessing → training → evaluation → artifact."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grace._version import __version__
from grace.data.errors import DataError
from grace.data.fleet import Dataset, Fleet
from grace.data.labels import capped_rul
from grace.data.splits import UnitSplit
from grace.evaluation import Evaluation
from grace.experiments.run_dir import (
    RunResult,
    check_replaceable,
    clear_run,
    discard_stage,
    load_finished_run,
    lock_run_dir,
    metrics,
    read_metrics,
    replace_run,
    staging_dir,
)
from grace.experiments.run_evaluation import baseline_predictions, differences, evaluate_predictions
from grace.experiments.training_data import TrainingData, build_training_data, load_data
from grace.files import atomic_writer, write_json
from grace.prediction.artifact import Artifact, ArtifactError
from grace.prediction.predictor import Predictor
from grace.training.checkpoint import CheckpointError, load_checkpoint
from grace.training.config import RunConfig
from grace.training.device import resolve_device
from grace.training.trainer import FitResult, Progress, Trainer, copy_with_weights

__all__ = [
    "RunListener",
    "RunResult",
    "evaluate_run",
    "read_metrics",
    "run",
    "run_name",
]


@dataclass
class RunListener:
    """Who is told how a run goes. Both callbacks may be None."""

    on_stage: Callable[[str], None] | None = None
    on_progress: Callable[[Progress], None] | None = None

    def stage(self, text: str) -> None:
        """Announce the next stage."""
        if self.on_stage is not None:
            self.on_stage(text)


def run_name(config: RunConfig) -> str:
    """Folder name of a run, e.g. ``FD001-grace-fast-seed42``."""
    method = config.method.name.replace(":", "_")
    name = f"{config.dataset}-{method}-{config.preset}-seed{config.seed}"
    return name + ("-test-selected" if config.select_on == "test" else "")


def run(
    config: RunConfig,
    folder: str | Path,
    *,
    data_root: str | Path | None = None,
    dataset: Dataset | None = None,
    listener: RunListener | None = None,
    overwrite: bool = False,
) -> RunResult:
    """Train, evaluate and save; or go on where an interrupted run of this folder stopped.

    Args:
        config: what to do.
        folder: where checkpoint, artifact and logs go. A finished run of the same configuration
            and data is not repeated.
        data_root: where the data is; None searches the usual places.
        dataset: data already loaded, instead of ``config.dataset``.
        listener: told of stages and progress.
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
    """
    folder, told = Path(folder), listener or RunListener()
    told.stage(f"reading {dataset.name if dataset else config.dataset}")
    data = dataset or load_data(config, data_root)
    if data.test.units["rul_at_end"].null_count() == data.test.n_units:
        raise DataError(
            "no test unit has a known RUL at its end, so nothing can be evaluated.",
            source=data.name,
            remedy="give rul_at_end for the test units.",
        )
    hashes = {"train": data.train.content_hash(), "test": data.test.content_hash()}
    fingerprint = _fingerprint(config, hashes)
    done = None if overwrite else load_finished_run(folder, fingerprint)
    if done is not None:
        return done
    resolve_device(config.training.device)  # before anything is deleted
    if overwrite:
        check_replaceable(folder)
    with lock_run_dir(folder):
        if overwrite and (folder / "artifact.json").exists():
            return _retrain(config, folder, data, hashes, fingerprint, told)
        if overwrite:
            clear_run(folder)
        return _run(config, folder, data, hashes, fingerprint, told)


def _retrain(
    config: RunConfig,
    folder: Path,
    data: Dataset,
    hashes: dict[str, str],
    fingerprint: str,
    told: RunListener,
) -> RunResult:
    """Train next to the finished run of ``folder``, and replace that run at the end."""
    stage = staging_dir(folder)
    with lock_run_dir(stage):
        begun = stage / "checkpoint.pt"
        try:
            if begun.exists():
                load_checkpoint(begun, fingerprint=fingerprint)
        except CheckpointError:
            clear_run(stage)  # left by an interrupted replacement with another configuration
        result = _run(config, stage, data, hashes, fingerprint, told)
        replace_run(folder)
    discard_stage(folder)
    return replace(result, folder=folder)


def _run(
    config: RunConfig,
    folder: Path,
    data: Dataset,
    hashes: dict[str, str],
    fingerprint: str,
    told: RunListener,
) -> RunResult:
    """Train or go on, judge, save."""
    began = time.perf_counter()
    told.stage("splitting units and fitting the preprocessing")
    prepared = build_training_data(config, data)
    told.stage(
        f"training {config.method.name} on {len(prepared.train)} windows of "
        f"{len(prepared.split.train)} units"
    )
    fit = _train(config, prepared, folder, fingerprint, told)
    chosen = fit.best[config.select_on]

    told.stage("reading the test set")
    evaluations, predictions = {}, pl.DataFrame()
    beside = (
        baseline_predictions(config, prepared.train_fleet, data.test, prepared.preprocessor)
        if config.evaluate_baselines
        else {}
    )
    for monitor, best in fit.best.items():
        artifact = Artifact(
            copy_with_weights(prepared.model, best.weights), prepared.preprocessor, config, {}
        )
        predicted = Predictor(artifact).predict(data.test, every_row=True)
        evaluations[monitor] = evaluate_predictions(
            config, data.name, data.test, predicted, beside, prepared.split, select_on=monitor
        )
        if monitor == config.select_on:
            predictions = _with_truth(predicted, data.test, config, beside)

    honest = None
    if config.select_on == "test":
        honest = evaluations["validation"].with_optimism_gap(evaluations["test"])
    evaluation = evaluations[config.select_on]
    with atomic_writer(folder / "predictions.parquet") as file:
        predictions.write_parquet(file)
    write_json(folder / "metrics.json", metrics(evaluation, honest))
    artifact = Artifact(
        copy_with_weights(prepared.model, chosen.weights),
        prepared.preprocessor,
        config,
        {
            "fingerprint": fingerprint,
            "data_hash": hashes,
            "dataset": {
                "name": data.name,
                "description": data.description,
                "citation": data.citation,
                "synthetic": data.synthetic,
            },
            "units": {
                "train": list(prepared.split.train),
                "validation": list(prepared.split.validation),
                "n_test": data.test.n_units,
            },
            "inputs": list(prepared.input_names),
            "chosen_epoch": chosen.epoch,
            "selection_rmse": {name: best.rmse for name, best in fit.best.items()},
            "epochs_trained": len(fit.history),
            "computed": {"device": fit.device, "precision": fit.precision},
            "training_seconds": sum(r.seconds for r in fit.history),
            "seconds": time.perf_counter() - began,
        },
    )
    artifact.save(folder, with_files=["metrics.json", "predictions.parquet"])
    (folder / "checkpoint.pt").unlink(missing_ok=True)  # finished: nothing to resume
    return RunResult(folder, evaluation, honest)


def evaluate_run(
    folder: str | Path,
    *,
    data_root: str | Path | None = None,
    dataset: Dataset | None = None,
) -> tuple[Evaluation, list[str]]:
    """Predict the test set anew with the artifact of a finished run, and judge it.

    Args:
        folder: of the run.
        data_root: where the data is; None searches the usual places.
        dataset: the data itself, for a run that was given its data.

    Returns:
        The evaluation, and the names of the figures in which it differs from the one stored with
        the run (by more than another machine's rounding explains); empty if in none.

    Raises:
        ArtifactError: the folder is no finished run, or the data is not that of the run.
    """
    folder = Path(folder)
    predictor = Predictor.load(folder)
    config, provenance = predictor.artifact.config, predictor.artifact.provenance
    data = dataset or load_data(config, data_root)
    hashes = {"train": data.train.content_hash(), "test": data.test.content_hash()}
    if hashes != provenance["data_hash"]:
        raise ArtifactError(
            f"{folder}: was made with other data than {data.name} as it is here (content hashes "
            "differ). Remedy: give the data of the run; for C-MAPSS, `grace data verify` tells "
            "which file differs."
        )
    units = provenance["units"]
    split = UnitSplit(tuple(units["train"]), tuple(units["validation"]))
    beside = (
        baseline_predictions(
            config, data.train.select(split.train), data.test, predictor.artifact.preprocessor
        )
        if config.evaluate_baselines
        else {}
    )
    predicted = predictor.predict(data.test, every_row=True)
    fresh = evaluate_predictions(
        config, data.name, data.test, predicted, beside, split, select_on=config.select_on
    )
    stored, _ = read_metrics(folder)
    return fresh, differences(stored.model_dump(), fresh.model_dump())


def _train(
    config: RunConfig, prepared: TrainingData, folder: Path, fingerprint: str, told: RunListener
) -> FitResult:
    trainer = Trainer(
        prepared.model,
        config.method.build(),
        config.training,
        seed=config.seed,
        run_dir=folder,
        fingerprint=fingerprint,
        on_progress=told.on_progress,
    )
    # The schedule and early stopping never see the test set, whatever chooses the checkpoint.
    return trainer.fit(prepared.train, prepared.monitors, select="validation")


def _fingerprint(config: RunConfig, hashes: dict[str, str]) -> str:
    parts = (__version__, config.fingerprint(), hashes["train"], hashes["test"])
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _with_truth(
    predicted: pl.DataFrame, test: Fleet, config: RunConfig, beside: dict[str, np.ndarray[Any, Any]]
) -> pl.DataFrame:
    """Predictions of every test row with the truth and the baselines beside them."""
    return predicted.with_columns(
        rul_true=pl.Series(test.rul()),
        rul_true_capped=pl.Series(capped_rul(test, config.labels)),
        **{f"baseline_{name}": pl.Series(values) for name, values in beside.items()},
    )

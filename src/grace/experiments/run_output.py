"""The second half of a run: predict the test set, evaluate, write the artifact."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from grace.data.fleet import Dataset
from grace.experiments.metrics_file import write_metrics
from grace.experiments.predictions_file import write_predictions
from grace.experiments.run_dir import EVALUATION_FILES, RunResult
from grace.experiments.run_evaluation import RunEvaluator, final_metrics
from grace.experiments.training_data import TrainingData
from grace.prediction.artifact import Artifact
from grace.prediction.predictor import Predictor
from grace.prediction.survival import calibrate_survival
from grace.training.callbacks import Callback, CallbackList, RunEnd
from grace.training.config import RunConfig
from grace.training.history import FitResult
from grace.training.trainer import copy_with_weights

__all__ = ["evaluate_and_save"]


def evaluate_and_save(
    config: RunConfig,
    folder: Path,
    data: Dataset,
    training_data: TrainingData,
    fit: FitResult,
    known: Mapping[str, Any],
    *,
    began: float,
    callbacks: Sequence[Callback],
) -> RunResult:
    """Evaluate a finished training on the test set and write everything to the folder of the run.

    Args:
        config: of the run.
        folder: of the run.
        data: what it used.
        training_data: the parts of the data that the training used.
        fit: the finished training.
        known: entries of the provenance that were known before the training.
        began: ``time.perf_counter()`` at the start of the run.
        callbacks: their ``on_run_end`` is called before the artifact is written.
    """
    evaluator = RunEvaluator.build(config, data, training_data.split, training_data.preprocessor)
    evaluations, frames = {}, {}
    for monitor, best in fit.best.items():
        artifact = _artifact(config, data, training_data, best.weights)
        select_on: Literal["validation", "test"] = "test" if monitor == "test" else "validation"
        evaluations[monitor], *frames[monitor] = evaluator.evaluate(
            Predictor(artifact), select_on=select_on
        )

    validation_selected = None
    if config.select_on == "test":
        validation_selected = evaluations["validation"].with_optimism_gap(evaluations["test"])
        # Both protocols of one training can then be compared unit by unit.
        test, validation = frames["test"]
        of_validation = frames["validation"][0].get_column("rul")
        frames["test"] = [test.with_columns(rul_validation_selected=of_validation), validation]
    evaluation = evaluations[config.select_on]
    for rows, frame in zip(("", "validation_"), frames[config.select_on], strict=True):
        write_predictions(folder / f"{rows}predictions.parquet", frame)
    write_metrics(folder, evaluation, validation_selected)
    CallbackList(callbacks).on_run_end(RunEnd(final_metrics(evaluations), folder))
    chosen = fit.best[config.select_on]
    artifact = _artifact(config, data, training_data, chosen.weights)
    provenance = {
        **known,
        **_provenance(data, training_data, fit),
        "chosen_epoch": chosen.epoch,
        "seconds": time.perf_counter() - began,
    }
    replace(artifact, provenance=provenance).save(folder, with_files=list(EVALUATION_FILES))
    (folder / "checkpoint.pt").unlink(missing_ok=True)  # finished: nothing to resume
    return RunResult(folder, evaluation, validation_selected)


def _provenance(data: Dataset, training_data: TrainingData, fit: FitResult) -> dict[str, Any]:
    """What the data and the training say about where the artifact comes from."""
    return {
        "source": {"train": asdict(data.train.source), "test": asdict(data.test.source)},
        "dataset": {
            "name": data.name,
            "description": data.description,
            "citation": data.citation,
            "synthetic": data.synthetic,
            "files": [asdict(file) for file in data.files],
        },
        "units": {
            "train": list(training_data.split.train),
            "validation": list(training_data.split.validation),
            "n_test": data.test.n_units,
        },
        "inputs": list(training_data.input_names),
        "selection_rmse": {name: best.rmse for name, best in fit.best.items()},
        "epochs_trained": len(fit.history),
        "computed": {"device": fit.device, "precision": fit.precision},
        "training_seconds": sum(r.seconds for r in fit.history),
    }


def _artifact(
    config: RunConfig, data: Dataset, training_data: TrainingData, weights: Mapping[str, Tensor]
) -> Artifact:
    """The network with these weights; its survival head calibrated on the validation units."""
    model = copy_with_weights(training_data.model, weights)
    artifact = Artifact(model, training_data.preprocessor, config, {})
    if model.survival_head is None:
        return artifact
    held_out = data.train.select(training_data.split.validation)
    return replace(artifact, calibration=calibrate_survival(artifact, held_out))

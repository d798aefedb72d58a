"""A run of a stacked preset: a ``RULModel`` of a dataset, evaluated on its test units."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace._version import __version__, source_hash
from grace.candidates import CANDIDATES
from grace.data.fleet import Dataset, Fleet
from grace.data.labels import capped_rul, health_class
from grace.data.preprocessing import Preprocessor
from grace.estimator import RULModel
from grace.estimator.inputs import predict_rows
from grace.estimator.saved_model import STACK, write_model
from grace.evaluation import Evaluation, HeldOutRows, Protocol, evaluate
from grace.experiments.metrics_file import read_metrics, write_metrics
from grace.experiments.predictions_file import write_predictions
from grace.experiments.run_dir import (
    EVALUATION_FILES,
    RunResult,
    check_replaceable,
    load_finished_run,
    lock_run_dir,
)
from grace.experiments.run_evaluation import differences, fit_baselines
from grace.experiments.training_data import load_data, load_run_data
from grace.prediction.artifact import ArtifactError, read_artifact_json
from grace.training.config import RunConfig

__all__ = ["evaluate_stacked_run", "is_stacked_run", "load_stacked_run", "run_stacked"]

HELD_OUT = "training units, predicted out of fold at some moments of their lives"
_EVERY = 10  # rows between those of a test unit that are predicted, counted from its last
_KIND = "rul_model"


def is_stacked_run(folder: str | Path) -> bool:
    """Whether the folder holds a finished run of :func:`run_stacked`."""
    try:
        content = read_artifact_json(Path(folder))
    except ArtifactError:
        return False
    return content.get("kind") == _KIND and "config" in content["provenance"]


def run_stacked(
    config: RunConfig,
    folder: str | Path,
    *,
    data_root: str | Path | None = None,
    dataset: Dataset | None = None,
    progress: Callable[[str, int], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
    overwrite: bool = False,
) -> RunResult:
    """Fit ``RULModel`` with the preset of a configuration, evaluate it on the test units, save it.

    Of the configuration the dataset, seed, method, preset, label cap and features of the baselines
    count. The test units are read once, after everything was fitted and chosen.

    Args:
        config: with a preset that is ``stacked``.
        folder: where model, metrics and predictions go. Fitted (candidate, fold) pairs are kept
            beside it until the run is finished: the same call continues there.
        data_root: where the data is; None searches the usual places.
        dataset: data already loaded, instead of ``config.dataset``.
        progress: called with candidate and fold before each fit.
        on_stage: called with a short text when the next stage of the run starts.
        overwrite: fit anew even if the folder holds a finished run, which is replaced at the end.

    Raises:
        DataError: the data cannot be used.
        ArtifactError: the folder holds another run, or another process is at work in it.
    """
    folder, stage, began = Path(folder), on_stage or (lambda text: None), time.perf_counter()
    code = source_hash()  # now, not after hours in which the files may have been edited
    stage(f"reading {dataset.name if dataset else config.dataset}")
    data, hashes = load_run_data(config, data_root, dataset)
    revisions = " ".join(f"{name}={kind.revision}" for name, kind in CANDIDATES.items())
    parts = (
        *(__version__, config.preset, config.fingerprint(), revisions),
        *(hashes["train"], hashes["test"]),
    )
    fingerprint = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    done = None if overwrite else load_finished_run(folder, fingerprint)
    if done is not None:
        return done
    if overwrite:
        check_replaceable(folder)
    with lock_run_dir(folder):
        store = folder.with_name(f".{folder.name}.fit")
        model = RULModel(
            method=config.method.name, preset=config.preset, seed=config.seed, cap=config.labels.cap
        ).fit(data.train, store=store, progress=progress)
        stage("reading the test set")
        evaluation, test, held = _evaluate(model, config, data)
        if overwrite:
            _remove_model(folder)
        write_predictions(folder / "predictions.parquet", test)
        write_predictions(folder / "validation_predictions.parquet", held)
        write_metrics(folder, evaluation)
        write_model(
            folder,
            model.get_params(),
            model.learned,
            model.oof_,
            with_files=EVALUATION_FILES,
            provenance={
                "fingerprint": fingerprint,
                "code": code,
                "config": config.model_dump(mode="json"),
                "data_hash": hashes,
                "test_source": asdict(data.test.source),
                "seconds": time.perf_counter() - began,
            },
        )
        shutil.rmtree(store, ignore_errors=True)
    return RunResult(folder, evaluation, None)


def load_stacked_run(folder: str | Path) -> tuple[RULModel, RunConfig]:
    """Model and configuration of a finished run.

    Raises:
        ArtifactError: the folder holds none, or a file was changed or damaged.
    """
    folder = Path(folder)
    provenance = read_artifact_json(folder)["provenance"]
    try:
        config = RunConfig.model_validate(provenance["config"])
    except (LookupError, ValueError) as error:
        raise ArtifactError(
            f"{folder / 'artifact.json'}: provenance.config: cannot be used ({error}). Remedy: "
            "restore it from a copy, or train again."
        ) from error
    return RULModel.load(folder), config


def evaluate_stacked_run(
    folder: str | Path, *, data_root: str | Path | None = None, dataset: Dataset | None = None
) -> tuple[Evaluation, list[str]]:
    """Predict the test set again with the model of a finished run, and evaluate it.

    Returns:
        As :func:`~grace.experiments.evaluate_run`.

    Raises:
        ArtifactError: the folder is no such run, or the data is not that of the run.
    """
    folder = Path(folder)
    model, config = load_stacked_run(folder)
    data = dataset or load_data(config, data_root)
    hashes = {"train": data.train.content_hash(), "test": data.test.content_hash()}
    if hashes != read_artifact_json(folder)["provenance"].get("data_hash"):
        raise ArtifactError(
            f"{folder}: the run used other data than {data.name} as it is now (content hashes "
            "differ). Remedy: give the data of the run."
        )
    fresh, *_ = _evaluate(model, config, data)
    stored, _ = read_metrics(folder)
    return fresh, differences(stored.model_dump(), fresh.model_dump())


def _evaluate(
    model: RULModel, config: RunConfig, data: Dataset
) -> tuple[Evaluation, pl.DataFrame, pl.DataFrame]:
    """Evaluation on the test units, their predictions, and those of training units out of fold."""
    rows = _spaced_rows(data.test)
    frame = predict_rows(data.test, rows, model.learned)
    distribution = model.distribution_.predict(frame)
    lower, upper = distribution.interval(0.9)
    baselines: dict[str, npt.NDArray[np.float64]] = {}
    if config.evaluate_baselines:
        fitted = fit_baselines(config, data.train, _baseline_inputs(config, data))
        every = fitted.predict(data.test)
        baselines = {name: values[rows] for name, values in every.items()}
    labels = model.labels_
    limits = labels.health_thresholds
    below = [np.ones(len(frame)), *(np.asarray(distribution.cdf(v)) for v in limits)]
    shares = -np.diff(np.stack([*below, np.zeros(len(frame))]), axis=0)
    test = frame.select("unit", "time", rul=pl.col(STACK)).with_columns(
        health=pl.Series(health_class(frame[STACK].to_numpy(), limits)),
        **{f"p_health_{i}": pl.Series(share) for i, share in enumerate(shares)},
        lower=pl.Series(lower),
        upper=pl.Series(upper),
        rul_true=pl.Series(data.test.rul()[rows]),
        rul_true_capped=pl.Series(capped_rul(data.test, labels)[rows]),
        **{f"baseline_{name}": pl.Series(values) for name, values in baselines.items()},
    )
    assert model.oof_ is not None
    known = model.oof_.filter(pl.col("rul_true").is_not_null())
    # Two parts of a record may have drawn the same row.
    held = known.unique(["unit", "time"], keep="first", maintain_order=True).select(
        "unit", "time", "rul_true", rul=pl.col(STACK), rul_true_capped=pl.col("rul_capped")
    )
    evaluation = evaluate(
        Protocol(
            dataset=data.name,
            selection_rows="out_of_fold",
            label_cap=labels.cap,
            health_thresholds=limits,
            time_unit=data.test.schema.time_unit,
            n_train=data.train.n_units,
            seeds=(config.seed,),
        ),
        unit=test["unit"].to_numpy(),
        time=test["time"].to_numpy(),
        rul=test["rul_true"].to_numpy(),
        predicted=test["rul"].to_numpy(),
        health_probabilities=shares.T,
        baselines=baselines,
        held_out=HeldOutRows(
            unit=held["unit"].to_numpy(),
            time=held["time"].to_numpy(),
            rul=held["rul_true"].to_numpy(),
            predicted=held["rul"].to_numpy(),
            baselines={},
            description=HELD_OUT,
        ),
    )
    return evaluation, test, held


def _spaced_rows(fleet: Fleet) -> npt.NDArray[np.int64]:
    """Every tenth row of each unit, counted back from its last, ascending."""
    ends = fleet.starts() + fleet.lengths() - 1
    return np.concatenate(
        [
            np.arange(end, start - 1, -_EVERY)[::-1]
            for start, end in zip(fleet.starts(), ends, strict=True)
        ]
    ).astype(np.int64)


def _baseline_inputs(config: RunConfig, data: Dataset) -> Preprocessor:
    return Preprocessor(
        config.features, default_sensors=data.default_sensors, default_conditions=data.n_conditions
    ).fit(data.train)


def _remove_model(folder: Path) -> None:
    """Delete the finished run of a folder: ``artifact.json`` first, then the files it lists."""
    try:
        content: dict[str, Any] = read_artifact_json(folder)
    except ArtifactError:
        return
    (folder / "artifact.json").unlink()
    for name in content["files"]:
        (folder / name).unlink(missing_ok=True)

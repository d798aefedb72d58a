"""A run folder without a training: real value objects, made-up predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from grace.data.preprocessing import Preprocessor
from grace.data.readers import load_dataset
from grace.evaluation import Evaluation, HeldOutRows, Protocol, evaluate
from grace.experiments.metrics_file import write_metrics
from grace.experiments.run_dir import EVALUATION_FILES
from grace.files import sha256_file
from grace.prediction.artifact import Artifact, read_artifact_json, write_artifact_json
from grace.training import RunConfig
from grace.training.callbacks import StepEnd
from grace.training.history import EpochRecord
from grace.training.jsonl_logger import JSONLLogger
from grace.training.step import StepLog

HOSTILE = "<script>alert('1')</script>"
UNITS = [HOSTILE, "$x^{", 'a"b&c', *(f"pump {k}" for k in range(4, 21))]
CAP = 125.0

MakeRun = Callable[..., Path]


def make_predictions(
    *, unknown: int = 0, health: bool = True, to_failure: bool = False
) -> pl.DataFrame:
    """20 units, each seen for 60 to 120 rows; ``unknown`` of them without a known failure."""
    rng = np.random.default_rng(5)
    parts = []
    for k, unit in enumerate(UNITS):
        n = int(rng.integers(60, 120))
        left = 0.0 if to_failure else float(3 + 9 * k)
        true = left + np.arange(n - 1, -1, -1.0)
        capped = np.minimum(true, CAP)
        rul = np.clip(capped + rng.normal(0, 8, n), 0, CAP)
        logits = -np.abs(np.stack([125 - rul, 55 - rul, 15 - rul], axis=1)) / 20
        chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        columns: dict[str, Any] = {"unit": [unit] * n, "time": np.arange(1.0, n + 1), "rul": rul}
        if health:
            columns["health"] = chance.argmax(axis=1)
            columns |= {f"p_health_{c}": chance[:, c] for c in range(3)}
        nobody = k >= len(UNITS) - unknown
        columns |= {
            "condition_distance": np.zeros(n),
            "rul_true": np.full(n, np.nan) if nobody else true,
            "rul_true_capped": np.full(n, np.nan) if nobody else capped,
            "baseline_constant": np.full(n, 80.0),
            "baseline_gradient_boosting": np.clip(capped + rng.normal(0, 12, n), 0, CAP),
        }
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def evaluate_frame(frame: pl.DataFrame, select_on: str, *, baselines: bool = True) -> Evaluation:
    classes = [c for c in frame.columns if c.startswith("p_health_")]
    baseline_columns = [c for c in frame.columns if c.startswith("baseline_")] if baselines else []
    followed = make_predictions(to_failure=True)
    return evaluate(
        Protocol(dataset="FD<i>1", select_on=select_on, n_train=85, n_validation=15, seeds=(7,)),  # type: ignore[arg-type]
        unit=frame["unit"].to_numpy(),
        time=frame["time"].to_numpy(),
        rul=frame["rul_true"].to_numpy(),
        predicted=frame["rul"].to_numpy(),
        health_probabilities=frame.select(classes).to_numpy() if classes else None,
        baselines={c.removeprefix("baseline_"): frame[c].to_numpy() for c in baseline_columns},
        held_out=HeldOutRows(
            followed["unit"].to_numpy(),
            followed["time"].to_numpy(),
            followed["rul_true"].to_numpy(),
            followed["rul"].to_numpy(),
            {c.removeprefix("baseline_"): followed[c].to_numpy() for c in baseline_columns},
            "validation units",
        ),
        n_resamples=40,
    )


def write_logs(folder: Path, select_on: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    logger = JSONLLogger(folder)
    for epoch in range(4):
        rmse = {"validation": 20.0 / (epoch + 1)} | ({"test": 9.0} if select_on == "test" else {})
        logger.on_epoch_end(
            EpochRecord(
                epoch=epoch, step=10 * epoch, lr=1e-3, loss=100.0, rul_loss=200.0,
                health_loss=1.0, grad_norm=3.0, weights=[0.5, 0.5], rmse=rmse, seconds=1.0,
            )
        )  # fmt: skip
    for step in range(0, 60, 10):
        one = torch.tensor(1.0)
        pair = torch.tensor([0.3, 0.7])
        diagnostics = {
            "lambda_raw": pair, "lambda_ema": pair, "floor_active": torch.tensor(True),
            "floor_share": torch.tensor(0.25), "task_grad_norms": torch.tensor([500.0, 1.0]),
            "norm_ratio": 500 * one, "cosine": -0.1 * one,
        }  # fmt: skip
        log = StepLog(one, torch.ones(2), one, pair, diagnostics)
        logger.on_step_end(
            StepEnd(epoch=0, step=step, step_in_epoch=step + 1, log=log, logged=True)
        )


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``artifact.json`` as :class:`Artifact` writes it."""
    folder = tmp_path_factory.mktemp("artifact")
    data = load_dataset("sim", seed=1, n_train=4, n_test=2)
    config = RunConfig.load(
        preset="fast",
        overrides={"model": {"lstm_hidden": 4, "num_heads": 2, "conv_channels": [4, 4, 4]}},
    )
    preprocessor = Preprocessor(
        config.features, default_sensors=data.default_sensors, default_conditions=1
    ).fit(data.train)
    model = config.model.build(len(preprocessor.transform(data.train).names), 3)
    provenance = {
        "fingerprint": "f" * 64,
        "data_hash": {"train": "a" * 64, "test": "b" * 64},
        "dataset": {
            "name": "sim",
            "description": "pumps & <b>valves</b>",
            "citation": "Nobody, <script>2024</script>",
            "synthetic": True,
        },
        "units": {"train": [1, 2, HOSTILE], "validation": [4], "n_test": 20},
        "inputs": ["s1", "s2"],
        "chosen_epoch": 3,
        "selection_rmse": {"validation": 5.0},
        "epochs_trained": 4,
        "training_seconds": 4.0,
        "seconds": 5.0,
    }
    Artifact(model, preprocessor, config, provenance).save(folder)
    return folder


@pytest.fixture(scope="session")
def make_run(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """``make_run(select_on="validation", unknown=0, health=True, …)`` → a new run folder."""

    def make(
        *,
        select_on: str = "validation",
        unknown: int = 0,
        health: bool = True,
        baselines: bool = True,
        logs: bool = True,
    ) -> Path:
        folder = tmp_path_factory.mktemp("run")
        (folder / "artifact.json").write_bytes((saved / "artifact.json").read_bytes())
        frame = make_predictions(unknown=unknown, health=health)
        frame.write_parquet(folder / "predictions.parquet")
        held_out = make_predictions(health=health, to_failure=True)
        held_out.write_parquet(folder / "validation_predictions.parquet")
        evaluation = evaluate_frame(frame, select_on, baselines=baselines)
        validation_selected = None
        if select_on == "test":
            worse = frame.with_columns(rul=pl.col("rul") * 0.9)
            validation_selected = evaluate_frame(
                worse, "validation", baselines=baselines
            ).with_optimism_gap(evaluation)
        write_metrics(folder, evaluation, validation_selected)
        content = read_artifact_json(folder)
        for name in EVALUATION_FILES:
            content["files"][name] = sha256_file(folder / name)
        write_artifact_json(folder, content)
        if logs:
            write_logs(folder, select_on)
        return folder

    return make

"""What a report is made from: the files of a run folder, read and checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.evaluation import Evaluation, prognostics_by_unit
from grace.experiments.metrics_file import read_metrics
from grace.experiments.predictions_file import read_predictions
from grace.experiments.run_artifact import read_run_artifact
from grace.experiments.run_dir import EVALUATION_FILES, finish_replacement
from grace.prediction.artifact import verify_artifact_files
from grace.training.jsonl_logger import read_jsonl

__all__ = ["RunData", "Trajectory", "read_run_data"]

Array = npt.NDArray[np.float64]
_NEEDED = ("unit", "time", "rul", "rul_true", "rul_true_capped")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One unit over its recorded time: all arrays (n,), true values NaN where unknown."""

    unit: Any
    time: Array
    predicted: Array
    true: Array
    true_capped: Array
    states: npt.NDArray[np.int64] | None

    @property
    def error(self) -> float:
        """Prediction minus capped true RUL at the last row; positive is late."""
        return float(self.predicted[-1] - self.true_capped[-1])


@dataclass(frozen=True, eq=False)
class RunData:
    """A finished run: its evaluation, predictions, logs and provenance.

    ``validation_selected`` is the validation-selected evaluation of a test-selected run, else None.
    ``predictions`` are of the test units, ``validation`` of the validation units. ``history`` and
    ``telemetry`` are empty where the run left none.
    """

    folder: Path
    artifact: dict[str, Any]
    evaluation: Evaluation
    validation_selected: Evaluation | None
    predictions: pl.DataFrame
    validation: pl.DataFrame
    history: list[dict[str, Any]]
    telemetry: list[dict[str, Any]]

    @property
    def mark(self) -> str:
        """What every figure and table must be marked with; "" if nothing."""
        return self.evaluation.protocol.mark

    @property
    def time_unit(self) -> str:
        """What RUL counts."""
        return self.evaluation.protocol.time_unit

    @property
    def cap(self) -> float | None:
        """The label cap, in :attr:`time_unit`."""
        return self.evaluation.protocol.label_cap

    @property
    def n_states(self) -> int:
        """Number of health states."""
        return len(self.evaluation.protocol.health_thresholds) + 1

    @cached_property
    def trajectories(self) -> list[Trajectory]:
        """Every test unit, in the order of the predictions."""
        return _trajectories(self.predictions)

    @cached_property
    def followed(self) -> list[Trajectory]:
        """The validation units: observed to their failure, hence with prognostic metrics."""
        return _trajectories(self.validation)

    @cached_property
    def evaluated(self) -> list[Trajectory]:
        """The units whose remaining life is known, hence evaluated."""
        return [t for t in self.trajectories if not np.isnan(t.true).any()]

    @cached_property
    def last_rows(self) -> pl.DataFrame:
        """The predictions at each unit's last row."""
        return self.predictions.group_by("unit", maintain_order=True).last()

    def by_unit(self, lambdas: Sequence[float]) -> dict[str, npt.NDArray[Any]]:
        """Prognostic metrics of every followed unit, settings as in the evaluation's summary."""
        kept = self.followed
        summary = self.evaluation.prognostics
        return prognostics_by_unit(
            np.repeat(np.arange(len(kept)), [t.time.size for t in kept]),
            np.concatenate([t.time for t in kept]),
            np.concatenate([t.true for t in kept]),
            np.concatenate([t.predicted for t in kept]),
            cap=summary.cap,
            alpha=summary.alpha,
            lambdas=lambdas,
            horizon_alpha=summary.horizon_alpha,
        )


def read_run_data(folder: Path) -> RunData:
    """Read a run folder.

    Raises:
        ArtifactError: the folder holds no finished run, or a file of it cannot be used.
    """
    finish_replacement(folder)
    artifact = read_run_artifact(folder)
    verify_artifact_files(folder, artifact, list(EVALUATION_FILES))
    evaluation, validation_selected = read_metrics(folder)
    return RunData(
        folder=folder,
        artifact=artifact,
        evaluation=evaluation,
        validation_selected=validation_selected,
        predictions=read_predictions(folder / "predictions.parquet"),
        validation=read_predictions(folder / "validation_predictions.parquet"),
        history=read_jsonl(folder / "history.jsonl"),
        telemetry=read_jsonl(folder / "telemetry.jsonl"),
    )


def _floats(frame: pl.DataFrame, name: str) -> Array:
    column = frame.get_column(name).cast(pl.Float64).fill_null(float("nan"))
    return np.asarray(column.to_numpy())


def _trajectories(frame: pl.DataFrame) -> list[Trajectory]:
    columns = {name: _floats(frame, name) for name in _NEEDED[1:]}
    states = frame.get_column("health").to_numpy() if "health" in frame.columns else None
    units = frame.get_column("unit").to_list()
    starts = [i for i in range(len(units)) if i == 0 or units[i] != units[i - 1]]
    found = []
    for a, b in zip(starts, [*starts[1:], len(units)], strict=True):
        part = {name: values[a:b] for name, values in columns.items()}
        found.append(
            Trajectory(
                units[a],
                part["time"],
                part["rul"],
                part["rul_true"],
                part["rul_true_capped"],
                None if states is None else states[a:b],
            )
        )
    return found

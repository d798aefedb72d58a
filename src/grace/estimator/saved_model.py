"""What a fitted :class:`~grace.estimator.RULModel` has learned, and its folder on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from grace._version import __version__
from grace.candidates import CANDIDATES, Candidate, EarlyShift, FoldMean, Stack
from grace.candidates.out_of_fold import STACK_COLUMN
from grace.data.labels import LabelConfig
from grace.data.preprocessing import Preprocessor
from grace.data.schema import FleetSchema
from grace.data.table import TableSchema
from grace.files import atomic_writer, sha256_file
from grace.prediction.artifact import (
    FORMAT,
    ArtifactError,
    read_artifact_json,
    verify_artifact_files,
    write_artifact_json,
)
from grace.prediction.state_files import read_state, write_state
from grace.uncertainty import DistributionModel

__all__ = ["STACK", "Learned", "load_model", "save_model", "write_model"]

STACK = STACK_COLUMN
"""Column of the stack's predictions."""
_FORMAT, _KIND = 3, "rul_model"
_OOF = "out_of_fold.parquet"


@dataclass(frozen=True, eq=False)
class Learned:
    """The learned state of a ``RULModel``.

    ``table_schema`` is None if the model was fitted on a ``Fleet``. ``static`` holds the static
    attributes of the training units, ``input_check`` compares new inputs with training. ``early``
    shifts the predictions of the stack; None: it does not.
    """

    fleet_schema: FleetSchema
    table_schema: TableSchema | None
    labels: LabelConfig
    reasons: Mapping[str, str]
    left_out: Mapping[str, str]
    candidates: Mapping[str, Candidate]
    stack: Stack
    early: EarlyShift | None
    distribution: DistributionModel
    input_check: Preprocessor
    static: pl.DataFrame
    provenance: Mapping[str, Any]
    summary: str


def save_model(
    folder: Path, params: Mapping[str, Any], learned: Learned, oof: pl.DataFrame | None = None
) -> Path:
    """Write a model; ``artifact.json``, which comes last, records the SHA-256 of every file.

    The out-of-fold predictions ``oof`` are kept for decisions: costs of a policy are computed on
    them.

    Raises:
        ArtifactError: the folder holds files, but no model of this kind.
        OSError: a file cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and _kind(folder) != _KIND:
        raise ArtifactError(
            f"{folder}: holds files but no saved RULModel, so nothing is written. Remedy: choose "
            "another folder."
        )
    return write_model(folder, params, learned, oof)


def write_model(
    folder: Path,
    params: Mapping[str, Any],
    learned: Learned,
    oof: pl.DataFrame | None = None,
    *,
    with_files: Iterable[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model to a folder that the caller has checked; see :func:`save_model`.

    Args:
        folder: where to; made if it does not exist.
        params: arguments of the constructor.
        learned: what was learned.
        oof: out-of-fold predictions.
        with_files: names of files already in ``folder`` that belong to the model (metrics,
            predictions); their SHA-256 is recorded with those of the others.
        provenance: further entries of it.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = {name: sha256_file(folder / name) for name in with_files}
    for name, candidate in learned.candidates.items():
        digests |= write_state(folder, f"candidate_{name}", candidate.to_state())
    names, table = params["candidates"], learned.table_schema
    state = {
        "params": {**params, "candidates": None if names is None else list(names)},
        "fleet_schema": learned.fleet_schema.model_dump(mode="json"),
        # Fates may be a table, and predicting needs none.
        "table_schema": None if table is None else table.model_dump(mode="json", exclude={"fate"}),
        "labels": learned.labels.model_dump(mode="json"),
        "reasons": learned.reasons,
        "left_out": learned.left_out,
        "stack": learned.stack.to_state(),
        "early": None if learned.early is None else learned.early.to_state(),
        "distribution": learned.distribution.to_dict(),
        "input_check": learned.input_check.to_dict(),
        "static": {c: learned.static[c].to_list() for c in learned.static.columns},
        "summary": learned.summary,
    }
    digests |= write_state(folder, "model", state)
    if oof is not None:
        with atomic_writer(folder / _OOF) as file:
            oof.write_parquet(file)
        digests[_OOF] = sha256_file(folder / _OOF)
    write_artifact_json(
        folder,
        {
            "format": FORMAT,
            "kind": _KIND,
            "model_format": _FORMAT,
            "grace": __version__,
            "provenance": {**learned.provenance, **(provenance or {})},
            "candidates": list(learned.candidates),
            "files": digests,
        },
    )
    return folder


def load_model(folder: Path) -> tuple[dict[str, Any], Learned, pl.DataFrame | None]:
    """Parameters, learned state and out-of-fold predictions of a saved model.

    Raises:
        ArtifactError: the folder holds none, or a file was changed or damaged.
    """
    content = read_artifact_json(folder)
    if content.get("kind") != _KIND or content.get("model_format") != _FORMAT:
        raise ArtifactError(
            f"{folder}: holds no RULModel of this version. Remedy: for a run of `grace train` use "
            "grace.Predictor.load."
        )
    verify_artifact_files(folder, content)
    state = read_state(folder, "model")
    try:
        table = state["table_schema"]
        learned = Learned(
            fleet_schema=FleetSchema.model_validate(state["fleet_schema"]),
            table_schema=None if table is None else TableSchema(**table),
            labels=LabelConfig.model_validate(state["labels"]),
            reasons=dict(state["reasons"]),
            left_out=dict(state["left_out"]),
            candidates={
                name: _candidate(name, read_state(folder, f"candidate_{name}"))
                for name in content["candidates"]
            },
            stack=Stack.from_state(state["stack"]),
            early=None if state["early"] is None else EarlyShift.from_state(state["early"]),
            distribution=DistributionModel.from_dict(state["distribution"]),
            input_check=Preprocessor.from_dict(state["input_check"]),
            static=pl.DataFrame(state["static"], infer_schema_length=None),
            provenance=dict(content["provenance"]),
            summary=str(state["summary"]),
        )
        kept = _OOF in content["files"]
        oof = pl.read_parquet(folder / _OOF, glob=False) if kept else None
        return dict(state["params"]), learned, oof
    except (LookupError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{folder}: cannot be read ({error}). Remedy: train again.") from error


def _candidate(name: str, state: Mapping[str, Any]) -> Candidate:
    """A candidate, or the mean of those of several folds."""
    return (FoldMean if "kind" in state else CANDIDATES[name]).from_state(state)


def _kind(folder: Path) -> str | None:
    try:
        kind = read_artifact_json(folder).get("kind")
    except ArtifactError:
        return None
    return kind if isinstance(kind, str) else None

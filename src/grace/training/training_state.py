"""State of a training as its checkpoint stores it: written, checked and restored here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from grace.training.checkpoint import CheckpointError
from grace.training.history import Best, EpochRecord, FitResult

__all__ = ["restore_training", "stored_precision", "training_state"]


class _Fixed(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class _Best(_Fixed):
    epoch: int
    rmse: float
    weights: dict[str, Tensor]


class _Stored(_Fixed):
    """Keys and types of a checkpoint; the content of ``parts`` is checked by each part."""

    fingerprint: str
    parts: dict[str, Any]
    best: dict[str, _Best]
    history: list[EpochRecord]
    stopped_early: bool
    precision: Literal["fp32", "bf16"]
    callbacks: dict[str, Any]


def training_state(
    fingerprint: str, parts: Mapping[str, Any], result: FitResult, callbacks: dict[str, Any]
) -> dict[str, Any]:
    """What a training needs to continue: tensors and plain values."""
    return {
        "fingerprint": fingerprint,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "best": {name: asdict(best) for name, best in result.best.items()},
        "history": [asdict(record) for record in result.history],
        "stopped_early": result.stopped_early,
        "precision": result.precision,
        "callbacks": callbacks,
    }


def stored_precision(state: Mapping[str, Any], path: Path) -> Literal["fp32", "bf16"]:
    """The number format of the training that wrote a checkpoint.

    Raises:
        CheckpointError: the checkpoint does not have the structure of this version.
    """
    return _read(state, path).precision


def restore_training(
    state: Mapping[str, Any], parts: Mapping[str, Any], result: FitResult, path: Path
) -> None:
    """Give every part its state back, and ``result`` its history.

    Args:
        state: content of the checkpoint.
        parts: model, optimiser and the like by name, as :func:`training_state` was given them.
        result: of a training that has just begun; its monitors must be those of the checkpoint.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: the checkpoint does not have the structure of this version or does not fit
            the model; the part is named.
    """
    stored = _read(state, path)
    if stored.best.keys() != result.best.keys() or stored.parts.keys() != parts.keys():
        raise _unusable(path, "its parts or monitors are not those of this training")
    weights = {name: value.shape for name, value in parts["model"].state_dict().items()}
    for name, best in stored.best.items():
        if stored.history and {k: v.shape for k, v in best.weights.items()} != weights:
            raise _unusable(path, f"best.{name}: the weights are not those of this model")
    for name, part in parts.items():
        try:
            part.load_state_dict(stored.parts[name])
        except Exception as error:  # each part has its own ways to refuse a wrong state
            text = (str(error) or type(error).__name__).partition("\n")[0]
            raise _unusable(path, f"{name}: {text}") from error
    result.best = {
        name: Best(best.epoch, best.rmse, best.weights) for name, best in stored.best.items()
    }
    result.history = stored.history
    result.stopped_early = stored.stopped_early


def _read(state: Mapping[str, Any], path: Path) -> _Stored:
    try:
        stored = _Stored.model_validate(dict(state))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _unusable(path, f"{place}: {first['msg']}") from error
    for i, record in enumerate(stored.history):
        if record.epoch != i:
            raise _unusable(path, f"history.{i}: is of epoch {record.epoch}")
    return stored


def _unusable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: does not hold the state of this training ({why}). Remedy: delete it and train "
        "again from the start."
    )

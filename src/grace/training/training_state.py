"""State of a training as its checkpoint stores it: written, checked and restored here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
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
            _check_like(stored.parts[name], part.state_dict(), name)
            part.load_state_dict(stored.parts[name])
            if isinstance(part, torch.optim.Optimizer):
                _check_moments(part)
        except Exception as error:  # each part has its own ways to refuse a wrong state
            text = (str(error) or type(error).__name__).partition("\n")[0]
            raise _unusable(path, f"{name}: {text}") from error
    result.best = {
        name: Best(best.epoch, best.rmse, best.weights) for name, best in stored.best.items()
    }
    result.history = stored.history
    result.stopped_early = stored.stopped_early


def _check_like(stored: Any, own: Any, place: str) -> None:
    """Compare keys and types of a part's stored state with those of its own.

    An optimiser has no state of its own before its first step, so further keys of a mapping are
    only searched for what no part stores.

    Raises:
        ValueError: a value is of another type; its place is named.
    """
    if isinstance(own, Mapping):
        if not isinstance(stored, Mapping) or (own and stored.keys() != own.keys()):
            raise ValueError(f"{place}: other names than in this version")
        for key, value in stored.items():
            _check_like(value, own[key] if own else value, f"{place}.{key}")
    elif isinstance(own, list | tuple):
        if not isinstance(stored, list | tuple) or len(stored) != len(own):
            raise ValueError(f"{place}: not a list of {len(own)}")
        for i, (value, mine) in enumerate(zip(stored, own, strict=True)):
            _check_like(value, mine, f"{place}.{i}")
    elif isinstance(own, int | float) and not isinstance(own, bool):
        if not isinstance(stored, int | float) or isinstance(stored, bool):
            raise ValueError(f"{place}: {type(stored).__name__} instead of a number")
        if isinstance(own, int) and not isinstance(stored, int):
            raise ValueError(f"{place}: {stored} instead of an integer")
    elif type(stored) is not type(own):
        raise ValueError(f"{place}: {type(stored).__name__} instead of {type(own).__name__}")


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Check what the optimiser keeps for each parameter: a step count and tensors of its shape.

    Raises:
        ValueError: an entry is of another type or shape, or of no parameter.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not set(optimizer.state) <= set(parameters):
        raise ValueError("holds the state of an unknown parameter")
    for i, parameter in enumerate(parameters):
        kept = optimizer.state.get(parameter, {})
        if kept and set(kept) != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"parameter {i}: other names than in this version")
        for name, value in kept.items():
            shape = () if name == "step" else parameter.shape
            if not isinstance(value, Tensor) or not value.is_floating_point():
                raise ValueError(f"parameter {i}: {name} is not a tensor of numbers")
            if value.shape != shape:
                raise ValueError(f"parameter {i}: {name} has the shape {tuple(value.shape)}")


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

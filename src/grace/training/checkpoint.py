"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint"]


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used for this run."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``path`` atomically: a kill leaves the old file or the new.

    The temporary file is flushed to disk before it takes the place of the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path, *, fingerprint: str) -> dict[str, Any]:
    """Read a checkpoint of the run with this configuration fingerprint.

    Raises:
        CheckpointError: the file is unreadable, or belongs to another configuration.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}). Remedy: delete it and train anew."
        ) from error
    if state.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path}: was written with another configuration or other data. Remedy: use the same "
            "configuration, another output folder, or delete this one (`grace train --force` does)."
        )
    return state

"""Checkpoints: written completely or not at all, verified, and read without executing code.

A checkpoint file is one line, ``grace-checkpoint <format> <SHA-256 of the rest>``, followed by what
``torch.save`` writes for tensors and plain values.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from grace.files import atomic_writer, sha256_bytes

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint"]

_MAGIC, _FORMAT = b"grace-checkpoint", b"1"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used for this run."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``path``: a kill leaves the old file or the new one.

    Raises:
        OSError: the disk is full or the folder not writable; the old checkpoint is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    with atomic_writer(path) as file:
        file.write(b" ".join((_MAGIC, _FORMAT, sha256_bytes(payload).encode())) + b"\n")
        file.write(payload)


def load_checkpoint(path: Path, *, fingerprint: str) -> dict[str, Any]:
    """Read a checkpoint of the run with this configuration fingerprint.

    Raises:
        CheckpointError: the file is unreadable or damaged, or belongs to another configuration.
    """
    try:
        header, _, payload = path.read_bytes().partition(b"\n")
        if header != b" ".join((_MAGIC, _FORMAT, sha256_bytes(payload).encode())):
            raise ValueError("its SHA-256 differs from the recorded one")
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds {type(state).__name__}")
    except Exception as error:
        raise CheckpointError(
            f"{path}: is damaged or no checkpoint of this version ({error}). Remedy: delete it and "
            "train again from the start."
        ) from error
    if state.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path}: was written with another configuration or other data. Remedy: use the same "
            "configuration, another output folder, or delete this one (`grace train --force` does)."
        )
    return state

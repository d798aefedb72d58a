"""Sessions of ONNX Runtime, and the import of optional packages."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from grace.extras import MissingExtraError

__all__ = ["optional", "session"]


def optional(module: str, extra: str) -> Any:
    """Import a package of an extra.

    Raises:
        MissingExtraError: it is not installed; the message is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise MissingExtraError(f"{name} is not installed", extra) from error


def session(model: bytes, threads: int | None = None) -> Any:
    """An ONNX Runtime session of a serialised model, on the CPU."""
    ort = optional("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

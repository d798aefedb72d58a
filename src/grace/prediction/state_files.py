"""Learned state on disk: nested plain values in JSON, arrays in safetensors. No pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from grace.files import read_json, write_bytes, write_json
from grace.prediction.artifact import ArtifactError

__all__ = ["read_state", "write_state"]

_ARRAY, _NUMBER = "$array", "$number"
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def write_state(folder: Path, name: str, state: Mapping[str, Any]) -> dict[str, str]:
    """Write ``<name>.json`` and, if there are arrays, ``<name>.safetensors``.

    Args:
        folder: an existing folder.
        name: first part of the file names.
        state: numbers, text, booleans, None, lists, mappings with text keys, and numpy arrays.

    Returns:
        SHA-256 of each file written, by file name.

    Raises:
        TypeError: a value is of another type; its place is named.
        OSError: a file cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    plain = _flatten(state, name, arrays)
    digests = {}
    if arrays:
        digests[f"{name}.safetensors"] = write_bytes(
            folder / f"{name}.safetensors", save_arrays(arrays)
        )
    digests[f"{name}.json"] = write_json(folder / f"{name}.json", plain)
    return digests


def read_state(folder: Path, name: str) -> dict[str, Any]:
    """The inverse of :func:`write_state`.

    Raises:
        ArtifactError: a file is missing or cannot be read.
    """
    path = folder / f"{name}.json"
    try:
        plain = read_json(path)
        binary = folder / f"{name}.safetensors"
        arrays = load_arrays(binary.read_bytes()) if binary.exists() else {}
        state = _restore(plain, arrays)
        if not isinstance(state, dict):
            raise ValueError("no mapping of names to values")
        return state
    except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}). Remedy: restore it from a copy, or train again."
        ) from error


def _flatten(value: Any, place: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            return {_ARRAY: None, "values": _flatten(value.tolist(), place, arrays)}
        arrays[place] = np.ascontiguousarray(value)
        return {_ARRAY: place}
    if isinstance(value, Mapping):
        wrong = next((k for k in value if not isinstance(k, str) or k.startswith("$")), None)
        if wrong is not None:
            raise TypeError(f"{place}: {wrong!r} cannot be the name of a value")
        return {k: _flatten(v, f"{place}.{k}", arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flatten(v, f"{place}.{i}", arrays) for i, v in enumerate(value)]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {_NUMBER: str(number)}
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{place}: {type(value).__name__} cannot be saved")


def _restore(value: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if _NUMBER in value:
            return _NON_FINITE[value[_NUMBER]]
        if _ARRAY in value:
            name = value[_ARRAY]
            return np.array(_restore(value["values"], arrays)) if name is None else arrays[name]
        return {k: _restore(v, arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_restore(v, arrays) for v in value]
    return value

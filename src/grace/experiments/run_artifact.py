"""``artifact.json`` of a run, as the tables and the report read it: checked in every part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from grace.data.preprocessing import Preprocessor
from grace.prediction.artifact import ArtifactError, read_artifact_json
from grace.training.config import RunConfig

__all__ = ["check_provenance", "read_run_artifact"]


class _Part(BaseModel):
    """Keys that this version reads; others are allowed."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Hashes(_Part):
    train: str
    test: str


class _Source(_Part):
    kind: str
    name: str
    sha256: str | None = None


class _Sources(_Part):
    train: _Source
    test: _Source


class _File(_Part):
    name: str
    sha256: str
    published: bool | None = None


class _Dataset(_Part):
    name: str = ""
    description: str | None = None
    citation: str | None = None
    synthetic: bool = False
    files: list[_File] = []


class _Units(_Part):
    train: list[str | int] = []
    validation: list[str | int] = []
    n_test: int | None = None


class _Computed(_Part):
    device: str
    precision: str


class _Provenance(_Part):
    fingerprint: str = ""
    code: str | None = None
    data_hash: _Hashes | None = None
    source: _Sources | None = None
    dataset: _Dataset | None = None
    units: _Units | None = None
    inputs: list[str] = []
    chosen_epoch: int | None = None
    selection_rmse: dict[str, FiniteFloat] = {}
    epochs_trained: int | None = None
    computed: _Computed | None = None
    training_seconds: FiniteFloat | None = None
    seconds: FiniteFloat | None = None


class _Environment(_Part):
    python: str = ""
    torch: str = ""
    platform: str = ""
    threads: int | None = None


class _Model(_Part):
    c_in: int
    parameters: int | None = None


class _Content(_Part):
    created: str = ""
    grace: str
    environment: _Environment = _Environment()
    model: _Model
    provenance: _Provenance
    config: dict[str, Any]
    preprocessor: dict[str, Any]


def read_run_artifact(folder: Path, *, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Content of ``artifact.json``, every part of it checked.

    ``config`` is complete: settings that were not stored have their defaults.

    Args:
        folder: of the run.
        needed: parts of ``provenance`` that must be there.

    Raises:
        ArtifactError: there is no artifact, or a part of it is missing or of the wrong type; file
            and part are named.
    """
    content = read_artifact_json(folder)
    try:
        _Content.model_validate(content)
        content["config"] = RunConfig.model_validate(content["config"]).model_dump(mode="json")
        Preprocessor.from_dict(content["preprocessor"])
    except ValidationError as error:
        first = error.errors()[0]
        raise _unusable(folder, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _unusable(folder, str(error) or type(error).__name__) from error
    _need(folder, content["provenance"], needed)
    return content


def check_provenance(folder: Path, provenance: dict[str, Any], *, needed: Iterable[str]) -> None:
    """Check the provenance of an artifact that is already loaded.

    Raises:
        ArtifactError: a part is missing or of the wrong type; it is named.
    """
    try:
        _Provenance.model_validate(provenance)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("provenance", *first["loc"])))
        raise _unusable(folder, f"{place}: {first['msg']}") from error
    _need(folder, provenance, needed)


def _need(folder: Path, provenance: dict[str, Any], needed: Iterable[str]) -> None:
    for name in needed:
        if provenance.get(name) is None:
            raise _unusable(folder, f"provenance.{name}: is missing")


def _unusable(folder: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{folder / 'artifact.json'}: cannot be used ({why}). Remedy: restore it from a copy, or "
        "train again."
    )

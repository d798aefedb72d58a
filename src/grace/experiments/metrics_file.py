"""``metrics.json`` of a run folder: its one writer and its one reader."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from grace._version import __version__
from grace.evaluation import Evaluation
from grace.files import read_json, write_json
from grace.prediction.artifact import ArtifactError

__all__ = ["METRICS_VERSION", "RunMetrics", "read_metrics", "write_metrics"]

METRICS_VERSION: Literal[2] = 2
_FILE = "metrics.json"


class RunMetrics(BaseModel):
    """Content of ``metrics.json``.

    ``evaluation`` is of the selected checkpoint. ``validation_selected`` is set for test-selected
    runs: the checkpoint of the same training that the validation units selected, with the optimism
    gap between the two. ``format`` and ``version`` identify the schema, ``grace`` the version of
    the package that wrote the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["grace.metrics"] = "grace.metrics"
    version: Literal[2] = METRICS_VERSION
    grace: str = __version__
    evaluation: Evaluation
    validation_selected: Evaluation | None = None


def write_metrics(
    folder: Path, evaluation: Evaluation, validation_selected: Evaluation | None = None
) -> None:
    """Write ``metrics.json`` atomically."""
    content = RunMetrics(evaluation=evaluation, validation_selected=validation_selected)
    write_json(folder / _FILE, content.model_dump(mode="json"))


def read_metrics(folder: str | Path) -> tuple[Evaluation, Evaluation | None]:
    """Evaluation of the selected checkpoint, and :attr:`RunMetrics.validation_selected`.

    Raises:
        ArtifactError: the file is missing, not JSON, of another version, or not valid; the message
            names file, key and remedy.

    Example:
        >>> evaluation, validation_selected = read_metrics("runs/first")
        >>> evaluation.protocol.n_test, validation_selected
        (4, None)
    """
    path = Path(folder) / _FILE
    remedy = "Remedy: run `grace train` for this folder again."
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file. {remedy}") from None
    except ValueError as error:  # not JSON, or not UTF-8
        raise ArtifactError(f"{path}: cannot be read ({error}). {remedy}") from error
    if not isinstance(content, dict) or "evaluation" not in content:
        raise ArtifactError(f"{path}: cannot be read (no key 'evaluation'). {remedy}")
    if content.get("version") != METRICS_VERSION:
        raise ArtifactError(
            f"{path}: version {content.get('version')} is not {METRICS_VERSION}. Remedy: use the "
            "version of grace it was written with, or train again."
        )
    try:
        metrics = RunMetrics.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ArtifactError(f"{path}: cannot be read ({key}: {first['msg']}). {remedy}") from error
    return metrics.evaluation, metrics.validation_selected

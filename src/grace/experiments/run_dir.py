"""The folder of a run: what it holds, whether it is finished, and how it is cleared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from grace.evaluation import Evaluation
from grace.prediction.artifact import ArtifactError, read_artifact_json

__all__ = ["RunResult", "clear", "load_finished_run", "lock_run_dir", "metrics", "read_metrics"]


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    ``evaluation`` is of the checkpoint that ``select_on`` chose. A test-selected run also has
    ``validation_selected``: the checkpoint of the same training that the held-out units chose,
    with the optimism gap between the two.
    """

    folder: Path
    evaluation: Evaluation
    validation_selected: Evaluation | None
    resumed_complete: bool = False


_FILES = (
    "artifact.json",
    "weights.safetensors",
    "metrics.json",
    "predictions.parquet",
    "history.jsonl",
    "telemetry.jsonl",
    "checkpoint.pt",
    "report.html",
)


_LOCK = ".lock"


@contextmanager
def lock_run_dir(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder meanwhile; a dead one keeps nobody out.

    Raises:
        ArtifactError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            yield
    except Timeout:
        raise ArtifactError(
            f"{folder}: another process is training here. Remedy: wait for it, end it, or choose "
            "another output folder."
        ) from None


def clear(folder: Path) -> None:
    """Delete the files of a run, and nothing else.

    Raises:
        ArtifactError: the folder holds something, but no run.
    """
    if not folder.exists():
        return
    mine = [folder / name for name in _FILES if (folder / name).exists()]
    if not mine and any(path.name != _LOCK for path in folder.iterdir()):
        raise ArtifactError(
            f"{folder}: holds no run, so nothing is deleted. Remedy: another --out."
        )
    for path in mine:
        path.unlink()


def load_finished_run(folder: Path, fingerprint: str) -> RunResult | None:
    """The result of the finished run that the folder holds; None if it holds none.

    Raises:
        ArtifactError: it is a run of another configuration, data or version.
    """
    if not (folder / "artifact.json").exists():
        return None
    content = read_artifact_json(folder)
    if content["provenance"].get("fingerprint") != fingerprint:
        raise ArtifactError(
            f"{folder}: holds a finished run of another configuration, data or version. Remedy: "
            "choose another output folder, or delete this one (`grace train --force` does)."
        )
    evaluation, honest = read_metrics(folder)
    return RunResult(folder, evaluation, honest, resumed_complete=True)


def metrics(evaluation: Evaluation, honest: Evaluation | None) -> dict[str, Any]:
    """The content of ``metrics.json``, which :func:`read_metrics` reads back."""
    return {
        "evaluation": evaluation.model_dump(mode="json"),
        "validation_selected": None if honest is None else honest.model_dump(mode="json"),
    }


def read_metrics(folder: Path) -> tuple[Evaluation, Evaluation | None]:
    """The evaluations of ``metrics.json``: of the chosen checkpoint, and see :class:`RunResult`."""
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    honest = content["validation_selected"]
    return (
        Evaluation.model_validate(content["evaluation"]),
        None if honest is None else Evaluation.model_validate(honest),
    )

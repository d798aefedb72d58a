"""The folder of a run: what it holds, whether it is finished, and how it is cleared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from grace._version import __version__
from grace.evaluation import Evaluation
from grace.experiments.metrics_file import read_metrics
from grace.files import abandoned, flush_folder, read_json, write_json
from grace.prediction.artifact import ArtifactError, read_artifact_json, verify_artifact_files

__all__ = [
    "EVALUATION_FILES",
    "MARKER",
    "RUN_FILES",
    "RunResult",
    "check_replaceable",
    "clear_run",
    "discard_stage",
    "finish_replacement",
    "is_run_dir",
    "load_finished_run",
    "lock_run_dir",
    "replace_run",
    "staging_dir",
]


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    ``evaluation`` is of the checkpoint that ``select_on`` chose. A test-selected run also has
    ``validation_selected``: the checkpoint of the same training that the held-out units chose,
    with the optimism gap between the two.

    Example:
        >>> import grace
        >>> result = grace.run(grace.Artifact.load("runs/first").config, "runs/first")
        >>> result.resumed_complete, result.evaluation.protocol.n_test
        (True, 4)
    """

    folder: Path
    evaluation: Evaluation
    validation_selected: Evaluation | None
    resumed_complete: bool = False


# What a run writes. Nothing else in its folder is ever changed or deleted.
RUN_FILES = (
    "artifact.json",
    "weights.safetensors",
    "metrics.json",
    "predictions.parquet",
    "validation_predictions.parquet",
    "history.jsonl",
    "telemetry.jsonl",
    "checkpoint.pt",
    "report.html",
)
# What the artifact records the digests of.
EVALUATION_FILES = ("metrics.json", "predictions.parquet", "validation_predictions.parquet")
MARKER = ".grace-run.json"
_LOCK = ".grace-run.lock"
_STAGE = ".grace-retrain"
_SWAP = ".grace-swap.json"


@contextmanager
def lock_run_dir(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; the lock of a dead process does not count.

    Makes the folder if it does not exist, marks it as a run, and finishes a replacement that was
    interrupted (see :func:`replace_run`).

    Raises:
        ArtifactError: another process is at work there, or the folder holds files with the names
            of a run's files that grace did not write.
    """
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            _claim(folder)
            _remove_abandoned(folder)
            _finish_swap(folder)
            yield
    except Timeout:
        raise ArtifactError(
            f"{folder}: another process is training here. Remedy: wait for it, end it, or choose "
            "another output folder."
        ) from None
    except BaseException:
        if created:
            _remove_if_unused(folder)
        raise


def _abandoned_files(folder: Path) -> list[Path]:
    """What killed processes left of files they were writing."""
    written = {*RUN_FILES, MARKER, _SWAP}
    return [p for p in folder.iterdir() if abandoned(p) in written and not p.is_dir()]


def _remove_abandoned(folder: Path) -> None:
    for path in _abandoned_files(folder):
        path.unlink(missing_ok=True)


def _tidy_finished(folder: Path) -> None:
    """Remove what a kill left next to a finished artifact: its checkpoint, temporary files."""
    checkpoint = folder / "checkpoint.pt"
    if not is_run_dir(folder) or not (os.path.lexists(checkpoint) or _abandoned_files(folder)):
        return
    with suppress(ArtifactError, OSError), lock_run_dir(folder):  # in use or read-only: later
        checkpoint.unlink(missing_ok=True)


def is_run_dir(folder: Path) -> bool:
    """Whether grace marked this folder as a run."""
    try:
        content = read_json(folder / MARKER)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("grace-run") == 1


def _claim(folder: Path) -> None:
    """Mark a folder as a run, unless it already holds files of another origin."""
    if is_run_dir(folder):
        return
    foreign = [name for name in (*RUN_FILES, MARKER) if os.path.lexists(folder / name)]
    if foreign:
        raise ArtifactError(
            f"{folder}: holds {', '.join(foreign)}, but was not made by grace, so nothing is "
            "written or deleted. Remedy: choose another output folder."
        )
    write_json(folder / MARKER, {"grace-run": 1, "version": __version__})


def _remove_if_unused(folder: Path) -> None:
    """Remove a folder made for a run that left nothing in it."""
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {MARKER, _LOCK}:
            (folder / MARKER).unlink(missing_ok=True)
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()


def check_replaceable(folder: Path) -> None:
    """Refuse to replace what is no run.

    Raises:
        ArtifactError: the folder is not empty and not marked as a run.
    """
    if folder.exists() and any(folder.iterdir()) and not is_run_dir(folder):
        raise ArtifactError(
            f"{folder}: holds no run, so nothing is replaced. Remedy: choose another output folder."
        )


def clear_run(folder: Path) -> None:
    """Delete the files of a run, and nothing else. The caller holds the lock.

    Raises:
        ArtifactError: the folder is not marked as a run.
    """
    if not is_run_dir(folder):
        raise ArtifactError(
            f"{folder}: holds no run, so nothing is deleted. Remedy: choose another output folder."
        )
    for name in RUN_FILES:
        (folder / name).unlink(missing_ok=True)


def staging_dir(folder: Path) -> Path:
    """Where a run that is to replace the finished one in ``folder`` is trained."""
    return folder / _STAGE


def replace_run(folder: Path) -> None:
    """Put the finished run of the staging folder in the place of the one in ``folder``.

    The list of files is written first, so that an interrupted replacement is finished by the next
    process that locks the folder. The caller holds the lock.
    """
    stage = staging_dir(folder)
    arriving = [name for name in RUN_FILES if (stage / name).exists()]
    write_json(folder / _SWAP, {"files": arriving})
    _finish_swap(folder)


def finish_replacement(folder: Path) -> None:
    """Finish a replacement of the run in ``folder`` that was interrupted, if there is one.

    Raises:
        ArtifactError: another process is at work there.
    """
    if (folder / _SWAP).exists():
        with lock_run_dir(folder):
            pass


def _finish_swap(folder: Path) -> None:
    """Carry out the replacement that ``_SWAP`` describes, if there is one; may be repeated."""
    plan, stage = folder / _SWAP, staging_dir(folder)
    try:
        arriving = read_json(plan)["files"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{plan}: cannot be read ({error}). Remedy: the new run is in {stage}; move its files "
            "here and delete both."
        ) from error
    for name in RUN_FILES:
        if name in arriving:
            if (stage / name).exists():  # else moved before the interruption
                os.replace(stage / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    flush_folder(folder)
    plan.unlink()
    discard_stage(folder)


def discard_stage(folder: Path) -> None:
    """Delete the staging folder and what a run wrote there."""
    stage = staging_dir(folder)
    if is_run_dir(stage):
        clear_run(stage)
        _remove_if_unused(stage)


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
    verify_artifact_files(folder, content)
    evaluation, validation_selected = read_metrics(folder)
    _tidy_finished(folder)
    return RunResult(folder, evaluation, validation_selected, resumed_complete=True)

"""A trained model as one folder: weights in safetensors, everything else in JSON. No pickle.

====================== =======================================================================
``artifact.json``      schema, preprocessing, labels, window, model, configuration, provenance
``weights.safetensors`` the evaluated weights
``metrics.json``       the evaluation (see ``grace.evaluation``), once there is one
``predictions.parquet`` the test predictions behind it
``history.jsonl``      one line per epoch
``telemetry.jsonl``    one line per logged step: losses, λ, gradient norms
``report.html``        the report
====================== =======================================================================
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from grace._version import __version__
from grace.data.preprocessing import Preprocessor
from grace.files import (
    DigestError,
    canonical_json,
    read_json,
    sha256_bytes,
    sha256_file,
    verify_digests,
    write_bytes,
    write_json,
)
from grace.models import DualTaskModel
from grace.training.config import RunConfig
from grace.uncertainty import UnitCalibration

__all__ = [
    "FORMAT",
    "Artifact",
    "ArtifactError",
    "read_artifact_json",
    "verify_artifact_files",
    "write_artifact_json",
]

FORMAT = 2
WEIGHTS = "weights.safetensors"
_SECTIONS = ("provenance", "files")  # of every kind of artifact


class ArtifactError(ValueError):
    """A folder that is not a usable artifact; the message names the file and the remedy.

    Example:
        >>> try:
        ...     Artifact.load("runs/none")
        ... except ArtifactError as error:
        ...     print(str(error).partition(" Remedy")[0])
        runs/none/artifact.json: no such file.
    """


@dataclass(frozen=True, eq=False)
class Artifact:
    """A trained model with all it needs to predict, and where it came from.

    Args:
        model: the network, on the CPU, in evaluation mode.
        preprocessor: fitted on the training units.
        config: the configuration of the run.
        provenance: data hashes, unit counts, chosen epoch, environment.
        calibration: of the survival head's distributions, fitted on the validation units; None
            without a head.

    Example:
        >>> artifact = Artifact.load("runs/first")
        >>> artifact.config.method.name, artifact.config.windows.length
        ('grace', 30)
        >>> sorted(artifact.provenance["units"])
        ['n_test', 'train', 'validation']
    """

    model: DualTaskModel
    preprocessor: Preprocessor
    config: RunConfig
    provenance: dict[str, Any]
    calibration: UnitCalibration | None = None

    def save(self, folder: Path, *, with_files: Iterable[str] = ()) -> None:
        """Write the artifact; ``artifact.json`` comes last, so that its presence means complete.

        Args:
            folder: where to; made if it does not exist.
            with_files: names of files already in ``folder`` that belong to the artifact (metrics,
                predictions). Their SHA-256 is recorded with that of the weights, and
                :func:`verify_artifact_files` compares it later.

        Raises:
            ArtifactError: a weight is NaN or infinite; nothing is written.
            OSError: a file cannot be written.
        """
        _check_finite(self.model, folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
        digests = {name: sha256_file(folder / name) for name in with_files}
        digests[WEIGHTS] = write_bytes(folder / WEIGHTS, save(tensors))
        write_artifact_json(
            folder,
            {
                "format": FORMAT,
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "grace": __version__,
                "environment": {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "platform": platform.platform(),
                    "threads": torch.get_num_threads(),
                },
                "model": {
                    "c_in": self.model.c_in,
                    "parameters": sum(p.numel() for p in self.model.parameters()),
                    **self._survival(),
                },
                "config": self.config.model_dump(mode="json"),
                "preprocessor": self.preprocessor.to_dict(),
                "provenance": self.provenance,
                "files": digests,
            },
        )

    def _survival(self) -> dict[str, Any]:
        """Bin edges and calibration of the survival head; nothing without one."""
        head = self.model.survival_head
        if head is None:
            return {}
        calibration = None if self.calibration is None else self.calibration.to_dict()
        return {"survival_edges": head.edges.tolist(), "survival_calibration": calibration}

    @classmethod
    def load(cls, folder: str | Path) -> Artifact:
        """Read an artifact folder.

        Raises:
            ArtifactError: the folder is none, is incomplete or of another format, a file of it was
                damaged or changed, or a weight is NaN or infinite.
        """
        folder = Path(folder)
        content = read_artifact_json(folder)
        verify_artifact_files(folder, content, [WEIGHTS])
        try:
            config = RunConfig.model_validate(content["config"])
            preprocessor = Preprocessor.from_dict(content["preprocessor"])
            with torch.random.fork_rng(devices=[]):  # initial weights that are overwritten
                model = config.model.build(content["model"]["c_in"], config.labels.n_classes)
                edges = content["model"].get("survival_edges")
                if edges is not None:
                    model.add_survival_head(torch.tensor(edges, dtype=torch.float32))
            # Read here: the library opens paths in UTF-8 only.
            model.load_state_dict(load((folder / "weights.safetensors").read_bytes()))
            provenance = content["provenance"]
            stored = content["model"].get("survival_calibration")
            calibration = None if stored is None else UnitCalibration.from_dict(stored)
        except (
            LookupError,
            TypeError,
            ValueError,
            RuntimeError,
            OSError,
            MemoryError,
            SafetensorError,
        ) as error:
            raise ArtifactError(
                f"{folder}: the artifact cannot be read ({error}). Remedy: train it again, or use "
                f"the version of grace it was written with ({content.get('grace', 'unknown')})."
            ) from error
        _check_finite(model, folder)
        return cls(model.eval(), preprocessor, config, provenance, calibration)


def _check_finite(model: DualTaskModel, folder: Path) -> None:
    """Refuse weights that would predict NaN for every unit."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ArtifactError(
                f"{folder}: the weight {name} holds NaN or infinite values, so every prediction "
                "would be wrong. Remedy: train again with a lower learning rate."
            )


def write_artifact_json(folder: Path, content: dict[str, Any]) -> None:
    """Write ``artifact.json`` with the SHA-256 of its other entries as its last entry."""
    signed = {**content, "sha256": sha256_bytes(canonical_json(content))}
    write_json(folder / "artifact.json", signed)


def read_artifact_json(folder: Path) -> dict[str, Any]:
    """The content of ``artifact.json``.

    Raises:
        ArtifactError: there is none, or it is of a format this version does not know.
    """
    path = folder / "artifact.json"
    if not path.exists():
        started = (folder / "checkpoint.pt").exists()
        raise ArtifactError(
            f"{path}: no such file. Remedy: "
            + (
                "the training in this folder is unfinished; run the same `grace train` again to "
                "resume it."
                if started
                else "give the folder of a finished run, as printed by `grace train`."
            )
        )
    try:
        content: dict[str, Any] = dict(read_json(path))
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}). Remedy: check the file's permissions."
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path}: is not valid JSON ({error}). Remedy: train again.") from error
    if content.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: format {content.get('format')} is not {FORMAT}. Remedy: use the version of "
            f"grace it was written with ({content.get('grace', 'unknown')})."
        )
    stated = content.pop("sha256", None)
    try:
        intact = stated == sha256_bytes(canonical_json(content))
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise ArtifactError(
            f"{path}: was changed or damaged after it was written (its SHA-256 differs). Remedy: "
            "restore it from a copy, or train again."
        )
    for name in _SECTIONS:
        if not isinstance(content.get(name), dict):
            raise ArtifactError(f"{path}: lacks the section {name}. Remedy: train again.")
    for name, digest in content["files"].items():
        if not isinstance(digest, str) or Path(name).name != name:
            raise ArtifactError(
                f"{path}: files.{name}: is no file with a SHA-256. Remedy: train again."
            )
    return content


def verify_artifact_files(
    folder: Path, content: dict[str, Any], names: Iterable[str] | None = None
) -> None:
    """Compare files of an artifact with the digests recorded in ``artifact.json``.

    Args:
        folder: of the artifact.
        content: what :func:`read_artifact_json` returned.
        names: the files to compare; None means all that are recorded.

    Raises:
        ArtifactError: a file is missing, was changed or damaged, or has no recorded digest.
    """
    recorded = content["files"]
    wanted = list(recorded) if names is None else list(names)
    try:
        verify_digests(folder, {name: recorded[name] for name in wanted})
    except KeyError as error:
        raise ArtifactError(
            f"{folder / 'artifact.json'}: records no SHA-256 of {error}. Remedy: train again."
        ) from None
    except (DigestError, OSError) as error:
        raise ArtifactError(
            f"{error}. Remedy: restore the file from a copy, or train again."
        ) from error

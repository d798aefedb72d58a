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

import json
import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from grace._version import __version__
from grace.data.preprocessing import Preprocessor
from grace.models import DualTaskModel
from grace.training.config import RunConfig

__all__ = ["FORMAT", "Artifact", "ArtifactError", "write_json"]

FORMAT = 1


class ArtifactError(ValueError):
    """A folder that is not a usable artifact; the message names the file and the remedy."""


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN and infinity are refused, since JSON has neither."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


@dataclass(frozen=True, eq=False)
class Artifact:
    """A trained model with all it needs to predict, and where it came from.

    Args:
        model: the network, on the CPU, in evaluation mode.
        preprocessor: fitted on the training units.
        config: the configuration of the run.
        provenance: data hashes, unit counts, chosen epoch, environment.
    """

    model: DualTaskModel
    preprocessor: Preprocessor
    config: RunConfig
    provenance: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the artifact; ``artifact.json`` comes last, so that its presence means complete."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / "weights.safetensors.tmp"
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
        temporary.write_bytes(save(tensors))  # save_file would make it readable by its owner only
        os.replace(temporary, folder / "weights.safetensors")
        write_json(
            folder / "artifact.json",
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
                },
                "config": self.config.model_dump(mode="json"),
                "preprocessor": self.preprocessor.to_dict(),
                "provenance": self.provenance,
            },
        )

    @classmethod
    def load(cls, folder: str | Path) -> Artifact:
        """Read an artifact folder.

        Raises:
            ArtifactError: the folder is none, is incomplete, or is of a newer format.
        """
        folder = Path(folder)
        content = read_artifact_json(folder)
        try:
            config = RunConfig.model_validate(content["config"])
            preprocessor = Preprocessor.from_dict(content["preprocessor"])
            with torch.random.fork_rng(devices=[]):  # initial weights that are overwritten
                model = config.model.build(content["model"]["c_in"], config.labels.n_classes)
            model.load_state_dict(load_file(folder / "weights.safetensors"))
            provenance = content["provenance"]
        except (
            LookupError,
            TypeError,
            ValueError,
            RuntimeError,
            OSError,
            SafetensorError,
        ) as error:
            raise ArtifactError(
                f"{folder}: the artifact cannot be read ({error}). Remedy: train it again, or use "
                f"the version of grace it was written with ({content.get('grace', 'unknown')})."
            ) from error
        return cls(model.eval(), preprocessor, config, provenance)


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
        content: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: is not valid JSON ({error}). Remedy: train again.") from error
    if content.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: format {content.get('format')} is not {FORMAT}. Remedy: use the version of "
            f"grace it was written with ({content.get('grace', 'unknown')})."
        )
    return content

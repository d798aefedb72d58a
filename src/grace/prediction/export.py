"""A trained model as one ONNX file, compared with the original before it is kept.

The file takes **normalised** windows and gives RUL and health probabilities:

========== ==================== ===================================================
``windows`` (batch, T, C) float32 rows as ``Preprocessor.transform`` makes them
``rul``     (batch,) float32      in learned units: times ``rul_unit`` of the metadata it is in the
                                 fleet's unit of time (1 at the default cap of 125)
``health``  (batch, K) float32    probabilities of the health classes
========== ==================== ===================================================

Preprocessing stays outside, in the artifact: it works on rows, of which neighbouring windows share
T − 1, and on whole units (age, deviation, moving means), which a window does not know. The file's
metadata name the preprocessing by hash, so that a mismatch is an error and not a wrong number.

The batch is dynamic; the window length is not. The exporter unrolls the recurrence to the length
it is shown, so T is recorded and checked.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grace._version import __version__
from grace.files import write_bytes
from grace.prediction.artifact import Artifact, ArtifactError
from grace.prediction.onnx_session import optional, session
from grace.prediction.torch_runtime import TorchRuntime

__all__ = ["OnnxExport", "export_onnx", "quantize_int8", "read_onnx"]

FORMAT = 1
PARITY_BATCHES = (1, 7, 64)
PARITY_CYCLES = 1e-3
PARITY_PROBABILITY = 1e-4


@dataclass(frozen=True)
class OnnxExport:
    """What was exported, and how far it is from the original.

    ``max_rul_difference`` (in learned units) and ``max_probability_difference`` are the
    largest over ``parity_batches``; ``metadata`` is what the file says about itself.

    Example:
        >>> export = OnnxExport(Path("engine.onnx"), 30, 2e-6, 1e-7, (1, 7, 64), {})
        >>> export.max_rul_difference < 1e-3
        True
    """

    path: Path
    window_length: int
    max_rul_difference: float
    max_probability_difference: float
    parity_batches: tuple[int, ...]
    metadata: dict[str, str]


def export_onnx(artifact: Artifact | str | Path, path: str | Path) -> OnnxExport:
    """Write a model as a single ONNX file, weights inside.

    The file appears only after its inputs have been checked and its predictions compared with the
    model's at three batch sizes, to 0.001 of the unit of time.

    Args:
        artifact: a trained model or its folder.
        path: the file to write; its folder is made.

    Returns:
        What was written and the largest difference found.

    Raises:
        ImportError: an export package is not installed; the message names the extra.
        ArtifactError: the folder holds no artifact, or the exported model differs from the
            original.

    Example:
        >>> export_onnx("runs/FD001-grace-fast-seed42", "engine.onnx")  # doctest: +SKIP
    """
    if not isinstance(artifact, Artifact):
        artifact = Artifact.load(artifact)
    path = Path(path)
    model = _to_onnx(artifact)
    rul, probability = _check(artifact, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, model)
    length = artifact.config.windows.length
    return OnnxExport(path, length, rul, probability, PARITY_BATCHES, metadata(artifact))


def read_onnx(artifact: Artifact, file: Path | None) -> bytes:
    """The serialised model of an artifact: from a file, or exported and checked here.

    Raises:
        ArtifactError: the file is none of this artifact: other weights or other preprocessing.
    """
    if file is None:
        model = _to_onnx(artifact)
        _check(artifact, model)
        return model
    onnx, protobuf = optional("onnx", "export"), optional("google.protobuf.message", "export")
    try:
        proto = onnx.load(file)
        found = {p.key: p.value for p in proto.metadata_props}
    except (OSError, protobuf.DecodeError) as error:
        raise ArtifactError(
            f"{file}: cannot be read as ONNX ({error}). Remedy: export it again."
        ) from error
    wanted = metadata(artifact)
    for key in ("weights_sha256", "preprocessing_sha256", "window_length"):
        if found.get(key) != wanted[key]:
            raise ArtifactError(
                f"{file}: exported from another model ({key} {found.get(key, 'is missing')}, the "
                f"artifact has {wanted[key]}). Remedy: export it again with export_onnx."
            )
    serialised: bytes = proto.SerializeToString()
    return serialised


def quantize_int8(model: bytes) -> bytes:
    """The model with an int8 LSTM: weights now, activations at run time, batch by batch.

    Only the LSTM: to quantise the rest as well moves the RUL ten times as far and is no faster.
    Scales are taken over the whole batch, so a window's prediction depends (slightly) on the
    windows it is scored with. What it costs and gains: ``benchmarks/prediction.py``.

    Raises:
        ArtifactError: the exported model has no LSTM operator to quantise.
    """
    ort = optional("onnxruntime", "export")
    onnx = optional("onnx", "export")
    quantization = optional("onnxruntime.quantization", "export")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        # The exporter leaves the LSTM's weights as slices and joins of constants: fold them first,
        # since only constants are quantised.
        folded, result = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        proto = onnx.load(folded)
        del proto.graph.value_info[:]
        quantization.quantize_dynamic(
            proto,
            result,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["LSTM"],
        )
        if all(node.op_type != "DynamicQuantizeLSTM" for node in onnx.load(result).graph.node):
            raise ArtifactError(
                "the exported model has no LSTM to quantise. Remedy: precision='fp32'."
            )
        return result.read_bytes()


def metadata(artifact: Artifact) -> dict[str, str]:
    """What an exported file says about itself: sizes, meaning, and hashes of its origin."""
    config, prep = artifact.config, artifact.preprocessor
    weights = hashlib.sha256()
    for name, value in sorted(artifact.model.state_dict().items()):
        weights.update(name.encode())
        weights.update(value.detach().cpu().contiguous().numpy().tobytes())
    state = json.dumps(prep.to_dict(), sort_keys=True, separators=(",", ":"))
    return {
        "grace_format": str(FORMAT),
        "grace_version": __version__,
        "dataset": str(artifact.provenance.get("dataset", {}).get("name", config.dataset)),
        "input": "normalised windows, see Preprocessor.transform",
        "window_length": str(config.windows.length),
        "channels": str(artifact.model.c_in),
        "health_classes": str(config.labels.n_classes),
        "labels": json.dumps(config.labels.model_dump(mode="json"), sort_keys=True),
        "time_unit": prep.schema_.time_unit,
        "rul_unit": repr(config.labels.unit),
        "preprocessing_sha256": hashlib.sha256(state.encode()).hexdigest(),
        "weights_sha256": weights.hexdigest(),
    }


class _WithProbabilities(nn.Module):
    """The network with probabilities in place of logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rul, logits = self.model(x)
        return rul, torch.softmax(logits, dim=-1)


def _to_onnx(artifact: Artifact) -> bytes:
    """The serialised model with its metadata, unchecked."""
    onnx = optional("onnx", "export")
    optional("onnxscript", "export")
    # A copy: the exporter reassigns the LSTM's weights while it traces.
    model = _WithProbabilities(copy.deepcopy(artifact.model).cpu()).eval()
    example = torch.zeros(4, artifact.config.windows.length, artifact.model.c_in)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            external_data=False,
            input_names=["windows"],
            output_names=["rul", "health"],
            dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata(artifact))
    return bytes(proto.SerializeToString())


def _check(artifact: Artifact, model: bytes) -> tuple[float, float]:
    """Largest difference from the original in RUL and probability.

    Raises:
        ArtifactError: the input is not (dynamic, T, C), or a difference is above tolerance.
    """
    length, channels = artifact.config.windows.length, artifact.model.c_in
    exported = session(model)
    shape = exported.get_inputs()[0].shape
    if not isinstance(shape[0], str) or shape[1:] != [length, channels]:
        raise ArtifactError(
            f"the exported model takes {shape}, not (batch, {length}, {channels}) with a dynamic "
            "batch. Remedy: report it, with the versions of torch and onnxscript."
        )
    original = TorchRuntime(artifact, device=next(artifact.model.parameters()).device)
    rng = np.random.default_rng(0)
    rul, probability = 0.0, 0.0
    for batch in PARITY_BATCHES:
        # Offsets per window and channel, so that the inputs spread over healthy and worn.
        noise = rng.normal(size=(batch, length, channels))
        x = (noise + 2 * rng.normal(size=(batch, 1, channels))).astype(np.float32)
        (r, p), (r0, p0) = exported.run(None, {"windows": x}), original(x)
        rul = max(rul, float(np.abs(r - r0).max()))
        probability = max(probability, float(np.abs(p - p0).max()))
    # Written so that NaN fails too.
    if not (rul <= PARITY_CYCLES and probability <= PARITY_PROBABILITY):
        raise ArtifactError(
            f"the exported model differs from the original by {rul:.3g} in RUL (at most "
            f"{PARITY_CYCLES:g}) and {probability:.3g} in probability (at most "
            f"{PARITY_PROBABILITY:g}). Remedy: report it, with the versions of torch and "
            "onnxscript."
        )
    return rul, probability


@contextmanager
def _quiet() -> Iterator[Any]:
    """Without the exporters' notes on their own inner workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

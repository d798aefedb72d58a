"""What turns windows into predictions: PyTorch, ONNX Runtime or OpenVINO behind one call.

A runtime is a small object: ``runtime(x)`` takes normalised windows (B, T, C) and gives the RUL
(B,) and the health probabilities (B, K). Notation: B batch, T window length, C input channels,
K health classes. Which precision costs how many cycles of RUL is measured by
``benchmarks/prediction.py``.

======================= ============================= ============================================
runtime                 precisions                    what it needs
======================= ============================= ============================================
``torch``               fp32, bf16                    nothing; the only one that runs on a GPU
``onnxruntime``         fp32, int8                    extra ``export``
``openvino``            fp32, bf16                    extras ``export`` and ``openvino``
======================= ============================= ============================================

Only the LSTM, 96% of the operations of the reference model, is computed in lower precision by
``torch`` bf16 and ``onnxruntime`` int8; the rest costs accuracy and saves nothing. (A RUL in
bfloat16 would lie on a grid of half a cycle between 64 and 128.) ``openvino`` chooses by itself.
int8 takes its scales from the whole batch: a window's RUL depends, by about a tenth of a cycle, on
the windows it is scored with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from grace.prediction.artifact import Artifact
from grace.prediction.export import quantize_int8, read_onnx
from grace.prediction.onnx_session import optional, session
from grace.prediction.torch_runtime import Array, Runtime, TorchRuntime

__all__ = [
    "RUNTIMES",
    "OnnxRuntime",
    "OpenVinoRuntime",
    "Runtime",
    "TorchRuntime",
    "make_runtime",
]


class OnnxRuntime(Runtime):
    """The exported model in ONNX Runtime, on the CPU."""

    precisions = ("fp32", "int8")

    def __init__(
        self,
        artifact: Artifact,
        *,
        precision: str,
        device: torch.device,
        threads: int | None,
        file: Path | None,
    ) -> None:
        optional("onnxruntime", "export")  # before the seconds that an export takes
        model = read_onnx(artifact, file)
        if precision == "int8":
            model = quantize_int8(model)
        self.session = session(model, threads)
        self.shape = artifact.config.windows.length, artifact.model.c_in

    def __call__(self, x: Tensor | Array) -> tuple[Array, Array]:
        """See :class:`Runtime`."""
        rul, probabilities = self.session.run(None, {"windows": _checked(x, self.shape)})
        return rul, probabilities


class OpenVinoRuntime(Runtime):
    """The exported model in OpenVINO, on the CPU."""

    precisions = ("fp32", "bf16")

    def __init__(
        self,
        artifact: Artifact,
        *,
        precision: str,
        device: torch.device,
        threads: int | None,
        file: Path | None,
    ) -> None:
        openvino = optional("openvino", "export,openvino")
        core = openvino.Core()
        model = core.read_model(read_onnx(artifact, file))
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
                "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
                "NUM_STREAMS": 1,
            },
        )
        self._request = self._compiled.create_infer_request()
        self.shape = artifact.config.windows.length, artifact.model.c_in

    def __call__(self, x: Tensor | Array) -> tuple[Array, Array]:
        """See :class:`Runtime`."""
        result = self._request.infer({"windows": _checked(x, self.shape)}, share_inputs=True)
        return np.array(result["rul"]), np.array(result["health"])


RUNTIMES: dict[str, type[Runtime]] = {
    "torch": TorchRuntime,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVinoRuntime,
}


def make_runtime(
    artifact: Artifact,
    name: str = "torch",
    *,
    precision: str = "fp32",
    device: torch.device | None = None,
    threads: int | None = None,
    file: Path | None = None,
) -> Runtime:
    """A runtime by name.

    Args:
        artifact: the trained model.
        name: a key of ``RUNTIMES``.
        precision: one of that runtime's ``precisions``.
        device: where to compute; the CPU by default.
        threads: of one call; None means as many as PyTorch uses.
        file: what ``export_onnx`` wrote, or None to export in memory where it is needed.

    Raises:
        ValueError: the name is unknown, or the runtime cannot do this precision or device.
        ImportError: its package is not installed; the message names the extra.
        ArtifactError: ``file`` was exported from another model.
    """
    if name not in RUNTIMES:
        raise ValueError(f"runtime={name!r} is unknown; choose one of {', '.join(RUNTIMES)}")
    kind, device = RUNTIMES[name], device or torch.device("cpu")
    if precision not in kind.precisions:
        able = [n for n, r in RUNTIMES.items() if precision in r.precisions]
        raise ValueError(
            f"precision={precision!r} is not offered by runtime={name!r}, which takes "
            f"{' or '.join(kind.precisions)}"
            + (f"; {precision} is offered by {' and '.join(able)}" if able else "")
        )
    if device.type != "cpu" and kind is not TorchRuntime:
        raise ValueError(
            f"runtime={name!r} computes on the CPU, not on device={str(device)!r}. Remedy: "
            "device='cpu', or runtime='torch'."
        )
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads} must be ≥ 1, or None")
    return kind(artifact, precision=precision, device=device, threads=threads, file=file)


def _checked(x: Tensor | Array, shape: tuple[int, int]) -> Array:
    """x as a contiguous float32 array (B, T, C)."""
    if x.ndim != 3 or tuple(x.shape[1:]) != shape:
        raise ValueError(
            f"input has shape {tuple(x.shape)}; this model takes (B, {shape[0]}, {shape[1]})"
        )
    values = x.detach().cpu().numpy() if isinstance(x, Tensor) else x
    return np.ascontiguousarray(values, dtype=np.float32)

"""What turns windows into predictions: PyTorch, ONNX Runtime or OpenVINO behind one call.

A runtime is a small object: ``runtime(x)`` takes normalised windows (B, T, C) and gives the RUL
(B,) and the health probabilities (B, K). Notation: B batch, T window length, C input channels,
K health classes. Which precision costs how many cycles of RUL is measured by
``benchmarks/prediction.py``.

======================= ============================= ============================================
runtime                 precisions                    what it needs
======================= ============================= ============================================
``torch``               fp32, bf16                    nothing; the only one that runs on a GPU
``onnxruntime``         fp32, int8                    ``pip install 'grace-rul[export]'``
``openvino``            fp32, bf16                    ``pip install 'grace-rul[export,openvino]'``
======================= ============================= ============================================

Only the LSTM, 96 % of the operations of the reference model, is computed in lower precision by
``torch`` bf16 and ``onnxruntime`` int8; the rest costs accuracy and saves nothing. (A RUL in
bfloat16 would lie on a grid of half a cycle between 64 and 128.) ``openvino`` chooses by itself.
int8 takes its scales from the whole batch: a window's RUL depends, by about a tenth of a cycle, on
the windows it is scored with.
"""

from __future__ import annotations

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from grace.prediction.artifact import Artifact

__all__ = [
    "RUNTIMES",
    "OnnxRuntime",
    "OpenVinoRuntime",
    "Runtime",
    "TorchRuntime",
    "make_runtime",
    "optional",
    "session",
]

Array = npt.NDArray[np.float32]


def optional(module: str, extra: str) -> Any:
    """Import a package of an extra.

    Raises:
        ImportError: it is not installed; the message is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module.partition('.')[0]} is not installed. Remedy: pip install 'grace-rul[{extra}]'"
        ) from error


class Runtime(ABC):
    """Computes predictions of one trained model.

    Args:
        artifact: the trained model.
        precision: one of ``precisions``.
        device: where to compute.
        threads: of one call; None means as many as PyTorch uses (``OMP_NUM_THREADS`` counts).
        file: the model as written by ``export_onnx``, for runtimes that need one; None exports it
            in memory, which takes seconds.
    """

    precisions: ClassVar[tuple[str, ...]]
    device = torch.device("cpu")

    @abstractmethod
    def __init__(
        self,
        artifact: Artifact,
        *,
        precision: str,
        device: torch.device,
        threads: int | None,
        file: Path | None,
    ) -> None: ...

    @abstractmethod
    def __call__(self, x: Tensor | Array) -> tuple[Array, Array]:
        """Normalised windows (B, T, C) float32 → RUL (B,), health probabilities (B, K).

        The RUL is in the unit of the training labels.

        Raises:
            ValueError: x has other sizes than the model.
        """


class TorchRuntime(Runtime):
    """The network itself, in PyTorch, on any device."""

    precisions = ("fp32", "bf16")

    def __init__(
        self,
        artifact: Artifact,
        *,
        precision: str = "fp32",
        device: torch.device,
        threads: int | None = None,
        file: Path | None = None,
    ) -> None:
        self.device = device
        self.threads = threads
        # A copy of its own: nobody's later .train() or .to() changes predictions.
        self.model = copy.deepcopy(artifact.model).to(device).eval()
        if precision == "bf16":
            # Converted once: autocast would convert all weights anew for every batch.
            self.model.lstm.bfloat16()
            self.model.lstm.register_forward_pre_hook(lambda _, given: (given[0].bfloat16(),))
            self.model.lstm.register_forward_hook(lambda _, given, out: out.float())

    @torch.inference_mode()
    def __call__(self, x: Tensor | Array) -> tuple[Array, Array]:
        """See :class:`Runtime`."""
        with _torch_threads(self.threads):
            rul, logits = self.model(torch.as_tensor(x).to(self.device, torch.float32))
            probabilities = torch.softmax(logits, dim=-1)
            return rul.cpu().numpy(), probabilities.cpu().numpy()


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
        from grace.prediction import export

        optional("onnxruntime", "export")  # before the seconds that an export takes
        model = export.read_onnx(artifact, file)
        if precision == "int8":
            model = export.quantize_int8(model)
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
        from grace.prediction import export

        openvino = optional("openvino", "export,openvino")
        core = openvino.Core()
        model = core.read_model(export.read_onnx(artifact, file))
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


def session(model: bytes, threads: int | None = None) -> Any:
    """An ONNX Runtime session of a serialised model, on the CPU."""
    ort = optional("onnxruntime", "export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _checked(x: Tensor | Array, shape: tuple[int, int]) -> Array:
    """x as a contiguous float32 array (B, T, C)."""
    if x.ndim != 3 or tuple(x.shape[1:]) != shape:
        raise ValueError(
            f"input has shape {tuple(x.shape)}; this model takes (B, {shape[0]}, {shape[1]})"
        )
    values = x.detach().cpu().numpy() if isinstance(x, Tensor) else x
    return np.ascontiguousarray(values, dtype=np.float32)


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """PyTorch's thread count is global: set it for one call, then put it back."""
    before = torch.get_num_threads()
    if threads is None or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The interface of a runtime, and the one that is always available: PyTorch."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from grace.prediction.artifact import Artifact

__all__ = ["Array", "Runtime", "TorchRuntime"]

Array = npt.NDArray[np.float32]


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

        The RUL is in learned units (``LabelConfig.from_learned`` scales it back).

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

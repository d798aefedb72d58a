"""Device, number format and determinism of a training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch

from grace.training.errors import ConfigError

__all__ = [
    "Precision",
    "determinism",
    "device_name",
    "multiplies_bf16",
    "resolve_device",
    "resolve_precision",
]

Precision = Literal["auto", "fp32", "bf16"]


def resolve_device(name: str) -> torch.device:
    """``auto`` is a GPU if there is one, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise RuntimeError("no such GPU")
        torch.empty(0, device=device)
        if device.type == "meta":
            raise RuntimeError("a device without storage")
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, OverflowError):
        raise ConfigError(
            f"device {name!r} is not available here. Remedy: --device cpu, or auto"
        ) from None
    return device


def device_name(device: torch.device) -> str:
    """What to call a device in a record: the model of a GPU, else its type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has units that multiply bfloat16 and add up in float32.

    On a CPU those are AMX and AVX512-BF16; elsewhere bfloat16 is emulated and slower than float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # an older torch does not tell
    has: Mapping[str, Any] = capabilities()
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))


def resolve_precision(wanted: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """``auto`` is bf16 where the device has units for it, else fp32."""
    if wanted == "auto":
        return "bf16" if multiplies_bf16(device) else "fp32"
    return wanted


@contextmanager
def determinism(wanted: bool, device: torch.device) -> Iterator[None]:
    """Refuse operations without a reproducible order, for a while, if ``wanted``.

    Raises:
        ConfigError: a GPU needs an environment variable for that which is not set.
    """
    if wanted and device.type == "cuda" and "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
        raise ConfigError(
            "training.deterministic on a GPU needs the environment variable "
            "CUBLAS_WORKSPACE_CONFIG=:4096:8 set before grace is started"
        )
    before = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(wanted or before, warn_only=lenient and not wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=lenient)

"""The number format a network runs in, chosen by what the processor has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

__all__ = ["Precision", "multiplies_bf16", "resolve_precision"]

Precision = Literal["auto", "fp32", "bf16"]


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

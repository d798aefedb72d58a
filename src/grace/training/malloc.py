"""Memory that a training step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep large freed blocks for reuse; returns whether it agreed.

    glibc maps every block above 32 MiB afresh and unmaps it when freed, and gives the top of the
    heap back, so that a step with hundreds of megabytes of activations spends a good part of its
    time in page faults. The setting holds for the whole process, cannot be undone, and the process
    keeps its peak memory until it ends: it is for a program that trains to call once at its start,
    not for a library. Without effect off Linux and with other allocators.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 (absent from other C libraries)
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    # Older versions refuse thresholds above 32 MiB; forbidding mapped blocks has the same effect.
    return bool(kept and (mallopt(_M_MMAP_THRESHOLD, 2**30) or mallopt(_M_MMAP_MAX, 0)))

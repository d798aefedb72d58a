"""Available memory, and an error before something is built that does not fit."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available_memory", "format_bytes"]

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_memory() -> float:
    """Bytes of memory and swap that this process can still get; infinite where it is not known.

    The limit of a container (cgroup) counts as well as the memory of the machine.
    """
    free = float("inf")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        known = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
        free = float(known["MemAvailable"] + known.get("SwapFree", 0))
    except (OSError, ValueError, KeyError, IndexError):
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
            free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, used in _CGROUPS:
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # another system, or "max"
            continue
        # Caches count as used there although they are given back on demand.
        free = min(free, max(float(left), 0.1 * int(Path(limit).read_text())))
    return free


def format_bytes(n: float) -> str:
    """A size for messages.

    Example:
        >>> format_bytes(3.2e9), format_bytes(2e30)
        ('3.2 GB', '2e+21 GB')
    """
    return f"{n / 1e9:.3g} GB"

"""What every benchmark shares: fair timing, machine facts, one table, one JSON file.

Two speeds measured one after the other are not comparable on a machine that others use; ratios of
medians over interleaved rounds are. So :func:`interleave` runs every variant once per round.

Run a benchmark from the repository root: ``OMP_NUM_THREADS=1 python benchmarks/prediction.py``.
Import this file as ``from harness import interleave`` (the script's own folder is on the path).
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import random
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

__all__ = [
    "interleave",
    "machine_facts",
    "matrix_products",
    "matrix_rate",
    "medians",
    "print_facts",
    "print_table",
    "write_json",
]

PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "openvino", "grace-rul")


def interleave(
    variants: Mapping[str, Callable[[], Any]],
    rounds: int = 7,
    warmup: int = 1,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> dict[str, list[float]]:
    """Seconds of every variant, one call each per round, in a shuffled order within each round.

    Args:
        variants: name → what to time. Each call should take well over a millisecond; put a loop
            inside where it does not.
        rounds: timed rounds, ≥ 1.
        warmup: untimed rounds before them, ≥ 0.
        device: synchronised before and after each call where it is a GPU.
        seed: of the order, so that a rerun does the same.

    Returns:
        name → seconds of each round, in the order of ``variants``; round i of one variant is the
        neighbour in time of round i of every other.

    Raises:
        ValueError: no variant, or ``rounds`` < 1.
    """
    if not variants or rounds < 1:
        raise ValueError("interleave needs at least one variant and rounds ≥ 1")
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    order = list(variants)
    shuffled = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(-warmup, rounds):
            shuffled.shuffle(order)
            for name in order:
                wait()
                start = time.perf_counter()
                variants[name]()
                wait()
                if number >= 0:
                    seconds[name].append(time.perf_counter() - start)
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Median seconds per variant of an :func:`interleave` result."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def matrix_products(
    dtype: torch.dtype = torch.float32, *, size: int = 1024, device: torch.device | str = "cpu"
) -> dict[str, Callable[[], Any]]:
    """The ways torch has of multiplying two (size, size) matrices, 2·size³ operations each.

    On a processor two libraries may differ a lot: MKL serves ``a @ b`` in fp32 and uses no AVX-512
    on AMD, where oneDNN, which serves LSTM and convolution, does. A ceiling needs the faster one.
    """
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    ways: dict[str, Callable[[], Any]] = {"a @ b": lambda: a @ b}
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if torch.device(device).type == "cpu" and linear is not None:

        def onednn() -> Any:
            return linear(a, b, None, "none", [], "")

        try:
            onednn()
            ways["oneDNN"] = onednn
        except RuntimeError:  # no such kernel for this type or processor
            pass
    return ways


def matrix_rate(
    dtype: torch.dtype = torch.float32,
    *,
    size: int = 1024,
    repeats: int = 5,
    device: torch.device | str = "cpu",
) -> float:
    """Measured GFLOP/s of a square matrix product, the ceiling to hold a model's rate against.

    Args:
        dtype: of the operands.
        size: n of the (n, n) @ (n, n) product, 2·n³ operations.
        repeats: calls; the fastest of all ways counts, since a ceiling is asked for.
        device: where.
    """
    ways = matrix_products(dtype, size=size, device=device)
    seconds = interleave(ways, repeats, warmup=2, device=device)
    return 2 * size**3 / min(min(times) for times in seconds.values()) / 1e9


def machine_facts() -> dict[str, Any]:
    """What a reader must know to place the figures: processor, threads, load, versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    capability = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "matrix_units": sorted(
            k for k, v in capability.items() if v is True and ("bf16" in k or "amx" in k)
        )
        or _flags("amx", "bf16"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _flags(*wanted: str) -> list[str]:
    """Processor flags (Linux) that contain one of ``wanted``."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return []
    line = next((x for x in info.read_text().splitlines() if x.startswith("flags")), "")
    return sorted(f for f in line.partition(":")[2].split() if any(w in f for w in wanted))


def print_table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    columns: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """Print rows as a table; numbers right-aligned, None as a dash.

    Args:
        title: above the table.
        rows: one mapping per row; values are text, numbers or None.
        columns: keys to show, in order; those of the first row by default.
        notes: lines below.
        console: where to; standard output by default.
    """
    console = console or Console(width=None if os.isatty(1) else 120)
    columns = list(columns or (rows[0] if rows else ()))
    table = Table(title=title, title_justify="left")
    for name in columns:
        numeric = any(isinstance(row.get(name), (int, float)) for row in rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    console.print(table)
    for note in notes:
        console.print(f"  {note}", highlight=False, markup=False)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def print_facts(facts: Mapping[str, Any], *, console: Console | None = None) -> None:
    """Print :func:`machine_facts` as two lines above a table."""
    console = console or Console(width=None if os.isatty(1) else 120)
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    units = ", ".join(facts["matrix_units"]) or "none"
    console.print(
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} thread(s), load "
        f"{facts['load_1min']}; matrix units: {units}; GPU: {facts['gpu'] or 'none'}\n{versions}",
        highlight=False,
        markup=False,
    )


def write_json(
    path: str | Path, *, name: str, rows: Sequence[Mapping[str, Any]], **more: Any
) -> None:
    """Write a benchmark's result, with the machine's facts, as JSON (NaN is refused).

    Args:
        path: file to write; its folder is made.
        name: of the benchmark.
        rows: the table.
        more: anything else that is plain: settings, raw seconds, matrix rates.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmark": name, "machine": machine_facts(), "rows": list(rows), **more}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    # A list of numbers on one line: raw seconds and trajectories are long.
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    path.write_text(text + "\n", encoding="utf-8")

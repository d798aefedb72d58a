"""The data feed: one epoch of windows by three ways, and the time from file to windows.

    OMP_NUM_THREADS=1 python benchmarks/data_feed.py [--batch 256] [--json out.json]

On FD004 where it is installed, else on a simulated fleet of its size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from harness import interleave, machine_facts, medians, print_facts, print_table, write_json
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from grace.data.errors import DataError
from grace.data.labels import LabelConfig
from grace.data.preprocessing import Preprocessor
from grace.data.readers import load_dataset
from grace.data.windows import WindowConfig, WindowSet

__all__ = ["PerSampleWindows", "epoch_ways", "fd004_windows", "random_windows", "time_reading"]

FRESH = "read or simulate, in a fresh process"


class PerSampleWindows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The straightforward form: all windows cut beforehand, one returned at a time."""

    def __init__(self, windows: WindowSet) -> None:
        self.x = windows.gather(torch.arange(len(windows)))
        self.rul, self.health = windows.rul, windows.health

    def __len__(self) -> int:
        return len(self.rul)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.x[index], self.rul[index], self.health[index]


class BatchedWindows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The same with ``__getitems__``: the loader asks once per batch."""

    def __init__(self, windows: WindowSet) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitems__(self, index: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        x, rul, health, *_ = self.windows.batch(torch.tensor(index))
        return x, rul, health


def random_windows(rows: int = 4096, c_in: int = 14, length: int = 30) -> WindowSet:
    """Windows over random rows, 16 units: enough where only the speed of a step matters."""
    generator = torch.Generator().manual_seed(0)
    per_unit = rows // 16
    unit = torch.arange(16).repeat_interleave(per_unit)
    rul = torch.arange(per_unit - 1, -1, -1).repeat(16).clamp_max(125).float()
    return WindowSet(
        rows=torch.randn(16 * per_unit, c_in, generator=generator),
        begins=unit * per_unit,
        ends=torch.arange(16 * per_unit),
        rul=rul,
        health=(rul <= 80).long() + (rul <= 30).long(),
        unit=unit,
        unit_ids=tuple(range(16)),
        length=length,
    )


def _read(name: str) -> tuple[WindowSet, dict[str, float]]:
    """Windows of a dataset's training engines, and the seconds each part took."""
    seconds, began = {}, time.perf_counter()

    def lap(part: str) -> None:
        nonlocal began
        now = time.perf_counter()
        seconds[part], began = now - began, now

    options = {"n_train": 280, "n_test": 10, "n_conditions": 6} if name == "sim" else {}
    data = load_dataset(name, **options)
    lap("read or simulate")
    preprocessor = Preprocessor(
        default_sensors=data.default_sensors, default_conditions=data.n_conditions
    ).fit(data.train)
    table = preprocessor.transform(data.train)
    lap("conditions and normalisation")
    windows = WindowSet.build(table, data.train, LabelConfig(), WindowConfig())
    lap("windows")
    return windows, {**seconds, "all": sum(seconds.values())}


def fd004_windows() -> tuple[WindowSet, str, dict[str, float]]:
    """Training windows of FD004, or of a simulated fleet of its size; which; seconds per part."""
    try:
        windows, seconds = _read("FD004")
        return windows, "FD004", seconds
    except DataError:
        windows, seconds = _read("sim")
        return windows, "simulated fleet of the size of FD004", seconds


_READ_ONCE = """
import sys, time
from grace.data.readers import load_dataset
began = time.perf_counter()
load_dataset(sys.argv[1])
print(time.perf_counter() - began)
"""


def time_reading(name: str, rounds: int) -> list[dict[str, float]]:
    """From file to windows: seconds per part, one mapping per round, after one that warms up.

    Raises:
        DataError: the dataset is not installed.
    """
    laps: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        seconds = _read(name)[1]
        fresh = subprocess.run(
            [sys.executable, "-c", _READ_ONCE, name], stdout=subprocess.PIPE, text=True, check=True
        )
        laps.append({**seconds, FRESH: float(fresh.stdout)})
    return laps[1:]


def epoch_ways(windows: WindowSet, batch: int) -> dict[str, Callable[[], None]]:
    """Name → one epoch of shuffled batches, read and dropped."""

    def drain(batches: Iterable[Any]) -> None:
        for _ in batches:
            pass

    def ours() -> None:
        for index in torch.randperm(len(windows)).split(batch):
            windows.batch(index)

    def collated(parts: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        return parts

    single = DataLoader(PerSampleWindows(windows), batch, shuffle=True)
    batched: DataLoader[Any] = DataLoader(
        BatchedWindows(windows), batch, shuffle=True, collate_fn=collated
    )
    return {
        "per-sample Dataset, DataLoader": lambda: drain(single),
        "__getitems__, DataLoader": lambda: drain(batched),
        "ours: permutation and gather": ours,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Epochs of windows by three ways.")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="random rows, 1 round: a smoke test")
    args = parser.parse_args(argv)

    if args.quick:
        windows, source, name, args.rounds = random_windows(), "random rows", "FD001", 1
    else:
        windows, source, _ = fd004_windows()
        name = "FD004" if source == "FD004" else "sim"
    try:
        laps = time_reading(name, args.rounds)
    except DataError:  # a smoke test where FD001 is not installed
        laps = []
    seconds = interleave(epoch_ways(windows, args.batch), args.rounds)
    middle = medians(seconds)
    ours = next(name for name in middle if name.startswith("ours"))
    copy = len(windows) * windows.length * windows.n_channels * 4 / 1e6
    rows: list[dict[str, Any]] = [
        {"way": n, "ms per epoch": 1e3 * s, "× ours": s / middle[ours]} for n, s in middle.items()
    ]
    parts = laps[0] if laps else {}
    reading = [{"part": p, "ms": 1e3 * median(lap[p] for lap in laps)} for p in parts]
    print_facts(machine_facts())
    print_table(
        f"One epoch of {source}: {len(windows)} windows, batch {args.batch}",
        rows,
        notes=[
            f"memory: rows {windows.rows.numel() * 4 / 1e6:.1f} MB (ours), all windows cut "
            f"{copy:.1f} MB (per-sample Dataset)"
        ],
    )
    if reading:
        print_table(f"From file to windows: {name}, medians of {args.rounds} rounds", reading)
    if args.json:
        write_json(args.json, name="data_feed", rows=rows, reading=reading, raw=seconds, laps=laps)


if __name__ == "__main__":
    main()

"""Several trainings at once against one after another: the time of a grid.

    python benchmarks/parallel_runs.py --dataset FD001 FD002 FD003 FD004

Each round trains the same whole runs (GRACE, one seed per dataset, without baselines) by every
way: processes, reading, early stopping and evaluation included. The hours for the whole grid
(4 datasets × 7 methods × 5 seeds) assume that every run takes as long as these: GRACE is among
the slowest methods.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness import interleave, machine_facts, medians, print_facts, print_table, write_json

from grace.experiments import grid, grid_configs
from grace.training import RunConfig

GRID = 4 * 7 * 5


def train_all(configs: dict[str, RunConfig], folder: Path, parallel: int, threads: int) -> None:
    """All runs, from the beginning."""
    shutil.rmtree(folder, ignore_errors=True)
    result = grid(configs, folder, parallel_runs=parallel, threads_per_run=threads)
    if result.failed:
        raise SystemExit("\n".join(f"{e.name}: {e.text}" for e in result.failed))


def main(argv: Sequence[str] | None = None) -> None:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", nargs="+", default=["sim"])
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--epochs", type=int, help="of each run; whole runs by default")
    parser.add_argument("--seeds", type=int, default=1, help="runs per dataset")
    parser.add_argument("--parallel", type=int, nargs="+", default=sorted({1, cores}))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="two short runs: a smoke test")
    args = parser.parse_args(argv)
    if args.quick:
        args.epochs, args.seeds, args.rounds = 1, 2, 1

    training = {} if args.epochs is None else {"epochs": args.epochs}
    over: dict[str, Any] = {"evaluate_baselines": False, "training": training}
    if args.quick:
        training["steps_per_epoch"] = 2
        over["dataset_options"] = {"n_train": 10, "n_test": 4}
        over["windows"] = {"length": 8}
        over["model"] = {"lstm_hidden": 8, "shared_dim": 8, "conv_channels": [8, 8, 8]}
    base = RunConfig.load(preset=args.preset, overrides=over)
    seeds = range(args.seeds)
    configs = grid_configs(
        base, datasets=args.dataset, methods=["grace"], seeds=seeds, controls=False
    )
    ways = {
        f"{n} at a time, {max(1, cores // n)} thread(s) each": (n, max(1, cores // n))
        for n in args.parallel
    }
    with tempfile.TemporaryDirectory() as scratch:
        seconds = interleave(
            {
                way: partial(train_all, configs, Path(scratch) / str(n), n, threads)
                for way, (n, threads) in ways.items()
            },
            args.rounds,
            warmup=0,
        )
    middle = medians(seconds)
    first = next(iter(middle.values()))
    rows: list[dict[str, Any]] = [
        {
            "way": way,
            "s": took,
            "relative time": took / first,
            "hours for the grid": GRID * took / len(configs) / 3600,
        }
        for way, took in middle.items()
    ]
    length = "whole runs" if args.epochs is None else f"runs of {args.epochs} epochs"
    what = f"{len(configs)} {length}, {', '.join(args.dataset)}, `{args.preset}`"
    print_facts(machine_facts())
    print_table(what, rows)
    if args.json:
        more = {"what": what, "grid runs": GRID, "raw": seconds}
        write_json(args.json, name="parallel_runs", rows=rows, **more)


if __name__ == "__main__":
    main()

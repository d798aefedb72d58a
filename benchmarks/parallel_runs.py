"""Several trainings at once against one after another: the time of a grid.

    python benchmarks/parallel_runs.py --dataset FD001

Each round trains the same runs by every way, interleaved, starting processes and reading included.
The hours for the whole grid (4 data sets × 7 methods × 5 seeds) are the time per step measured
here times the steps that whole runs took: ``--runs`` names finished ones.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import interleave, machine_facts, medians, print_facts, print_table, write_json

from grace.experiments import grid, grid_configs, runs_table
from grace.training import RunConfig

GRID = 4 * 7 * 5


def train_all(configs: dict[str, RunConfig], folder: Path, parallel: int, threads: int) -> None:
    """All runs, from the beginning."""
    shutil.rmtree(folder, ignore_errors=True)
    result = grid(configs, folder, parallel_runs=parallel, threads_per_run=threads)
    if result.failed:
        raise SystemExit("\n".join(f"{e.name}: {e.text}" for e in result.failed))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="sim")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--epochs", type=int, default=8, help="of each run")
    parser.add_argument("--count", type=int, default=4, help="runs")
    parser.add_argument("--parallel", type=int, nargs="+", default=None, help="ways to compare")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of whole runs")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="two short runs: a smoke test")
    args = parser.parse_args(argv)
    if args.quick:
        args.epochs, args.count, args.rounds = 1, 2, 1

    cores = torch.get_num_threads()
    base = RunConfig.load(
        preset=args.preset,
        overrides={"evaluate_baselines": False, "training": {"epochs": args.epochs}},
    )
    seeds = range(args.count)
    configs = grid_configs(base, datasets=[args.dataset], methods=["grace"], seeds=seeds)
    ways = {
        f"{n} at a time, {max(1, cores // n)} thread(s) each": (n, max(1, cores // n))
        for n in args.parallel or sorted({1, cores})
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
    epochs = args.count * args.epochs
    whole = runs_table(args.runs)["epochs"].mean() if args.runs else None
    first = next(iter(middle.values()))
    rows: list[dict[str, Any]] = [
        {
            "way": way,
            "s": took,
            "relative time": took / first,
            "hours for the grid": None
            if whole is None
            else GRID * float(whole) * took / epochs / 3600,  # type: ignore[arg-type]
        }
        for way, took in middle.items()
    ]
    what = f"{args.count} runs of {args.epochs} epochs, {args.dataset}, `{args.preset}`"
    print_facts(machine_facts())
    print_table(what, rows)
    if args.json:
        more = {"what": what, "grid runs": GRID, "epochs of a whole run": whole, "raw": seconds}
        write_json(args.json, name="parallel_runs", rows=rows, **more)


if __name__ == "__main__":
    main()

"""Held-out evidence for the rows on which a checkpoint is selected.

A quarter of the training units of a dataset is set aside as a pseudo-test set: each of them is cut
at ten points whose true remaining life is uniform over the range of the published test sets. The
rest is split into training and validation units as in any run, and trained twice: once selected
(schedule, early stopping, checkpoint) on all rows of the validation units, once on truncations of
them with equal weight per unit. Both are evaluated on the pseudo-test set; the real test set is
never read. ``python benchmarks/selection.py --out selection.jsonl`` adds a line per training and
skips those that are there; ``--summary`` prints the paired differences, and ``--write FILE`` puts
them between the marks of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from document import markdown, replace_between

from grace.data.readers import load_dataset
from grace.data.splits import split_units
from grace.data.windows import WindowSet
from grace.experiments.selection_rows import truncated_windows
from grace.experiments.training_data import build_training_data
from grace.training.config import RunConfig
from grace.training.inference import predict_windows
from grace.training.trainer import Trainer, copy_with_weights

PSEUDO_TEST_SHARE = 0.25
# Largest true remaining life of a test unit, in shares of the cap (125 cycles).
TEST_RANGE = {"FD001": 1.16, "FD002": 1.55}
TRUNCATIONS = 10


def pseudo_test(every: WindowSet, rul: np.ndarray, largest: float, seed: int) -> WindowSet:
    """Windows at truncations of each unit drawn uniformly over RUL; ``rul`` is uncapped."""
    rng, unit, chosen = np.random.default_rng(seed), every.unit.numpy(), []
    for u in np.unique(unit):
        rows = np.flatnonzero(unit == u)
        wanted = min(largest, rul[rows].max()) * rng.random(TRUNCATIONS)
        chosen.append(rows[np.abs(rul[rows][None] - wanted[:, None]).argmin(axis=1)])
    index = torch.from_numpy(np.concatenate(chosen))
    fields = ("begins", "ends", "rul", "health", "unit")
    return replace(every, **{f: getattr(every, f)[index] for f in fields})


def train(dataset: str, seed: int, rows: str) -> dict[str, object]:
    data = load_dataset(dataset)
    config = RunConfig.load(preset="fast", overrides={"dataset": dataset, "seed": seed})
    outer = split_units(data.train, PSEUDO_TEST_SHARE, seed=10_000 + seed)
    pseudo = data.train.select(outer.validation)
    rest = replace(data, train=data.train.select(outer.train), test=pseudo)
    made = build_training_data(config, rest)
    cap = config.labels.cap

    def windows(fleet) -> WindowSet:
        table = made.preprocessor.transform(fleet)
        return WindowSet.build(table, fleet, config.labels, config.windows, every_row=True)

    held_out = rest.train.select(made.split.validation)
    monitors = {
        "all": made.monitors["validation"],
        "truncated": truncated_windows(windows(held_out), held_out.rul(), cap=cap),
    }
    test = pseudo_test(windows(pseudo), pseudo.rul(), TEST_RANGE[dataset] * cap, seed)
    trainer = Trainer(made.model, config.method.build(cap), config.training, seed=config.seed)
    fit = trainer.fit(made.train, monitors, select=rows)
    model = copy_with_weights(made.model, fit.best[rows].weights)
    error = (predict_windows(model, test)[0] - test.rul).double().numpy()
    nasa = np.expm1(np.where(error < 0, -error / 13, error / 10)).mean()
    return {
        "dataset": dataset, "seed": seed, "rows": rows, "epoch": fit.best[rows].epoch,
        "epochs": len(fit.history), "rmse": float(np.sqrt(np.mean(error**2))), "nasa": float(nasa),
    }  # fmt: skip


def summary(lines: list[dict]) -> list[tuple[str, ...]]:
    """Dataset, metric, mean with all rows, and mean difference ± its standard error."""
    rows = []
    for dataset in sorted({r["dataset"] for r in lines}):
        for metric in ("rmse", "nasa"):
            by = {
                rows: {
                    r["seed"]: r[metric]
                    for r in lines
                    if (r["dataset"], r["rows"]) == (dataset, rows)
                }
                for rows in ("all", "truncated")
            }
            seeds = sorted(by["all"].keys() & by["truncated"].keys())
            if len(seeds) < 2:
                continue
            d = np.array([by["truncated"][s] - by["all"][s] for s in seeds])
            mean = np.mean([by["all"][s] for s in seeds])
            error = d.std(ddof=1) / np.sqrt(d.size)
            name = {"rmse": "RMSE", "nasa": "NASA/n"}[metric]
            difference = f"{d.mean():+.3f} ± {error:.3f}".replace("-", "−")
            rows.append((dataset, name, str(d.size), f"{mean:.3f}", difference))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("selection.jsonl"))
    parser.add_argument("--datasets", nargs="+", default=["FD001", "FD002"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    lines = []
    if args.out.exists():
        lines = [json.loads(line) for line in args.out.read_text().splitlines()]
    if not args.summary:
        done = {(r["dataset"], r["seed"], r["rows"]) for r in lines}
        for seed in args.seeds:
            for dataset in args.datasets:
                for rows in ("all", "truncated"):
                    if (dataset, seed, rows) in done:
                        continue
                    lines.append(train(dataset, seed, rows))
                    with args.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(lines[-1]) + "\n")
    heads = ("data", "metric", "seeds", "all rows", "truncated minus all (± standard error)")
    rows = markdown(heads, summary(lines))
    print("\n".join(rows))
    if args.write:
        replace_between(args.write, "selection", rows)


if __name__ == "__main__":
    main()

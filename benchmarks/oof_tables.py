"""Out-of-fold predictions of training units and fold-ensemble predictions of test units.

    python benchmarks/oof_tables.py STORE --datasets FD001 FD002 --folds 5 --seeds 0

Every fold is a file ``STORE/<dataset>-seed<s>-fold<k>.npz``; finished files are kept, so an
interrupted run continues. Test units are predicted, their labels are not read.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from grace.data.fleet import Dataset, Fleet
from grace.data.labels import capped_rul
from grace.data.windows import WindowSet
from grace.evaluation.baselines import window_statistics
from grace.experiments.training_data import TrainingData, build_training_data, load_data
from grace.training.config import RunConfig
from grace.training.trainer import Trainer, copy_with_weights


def unit_folds(fleet: Fleet, folds: int, seed: int) -> list[list[Any]]:
    """Units in K folds, balanced by life: every K consecutive lives go to K different folds."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(fleet.n_units), fleet.life()))
    parts: list[list[Any]] = [[] for _ in range(folds)]
    for block in np.array_split(order, range(folds, len(order), folds)):
        for place, unit in zip(rng.permutation(folds), block, strict=False):
            parts[place].append(fleet.unit_ids[unit])
    return parts


@contextmanager
def turn(path: str | None) -> Iterator[None]:
    """Hold a lock file while something long runs; None: no lock."""
    if path is None:
        yield
        return
    with open(path, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def network_outputs(
    model: torch.nn.Module, data: TrainingData, config: RunConfig, fleet: Fleet
) -> tuple[np.ndarray, np.ndarray]:
    """RUL (R,) and shared feature z (R, D) of every row of a fleet."""
    table = data.preprocessor.transform(fleet)
    windows = WindowSet.build(
        table, fleet, config.labels, config.windows, every_row=True, labelled_only=False
    )
    model.eval()
    rul, shared = [], []
    with torch.inference_mode():
        for index in torch.arange(len(windows)).split(256):
            z = model.features(windows.gather(index))  # type: ignore[operator]
            rul.append(model.heads(z)[0])  # type: ignore[operator]
            shared.append(z)
    return torch.cat(rul).numpy(), torch.cat(shared).numpy()


def boosting_inputs(data: TrainingData, fleet: Fleet, window: int) -> np.ndarray:
    """Model inputs of a row with mean, deviation and slope over the window, (R, F)."""
    table = data.preprocessor.transform(fleet)
    return window_statistics(table.rows, table.starts, table.lengths, window)


def fold_arrays(config: RunConfig, whole: Dataset, held: list[Any]) -> dict[str, np.ndarray]:
    """Train without ``held``; outputs on the training, held-out and test units."""
    kept = [u for u in whole.train.unit_ids if u not in set(held)]
    data = replace(whole, train=whole.train.select(kept))
    parts = build_training_data(config, data)
    trainer = Trainer(
        parts.model, config.method.build(cap=config.labels.cap), config.training, seed=config.seed
    )
    fit = trainer.fit(parts.train, parts.monitors, select="validation")
    best = fit.best["validation"]
    model = copy_with_weights(parts.model, best.weights)
    arrays: dict[str, np.ndarray] = {"validation_rmse": np.array(best.rmse)}
    inputs = boosting_inputs(parts, data.train, config.windows.length)
    boosting = HistGradientBoostingRegressor(
        early_stopping=False, max_iter=150, learning_rate=0.06, random_state=config.seed
    ).fit(inputs[::3], capped_rul(data.train, config.labels)[::3])
    for role, fleet in {
        "train": data.train,
        "held": whole.train.select(held),
        "test": whole.test,
    }.items():
        rul, shared = network_outputs(model, parts, config, fleet)
        times = fleet.times()
        arrays[f"{role}_unit"] = np.repeat(np.asarray(fleet.unit_ids), fleet.lengths())
        arrays[f"{role}_time"] = times
        arrays[f"{role}_age"] = times - np.repeat(times[fleet.starts()], fleet.lengths())
        arrays[f"{role}_network"] = rul
        arrays[f"{role}_boosting"] = boosting.predict(
            boosting_inputs(parts, fleet, config.windows.length)
        )
        arrays[f"{role}_z"] = shared.astype(np.float32)
        if role != "test":
            arrays[f"{role}_rul"] = fleet.rul()
    return arrays


def main() -> None:
    """Fill the store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--datasets", nargs="+", default=["FD001", "FD002", "FD003", "FD004"])
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--lock", default=None, help="lock file held during a training")
    args = parser.parse_args()
    args.store.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for seed in args.seeds:
        for name in args.datasets:
            config = RunConfig.load(preset=args.preset, overrides={"dataset": name, "seed": seed})
            whole = load_data(config, args.data_root)
            for fold, held in enumerate(unit_folds(whole.train, args.folds, seed=0)):
                path = args.store / f"{name}-seed{seed}-fold{fold}.npz"
                if path.exists():
                    continue
                with turn(args.lock):
                    began = time.perf_counter()
                    arrays = fold_arrays(config, whole, held)
                    seconds = time.perf_counter() - began
                partial = path.with_suffix(".partial.npz")
                np.savez(partial, **arrays)
                partial.rename(path)
                score = float(arrays["validation_rmse"])
                print(f"{path.name} validation RMSE {score:.2f} in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""Adaptive task weights of a grid: their paths over training, and how long they rest on the floor.

GABA raises its smoothed weight to the floor λ_min, so the RUL weight that it applies is below λ_min
exactly where the floor is active: it then lies between λ_min/(1 + λ_min) and λ_min.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from grace.core.gaba import GABALoss
from grace.experiments.benchmark import validation_scores
from grace.experiments.results_store import ResultsStore
from grace.training.config import RunConfig
from grace.training.presets import PRESETS

__all__ = [
    "ADAPTIVE",
    "FLOOR",
    "FloorRow",
    "WeightPath",
    "floor_rows",
    "largest_difference",
    "selected_epoch",
    "weight_paths",
]

ADAPTIVE = ("gaba", "grace")
"""Methods with GABA and its default options."""
FLOOR = GABALoss().min_weight
"""λ_min of GABA: the applied RUL weight is below it exactly where the floor is active."""


class WeightPath(NamedTuple):
    """RUL weight of a run at the end of each epoch, (n,), without a unit.

    ``epochs`` counts from 1, (n,). ``selected`` is the epoch whose checkpoint the validation units
    selected, None where the store does not determine it (see :func:`selected_epoch`).
    """

    dataset: str
    method: str
    seed: int
    epochs: tuple[int, ...]
    weights: tuple[float, ...]
    selected: int | None

    @property
    def on_floor(self) -> tuple[bool, ...]:
        """Whether the floor is active at the end of each epoch, (n,)."""
        return tuple(w < FLOOR for w in self.weights)

    @property
    def first_on_floor(self) -> int | None:
        """The first epoch that ends on the floor; None without one."""
        return next((e for e, on in zip(self.epochs, self.on_floor, strict=True) if on), None)


class FloorRow(NamedTuple):
    """A method on a dataset: epochs that end on the floor, and checkpoints selected before them.

    ``share`` is of the epochs of all runs; ``first`` and ``selected`` are medians over runs, in
    epochs from 1, None without any. ``before`` counts, of the ``known`` runs with a known selected
    epoch, those whose checkpoint is of an epoch before the first on the floor.
    """

    dataset: str
    method: str
    runs: int
    share: float
    first: float | None
    selected: float | None
    before: int
    known: int


def selected_epoch(trained: int, *, limit: int, patience: int | None) -> int | None:
    """Epoch (from 1) with the lowest validation RMSE of a training that stopped early.

    Early stopping ends a training ``patience`` epochs after the best one. A training that used all
    epochs may have its best anywhere in the last ones, so None is returned.

    Args:
        trained: epochs trained.
        limit: maximum epochs.
        patience: epochs without improvement before the training stops; None: no early stopping.

    Example:
        >>> selected_epoch(36, limit=60, patience=10), selected_epoch(60, limit=60, patience=10)
        (26, None)
    """
    if patience is None or trained >= limit:
        return None
    return trained - patience


def weight_paths(store: ResultsStore, methods: Sequence[str] = ADAPTIVE) -> list[WeightPath]:
    """Weights of all runs of these methods, ordered by dataset, method and seed."""
    table = validation_scores(store)
    if not table.height:
        return []
    weights = store.weights()
    found = []
    for row in table.filter(pl.col("method").is_in(methods)).iter_rows(named=True):
        mine = weights.filter(run=row["run"]).sort("epoch")
        if not mine.height:
            continue
        # Other settings may have another patience, which the store does not hold as a number.
        usual = row["preset"] in PRESETS and not row["settings"]
        selected = None
        if usual:
            training = RunConfig.load(preset=row["preset"]).training
            selected = selected_epoch(
                row["epochs"], limit=training.epochs, patience=training.early_stopping_patience
            )
        found.append(
            WeightPath(
                row["dataset"], row["method"], row["seed"],
                tuple(e + 1 for e in mine["epoch"].to_list()),
                tuple(w[0] for w in mine["weights"].to_list()), selected,
            )
        )  # fmt: skip
    return sorted(found, key=lambda path: path[:3])


def largest_difference(paths: Sequence[WeightPath]) -> float:
    """Largest difference of RUL weights between runs of one dataset at the same epoch."""
    values: dict[tuple[str, int], list[float]] = {}
    for p in paths:
        for epoch, weight in zip(p.epochs, p.weights, strict=True):
            values.setdefault((p.dataset, epoch), []).append(weight)
    return max((max(v) - min(v) for v in values.values()), default=0.0)


def floor_rows(paths: Sequence[WeightPath]) -> list[FloorRow]:
    """How long each method rests on the floor on each dataset, in the order of ``paths``."""
    rows = []
    for dataset, method in dict.fromkeys((p.dataset, p.method) for p in paths):
        mine = [p for p in paths if (p.dataset, p.method) == (dataset, method)]
        epochs = [on for p in mine for on in p.on_floor]
        reached = [p.first_on_floor for p in mine if p.first_on_floor is not None]
        known = [p for p in mine if p.selected is not None]
        before = [
            p for p in known
            if p.first_on_floor is None or (p.selected or 0) < p.first_on_floor
        ]  # fmt: skip
        rows.append(
            FloorRow(
                dataset, method, len(mine), float(np.mean(epochs)),
                float(np.median(reached)) if reached else None,
                float(np.median([p.selected or 0 for p in known])) if known else None,
                len(before), len(known),
            )
        )  # fmt: skip
    return rows

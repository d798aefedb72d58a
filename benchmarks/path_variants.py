"""Variants of the candidate ``boosting_path`` on held-out units, alone and in the stack.

    python benchmarks/path_variants.py RUN [RUN ...]
    python benchmarks/accuracy.py page

``RUN`` is a folder of ``grace train --preset best``: its folds, its out-of-fold rows and its other
candidates are used again. A line per run and variant goes to
``benchmarks/results/path_variants.jsonl``; a variant that is there is not fitted again. No test
unit is involved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from accuracy import add_lines, run_rows
from accuracy_text import PATHS, read_lines
from accuracy_variants import ALL, PATH, Rows, stacked_and_shifted
from network_variants import row_numbers

from grace.candidates import EarlyShift, SharedFeatures
from grace.candidates.base import TrainingRows
from grace.candidates.boosting import LEAST_LABEL, boosted_trees
from grace.candidates.features import CausalFeatures
from grace.candidates.linear import Standardiser
from grace.candidates.path_features import PathFeatures, trailing_line
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig
from grace.data.readers import load_dataset
from grace.evaluation.metrics import nasa_terms
from grace.experiments.stacked_run import load_stacked_run

Array = npt.NDArray[np.float64]
KEYS = ("dataset", "seed", "variant")
Learner = Callable[[Array, Array, TrainingRows, Array, int], Array]
Features = Callable[[SharedFeatures, Fleet, LabelConfig, int], CausalFeatures]


def path(shared: SharedFeatures, fleet: Fleet, labels: LabelConfig, seed: int) -> PathFeatures:
    """The features of the candidate."""
    return PathFeatures.of(shared.features, fleet, labels, seed)


def trees(rate: float) -> Learner:
    """The mean of boosting of the label and of its logarithm, as in the candidate."""

    def learn(x: Array, y: Array, rows: TrainingRows, asked: Array, seed: int) -> Array:
        seeds = [seed, seed + 1000]
        plain, logarithm = (
            np.mean([m.predict(asked) for m in boosted_trees(x, t, rows, seeds, rate=rate)], axis=0)
            for t in (y, np.log(y + LEAST_LABEL))
        )
        return np.asarray(plain + np.exp(logarithm) - LEAST_LABEL) / 2

    return learn


def extra_trees(x: Array, y: Array, rows: TrainingRows, asked: Array, seed: int) -> Array:
    """300 extremely randomised trees with at least five rows in a leaf."""
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(300, min_samples_leaf=5, max_features=0.4, random_state=seed)
    model.fit(np.nan_to_num(x), y, sample_weight=rows.weight * len(y))
    return np.asarray(model.predict(np.nan_to_num(asked)))


def perceptron(x: Array, y: Array, rows: TrainingRows, asked: Array, seed: int) -> Array:
    """The mean of three perceptrons with hidden layers of 96 and 48."""
    from sklearn.neural_network import MLPRegressor

    scale = Standardiser.fit(x, rows.weight)
    return np.mean(
        [
            MLPRegressor(hidden_layer_sizes=(96, 48), alpha=0.1, max_iter=30, random_state=seed + i)
            .fit(scale(x), y)
            .predict(scale(asked))
            for i in range(3)
        ],
        axis=0,
    )


class WithSensors(PathFeatures):
    """In addition the slope of every sensor over the second and fourth time scale."""

    def _features(self, fleet: Fleet, unit: Any, lengths: Any) -> npt.NDArray[np.float32]:
        usual, z = super()._features(fleet, unit, lengths), self._normalised(fleet)
        z, times, parts = np.where(np.isfinite(z), z, 0.0), fleet.times(), []
        for rows in np.split(np.arange(len(z)), np.flatnonzero(np.diff(unit)) + 1):
            slopes = [
                trailing_line(column, times[rows], self.windows_[k])[0] * self.life_scale_
                for k in (1, 3)
                for column in z[rows].T
            ]
            parts.append(np.stack(slopes, axis=1))
        return np.concatenate([usual, np.concatenate(parts).astype(np.float32)], axis=1)

    def _name(self) -> None:
        super()._name()
        more = [f"{s}_slope_{k}" for k in (2, 4) for s in self.sensors_]
        self.names_ = (*self.names_, *more)
        self.offset_group_ = (*self.offset_group_, *[-1] * len(more))


def with_sensors(
    shared: SharedFeatures, fleet: Fleet, labels: LabelConfig, seed: int
) -> PathFeatures:
    """The features of the candidate and slopes of sensors."""
    return WithSensors.of(shared.features, fleet, labels, seed)


NO_PRODUCTS = "index of the sensors without products"
VARIANTS: dict[str, tuple[Features, Learner]] = {
    "as in the preset": (path, trees(0.035)),
    "without the path": (lambda shared, *_: shared.features, trees(0.035)),
    NO_PRODUCTS: (path, trees(0.035)),
    "slopes of each sensor in addition": (with_sensors, trees(0.035)),
    "learning rate 0.06": (path, trees(0.06)),
    "extremely randomised trees instead of boosting": (path, extra_trees),
    "perceptrons instead of boosting": (path, perceptron),
}


def out_of_fold(
    fleet: Fleet, labels: LabelConfig, table: Any, features: Features, learn: Learner, seed: int
) -> Array:
    """Predictions of the rows of an out-of-fold table, (M,), by models that never saw it."""
    fold, out = table["fold"].to_numpy(), np.empty(len(table))
    at = row_numbers(fleet, table)
    for k in np.unique(fold):
        mine = fold == k
        held = set(table.filter(mine)["unit"].to_list())
        part = fleet.select([u for u in fleet.unit_ids if u not in held])
        shared = SharedFeatures.of(part, labels, seed=seed)
        made, rows = features(shared, part, labels, seed), shared.rows
        x, asked = made.at(part, rows.rows), made.at(fleet, at[mine])
        y = rows.target / made.group_life(x)
        out[mine] = learn(x, y, rows, asked, seed) * made.group_life(asked)
    return np.clip(out, 0.0, labels.cap)


def figures(held: Rows, values: Array) -> dict[str, float]:
    """Errors of a variant alone, and of the shifted stack with it."""
    stack = stacked_and_shifted(held | {PATH: values}, (*ALL, PATH), EarlyShift().share)
    w, found = held["weight"], {}
    for name, predicted in (("", values), ("stack_", stack)):
        error = predicted - held["y"]
        found[f"{name}rmse"] = float(np.sqrt(np.average(error**2, weights=w)))
        found[f"{name}nasa_per_unit"] = float(np.average(nasa_terms(error), weights=w))
    return found


def main() -> None:
    """Fit the variants that are not in the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    for run in args.runs:
        model, config = load_stacked_run(run)
        fleet, table = load_dataset(config.dataset).train, model.oof_
        assert table is not None
        for variant, (features, learn) in VARIANTS.items():
            named = {"dataset": config.dataset, "seed": config.seed, "variant": variant}
            if named in [{k: line[k] for k in KEYS} for line in read_lines(PATHS)]:
                continue
            began = time.perf_counter()
            most = 0 if variant == NO_PRODUCTS else 24
            with patch("grace.candidates.path_features._MOST_PRODUCTS", most):
                values = out_of_fold(fleet, model.labels_, table, features, learn, config.seed)
            shown = run_rows(table.with_columns(__variant=values), "__variant")["__variant"]
            order = list(VARIANTS).index(variant)
            found = {**named, "order": order, **figures(run_rows(table, *ALL), shown)}
            add_lines(PATHS, [found], KEYS)
            print(found, f"{time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

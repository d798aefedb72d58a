"""Variants of the network of preset ``best`` on held-out units, fold by fold.

    python benchmarks/network_variants.py RUN --set training.steps_per_epoch=40 --folds 0 1
    python benchmarks/accuracy.py page

``RUN`` is a folder of ``grace train --preset best``: its folds and out-of-fold rows are used again,
so that a variant is compared with the run's own network on the same rows. A line per fold goes to
``benchmarks/results/network_variants.jsonl``; a fold that is there is not trained again. No test
unit is involved.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accuracy import add_lines, run_rows
from accuracy_text import NETWORKS, read_lines

import grace.candidates.network as network_module
from grace.candidates.fold_mean import members_of
from grace.candidates.network import Network
from grace.data.fleet import Fleet
from grace.data.readers import load_dataset
from grace.estimator import RULModel
from grace.evaluation.metrics import nasa_terms
from grace.experiments.stacked_run import load_stacked_run
from grace.training.config import RunConfig, deep_merge

KEYS = ("dataset", "seed", "settings", "run_steps_per_epoch", "fold")
Array = np.ndarray


def parsed(settings: list[str]) -> dict[str, Any]:
    """``a.b=value`` as nested sections; values are JSON."""
    found: dict[str, Any] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        nested: Any = json.loads(value)
        for name in reversed(key.split(".")):
            nested = {name: nested}
        found = deep_merge(found, nested)
    return found


def row_numbers(fleet: Fleet, rows: pl.DataFrame) -> Array:
    """Numbers in the fleet of the rows of a table with unit and time."""
    frame = pl.DataFrame(
        {
            "unit": fleet.units["unit"].gather(np.repeat(range(fleet.n_units), fleet.lengths())),
            "time": fleet.times(),
        }
    ).with_row_index("row")
    found = rows.select("unit", "time").join(
        frame, on=["unit", "time"], how="left", maintain_order="left"
    )
    return found["row"].to_numpy().astype(np.int64)


def train(fleet: Fleet, model: RULModel, settings: dict[str, Any]) -> Network:
    """The network of a fitted model, on these units and with other settings."""
    usual = network_module.network_configuration

    def configured(*args: Any) -> RunConfig:
        values = usual(*args).model_dump(mode="json")
        return RunConfig.model_validate(deep_merge(values, settings))

    network_module.network_configuration = configured
    try:
        fitted = Network(model.method, model.preset).fit(fleet, model.labels_, seed=model.seed)
    finally:
        network_module.network_configuration = usual
    assert isinstance(fitted, Network)
    return fitted


def line(table: pl.DataFrame, fold: int, predicted: Array) -> dict[str, Any]:
    """Errors of a variant, and of the run's network, on the shown rows of a fold."""
    kept = table.with_columns(variant=pl.Series(predicted)).filter(pl.col("fold") == fold)
    rows, held = run_rows(kept, "variant"), run_rows(kept, "network")
    w, figures = rows["weight"], {}
    for name, values in (("", rows["variant"]), ("run_", held["network"])):
        error = values - rows["y"]
        figures[f"{name}rmse"] = float(np.sqrt(np.average(error**2, weights=w)))
        figures[f"{name}nasa_per_unit"] = float(np.average(nasa_terms(error), weights=w))
    return {**figures, "units": int(rows["number"].max()) + 1, "rows": len(w)}


def main() -> None:
    """Train the folds that are not in the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", dest="settings", nargs="+", required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    model, config = load_stacked_run(args.run)
    fleet, table = load_dataset(config.dataset).train, model.oof_
    assert table is not None
    settings = " ".join(sorted(args.settings))
    usual = members_of(model.candidates_["network"])[0]
    assert isinstance(usual, Network)
    steps = usual.config_.training.steps_per_epoch
    done = {tuple(entry[k] for k in KEYS) for entry in read_lines(NETWORKS)}
    for fold in args.folds:
        named = {
            "dataset": config.dataset,
            "seed": config.seed,
            "settings": settings,
            "run_steps_per_epoch": steps,
            "fold": fold,
        }
        if tuple(named.values()) in done:
            continue
        began = time.perf_counter()
        mine = (table["fold"] == fold).to_numpy()
        held = set(table.filter(mine)["unit"].to_list())
        learned = fleet.select([u for u in fleet.unit_ids if u not in held])
        network = train(learned, model, parsed(args.settings))
        predicted = np.full(len(table), np.nan)
        predicted[mine] = network.predict(fleet, row_numbers(fleet, table.filter(mine)))
        found = {**named, **line(table, fold, predicted)}
        add_lines(NETWORKS, [found], KEYS)
        seconds = time.perf_counter() - began
        print(
            f"{named} RMSE {found['rmse']:.2f}, {found['run_rmse']:.2f} in the run, {seconds:.0f} s"
        )


if __name__ == "__main__":
    main()

"""Variants of the network of preset ``best`` on held-out units, fold by fold.

    python benchmarks/network_variants.py FD001 --work WORK --set trunk=tcn --folds 0 1
    python benchmarks/accuracy.py page

The networks of preset ``best`` as it is are fitted first and kept in ``WORK``, with the folds and
the rows of a run of ``grace train`` with the same seed; an interrupted fit continues. A variant is
compared with the network of its fold on the same rows. ``--set`` takes every key of the
configuration, and

- ``trunk``: ``tcn`` or ``transformer`` instead of CNN, BiLSTM and attention;
- ``target_cap``: the label cap in learned units (125), the scale of the target;
- ``truncated``: share of the training windows that begin at a random row of theirs;
- ``seed``: another seed of the network, on the same folds: what chance alone changes.

A line per fold goes to ``benchmarks/results/network_variants.jsonl``; a fold that is there is not
trained again. No test unit is read.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from accuracy import add_lines, run_rows
from accuracy_text import NETWORKS, read_lines
from other_trunks import OtherTrunk

from grace.candidates.fold_mean import members_of
from grace.candidates.network import Network, network_configuration
from grace.data.fleet import Fleet
from grace.data.plain_values import parse_yaml
from grace.data.readers import load_dataset
from grace.data.windows import WindowSet
from grace.estimator import RULModel
from grace.evaluation.metrics import nasa_terms
from grace.models import DualTaskModel
from grace.training.config import ModelConfig, RunConfig, deep_merge

Index = npt.NDArray[np.int64]
KEYS = ("dataset", "seed", "settings", "run_steps_per_epoch", "fold")
Array = npt.NDArray[np.float64]


def parsed(settings: list[str]) -> dict[str, Any]:
    """``a.b=value`` as nested sections; values are YAML."""
    found: dict[str, Any] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        nested: Any = parse_yaml(value)
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


def train(fleet: Fleet, model: RULModel, settings: dict[str, Any], rows: Index) -> Array:
    """Predictions of these rows by the network of a fitted model, with other settings.

    Args:
        fleet: all units.
        model: the fitted model; its network learns from the units that have none of the rows.
        settings: sections of the configuration, and the four keys of this module.
        rows: numbers of rows in the fleet.
    """
    other = dict(settings)
    trunk, share = other.pop("trunk", None), other.pop("truncated", 0.0)
    cap, seed = other.pop("target_cap", None), other.pop("seed", model.seed)
    usual = RunConfig.model_validate
    configured = network_configuration

    def changed(*args: Any) -> RunConfig:
        return usual(deep_merge(configured(*args).model_dump(mode="json"), other))

    held = set(np.unique(np.searchsorted(fleet.starts(), rows, side="right") - 1).tolist())
    learned = fleet.select([u for i, u in enumerate(fleet.unit_ids) if i not in held])
    with ExitStack() as replaced:
        replaced.enter_context(patch("grace.candidates.network.network_configuration", changed))
        if cap is not None:
            other = deep_merge(other, {"method": {"inner_options": {"max_rul": cap}}})
            replaced.enter_context(patch("grace.data.labels.LEARNED_CAP", float(cap)))
        if trunk is not None:
            replaced.enter_context(patch.object(ModelConfig, "build", building(trunk)))
        with patch.object(WindowSet, "take", truncating(share, seed)):
            fitted = Network(model.method, model.preset).fit(learned, model.labels_, seed=seed)
        return fitted.predict(fleet, rows)


def building(trunk: str) -> Callable[[ModelConfig, int, int], DualTaskModel]:
    """``ModelConfig.build`` with another trunk."""

    def build(config: ModelConfig, c_in: int, num_classes: int) -> DualTaskModel:
        return OtherTrunk(trunk, c_in, num_classes, **config.model_dump())

    return build


def truncating(share: float, seed: int) -> Callable[[WindowSet, torch.Tensor], WindowSet]:
    """``WindowSet.take``, after which some windows begin at a random row of theirs."""
    usual = WindowSet.take

    def take(windows: WindowSet, which: torch.Tensor) -> WindowSet:
        taken = usual(windows, which)
        draw = torch.Generator().manual_seed(seed)
        back = (torch.rand(len(taken), generator=draw) * taken.length).long() * taken.row_step
        later = torch.maximum(taken.begins, taken.ends - back)
        shortened = torch.rand(len(taken), generator=draw) < share
        return replace(taken, begins=torch.where(shortened, later, taken.begins))

    return take


def line(table: pl.DataFrame, fold: int, predicted: Array) -> dict[str, Any]:
    """Errors of a variant, of the run's network and of their mean, on the shown rows of a fold."""
    kept = table.with_columns(variant=pl.Series(predicted)).filter(pl.col("fold") == fold)
    rows, held = run_rows(kept, "variant"), run_rows(kept, "network")
    w, figures = rows["weight"], {}
    both = (rows["variant"] + held["network"]) / 2
    for name, values in (("", rows["variant"]), ("run_", held["network"]), ("mean_", both)):
        error = values - rows["y"]
        figures[f"{name}rmse"] = float(np.sqrt(np.average(error**2, weights=w)))
        figures[f"{name}nasa_per_unit"] = float(np.average(nasa_terms(error), weights=w))
    return {**figures, "units": int(rows["number"].max()) + 1, "rows": len(w)}


def usual_networks(dataset: str, fleet: Fleet, seed: int, work: Path) -> RULModel:
    """The networks of preset ``best`` on all folds; read from ``work`` if they are there."""
    folder = work / f"{dataset}-{seed}"
    if (folder / "artifact.json").exists():
        return RULModel.load(folder)
    config = RunConfig.load(preset="best", overrides={"dataset": dataset, "seed": seed})
    method, cap = config.method.name, config.labels.cap
    model = RULModel(method=method, preset="best", seed=seed, cap=cap, candidates=["network"])
    model.fit(fleet, store=work / f"{dataset}-{seed}.fit", progress=print).save(folder)
    return model


def main() -> None:
    """Train the folds that are not in the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--work", type=Path, default=Path("runs/network-variants"))
    parser.add_argument("--set", dest="settings", nargs="+", required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--predictions", type=Path, help="folder for the predictions of each fold")
    args = parser.parse_args()
    fleet = load_dataset(args.dataset).train
    model = usual_networks(args.dataset, fleet, args.seed, args.work)
    table = model.oof_
    assert table is not None
    settings = " ".join(sorted(args.settings))
    usual = members_of(model.candidates_["network"])[0]
    assert isinstance(usual, Network)
    steps = usual.config_.training.steps_per_epoch
    done = {tuple(entry[k] for k in KEYS) for entry in read_lines(NETWORKS)}
    for fold in args.folds:
        named = {
            "dataset": args.dataset,
            "seed": args.seed,
            "settings": settings,
            "run_steps_per_epoch": steps,
            "fold": fold,
        }
        if tuple(named.values()) in done:
            continue
        began = time.perf_counter()
        mine = (table["fold"] == fold).to_numpy()
        predicted = np.full(len(table), np.nan)
        rows = row_numbers(fleet, table.filter(mine))
        predicted[mine] = train(fleet, model, parsed(args.settings), rows)
        if args.predictions:
            args.predictions.mkdir(parents=True, exist_ok=True)
            file = f"{args.dataset}-{args.seed}-{settings}-{fold}.npy"
            np.save(args.predictions / file.replace("/", "_"), predicted)
        found = {**named, **line(table, fold, predicted)}
        add_lines(NETWORKS, [found], KEYS)
        seconds = time.perf_counter() - began
        print(
            f"{named} RMSE {found['rmse']:.2f}, {found['run_rmse']:.2f} in the run, "
            f"{found['mean_rmse']:.2f} their mean, {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

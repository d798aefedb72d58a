"""Which predictor is the most accurate: variants on held-out units, and readings of the test sets.

    python benchmarks/oof_tables.py STORE --seeds 0            # networks of five folds
    python benchmarks/accuracy.py variants STORE --work WORK   # what each variant gives, held out
    python benchmarks/accuracy.py read STORE --work WORK       # the chosen one on the test units
    python benchmarks/accuracy.py runs RUNS                    # runs of grace train --preset best
    python benchmarks/accuracy.py page                         # docs/accuracy.md from the results

``variants`` never looks at a label of a test unit. Every variant is predicted for units whose
labels no part of it was fitted to: candidates on the other folds, weights and shifts on the
out-of-fold predictions of the other folds (whose candidates have learned from these units).
``read`` and ``runs`` add a line to the log of readings for each dataset they evaluate, and refuse
to replace one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accuracy_text import CHOSEN, DATASETS, LOG, PAGE, READINGS, ZONES_LOG, page, read_lines
from accuracy_variants import (
    ALL,
    CAP,
    CAUSAL,
    PATH,
    Array,
    Rows,
    stacked_and_shifted,
    variants,
)
from oof_tables import unit_folds

from grace.candidates import CANDIDATES, EarlyShift, SharedFeatures
from grace.candidates.life_table import ages
from grace.candidates.weights import least_squares_weights
from grace.data.labels import LabelConfig
from grace.data.readers import load_dataset
from grace.evaluation import nasa_score, rmse
from grace.evaluation.metrics import nasa_terms

FOLDS = 5
SHOWN = (5.0, 150.0)  # RUL of the truncations that are evaluated
STEP = 3  # every third row of them
READING = ("from", "dataset", "seed", "predictor")  # what identifies a reading of a test set
ZONES = ((5.0, 20.0), (20.0, 50.0), (50.0, 80.0), (80.0, 125.0), (125.0, 150.1))


def offset_boosting(shared: SharedFeatures, seed: int, copies: int = 3, size: float = 0.5) -> Any:
    """Boosting on copies of the rows with a random offset per row and sensor; (M, F) -> (M,)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng, group = np.random.default_rng(seed), np.array(shared.features.offset_group_)
    x = np.repeat(shared.x, copies, axis=0)
    offset = size * rng.standard_normal((len(x), group.max() + 2)).astype(np.float32)
    offset[:, -1] = 0.0
    model = HistGradientBoostingRegressor(
        learning_rate=0.06, max_iter=220, max_leaf_nodes=16, min_samples_leaf=90, max_features=0.3,
        early_stopping=False, random_state=seed,
    )  # fmt: skip
    model.fit(x + offset[:, group], np.repeat(shared.rows.target, copies))
    return lambda values: np.clip(model.predict(values), 0.0, CAP)


def fold_rows(
    name: str, seed: int, fold: int, store: Path, work: Path, offsets: bool
) -> tuple[Rows, Rows]:
    """Predictions of one fold's models on its held-out rows and on the last row of test units."""
    network = np.load(store / f"{name}-seed{seed}-fold{fold}.npz", allow_pickle=True)
    kept = work / f"{name}-seed{seed}-fold{fold}.npz"
    data = load_dataset(name)
    held = data.train.select(unit_folds(data.train, FOLDS, seed=0)[fold])
    rul = network["held_rul"]
    if not np.array_equal(rul, held.rul()):
        raise SystemExit(f"{store}: the rows of {name} fold {fold} are not those of its units")
    chosen = np.flatnonzero((rul >= SHOWN[0]) & (rul <= SHOWN[1]))[::STEP]
    last = data.test.starts() + data.test.lengths() - 1
    if not kept.exists():
        train = data.train.select([u for u in data.train.unit_ids if u not in set(held.unit_ids)])
        labels = LabelConfig(cap=CAP)
        shared = SharedFeatures.of(train, labels, seed=seed)
        seen = {
            "held": shared.features.at(held, chosen),
            "test": shared.features.at(data.test, last),
        }
        made: dict[str, Callable[[Array], Array]] = {
            n: CANDIDATES[n]().fit(train, labels, seed=seed, shared=shared).from_features  # type: ignore[attr-defined]
            for n in CAUSAL
        }
        if offsets:
            made["boosting_offset"] = offset_boosting(shared, seed)
        work.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial.npz")
        np.savez(
            partial,
            **{f"{part}_{n}": f(x) for n, f in made.items() for part, x in seen.items()},
        )
        partial.rename(kept)
    causal = np.load(kept)
    parts: dict[str, Rows] = {}
    for part, at in (("held", chosen), ("test", last)):
        parts[part] = {"network": network[f"{part}_network"][at].astype(float)}
        parts[part]["window_boosting"] = np.clip(network[f"{part}_boosting"][at], 0.0, CAP)
        parts[part] |= {
            name.removeprefix(f"{part}_"): causal[name]
            for name in causal.files
            if name.startswith(f"{part}_")
        }
    parts["held"] |= {
        "rul": rul[chosen],
        "age": network["held_age"][chosen],
        "unit": network["held_unit"][chosen],
        "fold": np.full(len(chosen), fold),
    }
    parts["test"]["age"] = ages(data.test)[last]
    ewm = {f"{n}_lagged": _lagged(network, n, chosen) for n in ("network", "boosting")}
    parts["held"] |= ewm
    return parts["held"], parts["test"]


def _lagged(network: Any, name: str, chosen: Array) -> Array:
    """The unit's own earlier predictions, (M, 6): three means of the past, three lags."""
    frame = pl.DataFrame({"u": network["held_unit"], "p": network[f"held_{name}"].astype(float)})
    means = [pl.col("p").ewm_mean(alpha=a).over("u").alias(f"m{a}") for a in (0.25, 0.08, 0.025)]
    lags = [
        pl.col("p").shift(k).fill_null(pl.col("p").first()).over("u").alias(f"l{k}")
        for k in (10, 25, 50)
    ]
    return frame.select(*means, *lags).to_numpy()[chosen]


def out_of_fold_rows(
    name: str, seed: int, store: Path, work: Path, offsets: bool = False
) -> tuple[Rows, list[Rows]]:
    """Held-out rows of all folds end to end, and each fold's predictions of the test units."""
    parts = [fold_rows(name, seed, k, store, work, offsets) for k in range(FOLDS)]
    held = {key: np.concatenate([h[key] for h, _ in parts]) for key in parts[0][0]}
    held["y"] = np.minimum(held["rul"], CAP)
    _, held["number"] = np.unique(held["unit"], return_inverse=True)
    held["weight"] = 1.0 / np.bincount(held["number"])[held["number"]]
    return held, [t for _, t in parts]


def final(held: Rows, tests: Sequence[Rows]) -> dict[str, tuple[Array, dict[str, float]]]:
    """Predictions of the test units by the chosen variant and by the mean of the networks."""
    x = np.stack([held[n] for n in ALL], axis=1)
    weights = least_squares_weights(x, held["y"], held["weight"], held["number"])
    shift = EarlyShift().fit(
        x @ weights, held["y"], held["weight"], held["fold"], age=held["age"], cap=CAP
    )
    means = np.stack([np.mean([t[n] for t in tests], axis=0) for n in ALL], axis=1)
    shares = {n: round(float(w), 3) for n, w in zip(ALL, weights, strict=True)}
    return {
        CHOSEN: (
            shift.predict(means @ weights, age=tests[0]["age"]),
            shares,
        ),
        "mean of the five networks": (means[:, 0], {}),
    }


def add_lines(path: Path, lines: Sequence[dict[str, Any]], keys: Sequence[str]) -> None:
    """Replace lines with the same values of ``keys``, append the others; sorted by them."""
    old = read_lines(path)
    new = {tuple(line[k] for k in keys) for line in lines}
    kept = [line for line in old if tuple(line[k] for k in keys) not in new]
    every = sorted([*kept, *lines], key=lambda line: [str(line[k]) for k in keys])
    path.write_text("".join(json.dumps(line) + "\n" for line in every), encoding="utf-8")


def complete(store: Path, seed: int, datasets: Sequence[str]) -> list[str]:
    """Datasets of which all folds are in the store."""
    paths = [[store / f"{n}-seed{seed}-fold{k}.npz" for k in range(FOLDS)] for n in datasets]
    return [n for n, files in zip(datasets, paths, strict=True) if all(f.exists() for f in files)]


def log_variants(held: Rows, path: Path, **keys: Any) -> None:
    """Errors of every variant on the held-out rows, into the log."""
    lines, w = [], held["weight"]
    for order, (variant, predicted) in enumerate(variants(held).items()):
        error = predicted - held["y"]
        figures = {
            "rmse": float(np.sqrt(np.average(error**2, weights=w))),
            "nasa_per_unit": float(np.average(nasa_terms(error), weights=w)),
            "units": int(held["number"].max()) + 1,
            "rows": len(w),
        }
        lines.append({**keys, "variant": variant, "order": order, **figures})
        print(keys, f"{variant}: {figures['rmse']:.2f} {figures['nasa_per_unit']:.2f}")
    add_lines(path, lines, ("dataset", "seed", "networks", "variant"))


def zones(held: Rows) -> list[dict[str, float]]:
    """Error of what preset ``best`` does, by remaining life, and how much of it is of the unit.

    ``share``: of the squared error of all rows shown. ``of_unit``: share of the squared error in
    the zone that the rows of a unit have in common. That is the mean square of the units' mean
    errors, less what it would be if the errors of a unit were independent of each other.
    """
    every = (*ALL, PATH) if PATH in held else ALL
    error = stacked_and_shifted(held, every, EarlyShift().share) - held["y"]
    w, number, total = held["weight"], held["number"], 0.0
    found = []
    for low, high in ZONES:
        mine = (held["rul"] >= low) & (held["rul"] < high)
        squared = float(w[mine] @ error[mine] ** 2)
        _, unit, count = np.unique(number[mine], return_inverse=True, return_counts=True)
        weight = np.bincount(unit, w[mine])
        mean = np.bincount(unit, (w * error)[mine]) / weight
        within = float(((error[mine] - mean[unit]) ** 2).sum() / max((count - 1).sum(), 1))
        of_unit = float(weight @ (mean**2 - within / count))
        total += squared
        found.append(
            {
                "low": low,
                "high": high,
                "rmse": float(np.sqrt(squared / w[mine].sum())),
                "share": squared,
                "of_unit": of_unit / squared,
            }
        )
    return [{**zone, "share": zone["share"] / total} for zone in found]


def run_variants(args: argparse.Namespace) -> None:
    for name in complete(args.store, args.seed, args.datasets):
        held, _ = out_of_fold_rows(name, args.seed, args.store, args.work, args.offsets)
        log_variants(held, args.log, dataset=name, seed=args.seed, networks="fast")


def run_rows(table: pl.DataFrame, *names: str) -> Rows:
    """Held-out rows of a run of preset best, from its out-of-fold predictions.

    ``names``: columns with predictions, instead of those of all candidates.
    """
    rows = table.filter(pl.col("rul_true").is_between(*SHOWN))
    number = rows["unit"].rank("dense").to_numpy().astype(int) - 1
    usual = (*ALL, PATH) if PATH in table.columns else ALL
    held: Rows = {n: rows[n].to_numpy() for n in (*(names or usual), "age", "fold")}
    held |= {"rul": rows["rul_true"].to_numpy(), "y": rows["rul_capped"].to_numpy()}
    return held | {"number": number, "weight": 1.0 / np.bincount(number)[number]}


def run_read(args: argparse.Namespace) -> None:
    done = {(r["dataset"], r["seed"]) for r in read_lines(args.readings) if r["from"] == "folds"}
    for name in complete(args.store, args.seed, args.datasets):
        if (name, args.seed) in done:
            print(f"{name}: already read")
            continue
        held, tests = out_of_fold_rows(name, args.seed, args.store, args.work)
        data = load_dataset(name)
        truth = np.minimum(data.test.rul()[data.test.starts() + data.test.lengths() - 1], CAP)
        read = datetime.now(timezone.utc).isoformat(timespec="seconds")
        lines = [
            {
                "dataset": name,
                "seed": args.seed,
                "from": "folds",
                "predictor": predictor,
                "rmse": float(rmse(truth, predicted)),
                "nasa": float(nasa_score(truth, predicted)),
                "units": len(truth),
                "weights": weights,
                "read": read,
            }
            for predictor, (predicted, weights) in final(held, tests).items()
        ]
        add_lines(args.readings, lines, READING)
        print(json.dumps(lines, indent=1))


def refuse_other_readings(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Stop before a logged reading is replaced by another one of the same name."""
    old = {tuple(line[k] for k in READING): line["rmse"] for line in read_lines(path)}
    for line in lines:
        key = tuple(line[k] for k in READING)
        if abs(old.get(key, line["rmse"]) - line["rmse"]) > 1e-6:
            raise SystemExit(f"{path}: {key} is logged with other figures; name another predictor")


def read_at(folder: Path) -> str:
    """When a run read its test set: it writes its figures right after."""
    written = (folder / "metrics.json").stat().st_mtime
    return datetime.fromtimestamp(written, timezone.utc).isoformat(timespec="seconds")


def run_runs(args: argparse.Namespace) -> None:
    from grace.experiments import read_metrics
    from grace.experiments.stacked_run import load_stacked_run

    lines = []
    for metrics in sorted(args.folder.glob("*/metrics.json")):
        evaluation, _ = read_metrics(metrics.parent)
        model, config = load_stacked_run(metrics.parent)
        last = evaluation.model.last_cycle
        if args.predictor is None or args.networks != "best":
            assert model.oof_ is not None
            dataset, held = evaluation.protocol.dataset, run_rows(model.oof_)
            log_variants(held, args.log, dataset=dataset, seed=config.seed, networks=args.networks)
            keys = {"dataset": dataset, "seed": config.seed, "networks": args.networks}
            add_lines(
                args.zones,
                [{**keys, **zone} for zone in zones(held)],
                ("dataset", "seed", "networks", "low"),
            )
        lines.append(
            {
                "dataset": evaluation.protocol.dataset,
                "seed": config.seed,
                "from": "run",
                "predictor": args.predictor or config.preset,
                "rmse": last.capped.rmse,
                "nasa": last.capped.nasa_sum,
                "rmse_raw": last.raw.rmse,
                "nasa_raw": last.raw.nasa_sum,
                "units": last.capped.n_units,
                "weights": {k: round(v, 3) for k, v in model.stack_.weights_.items() if v},
                "rmse_out_of_fold": model.stack_.rmse_,
                "read": read_at(metrics.parent),
            }
        )
    refuse_other_readings(args.readings, lines)
    add_lines(args.readings, lines, READING)
    print(f"{len(lines)} runs")


def run_page(args: argparse.Namespace) -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, call in (("variants", run_variants), ("read", run_read)):
        command = commands.add_parser(name)
        command.add_argument("store", type=Path)
        command.add_argument("--work", type=Path, required=True)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--offsets", action="store_true", help="with the variants of offsets")
        command.add_argument("--datasets", nargs="+", default=list(DATASETS))
        command.add_argument("--log", type=Path, default=LOG)
        command.add_argument("--readings", type=Path, default=READINGS)
        command.set_defaults(call=call)
    command = commands.add_parser("runs")
    command.add_argument("folder", type=Path)
    command.add_argument("--readings", type=Path, default=READINGS)
    command.add_argument("--log", type=Path, default=LOG)
    command.add_argument("--zones", type=Path, default=ZONES_LOG)
    command.add_argument("--predictor", help="name in the table, if not that of the preset")
    command.add_argument("--networks", default="best", help="name of their networks in the log")
    command.set_defaults(call=run_runs)
    commands.add_parser("page").set_defaults(call=run_page)
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()

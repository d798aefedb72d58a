"""Compare predictive distributions on training units, then read each test set once.

    python benchmarks/oof_tables.py STORE
    python benchmarks/uncertainty.py STORE --out benchmarks/results/uncertainty.json
    python benchmarks/uncertainty.py STORE --truncate
    python benchmarks/uncertainty.py STORE --document

The distributions are compared and chosen on out-of-fold predictions of training units. The chosen
one and the three references are fitted and calibrated on training units and evaluated on the last
row of every test unit against uncapped labels. Every reading of a test set is appended to
``<out>.readings.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.optimize import nnls
from uncertainty_text import COVERAGE, document, summary

from grace.core.survival import survival_nll
from grace.data.fleet import Dataset
from grace.data.preprocessing import Preprocessor
from grace.evaluation.distribution_scores import score_difference, winkler_score
from grace.evaluation.probabilistic import evaluate_distribution
from grace.experiments.training_data import load_data
from grace.models.survival_head import SurvivalHead
from grace.training.config import RunConfig
from grace.uncertainty import (
    CONDITIONAL_DISTRIBUTIONS,
    EvaluationPoints,
    RULDistribution,
    UnitCalibration,
    cross_calibrated,
    evaluation_points,
    fit_distribution,
    out_of_fold,
    time_edges,
)
from grace.uncertainty.kernel import KernelDistribution
from grace.uncertainty.points import point_inputs
from grace.uncertainty.references import REFERENCES, QuantileBoostingReference

CANDIDATES = ("network", "boosting")
ZONES = (0.0, 30.0, 80.0, 125.0, np.inf)
CALIBRATION_EDGES = (15.0, 30.0, 80.0)


def fold_arrays(store: Path, name: str, seed: int) -> list[dict[str, np.ndarray]]:
    paths = sorted(store.glob(f"{name}-seed{seed}-fold?.npz"))
    return [dict(np.load(path)) for path in paths]


def held_out_table(folds: list[dict[str, np.ndarray]]) -> pl.DataFrame:
    """The out-of-fold table of the training units, with a non-negative stack."""
    parts = [
        pl.DataFrame(
            {
                "unit": fold["held_unit"],
                "time": fold["held_time"],
                "age": fold["held_age"],
                "rul_true": fold["held_rul"],
                **{c: fold[f"held_{c}"].astype(np.float64) for c in CANDIDATES},
            }
        ).with_columns(fold=pl.lit(number))
        for number, fold in enumerate(folds)
    ]
    return (
        pl.concat(parts).with_columns(censored_after=pl.lit(None, pl.Float64)).sort("unit", "time")
    )


def stack_weights(table: pl.DataFrame, cap: float) -> np.ndarray:
    """Non-negative weights of the candidates on capped labels, summing to 1."""
    target = np.minimum(table["rul_true"].to_numpy(), cap)
    weights, _ = nnls(table.select(CANDIDATES).to_numpy(), target)
    return weights / weights.sum()


def with_stack(table: pl.DataFrame, weights: np.ndarray) -> pl.DataFrame:
    combined = table.select(CANDIDATES).to_numpy() @ weights
    return table.with_columns(stack=pl.Series(combined))


def scores(d: RULDistribution, y: np.ndarray, prediction: np.ndarray, seed: int) -> dict[str, Any]:
    metrics = evaluate_distribution(
        d, y, prediction=prediction, zone_edges=ZONES, step=1.0, seed=seed
    )
    return metrics.model_dump(mode="json")


def quantile_boosting_on_predictions(
    points: EvaluationPoints, edges: np.ndarray
) -> RULDistribution:
    """Quantile boosting on the out-of-fold prediction, spread and age, without the point's fold."""
    x = np.column_stack([points.prediction, points.spread])
    survival, rate = np.ones((len(points), edges.size)), np.ones(len(points))
    for k in np.unique(points.fold):
        held, kept = points.fold == k, points.fold != k
        model = QuantileBoostingReference().fit(
            x[kept], points.age[kept], points.y[kept], points.event[kept], points.unit[kept], edges
        )
        part = model.predict(x[held], points.age[held])
        survival[held], rate[held] = part.survival, part.rate
    return RULDistribution(edges, survival, rate)


def head_on_frozen_feature(
    table: pl.DataFrame,
    folds: list[dict[str, np.ndarray]],
    points: EvaluationPoints,
    edges: np.ndarray,
) -> RULDistribution:
    """A survival head on the shared feature of the network that did not see the point's unit."""
    inside = table.select(pl.int_range(pl.len()).over("fold")).to_series().to_numpy()
    rows = inside[points.row]
    survival, rate = np.ones((len(points), edges.size)), np.ones(len(points))
    bins = torch.from_numpy(edges).float()
    for k, fold in enumerate(folds):
        generator = torch.Generator().manual_seed(k)
        torch.manual_seed(k)
        z, y = torch.from_numpy(fold["train_z"][::4]), torch.from_numpy(fold["train_rul"][::4])
        mean, std = z.mean(0), z.std(0) + 1e-6
        z, y, event = (z - mean) / std, y.float(), torch.ones(len(y), dtype=torch.bool)
        head = SurvivalHead(bins, z.shape[1])
        optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
        for _ in range(400):
            batch = torch.randint(len(z), (512,), generator=generator)
            loss = survival_nll(head(z[batch]), y[batch], event[batch], bins)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        held = points.fold == k
        order = np.lexsort((fold["held_time"], fold["held_unit"]))
        asked = torch.from_numpy(fold["held_z"][order][rows[held]])
        with torch.no_grad():
            hazards = head.hazards((asked - mean) / std).double().numpy()
        part = RULDistribution.from_hazards(edges, hazards)
        survival[held], rate[held] = part.survival, part.rate
    return RULDistribution(edges, survival, rate)


def compare_on_training_units(
    table: pl.DataFrame, folds: list[dict[str, np.ndarray]]
) -> dict[str, Any]:
    """Every conditional distribution, calibrated, on held-out training units."""
    points = evaluation_points(table, "stack", CANDIDATES)
    edges = time_edges(1.0, 1.3 * float(points.y.max()))
    results = {}
    others = {
        "quantile_boosting": lambda: quantile_boosting_on_predictions(points, edges),
        "survival_head": lambda: head_on_frozen_feature(table, folds, points, edges),
    }
    for name, make in others.items():
        began = time.perf_counter()
        d = calibrated_crosswise(make(), points)
        seconds = time.perf_counter() - began
        results[name] = {**scores(d, points.y, points.prediction, seed=0), "seconds": seconds}
    for base in CONDITIONAL_DISTRIBUTIONS:
        began = time.perf_counter()
        raw, fitted = out_of_fold(base, points, edges)
        d = calibrated_crosswise(raw, points)
        results[base] = {
            **scores(d, points.y, points.prediction, seed=0),
            "bandwidth": getattr(fitted, "bandwidth", None),
            "seconds": time.perf_counter() - began,
        }
    return results


def truncations(table: pl.DataFrame, *, per_unit: int = 10) -> pl.DataFrame:
    """Rows of every unit spread evenly over RUL 5 to 150, as test sets of running units are cut."""
    near = table.filter(pl.col("rul_true").is_between(5.0, 150.0)).sort("unit", "time")
    row, size = pl.int_range(pl.len()).over("unit"), pl.len().over("unit")
    phase = (pl.col("unit").rank("dense").cast(pl.Float64) * 0.618) % 1.0
    stretch = (row * per_unit / size + phase).floor()
    return near.filter(stretch != ((row - 1) * per_unit / size + phase).floor())


def truncate_training_units(table: pl.DataFrame) -> dict[str, Any]:
    """Pseudo-test sets cut from held-out training units: quantile zones against fixed edges.

    Conditional distribution, bandwidth apart, and calibration are those of the other folds.
    """
    points = evaluation_points(table, "stack", CANDIDATES)
    edges = time_edges(1.0, 1.3 * float(points.y.max()))
    raw, fitted = out_of_fold("kernel", points, edges)
    cut = truncations(table)
    prediction, spread, age = point_inputs(cut, "stack", CANDIDATES)
    y, fold = cut["rul_true"].to_numpy(), cut["fold"].to_numpy()
    results = {}
    for name, inner in (("quantiles", None), ("fixed", CALIBRATION_EDGES)):
        survival = np.ones((len(y), edges.size))
        rate = np.ones(len(y))
        for k in np.unique(points.fold):
            held, mine = points.fold == k, fold == k
            base = KernelDistribution(fitted.bandwidth).fit(points.select(~held), edges)
            calibration = UnitCalibration.fit(
                raw[~held],
                points.y[~held],
                unit=points.unit[~held],
                prediction=points.prediction[~held],
                edges=inner,
            )
            part = base.predict(prediction[mine], spread[mine], age[mine])
            part = calibration.apply(part, prediction[mine])
            survival[mine], rate[mine] = part.survival, part.rate
        results[name] = scores(RULDistribution(edges, survival, rate), y, prediction, seed=0)
    return results


def calibrated_crosswise(raw: RULDistribution, points: EvaluationPoints) -> RULDistribution:
    """Each fold calibrated on the other folds."""
    return cross_calibrated(
        raw,
        points.y,
        unit=points.unit,
        prediction=points.prediction,
        fold=points.fold,
        edges=CALIBRATION_EDGES,
    )


def reference_distributions(
    config: RunConfig, data: Dataset, table: pl.DataFrame
) -> dict[str, RULDistribution]:
    """The references, fitted and calibrated on training units, at the last row of test units."""
    preprocessor = Preprocessor(
        config.features, default_sensors=data.default_sensors, default_conditions=data.n_conditions
    ).fit(data.train)
    rows = preprocessor.transform(data.train).rows.astype(np.float64)
    number = pl.DataFrame(
        {
            "unit": np.repeat(np.asarray(data.train.unit_ids), data.train.lengths()),
            "time": data.train.times(),
            "row": np.arange(data.train.n_rows),
        }
    )
    of_row = table.join(number, on=["unit", "time"], how="left", maintain_order="left")["row"]
    points = evaluation_points(table, "stack")
    x, at = rows[of_row.to_numpy()[points.row]], data.test.starts() + data.test.lengths() - 1
    test_x = preprocessor.transform(data.test).rows.astype(np.float64)[at]
    test_age = (data.test.times()[at] - data.test.times()[data.test.starts()]).astype(np.float64)
    edges = time_edges(1.0, 1.3 * float(points.y.max()))
    results = {}
    for name, kind in REFERENCES.items():
        survival, rate = np.ones((len(points), edges.size)), np.ones(len(points))
        for k in np.unique(points.fold):
            held, kept = points.fold == k, points.fold != k
            model = kind().fit(
                x[kept],
                points.age[kept],
                points.y[kept],
                points.event[kept],
                points.unit[kept],
                edges,
            )
            part = model.predict(x[held], points.age[held])
            survival[held], rate[held] = part.survival, part.rate
        raw = RULDistribution(edges, survival, rate)
        calibration = UnitCalibration.fit(raw, points.y, unit=points.unit, prediction=raw.median)
        final = kind().fit(x, points.age, points.y, points.event, points.unit, edges)
        asked = final.predict(test_x, test_age)
        results[name] = calibration.apply(asked, asked.median)
    return results


def read_test_set(
    config: RunConfig,
    data: Dataset,
    folds: list[dict[str, np.ndarray]],
    table: pl.DataFrame,
    weights: np.ndarray,
    base: str,
    log: Path,
) -> dict[str, Any]:
    """Distributions of the test units, everything fixed before their labels are read.

    Each test unit is predicted by the models of one fold, as each training unit was: the fold is
    the number of the unit modulo the number of folds.
    """
    last = data.test.starts() + data.test.lengths() - 1
    mine = np.arange(len(last)) % len(folds)
    frame = pl.DataFrame(
        {
            "age": folds[0]["test_age"][last],
            **{
                c: np.stack([f[f"test_{c}"][last] for f in folds])[mine, np.arange(len(last))]
                for c in CANDIDATES
            },
        }
    ).cast(pl.Float64)
    frame = with_stack(frame, weights)
    model = fit_distribution(
        table, "stack", candidates=CANDIDATES, base=base, zone_edges=CALIBRATION_EDGES
    )
    predicted = {"model": model.predict(frame), **reference_distributions(config, data, table)}

    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with log.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"dataset": data.name, "base": base, "read": stamp}) + "\n")
    y = data.test.units["rul_at_end"].to_numpy().astype(np.float64)

    own = frame["stack"].to_numpy()
    result: dict[str, Any] = {
        "calibration": model.calibration.statement(COVERAGE),
        "zones": [[z.high, z.units] for z in model.calibration.zones[:-1]],
        "scores": {
            name: scores(d, y, own if name == "model" else d.median, seed=0)
            for name, d in predicted.items()
        },
        "differences": {},
    }
    lower, upper = predicted["model"].interval(COVERAGE)
    near, far = own <= 30.0, (own >= 80.0) & (own <= 125.0)
    result["width_near_failure"] = float((upper - lower)[near].mean())
    result["width_at_80_to_125"] = float((upper - lower)[far].mean())
    for name, d in predicted.items():
        if name != "model":
            crps = score_difference(predicted["model"].crps(y), d.crps(y), seed=0)
            interval = score_difference(
                winkler_score(lower, upper, y, COVERAGE),
                winkler_score(*d.interval(COVERAGE), y, COVERAGE),
                metric="interval score 90%",
                seed=0,
            )
            result["differences"][name] = [
                crps.model_dump(mode="json"),
                interval.model_dump(mode="json"),
            ]
    return result


def main() -> None:
    """Compare, then read the test sets, writing after each dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/uncertainty.json"))
    parser.add_argument("--datasets", nargs="+", default=["FD001", "FD002", "FD003", "FD004"])
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--document", action="store_true", help="only write the guide's tables")
    parser.add_argument("--truncate", action="store_true", help="only pseudo-test sets")
    parser.add_argument("--no-test", action="store_true", help="compare on training units only")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    if args.out.exists():
        results = json.loads(args.out.read_text(encoding="utf-8"))
    if args.document:
        document(results)
        return
    for name in args.datasets:
        config = RunConfig.load(preset=args.preset, overrides={"dataset": name})
        data = load_data(config, args.data_root)
        folds = fold_arrays(args.store, name, seed=0)
        table = held_out_table(folds)
        weights = stack_weights(table, config.labels.cap or 125.0)
        table = with_stack(table, weights)
        entry = results.setdefault(name, {})
        if args.truncate:
            entry["truncated"] = truncate_training_units(table)
            args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
            continue
        entry["stack"] = dict(zip(CANDIDATES, weights.tolist(), strict=True))
        entry["training"] = compare_on_training_units(table, folds)
        base = min(CONDITIONAL_DISTRIBUTIONS, key=lambda b: entry["training"][b]["crps"])
        entry["chosen"] = base
        print(name, entry["stack"], {b: round(v["crps"], 2) for b, v in entry["training"].items()})
        if not args.no_test:
            log = args.out.with_suffix(".readings.jsonl")
            entry["test"] = read_test_set(config, data, folds, table, weights, base, log)
            print(summary(name, entry["test"]), flush=True)
        args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

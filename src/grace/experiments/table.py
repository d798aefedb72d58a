"""Finished runs as one table: a row per run, means over seeds, paired tests between methods."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from grace.evaluation import PairedTest, paired_tests
from grace.experiments.folder import read_metrics
from grace.prediction.artifact import read_artifact_json

__all__ = ["METRICS", "compare_methods", "means_over_seeds", "runs_table"]

METRICS = ("rmse_capped", "rmse_raw", "nasa_capped", "nasa_raw", "health_accuracy", "health_f1")


def runs_table(folders: Iterable[str | Path]) -> pl.DataFrame:
    """One row per finished run: what it was, its figures at the last cycle, what it cost.

    Columns: run, dataset, method, preset, seed, mark (how the figures must be marked, else ""),
    the :data:`METRICS`, RMSEs in the unit of RUL, ``baseline_<name>`` (RMSE, capped),
    validation_rmse (of the checkpoint that validation chose), epochs, seconds, device, precision,
    threads.

    Raises:
        ArtifactError: a folder is no finished run.
    """
    rows = [_row(Path(folder)) for folder in folders]
    return pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()


def _row(folder: Path) -> dict[str, Any]:
    content = read_artifact_json(folder)
    config, made = content["config"], content["provenance"]
    evaluation, _ = read_metrics(folder)
    last, health = evaluation.model.last_cycle, evaluation.model.health_last_cycle
    return {
        "run": folder.name,
        "dataset": evaluation.protocol.dataset,
        "method": config["method"]["name"],
        "preset": config["preset"],
        "seed": config["seed"],
        "mark": evaluation.protocol.mark,
        "rmse_capped": last.capped.rmse,
        "rmse_raw": last.raw.rmse,
        "nasa_capped": last.capped.nasa_sum,
        "nasa_raw": last.raw.nasa_sum,
        "health_accuracy": None if health is None else health.accuracy,
        "health_f1": None if health is None else health.macro_f1,
        **{f"baseline_{k}": v.last_cycle.capped.rmse for k, v in evaluation.baselines.items()},
        "validation_rmse": made["selection_rmse"]["validation"],
        "epochs": made["epochs_trained"],
        "seconds": made["seconds"],
        # Runs of earlier versions did not note it.
        **made.get("computed", {"device": None, "precision": None}),
        "threads": content["environment"]["threads"],
    }


def means_over_seeds(table: pl.DataFrame, *, by: str = "method") -> pl.DataFrame:
    """Mean and standard deviation (n − 1) of every metric per data set and method.

    Args:
        table: of :func:`runs_table`.
        by: the column that tells what is compared.

    Returns:
        dataset, ``by``, mark, seeds (how many), and ``<metric>_mean``, ``<metric>_std``; the
        latter is null for a single seed.
    """
    numbers = [c for c in table.columns if c in METRICS or c.startswith("baseline_")]
    return table.group_by("dataset", by, "mark", maintain_order=True).agg(
        pl.len().alias("seeds"),
        *(pl.col(c).mean().alias(f"{c}_mean") for c in numbers),
        *(pl.col(c).std().alias(f"{c}_std") for c in numbers),
    )


def compare_methods(
    table: pl.DataFrame, *, metric: str = "rmse_capped", reference: str, by: str = "method"
) -> dict[str, list[PairedTest]]:
    """Every method against ``reference`` over the seeds that all have, per data set.

    Data sets where fewer than two seeds are common to all, or where ``reference`` was not run,
    are left out: nothing can be said there.
    """
    tests = {}
    for (dataset,), part in table.group_by("dataset", maintain_order=True):
        names = part[by].unique(maintain_order=True).to_list()
        common = set.intersection(*(set(part.filter(pl.col(by) == n)["seed"]) for n in names))
        if reference not in names or len(names) < 2 or len(common) < 2:
            continue
        kept = part.filter(pl.col("seed").is_in(sorted(common))).sort("seed")
        scores = {n: kept.filter(pl.col(by) == n)[metric].to_list() for n in names}
        tests[str(dataset)] = paired_tests(scores, reference=reference)
    return tests

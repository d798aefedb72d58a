"""Finished runs as one table: a row per run, means over seeds, paired tests between methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from grace.evaluation import PairedTest, holm, paired_tests
from grace.experiments.run_dir import read_metrics
from grace.files import write_text
from grace.prediction.artifact import read_artifact_json

__all__ = [
    "GROUP",
    "METRICS",
    "Comparison",
    "compare_methods",
    "means_over_seeds",
    "runs_table",
    "write_runs",
]

METRICS = (
    "rmse_capped",
    "rmse_raw",
    "nasa_capped",
    "nasa_raw",
    "health_accuracy",
    "health_f1",
    "validation_rmse",
    "rmse_capped_validation_selected",
)
# What must be equal for figures to stand in one table.
GROUP = ("dataset", "preset", "mark")


def runs_table(folders: Iterable[str | Path]) -> pl.DataFrame:
    """One row per finished run: what it was, its figures at the last cycle, what it cost.

    Columns: run, dataset, method, preset, seed, mark (how the figures must be marked, else ""),
    the :data:`METRICS`, RMSEs in the unit of RUL, ``baseline_<name>`` (RMSE, capped), epochs,
    seconds, device, precision, threads. ``validation_rmse`` is of the checkpoint that validation
    chose; ``rmse_capped_validation_selected`` is the honest figure beside a test-selected one, else
    null.

    Raises:
        ArtifactError: a folder is no finished run.
    """
    rows = [_row(Path(folder)) for folder in folders]
    return pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()


def _row(folder: Path) -> dict[str, Any]:
    content = read_artifact_json(folder)
    config, made = content["config"], content["provenance"]
    evaluation, honest = read_metrics(folder)
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
        "validation_rmse": made["selection_rmse"]["validation"],
        "rmse_capped_validation_selected": None if honest is None else honest.rmse,
        **{f"baseline_{k}": v.last_cycle.capped.rmse for k, v in evaluation.baselines.items()},
        "epochs": made["epochs_trained"],
        "seconds": made["seconds"],
        # Runs of earlier versions did not note it.
        **made.get("computed", {"device": None, "precision": None}),
        "threads": content["environment"]["threads"],
    }


def write_runs(folder: Path) -> Path:
    """Write ``runs.csv``: the table of all finished runs below a folder of a grid."""
    table = runs_table(sorted(path.parent for path in folder.glob("*/artifact.json")))
    path = folder / "runs.csv"
    write_text(path, table.write_csv())
    return path


def means_over_seeds(table: pl.DataFrame, *, by: str = "method") -> pl.DataFrame:
    """Mean and standard deviation (n − 1) of every metric per group and method.

    Args:
        table: of :func:`runs_table`.
        by: the column that tells what is compared.

    Returns:
        The columns of :data:`GROUP`, ``by``, seeds (how many), and ``<metric>_mean``,
        ``<metric>_std``; the latter is null for a single seed.
    """
    numbers = [c for c in table.columns if c in METRICS]
    return table.group_by(*GROUP, by, maintain_order=True).agg(
        pl.len().alias("seeds"),
        *(pl.col(c).mean().alias(f"{c}_mean") for c in numbers),
        *(pl.col(c).std().alias(f"{c}_std") for c in numbers),
    )


@dataclass(frozen=True)
class Comparison:
    """Methods of one group against a reference; ``missing`` says why some could not be tested."""

    dataset: str
    preset: str
    mark: str
    tests: list[PairedTest]
    missing: dict[str, str] = field(default_factory=dict)


def compare_methods(
    table: pl.DataFrame, *, metric: str = "rmse_capped", reference: str, by: str = "method"
) -> list[Comparison]:
    """Every method against ``reference``, per group of equal data set, preset and protocol.

    Each is paired with the reference over the seeds that both have; p values are corrected by Holm
    over the methods of the group.

    Raises:
        ValueError: a method has two runs with one seed in a group, so that none can be paired.
    """
    return list(_compare(table, metric, reference, by))


def _compare(table: pl.DataFrame, metric: str, reference: str, by: str) -> Iterator[Comparison]:
    twice = table.filter(pl.struct(*GROUP, by, "seed").is_duplicated())
    if twice.height:
        dataset, name, seed = twice.select("dataset", by, "seed").row(0)
        raise ValueError(f"{dataset}: {name} has several runs with seed {seed}; give one of them")
    for (dataset, preset, mark), part in table.group_by(*GROUP, maintain_order=True):
        scores = {
            str(name): dict(of_name.select("seed", metric).rows())
            for (name,), of_name in part.group_by(by, maintain_order=True)
        }
        against = scores.pop(reference, None)
        tests, missing = [], {}
        if against is None:
            missing[reference] = "no finished run to compare with"
        for name, mine in scores.items() if against else ():
            common = sorted(mine.keys() & against.keys()) if against else []
            if against is None or len(common) < 2:
                missing[name] = f"{len(common)} seed(s) in common with {reference}, 2 are needed"
                continue
            pair = {name: [mine[s] for s in common], reference: [against[s] for s in common]}
            tests += paired_tests(pair, reference=reference)
        yield Comparison(str(dataset), str(preset), str(mark), _corrected(tests), missing)


def _corrected(tests: list[PairedTest]) -> list[PairedTest]:
    if not tests:
        return []
    p_t, p_w = (holm([getattr(t, p) for t in tests]).tolist() for p in ("p_t", "p_wilcoxon"))
    return [
        test.model_copy(update={"p_t_holm": t, "p_wilcoxon_holm": w})
        for test, t, w in zip(tests, p_t, p_w, strict=True)
    ]

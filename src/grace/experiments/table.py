"""Finished runs as one table: a row per run, and means over seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from grace.evaluation import Evaluation, Protocol
from grace.experiments.metrics_file import read_metrics
from grace.experiments.run_artifact import read_run_artifact
from grace.files import write_text
from grace.training.config import RunConfig
from grace.training.presets import PRESETS

__all__ = ["GROUP", "METRICS", "means_over_seeds", "run_rows", "runs_table", "write_runs"]

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
# What must be equal for figures to be compared. ``group`` is a hash of protocol, configuration
# without seed and method, and data; the others make it readable.
GROUP = ("dataset", "preset", "settings", "mark", "group")
# Configuration keys that do not make two runs incomparable: what varies within a group, and what
# changes no result. The device is reported with each run.
_NOT_SETTINGS = {"dataset", "preset", "seed", "method", "select_on", "evaluate_baselines"}
# What a row needs of an artifact's provenance.
_NEEDED = ("fingerprint", "data_hash", "selection_rmse", "epochs_trained", "seconds")
_NOT_TRAINING = {"log_every", "eval_batch_size", "checkpoint_every", "device"}


def runs_table(folders: Iterable[str | Path]) -> pl.DataFrame:
    """One row per finished run: what it was, its figures at the last record, what it cost.

    Columns: run, folder, dataset, method (with its options), preset, settings (values that differ
    from the preset), seed, mark (how the figures must be marked, else ""), group (equal for runs
    that may be compared: same protocol, configuration without seed and method, and data), the
    :data:`METRICS`, RMSEs in the unit of RUL, ``baseline_<name>`` (RMSE, capped), epochs, seconds,
    device, precision, threads, code (SHA-256 of the package's source, null for older runs).
    ``validation_rmse`` is of the checkpoint that validation selected;
    ``rmse_capped_validation_selected`` is, for a test-selected run, the test figure of that
    checkpoint, else null.

    Raises:
        ArtifactError: a folder is no finished run.

    Example:
        >>> table = runs_table(["runs/first"])
        >>> table.select("dataset", "method", "seed", "mark").row(0)
        ('sim', 'grace', 42, '')
    """
    rows = [run_rows(folder)[0] for folder in folders]
    return pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()


def run_rows(folder: str | Path) -> list[dict[str, Any]]:
    """A row for each evaluated checkpoint of a finished run, as in :func:`runs_table`.

    The first is of the checkpoint that the run selected. A test-selected run has a second row: the
    checkpoint of the same training that the validation units selected.

    Raises:
        ArtifactError: the folder is no finished run.
    """
    folder = Path(folder)
    content = read_run_artifact(folder, needed=_NEEDED)
    evaluation, validation_selected = read_metrics(folder)
    rows = [_row(folder, content, evaluation, validation_selected)]
    return (
        rows
        if validation_selected is None
        else [*rows, _row(folder, content, validation_selected, None)]
    )


def _row(
    folder: Path,
    content: dict[str, Any],
    evaluation: Evaluation,
    validation_selected: Evaluation | None,
) -> dict[str, Any]:
    config, made = content["config"], content["provenance"]
    last, health = evaluation.model.last_cycle, evaluation.model.health_last_cycle
    return {
        "run": folder.name,
        "folder": str(folder),
        "dataset": evaluation.protocol.dataset,
        "method": _method_label(config["method"]),
        "preset": config["preset"],
        "settings": ", ".join(f"{k}={v}" for k, v in _changed_settings(config).items()),
        "seed": config["seed"],
        "mark": evaluation.protocol.mark,
        "group": _group(content, evaluation.protocol),
        "rmse_capped": last.capped.rmse,
        "rmse_raw": last.raw.rmse,
        "nasa_capped": last.capped.nasa_sum,
        "nasa_raw": last.raw.nasa_sum,
        "health_accuracy": None if health is None else health.accuracy,
        "health_f1": None if health is None else health.macro_f1,
        "validation_rmse": made["selection_rmse"].get("validation"),
        "rmse_capped_validation_selected": None
        if validation_selected is None
        else validation_selected.rmse,
        **{f"baseline_{k}": v.last_cycle.capped.rmse for k, v in evaluation.baselines.items()},
        "epochs": made["epochs_trained"],
        "seconds": made["seconds"],
        # Runs of earlier versions did not note it.
        **made.get("computed", {"device": None, "precision": None}),
        "threads": content.get("environment", {}).get("threads"),
        "code": made.get("code"),
    }


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """The values that decide whether two runs are comparable, by dotted key."""
    flat: dict[str, Any] = {}
    complete = RunConfig.model_validate(config)
    used = complete.model_dump(mode="json", exclude=complete.unused_additions())
    for key, value in used.items():
        if key in _NOT_SETTINGS:
            continue
        if isinstance(value, dict):
            skip = _NOT_TRAINING if key == "training" else ()
            flat |= {f"{key}.{k}": v for k, v in value.items() if k not in skip}
        else:
            flat[key] = value
    return flat


def _changed_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Settings that differ from the preset's."""
    if config["preset"] not in PRESETS:
        return _settings(config)
    usual = RunConfig.load(preset=config["preset"]).model_dump(mode="json")
    theirs = _settings(usual)
    return {k: v for k, v in _settings(config).items() if k not in theirs or theirs[k] != v}


def _group(content: dict[str, Any], protocol: Protocol) -> str:
    """Hash of what makes runs comparable: see :data:`GROUP`."""
    rules = protocol.model_dump(mode="json", exclude={"seeds", "n_train", "n_validation"})
    parts = [rules, _settings(content["config"]), content["provenance"]["data_hash"]]
    text = json.dumps([content["grace"], *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _method_label(method: dict[str, Any]) -> str:
    """Name of a method with its options, e.g. ``grace (beta=0.9)``."""
    options = {**method.get("inner_options", {}), **method.get("outer_options", {})}
    text = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f"{method['name']} ({text})" if text else str(method["name"])


def write_runs(folder: Path) -> Path:
    """Write ``runs.csv``: the table of all finished runs below a folder of a grid.

    Example:
        >>> write_runs(Path("runs/first").parent).name
        'runs.csv'
    """
    table = runs_table(sorted(path.parent for path in folder.glob("*/artifact.json")))
    path = folder / "runs.csv"
    write_text(path, table.write_csv())
    return path


def means_over_seeds(table: pl.DataFrame, *, by: str = "method") -> pl.DataFrame:
    """Mean and standard deviation (n − 1) of every metric per group and method.

    Args:
        table: of :func:`runs_table`.
        by: the column whose values are compared.

    Returns:
        The columns of :data:`GROUP`, ``by``, seeds (how many), and ``<metric>_mean``,
        ``<metric>_std``; the latter is null for a single seed.

    Example:
        >>> table = runs_table(["runs/first"])
        >>> means_over_seeds(table).select("method", "seeds").row(0)
        ('grace', 1)
    """
    numbers = [c for c in table.columns if c in METRICS]
    return table.group_by(*GROUP, by, maintain_order=True).agg(
        pl.len().alias("seeds"),
        *(pl.col(c).mean().alias(f"{c}_mean") for c in numbers),
        *(pl.col(c).std().alias(f"{c}_std") for c in numbers),
    )

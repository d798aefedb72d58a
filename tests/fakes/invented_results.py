"""Invented results and the commands of `grace results`, for the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from grace.cli import app
from grace.experiments import ResultsStore

SEEDS = (42, 123, 456, 789, 1024)
SURGERY = "aligned_mtl (normalise=initial_loss)"
CONTROL = "mse+fixed:0.0477"


def fill(store: ResultsStore, method: str, seeds: tuple[int, ...], **over: Any) -> None:
    """Invented runs of a method on FD001, or on another dataset by ``over``."""
    dataset, preset = over.get("dataset", "FD001"), over.get("preset", "fast")
    for seed in seeds:
        for protocol in ("validation", "test"):
            rmse = 10.0 + len(method) / 10 + seed * len(method) % 7 / 10
            rmse -= 0.5 * (protocol == "test")
            run = f"{dataset}-{preset}-{method}-{seed}"
            row = {
                "run": run, "folder": run, "dataset": dataset, "method": method, "preset": preset,
                "settings": "", "seed": seed, "group": f"{dataset} {preset} {protocol}",
                "mark": "" if protocol == "validation" else "test-selected",
                "rmse_capped": rmse, "rmse_raw": rmse + 1, "nasa_capped": 20 * rmse,
                "nasa_raw": 30 * rmse, "health_accuracy": 0.9 + seed / 1e5, "health_f1": 0.9,
                "baseline_constant": None if seed == 42 and method == "amnl" else 41.0,
                "epochs": 3, "seconds": 60.0, "device": "cpu", "precision": "fp32", "threads": 1,
                "protocol": protocol, "version": "0.1.0", "data_train": "a" * 64,
                "data_test": dataset * 10, "recorded": "2026-01-01T00:00:00+00:00",
            } | over  # fmt: skip
            store._insert("scores", [(run, protocol, dataset, method, seed, json.dumps(row))])
            # Absolute errors of a unit differ, so that units drawn again change the RMSE.
            store._insert(
                "predictions",
                [(run, protocol, str(u), 50.0, 50.0, 50.0 + rmse * (u % 5 - 2)) for u in range(12)],
            )
    store._db.commit()


def results(*args: str | Path, width: int = 80) -> Any:
    return CliRunner().invoke(app, ["results", *map(str, args)], env={"COLUMNS": str(width)})


def error(*args: str | Path) -> str:
    """The message of a command that must fail with one line and exit code 2."""
    failed = results(*args)
    assert failed.exit_code == 2, failed.output
    assert failed.stdout == ""
    assert len(failed.stderr.splitlines()) == 1
    assert failed.stderr.startswith("error: ")
    return str(failed.stderr)


def lines_of(output: str, start: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(start)]

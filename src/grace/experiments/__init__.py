"""Runs: one from start to end, the folder it leaves, and grids of many."""

from grace.experiments.grid import SEEDS, GridResult, grid, grid_configs
from grace.experiments.run import (
    RunListener,
    RunResult,
    evaluate_run,
    read_metrics,
    run,
    run_name,
)
from grace.experiments.table import (
    Comparison,
    compare_methods,
    means_over_seeds,
    runs_table,
    write_runs,
)
from grace.experiments.workers import Event

__all__ = [
    "SEEDS",
    "Comparison",
    "Event",
    "GridResult",
    "RunListener",
    "RunResult",
    "compare_methods",
    "evaluate_run",
    "grid",
    "grid_configs",
    "means_over_seeds",
    "read_metrics",
    "run",
    "run_name",
    "runs_table",
    "write_runs",
]

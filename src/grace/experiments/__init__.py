"""Runs: one from start to end, the folder it leaves, and grids of many."""

from grace.experiments.comparisons import (
    Comparison,
    compare_methods,
    compare_over_units,
    control_of,
    rank_methods,
)
from grace.experiments.grid import DEFAULT_METHODS, SEEDS, GridResult, grid, grid_configs
from grace.experiments.results_store import ResultsStore
from grace.experiments.run import (
    RunResult,
    evaluate_run,
    read_metrics,
    run,
    run_name,
)
from grace.experiments.table import means_over_seeds, runs_table, write_runs
from grace.experiments.workers import Event

__all__ = [
    "DEFAULT_METHODS",
    "SEEDS",
    "Comparison",
    "Event",
    "GridResult",
    "ResultsStore",
    "RunResult",
    "compare_methods",
    "compare_over_units",
    "control_of",
    "evaluate_run",
    "grid",
    "grid_configs",
    "means_over_seeds",
    "rank_methods",
    "read_metrics",
    "run",
    "run_name",
    "runs_table",
    "write_runs",
]

"""Runs: one from start to end, and the folder it leaves."""

from grace.experiments.run import (
    RunListener,
    RunResult,
    evaluate_run,
    read_metrics,
    run,
    run_name,
)

__all__ = ["RunListener", "RunResult", "evaluate_run", "read_metrics", "run", "run_name"]

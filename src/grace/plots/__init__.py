"""Public figures: each is a function ``(data, ax=None, **options) -> matplotlib Axes``.

``data`` are plain arrays, a table (polars or pandas frame, or a mapping of columns) or log
records; the docstring of each function names the columns. Without ``ax`` a new figure is drawn,
which ``ax.figure.savefig("figure.png", dpi=150)`` writes. pyplot is not used. :data:`PLOTS` lists
all figures by name.

Example:
    >>> import grace.plots
    >>> ax = grace.plots.error_distribution([-3.0, 1.5, 4.0], time_unit="hours")
    >>> ax.get_xlabel()
    'predicted minus true RUL, hours'
"""

from grace.plots.balance import (
    floor_share,
    gaba_weights,
    gradient_cosine,
    gradient_norms,
    gradient_ratio,
    task_weights,
)
from grace.plots.calibration import coverage_by_zone, pit_histogram, reliability_curve
from grace.plots.channels import channel_trends, missing_values
from grace.plots.comparison import critical_difference, pareto_front
from grace.plots.decisions import cost_curve, maintenance_plan
from grace.plots.errors import error_distribution
from grace.plots.fleet import fleet_ranking, predictions_by_true_rul
from grace.plots.health import health_confusion
from grace.plots.predictors import predictor_errors, stack_weights
from grace.plots.prognostics import alpha_lambda_cone, cone_share, prognostic_horizon
from grace.plots.registry import PLOTS, Plot
from grace.plots.style import figure_style
from grace.plots.survival import kaplan_meier
from grace.plots.sweep import weight_sweep
from grace.plots.training import training_losses, validation_error
from grace.plots.trajectory import rul_interval, rul_trajectory
from grace.plots.weight_paths import weight_paths
from grace.plots.zones import bias_by_zone, error_by_zone

__all__ = [
    "PLOTS",
    "Plot",
    "alpha_lambda_cone",
    "bias_by_zone",
    "channel_trends",
    "cone_share",
    "cost_curve",
    "coverage_by_zone",
    "critical_difference",
    "error_by_zone",
    "error_distribution",
    "figure_style",
    "fleet_ranking",
    "floor_share",
    "gaba_weights",
    "gradient_cosine",
    "gradient_norms",
    "gradient_ratio",
    "health_confusion",
    "kaplan_meier",
    "maintenance_plan",
    "missing_values",
    "pareto_front",
    "pit_histogram",
    "predictions_by_true_rul",
    "predictor_errors",
    "prognostic_horizon",
    "reliability_curve",
    "rul_interval",
    "rul_trajectory",
    "stack_weights",
    "task_weights",
    "training_losses",
    "validation_error",
    "weight_paths",
    "weight_sweep",
]

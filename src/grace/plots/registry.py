"""Every public figure by name, with the data to try it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from grace.plots import (
    balance,
    calibration,
    channels,
    comparison,
    decisions,
    errors,
    fleet,
    health,
    predictors,
    prognostics,
    survival,
    sweep,
    training,
    trajectory,
    weight_paths,
    zones,
)

__all__ = ["PLOTS", "Plot"]


class Plot(NamedTuple):
    """A public figure.

    ``function(data, ax=None, **options)`` draws it. ``sample(n, seed=0)`` makes data of n units,
    rows or methods, ``n`` being a sensible number of them. ``options`` are those the sample needs.

    Example:
        >>> plot = PLOTS["error_distribution"]
        >>> ax = plot.function(plot.sample(plot.n), **plot.options)
        >>> ax.get_ylabel()
        'number of predictions'
    """

    function: Callable[..., Axes]
    sample: Callable[..., Any]
    n: int = 60
    options: Mapping[str, Any] = MappingProxyType({})


PLOTS: dict[str, Plot] = {
    "rul_trajectory": Plot(
        trajectory.rul_trajectory,
        trajectory.sample_trajectory,
        120,
        {"cap": 100.0, "thresholds": (80.0, 30.0)},
    ),
    "rul_interval": Plot(trajectory.rul_interval, trajectory.sample_trajectory, 120),
    "predictions_by_true_rul": Plot(
        fleet.predictions_by_true_rul,
        fleet.sample_fleet,
        60,
        {"cap": 125.0, "thresholds": (80.0, 30.0)},
    ),
    "fleet_ranking": Plot(fleet.fleet_ranking, fleet.sample_fleet, 14, {"horizon": 20.0}),
    "error_distribution": Plot(errors.error_distribution, errors.sample_errors, 200),
    "error_by_zone": Plot(zones.error_by_zone, zones.sample_zones, 200, {"overall": 10.0}),
    "bias_by_zone": Plot(zones.bias_by_zone, zones.sample_zones, 200),
    "coverage_by_zone": Plot(calibration.coverage_by_zone, zones.sample_zones, 200),
    "reliability_curve": Plot(
        calibration.reliability_curve, calibration.sample_risk, 400, {"horizon": "20 cycles"}
    ),
    "pit_histogram": Plot(calibration.pit_histogram, calibration.sample_pit, 300),
    "alpha_lambda_cone": Plot(
        prognostics.alpha_lambda_cone, trajectory.sample_trajectory, 120, {"cap": 125.0}
    ),
    "cone_share": Plot(prognostics.cone_share, prognostics.sample_cone_share, 60),
    "prognostic_horizon": Plot(
        prognostics.prognostic_horizon, lambda n, seed=0: abs(errors.sample_errors(n, seed)) * 5, 60
    ),
    "health_confusion": Plot(health.health_confusion, health.sample_confusion, 100),
    "predictor_errors": Plot(predictors.predictor_errors, predictors.sample_candidates, 7),
    "stack_weights": Plot(predictors.stack_weights, predictors.sample_candidates, 7),
    "cost_curve": Plot(
        decisions.cost_curve,
        decisions.sample_costs,
        40,
        {"references": {"age replacement": 46.0, "run to failure": 71.0}, "currency": "EUR"},
    ),
    "maintenance_plan": Plot(decisions.maintenance_plan, decisions.sample_plan, 14),
    "kaplan_meier": Plot(survival.kaplan_meier, survival.sample_lives, 60),
    "channel_trends": Plot(channels.channel_trends, channels.sample_trends, 10),
    "missing_values": Plot(channels.missing_values, channels.sample_missing, 24),
    "training_losses": Plot(training.training_losses, training.sample_history, 40),
    "validation_error": Plot(
        training.validation_error, training.sample_history, 40, {"chosen_epoch": 30}
    ),
    "gaba_weights": Plot(balance.gaba_weights, balance.sample_telemetry, 120),
    "task_weights": Plot(balance.task_weights, balance.sample_telemetry, 120),
    "gradient_norms": Plot(balance.gradient_norms, balance.sample_telemetry, 120),
    "gradient_ratio": Plot(balance.gradient_ratio, balance.sample_telemetry, 120),
    "gradient_cosine": Plot(balance.gradient_cosine, balance.sample_telemetry, 120),
    "floor_share": Plot(balance.floor_share, balance.sample_telemetry, 120),
    "critical_difference": Plot(
        comparison.critical_difference, comparison.sample_ranks, 6, {"critical_difference": 2.18}
    ),
    "pareto_front": Plot(comparison.pareto_front, comparison.sample_methods, 6),
    "weight_paths": Plot(weight_paths.weight_paths, weight_paths.sample_paths, 40, {"floor": 0.05}),
    "weight_sweep": Plot(sweep.weight_sweep, sweep.sample_sweep, 8, {"reference": 10.5}),
}

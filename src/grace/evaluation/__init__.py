"""Metrics, protocol, trivial baselines and statistics, on plain arrays of any model."""

from grace.evaluation.baselines import (
    BASELINES,
    AgeOnlyBaseline,
    ConstantBaseline,
    GradientBoostingBaseline,
    TrivialBaseline,
    window_statistics,
)
from grace.evaluation.bootstrap import Interval, bootstrap_interval, bootstrap_intervals
from grace.evaluation.comparison import (
    Difference,
    PairedTest,
    holm,
    paired_bootstrap,
    paired_tests,
    with_holm,
)
from grace.evaluation.fleet_prognostics import (
    PrognosticsSummary,
    UnitSummary,
    prognostics_by_unit,
    prognostics_summary,
)
from grace.evaluation.health_metrics import (
    confusion_matrix,
    health_accuracy,
    health_macro_f1,
)
from grace.evaluation.metrics import (
    ZoneError,
    bias,
    error_by_zone,
    late_share,
    mae,
    nasa_mean,
    nasa_score,
    rmse,
)
from grace.evaluation.plausibility import Flag, LabelFloor, check_plausibility, label_floor
from grace.evaluation.predictor_metrics import HeldOutRows, evaluate, metric_set
from grace.evaluation.prognostics import (
    alpha_lambda_accuracy,
    convergence,
    cumulative_relative_accuracy,
    prognostic_horizon,
    relative_accuracy,
)
from grace.evaluation.protocol import Protocol
from grace.evaluation.ranks import FriedmanNemenyi, friedman_nemenyi
from grace.evaluation.results import (
    Evaluation,
    HealthSet,
    LabelPair,
    MetricSet,
    OptimismGap,
    PredictorMetrics,
)

__all__ = [
    "BASELINES",
    "AgeOnlyBaseline",
    "ConstantBaseline",
    "Difference",
    "Evaluation",
    "Flag",
    "FriedmanNemenyi",
    "GradientBoostingBaseline",
    "HealthSet",
    "HeldOutRows",
    "Interval",
    "LabelFloor",
    "LabelPair",
    "MetricSet",
    "OptimismGap",
    "PairedTest",
    "PredictorMetrics",
    "PrognosticsSummary",
    "Protocol",
    "TrivialBaseline",
    "UnitSummary",
    "ZoneError",
    "alpha_lambda_accuracy",
    "bias",
    "bootstrap_interval",
    "bootstrap_intervals",
    "check_plausibility",
    "confusion_matrix",
    "convergence",
    "cumulative_relative_accuracy",
    "error_by_zone",
    "evaluate",
    "friedman_nemenyi",
    "health_accuracy",
    "health_macro_f1",
    "holm",
    "label_floor",
    "late_share",
    "mae",
    "metric_set",
    "nasa_mean",
    "nasa_score",
    "paired_bootstrap",
    "paired_tests",
    "prognostic_horizon",
    "prognostics_by_unit",
    "prognostics_summary",
    "relative_accuracy",
    "rmse",
    "window_statistics",
    "with_holm",
]

"""Predictive distributions of remaining useful life, and their calibration by unit."""

from grace.uncertainty.calibration import (
    UnitCalibration,
    ZoneCalibration,
    cross_calibrated,
    units_needed,
)
from grace.uncertainty.distribution import RULDistribution, time_edges
from grace.uncertainty.distribution_methods import DistributionMethods
from grace.uncertainty.model import (
    CONDITIONAL_DISTRIBUTIONS,
    DistributionModel,
    fit_distribution,
    held_out_distribution,
    out_of_fold,
)
from grace.uncertainty.points import EvaluationPoints, evaluation_points

__all__ = [
    "CONDITIONAL_DISTRIBUTIONS",
    "DistributionMethods",
    "DistributionModel",
    "EvaluationPoints",
    "RULDistribution",
    "UnitCalibration",
    "ZoneCalibration",
    "cross_calibrated",
    "evaluation_points",
    "fit_distribution",
    "held_out_distribution",
    "out_of_fold",
    "time_edges",
    "units_needed",
]

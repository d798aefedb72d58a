"""From predictions to decisions: costs, alarms, replacement policies and maintenance plans."""

from grace.decisions.alarms import Alarms, raise_alarms
from grace.decisions.comparison import PolicyComparison, PolicyOutcome, compare_policies
from grace.decisions.inputs import Capacity, DecisionInputs
from grace.decisions.plan import MaintenancePlan, plan_maintenance
from grace.decisions.policy import ReplacementPolicy, fit_policy
from grace.decisions.trajectories import (
    Trajectories,
    model_trajectories,
    out_of_fold_trajectories,
)

__all__ = [
    "Alarms",
    "Capacity",
    "DecisionInputs",
    "MaintenancePlan",
    "PolicyComparison",
    "PolicyOutcome",
    "ReplacementPolicy",
    "Trajectories",
    "compare_policies",
    "fit_policy",
    "model_trajectories",
    "out_of_fold_trajectories",
    "plan_maintenance",
    "raise_alarms",
]

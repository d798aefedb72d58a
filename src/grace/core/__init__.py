"""The method, in pure torch: inner losses, balancers, gradient tools, and their registry."""

from grace.core.baselines import (
    DWALoss,
    FixedWeightLoss,
    GradNormLoss,
    LossBalancer,
    UncertaintyLoss,
)
from grace.core.gaba import GABALoss
from grace.core.methods import Method, build_method
from grace.core.weighted_mse import moderate_weighted_mse_loss

__all__ = [
    "DWALoss",
    "FixedWeightLoss",
    "GABALoss",
    "GradNormLoss",
    "LossBalancer",
    "Method",
    "UncertaintyLoss",
    "build_method",
    "moderate_weighted_mse_loss",
]

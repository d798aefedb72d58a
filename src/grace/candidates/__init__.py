"""Candidate predictors of RUL, their comparison out of fold by unit, and their stack."""

from grace.candidates.base import Candidate
from grace.candidates.early import EarlyShift
from grace.candidates.fold_mean import FoldMean
from grace.candidates.out_of_fold import evaluation_rows, out_of_fold
from grace.candidates.registry import (
    CANDIDATES,
    DEFAULT_CANDIDATES,
    SCREENED,
    STACKED_CANDIDATES,
    CandidateOptions,
    new_candidate,
    priors,
)
from grace.candidates.shared import SharedFeatures
from grace.candidates.stack import CandidateError, Stack
from grace.candidates.together import fit_each, predict_each

__all__ = [
    "CANDIDATES",
    "DEFAULT_CANDIDATES",
    "SCREENED",
    "STACKED_CANDIDATES",
    "Candidate",
    "CandidateError",
    "CandidateOptions",
    "EarlyShift",
    "FoldMean",
    "SharedFeatures",
    "Stack",
    "evaluation_rows",
    "fit_each",
    "new_candidate",
    "out_of_fold",
    "predict_each",
    "priors",
]

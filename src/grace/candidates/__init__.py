"""Candidate predictors of RUL, their comparison out of fold by unit, and their stack."""

from grace.candidates.base import Candidate
from grace.candidates.out_of_fold import evaluation_rows, out_of_fold
from grace.candidates.registry import CANDIDATES
from grace.candidates.stack import CandidateError, Stack

__all__ = ["CANDIDATES", "Candidate", "CandidateError", "Stack", "evaluation_rows", "out_of_fold"]

"""The candidates by name. A new one needs one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from grace.candidates.base import Candidate
from grace.candidates.boosting import Boosting, BoostingLog
from grace.candidates.life import AgeRegression, Constant, GroupMedianLife, MedianLife
from grace.candidates.linear import Linear
from grace.candidates.network import Network
from grace.candidates.path_boosting import PathBoosting
from grace.candidates.similarity import Similarity

__all__ = [
    "CANDIDATES",
    "DEFAULT_CANDIDATES",
    "SCREENED",
    "STACKED_CANDIDATES",
    "CandidateOptions",
    "new_candidate",
    "priors",
]

CandidateOptions = Mapping[str, Mapping[str, Any]]
"""Arguments of the constructors of candidates, by name; those left out take none."""

CANDIDATES: dict[str, type[Candidate]] = {
    cls.name: cls
    for cls in (
        Constant,
        MedianLife,
        GroupMedianLife,
        AgeRegression,
        Linear,
        Boosting,
        BoostingLog,
        PathBoosting,
        Similarity,
        Network,
    )
}

DEFAULT_CANDIDATES: tuple[str, ...] = tuple(n for n in CANDIDATES if n != PathBoosting.name)
"""Those that compete unless others are named."""

STACKED_CANDIDATES: tuple[str, ...] = tuple(CANDIDATES)
"""Those that compete in a stacked preset unless others are named."""

SCREENED: tuple[str, ...] = (Network.name,)
"""Those whose training takes much longer than that of all others: the first fold decides whether
they are trained on the other folds."""


def new_candidate(name: str, options: CandidateOptions | None = None) -> Candidate:
    """An unfitted candidate of this name.

    Raises:
        KeyError: the name is not in :data:`CANDIDATES`.

    Example:
        >>> new_candidate("network", {"network": {"method": "amnl"}}).method
        'amnl'
    """
    return CANDIDATES[name](**(options or {}).get(name, {}))


def priors(names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Weights of candidates before any error is seen, (F,), of any sum; 1 for other predictors.

    Example:
        >>> priors(["constant", "linear", "boosting", "mine"])
        array([0.5, 1. , 2. , 1. ])
    """
    return np.array([CANDIDATES[n].prior if n in CANDIDATES else 1.0 for n in names])

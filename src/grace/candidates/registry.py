"""The candidates by name. A new one needs one line here."""

from __future__ import annotations

from grace.candidates.base import Candidate
from grace.candidates.boosting import Boosting, BoostingLog
from grace.candidates.life import AgeRegression, Constant, GroupMedianLife, MedianLife
from grace.candidates.linear import Linear
from grace.candidates.network import Network
from grace.candidates.similarity import Similarity

__all__ = ["CANDIDATES", "DEFAULT_CANDIDATES"]

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
        Similarity,
        Network,
    )
}

# Those that compete unless others are named. The network takes minutes for each fold on a CPU.
DEFAULT_CANDIDATES: tuple[str, ...] = tuple(n for n in CANDIDATES if n != Network.name)

"""The fitted models of all folds, kept in memory and in the store of an interrupted fit."""

from __future__ import annotations

from pathlib import Path

from grace.candidates import CANDIDATES, Candidate, FoldMean
from grace.prediction.artifact import ArtifactError
from grace.prediction.state_files import read_state, write_state

__all__ = ["FoldModels"]


class FoldModels:
    """Models of (candidate, fold) pairs; see :class:`~grace.candidates.out_of_fold.FoldModelStore`.

    With a path, a model is also written next to the predictions of its pair, as a saved
    ``RULModel`` writes its candidates: JSON and safetensors.
    """

    def __init__(self) -> None:
        self._models: dict[tuple[str, int], Candidate] = {}

    def load(self, name: str, fold: int, path: Path | None) -> bool:
        """Whether the model is there; one that is damaged or missing is not."""
        if (name, fold) in self._models:
            return True
        if path is None or not path.with_name(f"{path.name}.json").exists():
            return False
        try:
            model = CANDIDATES[name].from_state(read_state(path.parent, path.name))
        except (ArtifactError, LookupError, TypeError, ValueError, RuntimeError):
            return False
        self._models[name, fold] = model
        return True

    def keep(self, name: str, fold: int, path: Path | None, model: Candidate) -> None:
        """Keep a fitted model; on disk too, if there is a path."""
        self._models[name, fold] = model
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_state(path.parent, path.name, model.to_state())

    def mean(self, name: str) -> FoldMean:
        """The models of one candidate, as the candidate that predicts their mean."""
        places = sorted(place for place in self._models if place[0] == name)
        return FoldMean([self._models[place] for place in places])

"""Several candidates fitted and evaluated together; the features of a row are computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from grace.candidates.base import Candidate
from grace.candidates.feature_candidate import FeatureCandidate
from grace.candidates.fold_mean import members_of
from grace.candidates.registry import CANDIDATES, CandidateOptions, new_candidate
from grace.candidates.shared import SharedFeatures
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig

__all__ = ["fit_each", "predict_each"]

Array = npt.NDArray[np.float64]


def fit_each(
    names: Sequence[str],
    fleet: Fleet,
    labels: LabelConfig,
    *,
    seed: int = 0,
    options: CandidateOptions | None = None,
) -> dict[str, Candidate]:
    """Candidates of these names fitted on one fleet; ``options`` of their constructors by name.

    Raises:
        DataError: no row has a known label.
        KeyError: a name is not in :data:`~grace.candidates.CANDIDATES`.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> train = load_dataset("sim", n_train=4, n_test=1).train
        >>> list(fit_each(["constant", "linear"], train, LabelConfig()))
        ['constant', 'linear']
    """
    shared = None
    if any(issubclass(CANDIDATES[name], FeatureCandidate) for name in names):
        shared = SharedFeatures.of(fleet, labels, seed=seed)
    return {
        name: new_candidate(name, options).fit(fleet, labels, seed=seed, shared=shared)
        for name in names
    }


def predict_each(
    candidates: Mapping[str, Candidate], fleet: Fleet, rows: npt.NDArray[np.int64]
) -> dict[str, Array]:
    """Predictions of each candidate at some rows, (M,) each, as its ``predict`` gives them.

    Candidates with equal features, fitted together or read from one folder, share the work; those
    of a :class:`~grace.candidates.FoldMean` do so fold by fold.

    Raises:
        DataError: a column that training used is missing.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> data = load_dataset("sim", n_train=4, n_test=2)
        >>> models = fit_each(["constant", "linear"], data.train, LabelConfig())
        >>> last = data.test.starts() + data.test.lengths() - 1
        >>> {name: rul.shape for name, rul in predict_each(models, data.test, last).items()}
        {'constant': (2,), 'linear': (2,)}
    """
    members = {
        (name, i): member
        for name, candidate in candidates.items()
        for i, member in enumerate(members_of(candidate))
    }
    found = _predict_members(members, fleet, rows)
    return {
        name: np.mean([found[name, i] for i in range(len(members_of(candidate)))], axis=0)
        for name, candidate in candidates.items()
    }


def _predict_members(
    candidates: Mapping[tuple[str, int], Candidate], fleet: Fleet, rows: npt.NDArray[np.int64]
) -> dict[tuple[str, int], Array]:
    """Predictions of single models, those with equal features looked at together."""
    found: dict[tuple[str, int], Array] = {}
    groups: list[dict[tuple[str, int], FeatureCandidate]] = []
    for name, candidate in candidates.items():
        if not isinstance(candidate, FeatureCandidate):
            found[name] = candidate.predict(fleet, rows)
            continue
        for group in groups:
            if next(iter(group.values())).features_.equals(candidate.features_):
                group[name] = candidate
                break
        else:
            groups.append({name: candidate})
    for group in groups:
        found |= {name: np.empty(len(rows)) for name in group}
        if not len(rows):
            continue
        features = next(iter(group.values())).features_
        for block in features.blocks(fleet, rows):
            for name, candidate in group.items():
                found[name][block.place] = candidate.from_features(block.values)
    return found

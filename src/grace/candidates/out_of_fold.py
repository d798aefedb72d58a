"""Predictions of units by models that never saw them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.candidates.base import Candidate, spread_positions
from grace.candidates.feature_candidate import FeatureCandidate
from grace.candidates.life_table import ages
from grace.candidates.registry import (
    CANDIDATES,
    DEFAULT_CANDIDATES,
    CandidateOptions,
    new_candidate,
    priors,
)
from grace.candidates.shared import SharedFeatures
from grace.candidates.weights import error_weights
from grace.data.errors import DataError
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig, capped_rul, survived
from grace.data.splits import UnitSplit
from grace.files import atomic_writer

__all__ = [
    "CONDITION_COLUMN",
    "OOF_COLUMNS",
    "STACK_COLUMN",
    "FoldModelStore",
    "evaluation_rows",
    "out_of_fold",
]

OOF_COLUMNS = ("unit", "time", "age", "rul_true", "rul_capped", "censored_after", "fold", "weight")
"""Columns of an out-of-fold table; one further column per candidate holds its predictions."""
STACK_COLUMN, CONDITION_COLUMN = "stack", "condition"
"""What :class:`grace.RULModel` adds to its own table: combined prediction, operating condition."""


class FoldModelStore(Protocol):
    """Keeps the fitted models of (candidate, fold) pairs; ``path`` is theirs in the store."""

    def load(self, name: str, fold: int, path: Path | None) -> bool:
        """Whether the model is there, from this call or from an interrupted one."""

    def keep(self, name: str, fold: int, path: Path | None, model: Candidate) -> None:
        """Keep a model that was just fitted."""


def evaluation_rows(fleet: Fleet, *, per_unit: int = 10, seed: int = 0) -> npt.NDArray[np.int64]:
    """Row numbers at which predictions are evaluated: truncations spread over each unit's record.

    Every unit contributes at most ``per_unit`` rows, one drawn from each of that many equal parts
    of its record, so that long records do not count more than short ones.

    Returns:
        (M,) ascending.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> train = load_dataset("sim", n_train=3, n_test=1).train
        >>> evaluation_rows(train, per_unit=4).shape
        (12,)
    """
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            start + spread_positions(int(length), per_unit, rng)
            for start, length in zip(fleet.starts(), fleet.lengths(), strict=True)
        ]
    ).astype(np.int64)


def out_of_fold(
    fleet: Fleet,
    labels: LabelConfig,
    folds: Sequence[UnitSplit],
    *,
    candidates: Sequence[str] | None = None,
    options: CandidateOptions | None = None,
    seed: int = 0,
    per_unit: int = 10,
    store: Path | None = None,
    progress: Callable[[str, int], None] | None = None,
    screened: Sequence[str] = (),
    on_left_out: Callable[[str, str], None] | None = None,
    models: FoldModelStore | None = None,
) -> pl.DataFrame:
    """Predict every unit by candidates that were fitted without it.

    Args:
        fleet: units with known and with unknown fate.
        labels: cap of the RUL that is predicted.
        folds: splits by unit; the held-out units of all of them are the whole fleet.
        candidates: names of :data:`~grace.candidates.CANDIDATES`; None means
            :data:`~grace.candidates.DEFAULT_CANDIDATES`.
        options: arguments of the candidates' constructors by name, e.g.
            ``{"network": {"method": "amnl"}}``.
        seed: of everything random.
        per_unit: rows evaluated per unit.
        store: folder of finished (candidate, fold) pairs; an interrupted call continues there.
        progress: called with candidate and fold before each fit.
        screened: candidates that may be left out: one that would get no weight by its errors on
            the first fold (:func:`~grace.candidates.weights.error_weights`) is fitted on no
            other, nor is one that refuses the data.
        on_left_out: called with such a candidate, and the reason.
        models: keeps the fitted models too. They are kept before their predictions are, and a pair
            whose model is not there is fitted again.

    Returns:
        One row per evaluated row with the columns :data:`OOF_COLUMNS` and one per candidate, but
        for those left out.
        ``rul_true`` and ``rul_capped`` are null where they are not known; ``censored_after`` is
        the time a unit was observed after the row; weights of a unit add up to 1.

    Raises:
        DataError: a unit is held out by no fold or by several, or a fold leaves no labels.
        ValueError: a candidate is unknown.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> from grace.data.splits import kfold_units
        >>> train = load_dataset("sim", n_train=6, n_test=1).train
        >>> folds = kfold_units(train, 3, seed=0)
        >>> table = out_of_fold(train, LabelConfig(), folds, candidates=["median_life", "linear"])
        >>> table.columns[-2:], table["rul_capped"].null_count()
        (['median_life', 'linear'], 0)
    """
    names = list(DEFAULT_CANDIDATES) if candidates is None else list(candidates)
    unknown = [n for n in names if n not in CANDIDATES]
    if unknown:
        raise ValueError(f"unknown candidate {unknown[0]!r}: choose from {', '.join(CANDIDATES)}")
    fold_of = {u: k for k, fold in enumerate(folds) for u in fold.validation}
    held = [u for fold in folds for u in fold.validation]
    if len(held) != len(fold_of) or set(fold_of) != set(fleet.unit_ids):
        raise DataError(
            "the folds do not hold out every unit exactly once.",
            source=fleet.name,
            remedy="make them with grace.data.splits.kfold_units.",
        )
    rows = evaluation_rows(fleet, per_unit=per_unit, seed=seed)
    owner = np.repeat(np.arange(fleet.n_units), fleet.lengths())[rows]
    per = np.bincount(owner, minlength=fleet.n_units)
    fold = np.array([fold_of[u] for u in fleet.unit_ids])[owner]
    predictions = {name: np.full(len(rows), np.nan) for name in names}
    key = _key(fleet, labels, folds, seed, per_unit)
    tag = {name: _tag(name, options) for name in names}

    def leave_out(name: str, reason: str) -> None:
        names.remove(name)
        del predictions[name]
        if on_left_out is not None:
            on_left_out(name, reason)

    for k, split in enumerate(folds):
        mine = fold == k
        train = fleet.select(split.train)
        held_out = fleet.select(split.validation)
        inside = evaluation_rows_of(fleet, held_out, rows[mine])
        paths = {n: None if store is None else store / f"{key}-{tag[n]}-{k}.parquet" for n in names}
        done = {name: _load(path, len(inside)) for name, path in paths.items()}
        shared = None
        for name in list(names):
            found, place = done[name], paths[name]
            model_path = None if place is None else place.with_suffix("")
            if found is not None and models is not None and not models.load(name, k, model_path):
                found = None
            if found is None:
                if progress is not None:
                    progress(name, k)
                kind = CANDIDATES[name]
                if shared is None and issubclass(kind, FeatureCandidate):
                    shared = SharedFeatures.of(train, labels, seed=seed)
                    seen = shared.features.at(held_out, inside)
                model = new_candidate(name, options)
                try:
                    model.fit(train, labels, seed=seed, shared=shared)
                except DataError as error:
                    if name not in screened:
                        raise
                    leave_out(name, f"it cannot be trained on fold {k + 1}: {error}")
                    continue
                if isinstance(model, FeatureCandidate):
                    found = model.from_features(seen)
                else:
                    found = model.predict(held_out, inside)
                if models is not None:
                    models.keep(name, k, model_path, model)
                _save(place, found)
            predictions[name][mine] = found
        if k == 0:
            target = capped_rul(fleet, labels)[rows[mine]]
            first = {name: predictions[name][mine] for name in names}
            for name, reason in _hopeless(
                first, target, 1.0 / per[owner[mine]], owner[mine], screened
            ):
                leave_out(name, reason)
    return pl.DataFrame(
        {
            "unit": fleet.units["unit"].gather(owner),
            "time": fleet.times()[rows],
            "age": ages(fleet)[rows],
            "rul_true": pl.Series(fleet.rul()[rows]).fill_nan(None),
            "rul_capped": pl.Series(capped_rul(fleet, labels)[rows]).fill_nan(None),
            "censored_after": survived(fleet)[rows],
            "fold": fold,
            "weight": 1.0 / per[owner],
            **predictions,
        }
    )


def _hopeless(
    predictions: dict[str, npt.NDArray[np.float64]],
    target: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    owner: npt.NDArray[np.int64],
    screened: Sequence[str],
) -> list[tuple[str, str]]:
    """Those of ``screened`` that the errors of one fold give no weight, with the reason."""
    known = np.isfinite(target)
    names = list(predictions)
    if not known.any() or len(names) < 2:
        return []
    x = np.stack([predictions[name][known] for name in names], axis=1)
    y, w = target[known], weight[known]
    units = np.unique(owner[known], return_inverse=True)[1]
    weights = error_weights(x, y, w, units, priors(names))
    rmse = np.sqrt(w @ (x - y[:, None]) ** 2 / w.sum())
    best = int(np.argmin(rmse))
    return [
        (
            name,
            f"on the {units.max() + 1} units of the first fold its RMSE is {rmse[i]:.4g}, that of "
            f"{names[best]} {rmse[best]:.4g}: too much for a weight, so it was not trained on the "
            "other folds",
        )
        for i, name in enumerate(names)
        if name in screened and weights[i] == 0.0
    ]


def evaluation_rows_of(
    fleet: Fleet, part: Fleet, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Numbers in ``part`` of rows of ``fleet``, whose units ``part`` holds in the same order."""
    kept = set(part.unit_ids)
    inside = np.repeat([u in kept for u in fleet.unit_ids], fleet.lengths())
    return (np.cumsum(inside) - 1)[rows]


def _key(
    fleet: Fleet, labels: LabelConfig, folds: Sequence[UnitSplit], seed: int, per_unit: int
) -> str:
    parts = [fleet.content_hash(), labels.model_dump_json(), str(seed), str(per_unit)]
    parts += [repr(fold.validation) for fold in folds]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _tag(name: str, options: CandidateOptions | None) -> str:
    """Name in the store: another one for other options or another revision of the candidate."""
    given, revision = (options or {}).get(name), CANDIDATES[name].revision
    tag = name if revision == 1 else f"{name}-r{revision}"
    if not given:
        return tag
    text = json.dumps(given, sort_keys=True)
    return f"{tag}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _load(path: Path | None, count: int) -> npt.NDArray[np.float64] | None:
    if path is None or not path.exists():
        return None
    try:
        values = pl.read_parquet(path, glob=False)["rul"].to_numpy()
    except (pl.exceptions.PolarsError, OSError):
        return None  # damaged: computed again
    return values if len(values) == count else None


def _save(path: Path | None, values: npt.NDArray[np.float64]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(path) as file:
            pl.DataFrame({"rul": values}).write_parquet(file)

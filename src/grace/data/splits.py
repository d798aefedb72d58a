"""Splits by unit, never by window: neighbouring windows of one unit are near copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from grace.data.errors import DataError
from grace.data.fleet import Fleet

__all__ = ["UnitSplit", "kfold_units", "split_units"]


@dataclass(frozen=True)
class UnitSplit:
    """Units to learn from and units to choose the checkpoint on; no unit is in both.

    Example:
        >>> split = UnitSplit(train=("a", "b", "c"), validation=("d",))
        >>> set(split.train) & set(split.validation)
        set()
    """

    train: tuple[Any, ...]
    validation: tuple[Any, ...]


def split_units(fleet: Fleet, fraction: float = 0.15, *, seed: int = 0) -> UnitSplit:
    """Hold out a share of the failed units, spread evenly over short and long lives.

    The units of known life (failed, or with a known life left) are ordered by life and cut into as
    many strata as units are to be held out; one is drawn from each. At least two are held out where
    four or more are known. Units still running stay in training: without an end they cannot be
    evaluated on.

    Args:
        fleet: the units to divide.
        fraction: share of the failed units held out, in [0, 1); 0 holds out none.
        seed: which of a stratum is drawn.

    Raises:
        ValueError: ``fraction`` is out of range.
        DataError: fewer than two failed units.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> split = split_units(load_dataset("sim", n_train=10, n_test=1).train, 0.2, seed=0)
        >>> len(split.train), len(split.validation)
        (8, 2)
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"validation fraction {fraction} must be in [0, 1), e.g. 0.15")
    known = fleet.units.get_column("rul_at_end").is_not_null().to_numpy()
    failed = np.flatnonzero(known)
    if len(failed) < 2:
        raise DataError(
            f"only {len(failed)} unit(s) ran to failure or have a known life left; at least two "
            "are needed, one to learn from and one to validate on.",
            source=fleet.name,
            remedy="add histories of failed units.",
        )
    ids = fleet.unit_ids
    if fraction == 0.0:
        return UnitSplit(tuple(ids), ())
    rng = np.random.default_rng(seed)
    least = 2 if len(failed) >= 4 else 1  # one unit says little about a model
    count = min(max(least, round(fraction * len(failed))), len(failed) - 1)
    by_life = failed[np.lexsort((rng.random(len(failed)), _life(fleet)[failed]))]
    held = {int(rng.choice(stratum)) for stratum in np.array_split(by_life, count)}
    return UnitSplit(
        train=tuple(u for i, u in enumerate(ids) if i not in held),
        validation=tuple(u for i, u in enumerate(ids) if i in held),
    )


def kfold_units(fleet: Fleet, n_folds: int, *, seed: int = 0) -> tuple[UnitSplit, ...]:
    """Folds by unit: every unit is in the ``validation`` part of exactly one of them.

    Units of known life are ordered by static group and life, the others by group and time observed;
    each run of ``n_folds`` neighbours is dealt to different folds, so that folds agree in their
    lives, in their groups, in their share of censored units and, within one unit, in size. Groups
    are the combinations of categorical static attributes, if they have ``n_folds`` units or more on
    average. The folds do not depend on the names of units.

    Args:
        fleet: the units to divide.
        n_folds: number of folds, K >= 2.
        seed: which fold each unit of a run of neighbours goes to.

    Returns:
        K splits; ``train`` and ``validation`` keep the order of the fleet.

    Raises:
        ValueError: ``n_folds`` is below 2.
        DataError: fewer units of known life than folds.

    Example:
        >>> from grace.data.readers import load_dataset
        >>> train = load_dataset("sim", n_train=6, n_test=1).train
        >>> [len(fold.validation) for fold in kfold_units(train, 3)]
        [2, 2, 2]
    """
    if n_folds < 2:
        raise ValueError(f"n_folds={n_folds} must be at least 2")
    known = fleet.units.get_column("rul_at_end").is_not_null().to_numpy()
    if int(known.sum()) < n_folds:
        raise DataError(
            f"only {int(known.sum())} unit(s) have a known life, too few for {n_folds} folds.",
            source=fleet.name,
            remedy="use fewer folds, or add histories of failed units.",
        )
    rng = np.random.default_rng(seed)
    life = _life(fleet)
    order = np.lexsort((rng.random(len(life)), life, _groups(fleet, n_folds), ~known))
    fold_of = np.empty(len(life), dtype=np.int64)
    for begin in range(0, len(order), n_folds):
        run = order[begin : begin + n_folds]
        fold_of[run] = rng.permutation(n_folds)[: len(run)]
    ids = fleet.unit_ids
    return tuple(
        UnitSplit(
            train=tuple(u for i, u in enumerate(ids) if fold_of[i] != k),
            validation=tuple(u for i, u in enumerate(ids) if fold_of[i] == k),
        )
        for k in range(n_folds)
    )


def _life(fleet: Fleet) -> npt.NDArray[np.float64]:
    """Known life of each unit, or the time observed where it is not known, (n_units,)."""
    left = fleet.units.get_column("rul_at_end").fill_null(0.0).to_numpy()
    return np.asarray(fleet.life() + left)


def _groups(fleet: Fleet, n_folds: int) -> npt.NDArray[np.int64]:
    """Number of each unit's combination of categorical static attributes, (n_units,).

    Numbered in order of first appearance; all 0 if the groups are too small to be divided.
    """
    text = [c for c in fleet.schema.static if fleet.units.schema[c] == pl.String]
    one = np.zeros(fleet.n_units, dtype=np.int64)
    if not text:
        return one
    numbers: dict[tuple[str | None, ...], int] = {}
    found = [numbers.setdefault(row, len(numbers)) for row in fleet.units.select(text).rows()]
    return np.array(found, dtype=np.int64) if len(numbers) * n_folds <= fleet.n_units else one

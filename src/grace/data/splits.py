"""Splits by unit, never by window: neighbouring windows of one unit are near copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from grace.data.errors import DataError
from grace.data.fleet import Fleet

__all__ = ["UnitSplit", "split_units"]


@dataclass(frozen=True)
class UnitSplit:
    """Units to learn from and units to choose the checkpoint on; no unit is in both."""

    train: tuple[Any, ...]
    validation: tuple[Any, ...]


def split_units(fleet: Fleet, fraction: float = 0.15, *, seed: int = 0) -> UnitSplit:
    """Hold out a share of the failed units, spread evenly over short and long lives.

    The failed units are ordered by life and cut into as many strata as units are to be held out;
    one is drawn from each. Units still running stay in training: without an end they cannot be
    evaluated on.

    Args:
        fleet: the units to divide.
        fraction: share of the failed units held out, in [0, 1); 0 holds out none.
        seed: which of a stratum is drawn.

    Raises:
        ValueError: ``fraction`` is out of range.
        DataError: fewer than two failed units.
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"validation fraction {fraction} must be in [0, 1), e.g. 0.15")
    failed = np.flatnonzero(fleet.units.get_column("failed").to_numpy())
    if len(failed) < 2:
        raise DataError(
            f"only {len(failed)} unit(s) ran to failure; at least two are needed, one to learn "
            "from and one to validate on.",
            source=fleet.name,
            remedy="add histories of failed units.",
        )
    ids = fleet.unit_ids
    if fraction == 0.0:
        return UnitSplit(tuple(ids), ())
    rng = np.random.default_rng(seed)
    count = min(max(1, round(fraction * len(failed))), len(failed) - 1)
    by_life = failed[np.lexsort((rng.random(len(failed)), fleet.life()[failed]))]
    held = {int(rng.choice(stratum)) for stratum in np.array_split(by_life, count)}
    return UnitSplit(
        train=tuple(u for i, u in enumerate(ids) if i not in held),
        validation=tuple(u for i, u in enumerate(ids) if i in held),
    )

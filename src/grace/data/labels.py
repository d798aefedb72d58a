"""Targets: the capped RUL, in the unit in which it is learned, and the health class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from grace.data.fleet import Fleet

__all__ = ["LEARNED_CAP", "LabelConfig", "capped_rul", "health_class", "survived"]

Array = npt.NDArray[np.float64]
_Values = TypeVar("_Values", float, npt.NDArray[np.float64])

# The cap in learned units, whatever it is in the fleet's unit of time: losses, learning rates and
# the balance of the tasks then mean the same for cycles, hours and seconds.
LEARNED_CAP = 125.0
# Health thresholds as shares of the cap: 80 and 30 at 125.
_THRESHOLDS = (0.64, 0.24)


class LabelConfig(BaseModel):
    """How remaining life becomes a target.

    The network learns ``125·RUL/cap`` (``to_learned``); predictions are scaled back
    (``from_learned``). With the default cap of 125 both are the identity.

    Args:
        cap: RUL is learned as ``min(cap, RUL)``: before degradation shows, the sensors cannot
            distinguish 150 from 250. In the fleet's unit of time.
        health_thresholds: RUL at or below which the next health class begins, descending;
            (80, 30) makes 0 healthy > 80, 1 degrading 30 < y ≤ 80, 2 critical ≤ 30. In the
            fleet's unit of time; None takes 0.64 and 0.24 of the cap.

    Example:
        >>> labels = LabelConfig(cap=250.0)
        >>> labels.health_thresholds, labels.to_learned(100.0), labels.from_learned(50.0)
        ((160.0, 60.0), 50.0, 100.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cap: float = Field(125.0, gt=0)
    health_thresholds: tuple[float, ...] = (80.0, 30.0)

    @model_validator(mode="before")
    @classmethod
    def _thresholds_of_the_cap(cls, given: Any) -> Any:
        """Thresholds that nobody set, as shares of the cap; a cap that is no number stays."""
        if not isinstance(given, dict) or given.get("health_thresholds") is not None:
            return given
        try:
            cap = float(given.get("cap", LEARNED_CAP))
        except (TypeError, ValueError):
            cap = LEARNED_CAP
        return {**given, "health_thresholds": tuple(share * cap for share in _THRESHOLDS)}

    @model_validator(mode="after")
    def _thresholds_descend(self) -> LabelConfig:
        edges = self.health_thresholds
        if not edges or list(edges) != sorted(set(edges), reverse=True) or edges[-1] < 0:
            raise ValueError(f"health_thresholds {edges} must descend and not be negative")
        if edges[0] >= self.cap:
            raise ValueError(
                f"health threshold {edges[0]} is not below cap {self.cap}: class 0 would be empty"
            )
        return self

    @property
    def n_classes(self) -> int:
        """Number of health states."""
        return len(self.health_thresholds) + 1

    @property
    def unit(self) -> float:
        """One learned unit in the fleet's unit of time: cap/125."""
        return self.cap / LEARNED_CAP

    def to_learned(self, rul: _Values) -> _Values:
        """RUL in the fleet's unit of time → in learned units, same shape."""
        return rul / self.unit

    def from_learned(self, rul: _Values) -> _Values:
        """RUL in learned units → in the fleet's unit of time, same shape."""
        return rul * self.unit


def survived(fleet: Fleet) -> Array:
    """Time each unit was observed to survive after each row, shape (n_rows,).

    From the row to the unit's last record, in the fleet's unit of time: a lower bound of the RUL
    where the RUL is unknown.

    Example:
        >>> import polars as pl
        >>> from grace.data import FleetSchema
        >>> rows = pl.DataFrame({"unit": [1, 1, 1], "cycle": [1, 2, 5], "s1": [0.1, 0.2, 0.3]})
        >>> survived(Fleet.from_frame(rows, FleetSchema(sensors=("s1",)), rul_at_end={1: None}))
        array([4., 3., 0.])
    """
    times, lengths = fleet.times(), fleet.lengths()
    return np.asarray(np.repeat(times[fleet.starts() + lengths - 1], lengths) - times)


def capped_rul(fleet: Fleet, labels: LabelConfig) -> Array:
    """``min(cap, RUL)`` of every row, shape (n_rows,), in the fleet's unit of time.

    NaN where it is unknown. Units still running give labels too: a row after which the unit was
    observed to survive ``cap`` or longer has the label ``cap``, whenever the unit fails.

    Example:
        >>> import polars as pl
        >>> from grace.data import FleetSchema
        >>> rows = pl.DataFrame({"unit": [1, 1, 1], "cycle": [1, 2, 5], "s1": [0.1, 0.2, 0.3]})
        >>> fleet = Fleet.from_frame(rows, FleetSchema(sensors=("s1",)), rul_at_end={1: 2.0})
        >>> capped_rul(fleet, LabelConfig(cap=4.0))
        array([4., 4., 2.])
    """
    rul = fleet.rul()
    rul = np.where(np.isnan(rul) & (survived(fleet) >= labels.cap), labels.cap, rul)
    return np.minimum(rul, labels.cap)


def health_class(
    rul: npt.ArrayLike, thresholds: Sequence[float] = (80.0, 30.0)
) -> npt.NDArray[np.int64]:
    """Health class of each RUL, same shape: 0 above the first threshold, one more per threshold.

    A value equal to a threshold belongs to the worse class (30 is critical).

    Args:
        rul: RUL, any shape, in the unit of the thresholds.
        thresholds: descending, e.g. ``LabelConfig.health_thresholds``.

    Raises:
        ValueError: the thresholds do not descend.

    Example:
        >>> health_class([125.0, 80.0, 30.5, 30.0, 0.0])
        array([0, 1, 1, 2, 2])
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    if limits.ndim != 1 or limits.size == 0 or (np.diff(limits) >= 0).any():
        raise ValueError(f"thresholds must descend, got {tuple(thresholds)}")
    values = np.asarray(rul, dtype=np.float64)[..., None]
    return np.asarray((values <= limits).sum(axis=-1), dtype=np.int64)

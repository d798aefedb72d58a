"""Targets: the capped RUL and the health class derived from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from grace.data.fleet import Fleet

__all__ = ["LabelConfig", "capped_rul", "health_class"]

Array = npt.NDArray[np.float64]


class LabelConfig(BaseModel):
    """How life left becomes a target.

    Args:
        cap: RUL is learned as ``min(cap, RUL)``: before degradation shows, nothing in the sensors
            tells 150 from 250. In the fleet's unit of time.
        health_thresholds: RUL at or below which the next health class begins, descending;
            (80, 30) makes 0 healthy > 80, 1 degrading 30 < y ≤ 80, 2 critical ≤ 30.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cap: float = Field(125.0, gt=0)
    health_thresholds: tuple[float, ...] = (80.0, 30.0)

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


def capped_rul(fleet: Fleet, labels: LabelConfig) -> Array:
    """``min(cap, RUL)`` of every row, shape (n_rows,); NaN where it cannot be known.

    A unit that is still running teaches too: a row after which it was seen to live ``cap`` or
    longer has the label ``cap`` whenever it fails.
    """
    times, lengths = fleet.times(), fleet.lengths()
    last = np.repeat(times[fleet.starts() + lengths - 1], lengths)
    rul = fleet.rul()
    rul = np.where(np.isnan(rul) & (last - times >= labels.cap), labels.cap, rul)
    return np.minimum(rul, labels.cap)


def health_class(rul: npt.ArrayLike, labels: LabelConfig) -> npt.NDArray[np.int64]:
    """Health class of each RUL, same shape, 0 the healthiest.

    Example:
        >>> health_class([125.0, 80.0, 30.5, 30.0, 0.0], LabelConfig())
        array([0, 1, 1, 2, 2])
    """
    values = np.asarray(rul, dtype=np.float64)[..., None]
    crossed = values <= np.asarray(labels.health_thresholds)
    return np.asarray(crossed.sum(axis=-1), dtype=np.int64)

"""Windows as row numbers: one tensor of rows, and where each window ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig, capped_rul, health_class
from grace.data.preprocessing import FeatureTable

__all__ = ["Batch", "WindowConfig", "WindowSet"]


class WindowConfig(BaseModel):
    """How windows are cut from a unit's history.

    Args:
        length: rows per window, T.
        stride: rows between the ends of neighbouring training windows.
        min_history: rows a unit must have before its first training window ends. None means
            ``length``: ⌊(N−T)/stride⌋+1 windows per unit. Smaller values add windows that are
            left-padded by repeating the unit's first row. A unit shorter than this still gives
            one padded window: no unit is dropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    length: int = Field(30, ge=1)
    stride: int = Field(1, ge=1)
    min_history: int | None = Field(None, ge=1)


class Batch(NamedTuple):
    """One batch: x (B, T, C), capped RUL (B,), health class (B,), index of the unit (B,)."""

    x: Tensor
    rul: Tensor
    health: Tensor
    unit: Tensor


@dataclass(eq=False)
class WindowSet:
    """Windows over a fleet, cut at the moment they are needed.

    ``rows`` (R, C) float32 is the only copy of the data. Window m ends at row ``ends[m]`` of a
    unit that begins at row ``begins[m]``; positions before that begin repeat the unit's first row
    (left padding). Memory grows with rows, not with windows.

    Targets per window, shape (M,): ``rul`` capped, ``health`` class, ``unit`` index into
    ``unit_ids``. Targets are NaN and −1 where nobody knows them (only if asked for).
    ``offset_group`` (C,) is the feature table's.
    """

    rows: Tensor
    begins: Tensor
    ends: Tensor
    rul: Tensor
    health: Tensor
    unit: Tensor
    unit_ids: tuple[Any, ...]
    length: int
    offset_group: Tensor | None = None

    @classmethod
    def build(
        cls,
        table: FeatureTable,
        fleet: Fleet,
        labels: LabelConfig,
        config: WindowConfig,
        *,
        every_row: bool = False,
        labelled_only: bool = True,
    ) -> WindowSet:
        """Windows of a transformed fleet.

        Args:
            table: the fleet's model inputs.
            fleet: the same fleet, for the labels.
            labels: cap and thresholds.
            config: length, stride and history.
            every_row: one window per row whatever ``config`` says (for evaluation).
            labelled_only: leave out windows whose target is unknown (censored units near their
                last record).
        """
        ends, owner = _window_ends(table, config, every_row)
        target = capped_rul(fleet, labels)[ends]
        if labelled_only:
            known = ~np.isnan(target)
            ends, owner, target = ends[known], owner[known], target[known]
        health = np.where(np.isnan(target), -1, health_class(target, labels))
        return cls(
            rows=torch.from_numpy(table.rows),
            begins=torch.from_numpy(table.starts[owner]),
            ends=torch.from_numpy(ends),
            rul=torch.from_numpy(target.astype(np.float32)),
            health=torch.from_numpy(health),
            unit=torch.from_numpy(owner),
            unit_ids=table.unit_ids,
            length=config.length,
            offset_group=torch.tensor(table.offset_group) if table.offset_group else None,
        )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def n_channels(self) -> int:
        """Input channels C."""
        return self.rows.shape[1]

    def gather(self, index: Tensor) -> Tensor:
        """Windows (B, T, C) of the given numbers (B,), by one gather."""
        back = torch.arange(self.length - 1, -1, -1, device=self.ends.device)
        at = torch.maximum(self.ends[index, None] - back, self.begins[index, None])
        return self.rows[at]

    def batch(self, index: Tensor) -> Batch:
        """Windows and targets of the given numbers (B,)."""
        return Batch(self.gather(index), self.rul[index], self.health[index], self.unit[index])

    def last_of_each_unit(self) -> WindowSet:
        """Only the last window of each unit: one prediction per unit."""
        last = torch.ones(len(self), dtype=torch.bool, device=self.unit.device)
        last[:-1] = self.unit[1:] != self.unit[:-1]
        return replace(
            self,
            begins=self.begins[last],
            ends=self.ends[last],
            rul=self.rul[last],
            health=self.health[last],
            unit=self.unit[last],
        )

    def to(self, device: torch.device | str) -> WindowSet:
        """The same windows on another device."""
        tensors: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **tensors)


def _window_ends(
    table: FeatureTable, config: WindowConfig, every_row: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Last row and unit index of every window."""
    first, stride = (1, 1) if every_row else (config.min_history or config.length, config.stride)
    counts = np.maximum((table.lengths - first) // stride + 1, 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    position = np.minimum(first - 1 + number * stride, table.lengths[owner] - 1)
    return (table.starts[owner] + position).astype(np.int64), owner.astype(np.int64)

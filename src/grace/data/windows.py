"""Windows as row numbers: one tensor of rows, and where each window ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from grace.data import features as causal
from grace.data.fleet import Fleet
from grace.data.labels import LabelConfig, capped_rul, health_class, survived
from grace.data.preprocessing import FeatureTable

__all__ = ["Batch", "WindowConfig", "WindowSet"]


class WindowConfig(BaseModel):
    """How windows are cut from a unit's history.

    Args:
        length: rows per window, T.
        stride: rows between the ends of neighbouring training windows.
        min_history: rows a unit must have before its first training window ends. None means
            ``length · row_step``, at row_step 1 ⌊(N−T)/stride⌋+1 windows per unit. Smaller values
            add windows that are left-padded by repeating the unit's first row. A unit shorter
            than this still gives one padded window: no unit is dropped.
        row_step: rows per step of the window. A step is the mean of the ``row_step`` rows that end
            there (fewer at the start of a unit), so that T steps cover ``T · row_step`` rows of
            densely sampled data, the last of them always the newest row.

    Example:
        >>> WindowConfig(length=30, row_step=4).span  # rows that a window covers
        120
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    length: int = Field(30, ge=1, le=1_000_000)
    stride: int = Field(1, ge=1)
    min_history: int | None = Field(None, ge=1)
    row_step: int = Field(1, ge=1, le=1_000_000)

    @property
    def span(self) -> int:
        """Rows that a window covers."""
        return self.length * self.row_step


class Batch(NamedTuple):
    """x (B, T, C), capped RUL in learned units (B,), health class (B,), index of the unit (B,).

    ``rul_uncapped`` and ``survived`` (B,), in learned units, are what a survival likelihood reads;
    targets that are unknown are NaN and −1 (see :class:`WindowSet`).

    Example:
        >>> batch = Batch(torch.zeros(8, 30, 14), torch.zeros(8), torch.zeros(8), torch.zeros(8))
        >>> batch.x.shape
        torch.Size([8, 30, 14])
    """

    x: Tensor
    rul: Tensor
    health: Tensor
    unit: Tensor
    rul_uncapped: Tensor | None = None
    survived: Tensor | None = None


@dataclass(eq=False)
class WindowSet:
    """Windows over a fleet, cut at the moment they are needed.

    ``rows`` (R, C) float32 is the only copy of the data (means over ``row_step`` rows, if that is
    above 1). Window m ends at row ``ends[m]`` of a unit that begins at row ``begins[m]`` and takes
    every ``row_step``-th row before it; positions before that begin repeat the unit's first row
    (left padding). Memory grows with rows, not with windows.

    Per window, shape (M,), times in learned units (``LabelConfig.to_learned``): ``rul`` capped,
    ``health`` class, ``unit`` index into ``unit_ids``, ``rul_uncapped`` and ``survived``, the time
    the unit was observed to survive after the window (a censored unit's lower bound of the RUL).
    Unknown targets are NaN and −1; windows without a ``rul`` are included only on request, also
    those whose unit is known to have survived for some time, which a survival likelihood uses.
    ``time_unit`` is one learned unit in the fleet's unit of time. ``offset_group`` (C,) is the
    feature table's.

    Example:
        >>> from grace.data.preprocessing import Preprocessor
        >>> from grace.data.readers import load_dataset
        >>> data = load_dataset("sim", n_train=4, n_test=2)
        >>> table = Preprocessor().fit(data.train).transform(data.train)
        >>> windows = WindowSet.build(table, data.train, LabelConfig(), WindowConfig(length=30))
        >>> batch = windows.batch(torch.arange(8))
        >>> batch.x.shape, batch.rul.shape
        (torch.Size([8, 30, 21]), torch.Size([8]))
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
    row_step: int = 1
    time_unit: float = 1.0
    rul_uncapped: Tensor | None = None
    survived: Tensor | None = None

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
                last record). False keeps them, for prediction or a likelihood that uses
                ``survived``.
        """
        ends, owner = _window_ends(table, config, every_row)
        target = capped_rul(fleet, labels)[ends]
        if labelled_only:
            known = ~np.isnan(target)
            ends, owner, target = ends[known], owner[known], target[known]
        rows = table.rows
        if config.row_step > 1:
            rows = causal.trailing_mean(rows, table.starts, table.lengths, config.row_step)

        def learned(values: npt.NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(labels.to_learned(values).astype(np.float32))

        health = np.where(np.isnan(target), -1, health_class(target, labels.health_thresholds))
        return cls(
            rows=torch.from_numpy(rows),
            begins=torch.from_numpy(table.starts[owner]),
            ends=torch.from_numpy(ends),
            rul=learned(target),
            health=torch.from_numpy(health),
            unit=torch.from_numpy(owner),
            unit_ids=table.unit_ids,
            length=config.length,
            offset_group=torch.tensor(table.offset_group) if table.offset_group else None,
            row_step=config.row_step,
            time_unit=labels.unit,
            rul_uncapped=learned(fleet.rul()[ends]),
            survived=learned(survived(fleet)[ends]),
        )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def n_channels(self) -> int:
        """Input channels C."""
        return self.rows.shape[1]

    def gather(self, index: Tensor) -> Tensor:
        """Windows (B, T, C) of the given numbers (B,), by one gather."""
        back = torch.arange(self.length - 1, -1, -1, device=self.ends.device) * self.row_step
        at = torch.maximum(self.ends[index, None] - back, self.begins[index, None])
        return self.rows[at]

    def batch(self, index: Tensor) -> Batch:
        """Windows and targets of the given numbers (B,)."""
        labels = (self.rul[index], self.health[index], self.unit[index])
        if self.rul_uncapped is None or self.survived is None:
            return Batch(self.gather(index), *labels)
        known = (self.rul_uncapped[index], self.survived[index])
        return Batch(self.gather(index), *labels, *known)

    def last_of_each_unit(self) -> WindowSet:
        """Only the last window of each unit: one prediction per unit."""
        last = torch.ones(len(self), dtype=torch.bool, device=self.unit.device)
        last[:-1] = self.unit[1:] != self.unit[:-1]
        return self.take(last)

    def take(self, which: Tensor) -> WindowSet:
        """The windows selected by a mask or by numbers; rows are shared."""
        names = ("begins", "ends", "rul", "health", "unit", "rul_uncapped", "survived")
        values = {name: getattr(self, name) for name in names}
        kept: dict[str, Any] = {k: v[which] for k, v in values.items() if v is not None}
        return replace(self, **kept)

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
    first, stride = (1, 1) if every_row else (config.min_history or config.span, config.stride)
    counts = np.maximum((table.lengths - first) // stride + 1, 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    position = np.minimum(first - 1 + number * stride, table.lengths[owner] - 1)
    return (table.starts[owner] + position).astype(np.int64), owner.astype(np.int64)

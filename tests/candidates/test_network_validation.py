"""The windows that the network is validated on after every epoch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from grace.candidates import network


def spread_over(unit: torch.Tensor) -> torch.Tensor:
    windows: Any = SimpleNamespace(unit=unit, take=lambda index: unit[index])
    return network._spread(windows)  # type: ignore[return-value]


def test_long_records_count_no_more_than_short_ones() -> None:
    chosen = spread_over(torch.tensor([0] * 500 + [1] * 40 + [2] * 7))
    assert torch.bincount(chosen).tolist() == [40, 40, 7]


def test_large_fleets_give_fewer_windows_per_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_VALIDATION_WINDOWS", 30)
    chosen = spread_over(torch.arange(10).repeat_interleave(100))
    assert torch.bincount(chosen).tolist() == [3] * 10
    monkeypatch.setattr(network, "_VALIDATION_WINDOWS", 1)
    assert torch.bincount(spread_over(torch.arange(10).repeat_interleave(5))).tolist() == [1] * 10

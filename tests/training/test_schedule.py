"""The learning rate by its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from grace.training.config import TrainingConfig
from grace.training.schedule import LearningRate


def make(**options: object) -> tuple[LearningRate, torch.optim.Optimizer]:
    config = TrainingConfig(**options)  # type: ignore[arg-type]
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    groups = [{"params": a.parameters(), "lr": config.lr}, {"params": b.parameters(), "lr": 0.025}]
    optimizer = torch.optim.AdamW(groups)
    return LearningRate(optimizer, config), optimizer


def rates(rate: LearningRate, rmses: list[float]) -> list[float]:
    seen = []
    for epoch, rmse in enumerate(rmses):
        rate.before_epoch(epoch)
        seen.append(rate.current)
        rate.after_epoch(epoch, rmse)
    return seen


def test_warm_up_is_linear_from_a_tenth() -> None:
    rate, optimizer = make()
    for epoch in range(13):
        rate.before_epoch(epoch)
        factor = 0.1 + 0.9 * min(epoch, 10) / 10
        assert rate.current == pytest.approx(1e-3 * factor)
        assert optimizer.param_groups[1]["lr"] == pytest.approx(0.025 * factor)
        rate.after_epoch(epoch, 100.0 - epoch)


def test_no_warm_up_starts_at_the_peak() -> None:
    rate, _ = make(warmup_epochs=0)
    assert rates(rate, [5.0, 4.0, 3.0]) == [pytest.approx(1e-3)] * 3


def test_plateau_halves_after_more_than_patience_epochs() -> None:
    rate, _ = make(warmup_epochs=0, plateau_patience=2)
    # Best at epoch 0; epochs 1, 2, 3 without improvement; halved before 4, and again before 7.
    got = rates(rate, [5.0] * 9)
    assert got == pytest.approx([1e-3] * 4 + [5e-4] * 3 + [2.5e-4] * 2)


def test_an_improvement_starts_the_count_anew() -> None:
    rate, _ = make(warmup_epochs=0, plateau_patience=2)
    got = rates(rate, [5.0, 5.0, 5.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    assert got == pytest.approx([1e-3] * 7 + [5e-4])


def test_there_is_a_lower_end() -> None:
    rate, _ = make(warmup_epochs=0, plateau_patience=0, min_lr=2e-4)
    assert rates(rate, [5.0] * 10)[-1] == pytest.approx(2e-4)


def test_warm_up_epochs_are_no_plateau() -> None:
    rate, _ = make(warmup_epochs=5, plateau_patience=1)
    got = rates(rate, [5.0] * 9)
    assert got[:6] == pytest.approx([1e-3 * (0.1 + 0.9 * e / 5) for e in range(6)])
    # Counted from epoch 5: its RMSE is the first best, 6 and 7 are bad, 8 is halved.
    assert got[6:] == pytest.approx([1e-3, 1e-3, 5e-4])


def test_cosine_falls_from_the_peak_to_the_lower_end() -> None:
    rate, optimizer = make(schedule="cosine", epochs=8, warmup_epochs=2, lr=1.0, min_lr=0.1)
    # The monitored RMSE, here one that never improves, changes nothing.
    got = rates(rate, [5.0] * 8)
    half = [0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)]
    assert got == pytest.approx([0.1, 0.55, *half[:5], 0.1])
    assert half[5] < 0.1
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.025 * 0.1)


def test_cosine_with_a_warm_up_of_all_epochs() -> None:
    rate, _ = make(schedule="cosine", epochs=3, warmup_epochs=5)
    assert rates(rate, [5.0] * 3) == pytest.approx([1e-4, 2.8e-4, 4.6e-4])


@pytest.mark.parametrize("stop", range(1, 12))
def test_state_continues_exactly(stop: int) -> None:
    rmses = [5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    options = {"warmup_epochs": 2, "plateau_patience": 1}
    whole, _ = make(**options)
    want = rates(whole, rmses)
    first, optimizer = make(**options)
    rates(first, rmses[:stop])
    second, fresh = make(**options)
    fresh.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    got = []
    for epoch in range(stop, len(rmses)):
        second.before_epoch(epoch)
        got.append(second.current)
        second.after_epoch(epoch, rmses[epoch])
    assert got == want[stop:]

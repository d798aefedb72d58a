"""What a balancer keeps: the same after saving, copying, conversion and evaluation."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trained_balancer import Run, make, same, state_of

Make = Callable[..., Any]


def test_a_reloaded_state_continues_to_the_bit(name: str, n_tasks: int, run: Make) -> None:
    first = run(name, n_tasks)
    for seed in range(5):
        first.step(seed)
    file = io.BytesIO()
    torch.save({"b": first.balancer.state_dict(), "m": first.model.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    torch.manual_seed(7)  # PCGrad draws the order of its projections
    want = [first.step(seed) for seed in range(5, 11)]

    second = run(name, n_tasks)
    second.balancer.load_state_dict(saved["b"])
    second.model.load_state_dict(saved["m"])
    torch.manual_seed(7)
    got = [second.step(seed) for seed in range(5, 11)]
    for (total, weights), (other_total, other_weights) in zip(want, got, strict=True):
        assert torch.equal(total, other_total)
        assert torch.equal(weights, other_weights)


def test_evaluation_changes_nothing_and_needs_no_signal(name: str, n_tasks: int, run: Make) -> None:
    trial = run(name, n_tasks)
    for seed in range(4):
        trial.step(seed)
    before = state_of(trial.balancer)
    trial.balancer.eval()
    assert not trial.balancer.needs_signal
    for seed in range(3):
        losses = trial.model.losses(seed)
        bare = trial.balancer(*losses)
        full = trial.balancer(*losses, **trial.signal(trial.balancer, losses, trial.model))
        assert torch.equal(bare, full)
        assert torch.isfinite(bare)
    assert same(state_of(trial.balancer), before)


def test_reset_is_a_new_balancer(name: str, n_tasks: int, run: Make) -> None:
    trial = run(name, n_tasks)
    new = state_of(trial.balancer)
    for seed in range(6):
        trial.step(seed)
    trial.balancer.reset()
    assert same(state_of(trial.balancer), new)
    assert list(trial.balancer.parameters()) == trial.optimizer.param_groups[-1]["params"] or not (
        list(trial.balancer.parameters())
    )


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_are_equal_and_independent(name: str, how: str, run: Make) -> None:
    trial = run(name)
    for seed in range(4):
        trial.step(seed)
    balancer = trial.balancer
    clone = copy.deepcopy(balancer) if how == "deepcopy" else pickle.loads(pickle.dumps(balancer))
    before = state_of(balancer)
    assert same(state_of(clone), before)
    other = Run(clone, trial.model, trial.signal)
    for seed in range(4, 8):
        losses = trial.model.losses(seed)
        extras = trial.signal(clone, losses, trial.model)
        torch.manual_seed(0)
        a = clone(*losses, **extras)
        torch.manual_seed(0)
        b = copy.deepcopy(balancer)(*losses, **extras) if seed == 4 else a
        assert torch.equal(a, b)
        other.step(seed)
    assert same(state_of(balancer), before)


def test_telemetry_is_detached(name: str, run: Make) -> None:
    trial = run(name)
    for seed in range(4):
        trial.step(seed)
        for value in trial.balancer.telemetry().values():
            assert isinstance(value, Tensor)
            assert not value.requires_grad
            assert value.dim() <= 1
    assert not trial.balancer.weights.requires_grad


def test_state_has_its_final_shape_from_the_start(name: str, n_tasks: int, run: Make) -> None:
    trial = run(name, n_tasks)
    shapes = {k: v.shape for k, v in trial.balancer.state_dict().items()}
    for seed in range(6):
        trial.step(seed)
    assert {k: v.shape for k, v in trial.balancer.state_dict().items()} == shapes


@pytest.mark.parametrize("convert", ["bfloat16", "half"])
def test_state_stays_in_float32(name: str, n_tasks: int, convert: str, run: Make) -> None:
    trial = run(name, n_tasks)
    for seed in range(4):
        trial.step(seed)
    before = state_of(trial.balancer)
    getattr(nn.ModuleList([trial.balancer]), convert)()
    assert same(state_of(trial.balancer), before)
    assert all(v.dtype == before[k].dtype for k, v in trial.balancer.state_dict().items())
    again = make(name, n_tasks)
    again.load_state_dict(trial.balancer.state_dict())
    assert same(state_of(again), before)

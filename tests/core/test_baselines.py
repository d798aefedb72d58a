"""Fixed, uncertainty, DWA and GradNorm against the formulas of their papers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from grace.core.baselines import (
    DWALoss,
    FixedWeightLoss,
    GradNormLoss,
    LossBalancer,
    UncertaintyLoss,
)

A, B = torch.tensor(84.115), torch.tensor(0.6069)


def test_all_are_balancers() -> None:
    for cls in (FixedWeightLoss, UncertaintyLoss, GradNormLoss, DWALoss):
        assert issubclass(cls, LossBalancer)


def test_fixed_weights() -> None:
    assert FixedWeightLoss()(A, B).item() == pytest.approx((84.115 + 0.6069) / 2, rel=1e-6)
    control = FixedWeightLoss(0.0477, 0.9523)
    assert control(A, B).item() == pytest.approx(0.0477 * 84.115 + 0.9523 * 0.6069, rel=1e-6)
    assert control.weights.tolist() == pytest.approx([0.0477, 0.9523])
    three = FixedWeightLoss(0.2, 0.3, other_weights=[0.5])
    assert three(A, B, A).item() == pytest.approx(0.7 * 84.115 + 0.3 * 0.6069, rel=1e-6)


@pytest.mark.parametrize(
    "weights", [(-0.1, 1.1), (0.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_weights_that_make_no_sense_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite, not negative, and not all zero"):
        FixedWeightLoss(*weights)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"rul_weight": 0.1, "health_weight": 0.9}, "rul_weight=0.1, health_weight=0.9"),
        (
            {"rul_weight": 0.2, "health_weight": 0.3, "other_weights": (0.5, 0.7)},
            "rul_weight=0.2, health_weight=0.3, other_weights=(0.5, 0.7)",
        ),
    ],
)
def test_fixed_options_rebuild_it(options: dict[str, Any], shown: str) -> None:
    first = FixedWeightLoss(**options)
    want = first.weights.tolist()
    assert repr(first) == f"FixedWeightLoss({shown})"
    assert first.init_options() == options
    again = FixedWeightLoss(**first.init_options())
    assert (again.n_tasks, again.weights.tolist()) == (first.n_tasks, want)
    first.applied_weights.zero_()
    first.reset()
    assert first.weights.tolist() == want


def test_uncertainty_value_and_gradient_by_hand() -> None:
    balancer = UncertaintyLoss()
    with torch.no_grad():
        balancer.log_vars.copy_(torch.tensor([1.2, -0.4]))
    total = balancer(A, B)
    f = [0.5 * math.exp(-1.2), math.exp(0.4)]
    want = f[0] * 84.115 + f[1] * 0.6069 + 0.5 * (1.2 - 0.4)
    assert total.item() == pytest.approx(want, rel=1e-6)
    total.backward()
    by_hand = [-f[0] * 84.115 + 0.5, -f[1] * 0.6069 + 0.5]
    assert balancer.log_vars.grad is not None
    assert balancer.log_vars.grad.tolist() == pytest.approx(by_hand, rel=1e-5)
    assert balancer.weights.tolist() == pytest.approx(f, rel=1e-6)


def test_uncertainty_settles_where_the_variance_is_the_loss() -> None:
    """½e^{−s}L + ½s is least at σ² = L, e^{−s}L + ½s at σ² = 2L."""
    balancer = UncertaintyLoss()
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.05)
    for _ in range(800):
        optimizer.zero_grad()
        balancer(torch.tensor(4.0), torch.tensor(0.5)).backward()
        optimizer.step()
    assert balancer.log_vars.exp().tolist() == pytest.approx([4.0, 1.0], rel=1e-2)


def test_dwa_by_hand_over_three_epochs() -> None:
    balancer = DWALoss()
    epochs = [(100.0, 1.0), (50.0, 0.9), (40.0, 0.3)]
    assert balancer.weights.tolist() == [1.0, 1.0]  # epoch 1
    balancer.on_epoch_end(torch.tensor(epochs[0]))
    assert balancer.weights.tolist() == [1.0, 1.0]  # epoch 2
    for before, now in itertools.pairwise(epochs):
        balancer.on_epoch_end(torch.tensor(now))
        e = [math.exp(n / b / 2.0) for n, b in zip(now, before, strict=True)]
        want = [2.0 * x / sum(e) for x in e]
        assert balancer.weights.tolist() == pytest.approx(want, rel=1e-5)
        assert balancer(A, B).item() == pytest.approx(want[0] * 84.115 + want[1] * 0.6069, rel=1e-5)
    assert balancer.weights.sum().item() == pytest.approx(2.0, abs=1e-6)


def test_dwa_temperature_evens_out() -> None:
    spread = []
    for temperature in (0.5, 2.0, 100.0):
        balancer = DWALoss(temperature=temperature)
        balancer.on_epoch_end(torch.tensor([1.0, 1.0]))
        balancer.on_epoch_end(torch.tensor([1.0, 0.2]))
        spread.append((balancer.weights[0] - balancer.weights[1]).item())
    assert spread[0] > spread[1] > spread[2] > 0
    with pytest.raises(ValueError, match="temperature=0"):
        DWALoss(temperature=0)


def test_dwa_recovers_from_an_epoch_without_a_mean() -> None:
    balancer = DWALoss()
    for epoch in [(1.0, 1.0), (1.0, 0.5), (float("nan"), 1.0)]:
        balancer.on_epoch_end(torch.tensor(epoch))
        assert torch.isfinite(balancer.weights).all()
    kept = balancer.weights.clone()
    balancer.on_epoch_end(torch.tensor([1.0, 1.0]))
    assert torch.equal(balancer.weights, kept)
    balancer.on_epoch_end(torch.tensor([1.0, 1.0]))
    assert balancer.weights.tolist() == pytest.approx([1.0, 1.0])


def gradnorm_step(balancer: GradNormLoss, losses: tuple[float, float], norms: Tensor) -> Tensor:
    """The gradient on the weights of one step."""
    balancer.task_weights.grad = None
    balancer(torch.tensor(losses[0]), torch.tensor(losses[1]), task_grad_norms=norms).backward()
    assert balancer.task_weights.grad is not None
    return balancer.task_weights.grad.clone()


def losses_with_graph(*values: float) -> list[Tensor]:
    return [torch.tensor(v, requires_grad=True) for v in values]


def test_gradnorm_gradient_by_hand() -> None:
    balancer = GradNormLoss(alpha=1.5)
    norms = torch.tensor([10.0, 1.0])
    assert gradnorm_step(balancer, (8.0, 2.0), norms).tolist() == [10.0, -1.0]
    # Second step: L/L(0) = (1/4, 1), mean 5/8, r = (0.4, 1.6); Ḡ = 5.5
    targets = [5.5 * 0.4**1.5, 5.5 * 1.6**1.5]  # 1.39, 11.1
    want = [math.copysign(10.0, 10.0 - targets[0]), math.copysign(1.0, 1.0 - targets[1])]
    assert gradnorm_step(balancer, (2.0, 2.0), norms).tolist() == want
    # With equal norms only the training rate decides: the faster task loses weight.
    even = gradnorm_step(balancer, (2.0, 2.0), torch.tensor([3.0, 3.0]))
    assert even.tolist() == [3.0, -3.0]


def test_gradnorm_moves_weights_as_the_paper_says_and_keeps_their_sum() -> None:
    balancer = GradNormLoss()
    optimizer = torch.optim.SGD(balancer.parameters(), lr=0.002)
    path = []
    for _ in range(40):
        optimizer.zero_grad()
        losses = losses_with_graph(5.0, 5.0)
        balancer(*losses, task_grad_norms=torch.tensor([10.0, 1.0])).backward()
        assert balancer.weights.sum().item() == pytest.approx(2.0, abs=1e-5)
        path.append(balancer.weights[0].item())
        optimizer.step()
    assert path[0] == 1.0
    assert all(b < a for a, b in itertools.pairwise(path))
    assert path[-1] < 0.5  # on its way to 10 w_0 = w_1, w_0 = 2/11


def test_gradnorm_settles_at_equal_weighted_norms() -> None:
    balancer = GradNormLoss(alpha=0.0)
    optimizer = torch.optim.SGD(balancer.parameters(), lr=0.001)
    for _ in range(600):
        optimizer.zero_grad()
        losses = losses_with_graph(5.0, 5.0)
        balancer(*losses, task_grad_norms=torch.tensor([10.0, 1.0])).backward()
        optimizer.step()
    assert balancer.weights.tolist() == pytest.approx([2 / 11, 20 / 11], abs=0.02)


def test_gradnorm_reports_the_weighted_loss() -> None:
    balancer = GradNormLoss()
    total = balancer(A, B, task_grad_norms=torch.tensor([700.0, 1.0]))
    assert total.item() == pytest.approx(84.115 + 0.6069, rel=1e-6)


def test_gradnorm_weights_stay_positive() -> None:
    balancer = GradNormLoss()
    optimizer = torch.optim.SGD(balancer.parameters(), lr=10.0)
    for _ in range(5):
        optimizer.zero_grad()
        losses = losses_with_graph(5.0, 5.0)
        balancer(*losses, task_grad_norms=torch.tensor([10.0, 1.0])).backward()
        assert (balancer.weights > 0).all()
        optimizer.step()


def test_fall_backs_are_counted() -> None:
    gradnorm = GradNormLoss()
    for norms in ([float("nan"), 1.0], [1.0, 1.0], [1.0, float("inf")]):
        gradnorm(A, B, task_grad_norms=torch.tensor(norms))
    assert int(gradnorm.telemetry()["skipped"]) == 2
    dwa = DWALoss()
    for mean in (1.0, float("nan"), 1.0, 1.0):  # two ratios contain the bad mean
        dwa.on_epoch_end(torch.tensor([mean, 1.0]))
    assert int(dwa.telemetry()["skipped"]) == 2

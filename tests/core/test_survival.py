"""The survival likelihood and its head: worked values, censoring, and what a fit recovers."""

from __future__ import annotations

import math

import pytest
import torch

from grace.core.survival import survival_nll
from grace.models.survival_head import SurvivalHead

EDGES = torch.tensor([0.0, 10.0, 20.0, 40.0])
HAZARD = torch.tensor([[0.2, 0.5, 0.1]])
LOGITS = torch.logit(HAZARD)


@pytest.mark.parametrize(
    ("time", "event", "likelihood"),
    [
        (0.0, True, 0.2),
        (10.0, True, 0.2),
        (10.5, True, 0.8 * 0.5),
        (40.0, True, 0.8 * 0.5 * 0.1),
        (55.0, True, 0.8 * 0.5 * 0.9),  # beyond the last edge: survived all bins
        (0.0, False, 1.0),
        (10.0, False, 0.8),
        (25.0, False, 0.8 * 0.5 * 0.9**0.25),
        (99.0, False, 0.8 * 0.5 * 0.9),
    ],
)
def test_worked_values(time: float, event: bool, likelihood: float) -> None:
    loss = survival_nll(LOGITS, torch.tensor([time]), torch.tensor([event]), EDGES)
    assert loss.item() == pytest.approx(-math.log(likelihood), abs=1e-6)


def test_known_probabilities_sum_to_one() -> None:
    times = torch.tensor([5.0, 15.0, 30.0, 50.0])
    loss = survival_nll(
        LOGITS.expand(4, 3), times, torch.ones(4, dtype=torch.bool), EDGES, reduction="none"
    )
    assert (-loss).exp().sum().item() == pytest.approx(1.0)


def test_extreme_logits_stay_finite_with_finite_gradients() -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    loss = survival_nll(logits, torch.tensor([15.0]), torch.tensor([True]), EDGES)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_unit_of_time_does_not_matter() -> None:
    time, event = torch.tensor([3.0, 17.0, 33.0]), torch.tensor([True, False, True])
    one = survival_nll(LOGITS.expand(3, 3), time, event, EDGES)
    hours = survival_nll(LOGITS.expand(3, 3), time * 24, event, EDGES * 24)
    torch.testing.assert_close(one, hours)


def test_a_fit_of_censored_outcomes_recovers_the_hazards() -> None:
    generator = torch.Generator().manual_seed(0)
    n = 20_000
    life = torch.empty(n).exponential_(1 / 20, generator=generator)
    removed = 60.0 * torch.rand(n, generator=generator)
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        time, event = torch.minimum(life, removed), life <= removed
        loss = survival_nll(logits.expand(n, 3), time, event, EDGES)
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = 1 - torch.exp(-EDGES.diff() / 20)
    # The survived fraction of a bin stands for an even hazard inside it, so not exactly.
    torch.testing.assert_close(torch.sigmoid(logits[0]).detach(), expected, atol=0.03, rtol=0)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"K \+ 1"):
        survival_nll(LOGITS, torch.zeros(1), torch.ones(1), EDGES[:-1])
    with pytest.raises(ValueError, match="rows"):
        survival_nll(LOGITS, torch.zeros(2), torch.ones(2), EDGES)
    with pytest.raises(ValueError, match="reduction"):
        survival_nll(LOGITS, torch.zeros(1), torch.ones(1), EDGES, reduction="median")


def test_the_head_starts_with_failures_spread_evenly_and_keeps_its_edges() -> None:
    head = SurvivalHead(EDGES, in_dim=8)
    h = head.hazards(torch.zeros(2, 8))
    torch.testing.assert_close(h[0], torch.tensor([1 / 3, 1 / 2, 0.95]), atol=0.05, rtol=0)
    again = SurvivalHead(torch.tensor([0.0, 1.0, 2.0, 3.0]), in_dim=8)
    again.load_state_dict(head.state_dict())
    torch.testing.assert_close(again.edges, EDGES)
    with pytest.raises(ValueError, match="increase"):
        SurvivalHead(torch.tensor([0.0, 2.0, 1.0]))


def test_sum_and_mean_are_of_the_rows() -> None:
    logits, time = LOGITS.repeat(3, 1), torch.tensor([5.0, 15.0, 25.0])
    event = torch.tensor([True, False, True])
    rows, total, mean = (
        survival_nll(logits, time, event, EDGES, reduction=how) for how in ("none", "sum", "mean")
    )
    assert rows.shape == (3,)
    assert total.item() == pytest.approx(rows.sum().item())
    assert mean.item() == pytest.approx(rows.mean().item())
    assert total.item() != pytest.approx(mean.item())

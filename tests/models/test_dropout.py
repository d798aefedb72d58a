"""The cheaper dropout is a dropout."""

from __future__ import annotations

import pytest
import torch

from grace.models.optimized import Dropout, dropout


@pytest.mark.parametrize("p", [0.05, 0.15, 0.3, 0.5, 0.9])
def test_share_of_zeros_and_expectation(p: float) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(1_000_000), p)
    zeros = float((out == 0).double().mean())
    assert zeros == pytest.approx(p, abs=4 * (p * (1 - p) / 1e6) ** 0.5 + 2**-16)
    assert float(out.double().mean()) == pytest.approx(1.0, abs=6e-3 / (1 - p))
    kept = out[out != 0]
    assert torch.equal(kept, kept[:1].expand_as(kept))


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(1)
    out = (dropout(torch.ones(4, 250_000), 0.3) == 0).double()
    assert torch.corrcoef(out).triu(1).abs().max() < 0.01
    flat = out.flatten()
    for lag in (1, 2, 3, 4):  # four elements come from one draw
        assert abs(float(torch.corrcoef(torch.stack([flat[:-lag], flat[lag:]]))[0, 1])) < 0.01


def test_seeded_and_identity_outside_training() -> None:
    x = torch.randn(33, 7)
    torch.manual_seed(3)
    first = dropout(x, 0.4)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(x, 0.4))
    layer = Dropout(0.4).eval()
    assert torch.equal(layer(x), x)
    assert torch.equal(dropout(x, 0.0), x)
    assert not dropout(x, 1.0).any()


def test_gradient_is_the_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    out = dropout(x, 0.25)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())

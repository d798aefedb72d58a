"""GABA against its formulas, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.core.gaba import GABALoss, closed_form_weights
from grace.core.gradient_utils import get_shared_params

Make = Callable[..., Any]
ONE = torch.tensor(1.0)
NORM = st.floats(1e-6, 1e6)


def feed(gaba: GABALoss, *norms: float) -> torch.Tensor:
    losses = [ONE] * len(norms)
    gaba(*losses, task_grad_norms=torch.tensor(norms))
    return gaba.weights.clone()


def test_worked_value_of_the_specification() -> None:
    g_rul, g_health = 26.4016, 0.037833
    weights = closed_form_weights(torch.tensor([g_rul, g_health], dtype=torch.float64))
    assert weights.tolist() == pytest.approx([0.001431, 0.998569], abs=5e-7)
    assert round(g_rul / g_health) == 698
    assert (weights[1] / weights[0]).item() == pytest.approx(g_rul / g_health, rel=1e-12)


@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_warm_up_lasts_exactly_as_many_steps(warmup: int) -> None:
    gaba = GABALoss(warmup_steps=warmup, beta=0.5, min_weight=0.0)
    for _ in range(warmup):
        assert not gaba.needs_signal
        assert feed(gaba, 3.0, 1.0).tolist() == [0.5, 0.5]
        assert gaba.ema_weights.tolist() == [0.5, 0.5]
    assert gaba.needs_signal
    # First step after it: λ̂ = ½·½ + ½·¼
    assert feed(gaba, 3.0, 1.0).tolist() == pytest.approx([0.375, 0.625])
    assert int(gaba.step_count) == warmup + 1


def test_warm_up_has_its_published_length_by_default() -> None:
    gaba = GABALoss()
    for _ in range(100):
        assert feed(gaba, 500.0, 1.0).tolist() == [0.5, 0.5]
    assert feed(gaba, 500.0, 1.0)[0].item() == pytest.approx(0.99 * 0.5 + 0.01 / 501, rel=1e-5)


def test_moving_average_by_hand() -> None:
    gaba = GABALoss(warmup_steps=0, beta=0.9, min_weight=0.0)
    ema = [0.5, 0.5]
    for g in [(3.0, 1.0), (1.0, 9.0), (2.0, 2.0), (0.1, 0.3)]:
        raw = [g[1] / sum(g), g[0] / sum(g)]
        ema = [0.9 * e + 0.1 * r for e, r in zip(ema, raw, strict=True)]
        assert feed(gaba, *g).tolist() == pytest.approx(ema, rel=1e-5)
        assert gaba.raw_weights.tolist() == pytest.approx(raw, rel=1e-5)


def test_floor_and_renormalisation() -> None:
    gaba = GABALoss(warmup_steps=0, beta=0.0, min_weight=0.05)
    weights = feed(gaba, 999.0, 1.0)
    assert weights[0].item() == pytest.approx(0.05 / (0.05 + 0.999), rel=1e-5)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert gaba.ema_weights[0].item() == pytest.approx(0.001, rel=1e-4)  # unfloored
    feed(gaba, 1e9, 1.0)
    assert gaba.weights.tolist() == pytest.approx([0.05 / 1.05, 1 / 1.05], rel=1e-5)
    assert gaba.weights[0].item() == pytest.approx(0.0476, abs=5e-5)


def test_no_floor_where_it_does_not_bind() -> None:
    gaba = GABALoss(warmup_steps=0, beta=0.0, min_weight=0.05)
    assert feed(gaba, 3.0, 1.0).tolist() == pytest.approx([0.25, 0.75])
    assert not bool(gaba.telemetry()["floor_active"])


def test_at_500_to_1_the_floor_binds_at_update_233() -> None:
    r = 1 / 501
    by_hand = math.ceil(math.log((0.05 - r) / (0.5 - r)) / math.log(0.99))
    assert by_hand == 233
    gaba = GABALoss(warmup_steps=5)
    bound = None
    for step in range(5 + 300):
        feed(gaba, 500.0, 1.0)
        if bound is None and bool(gaba.telemetry()["floor_active"]):
            bound = step + 1 - 5
    assert bound == by_hand
    assert gaba.telemetry()["floor_share"].item() == pytest.approx((300 - 232) / 300)
    for _ in range(700):
        feed(gaba, 500.0, 1.0)
    assert gaba.weights.tolist() == pytest.approx([0.0477, 0.9523], abs=2e-4)


@pytest.mark.parametrize(
    "bad", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (math.nan, 1.0), (1.0, math.inf)]
)
@pytest.mark.parametrize("form", ["complement", "inverse"])
def test_unusable_norms_are_skipped_and_counted(bad: tuple[float, float], form: Any) -> None:
    gaba = GABALoss(warmup_steps=0, beta=0.5, closed_form=form)
    feed(gaba, 3.0, 1.0)
    ema, weights = gaba.ema_weights.clone(), gaba.weights.clone()
    feed(gaba, *bad)
    assert torch.equal(gaba.ema_weights, ema)
    assert torch.equal(gaba.weights, weights)
    assert int(gaba.telemetry()["skipped"]) == 1
    assert int(gaba.step_count) == 2


@pytest.mark.parametrize("form", ["complement", "inverse"])
@pytest.mark.parametrize("size", [2, 3])
def test_no_gradient_at_all_means_equal_weights(form: Any, size: int) -> None:
    weights = closed_form_weights(torch.zeros(size), form)
    assert weights.tolist() == pytest.approx([1 / size] * size)


@pytest.mark.parametrize("form", ["complement", "inverse"])
@given(norms=st.lists(NORM, min_size=2, max_size=5))
def test_raw_weights_are_a_distribution_that_favours_the_small(
    form: Any, norms: list[float]
) -> None:
    g = torch.tensor(norms, dtype=torch.float64)
    weights = closed_form_weights(g, form)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert (weights >= 0).all()
    assert weights[g.argmin()] == weights.max()
    # The unit of the losses does not matter.
    torch.testing.assert_close(closed_form_weights(g * 1024.0, form), weights)


def test_norms_near_overflow_keep_their_weights() -> None:
    weights = closed_form_weights(torch.tensor([3e38, 1e38]))
    assert weights.tolist() == pytest.approx([0.25, 0.75])


@given(norms=st.lists(NORM, min_size=3, max_size=3))
def test_complement_at_three_tasks_by_its_formula(norms: list[float]) -> None:
    g = torch.tensor(norms, dtype=torch.float64)
    want = (g.sum() - g) / (2 * g.sum())
    torch.testing.assert_close(closed_form_weights(g), want)


@given(norms=st.lists(NORM, min_size=3, max_size=3))
def test_inverse_equalises_the_weighted_norms(norms: list[float]) -> None:
    g = torch.tensor(norms, dtype=torch.float64)
    product = closed_form_weights(g, "inverse") * g
    torch.testing.assert_close(product, product.mean().expand(3), rtol=1e-10, atol=0.0)


def test_complement_does_not_equalise_at_three_tasks() -> None:
    g = torch.tensor([100.0, 10.0, 1.0])
    product = closed_form_weights(g) * g
    assert product.max() / product.min() > 5


@given(a=NORM, b=NORM, cosine=st.floats(-0.99, 0.99))
@settings(max_examples=60)
def test_two_tasks_complement_inverse_and_imtl_g_agree(a: float, b: float, cosine: float) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    g = torch.tensor([a, b], dtype=torch.float64)
    complement = closed_form_weights(g)
    torch.testing.assert_close(complement, closed_form_weights(g, "inverse"), rtol=1e-9, atol=1e-15)
    if max(a, b) / min(a, b) < 1e4:  # beyond that the oracle's pseudo-inverse cuts the small task
        gram = torch.tensor([[a * a, cosine * a * b], [cosine * a * b, b * b]], dtype=torch.float64)
        oracle = aggregation.IMTLGWeighting()(gram)
        torch.testing.assert_close(complement, oracle, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("every", [2, 5])
def test_update_every_k_steps_decays_by_beta_to_the_k(every: int) -> None:
    gaba = GABALoss(warmup_steps=3, beta=0.9, min_weight=0.0, update_every=every)
    read = []
    ema = 0.5
    for step in range(3 + 2 * every + 1):
        reads = gaba.needs_signal
        if reads:
            ema = 0.9**every * ema + (1 - 0.9**every) * 0.25
            read.append(step)
            feed(gaba, 3.0, 1.0)
        else:
            gaba(ONE, ONE)  # needs nothing between updates
        assert gaba.ema_weights[0].item() == pytest.approx(ema, rel=1e-5)
    assert read == [3, 3 + every, 3 + 2 * every]


def test_update_every_keeps_the_memory_of_the_average() -> None:
    slow, fast = (GABALoss(warmup_steps=0, min_weight=0.0, update_every=k) for k in (10, 1))
    for _ in range(100):
        feed(slow, 500.0, 1.0)
        feed(fast, 500.0, 1.0)
    # The last update of each covers 100 steps.
    assert slow.ema_weights[0].item() == pytest.approx(fast.ema_weights[0].item(), rel=1e-4)


def test_weights_enter_as_constants(toy: Make) -> None:
    model = toy()
    gaba = GABALoss(warmup_steps=0, beta=0.0, min_weight=0.0)
    shared = get_shared_params(model)
    losses = model.losses()
    grads = torch.autograd.grad(losses[0], shared, create_graph=True)
    norm = torch.sqrt(sum(g.square().sum() for g in grads))
    total = gaba(*losses, task_grad_norms=torch.stack([norm, 0.5 * norm]))
    got = torch.autograd.grad(total, shared, retain_graph=True)
    want = torch.autograd.grad((losses[0] + 2 * losses[1]) / 3, shared)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    assert not gaba.weights.requires_grad
    assert not gaba.ema_weights.requires_grad


def test_heads_are_not_part_of_the_norms(toy: Make) -> None:
    """Scaling a head's own gradient, with the trunk's unchanged, moves no weight."""
    results = []
    for boost in (1.0, 1000.0):
        model = toy()
        losses = model.losses()
        bias = model.health_head.bias
        losses[1] = losses[1] + boost * (bias.sum() - bias.sum().detach())
        gaba = GABALoss(warmup_steps=0, beta=0.0, min_weight=0.0)
        gaba(*losses, shared_params=get_shared_params(model))
        results.append(gaba.weights.clone())
    assert torch.equal(*results)


def test_reading_the_norms_leaves_grad_alone(toy: Make) -> None:
    model = toy()
    GABALoss(warmup_steps=0)(*model.losses(), shared_params=get_shared_params(model))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("stop", [3, 10, 17])  # in warm-up, between updates, on one
def test_a_resumed_run_continues_exactly(stop: int) -> None:
    generator = torch.Generator().manual_seed(0)
    norms = torch.rand(40, 2, generator=generator) * 100 + 0.1

    def new() -> GABALoss:
        return GABALoss(warmup_steps=7, beta=0.9, update_every=5, min_weight=0.4)

    whole, first, second = new(), new(), new()
    want = [feed(whole, *row.tolist()) for row in norms]
    for row in norms[:stop]:
        feed(first, *row.tolist())
    second.load_state_dict(first.state_dict())
    got = [feed(second, *row.tolist()) for row in norms[stop:]]
    assert all(torch.equal(a, b) for a, b in zip(want[stop:], got, strict=True))
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in whole.state_dict().items())
    assert {"ema_weights", "step_count"} <= set(second.state_dict())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"beta": 1.0}, "beta=1.0"),
        ({"beta": -0.1}, "beta=-0.1"),
        ({"min_weight": 0.5}, "min_weight=0.5"),
        ({"min_weight": 0.34, "n_tasks": 3}, r"\[0, 1/3\)"),
        ({"warmup_steps": -1}, "warmup_steps=-1"),
        ({"update_every": 0}, "update_every=0"),
        ({"closed_form": "other"}, "complement"),
        ({"site": "heads"}, "feature"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        GABALoss(**options)


def test_defaults_are_the_published_ones() -> None:
    assert GABALoss().init_options() == {
        "n_tasks": 2,
        "beta": 0.99,
        "min_weight": 0.05,
        "warmup_steps": 100,
        "closed_form": "complement",
        "update_every": 1,
        "site": "shared",
    }


@pytest.mark.parametrize("size", [2, 3])
def test_before_any_norm_both_averages_are_equal_weights(size: int) -> None:
    gaba = GABALoss(n_tasks=size)
    for name in ("lambda_raw", "lambda_ema"):
        assert gaba.telemetry()[name].tolist() == pytest.approx([1 / size] * size)


@pytest.mark.parametrize("site", ["shared", "last_layer", "feature"])
def test_every_site_is_accepted_and_kept(site: Any) -> None:
    assert GABALoss(site=site).init_options()["site"] == site


def test_the_share_on_the_floor_counts_steps_after_the_warm_up() -> None:
    gaba = GABALoss(warmup_steps=1, beta=0.0)
    feed(gaba, 1.0, 1.0)
    assert gaba.telemetry()["floor_share"] == 0.0
    feed(gaba, 1000.0, 1.0)
    assert gaba.telemetry()["floor_share"] == 1.0
    feed(gaba, 1.0, 1.0)
    assert gaba.telemetry()["floor_share"] == 0.5
    counted = (gaba.step_count, gaba.skipped_count, gaba.floor_count)
    assert [c.dtype for c in counted] == [torch.int64] * 3
    assert [int(c) for c in counted] == [3, 0, 1]


def test_a_weight_exactly_on_the_floor_is_not_below_it() -> None:
    gaba = GABALoss(warmup_steps=0, beta=0.5, min_weight=0.375)
    feed(gaba, 3.0, 1.0)
    assert gaba.ema_weights.tolist() == [0.375, 0.625]  # exact in binary
    assert not gaba.telemetry()["floor_active"]

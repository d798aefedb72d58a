"""Inner losses: worked values, weights, shapes, and what each promises of its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from grace.core.inner import (
    INNER_LOSSES,
    build_inner_loss,
    health_loss,
    huber_loss,
    mse_loss,
    nasa_loss,
    quantile_loss,
)
from grace.core.weighted_mse import failure_weights, moderate_weighted_mse_loss

Y_TRUE = [10.0, 30, 60, 90, 110, 5, 15, 80]
Y_PRED = [15.0, 26, 68, 87, 112, -7, 24, 74]
NAMES = list(INNER_LOSSES)


def values(low: float = -200, high: float = 400) -> st.SearchStrategy[list[tuple[float, float]]]:
    number = st.floats(low, high, width=32)
    return st.lists(st.tuples(number, number), min_size=1, max_size=20)


def test_worked_values_of_the_specification() -> None:
    pred, target = torch.tensor(Y_PRED), torch.tensor(Y_TRUE)
    assert mse_loss(pred, target).item() == pytest.approx(47.375, abs=1e-5)
    assert moderate_weighted_mse_loss(pred, target).item() == pytest.approx(84.115, abs=1e-5)


@pytest.mark.parametrize(
    ("rul", "weight"),
    [(5, 1.96), (40, 1.68), (90, 1.28), (125, 1.0), (200, 1.0), (0, 2.0), (-3, 2.0)],
)
def test_failure_weight(rul: float, weight: float) -> None:
    assert failure_weights(torch.tensor([float(rul)])).item() == pytest.approx(weight, abs=1e-6)
    loss = moderate_weighted_mse_loss(torch.tensor([rul + 2.0]), torch.tensor([float(rul)]))
    assert loss.item() == pytest.approx(4.0 * weight, rel=1e-5)


def test_weight_beyond_max_rul_is_exactly_one() -> None:
    assert failure_weights(torch.tensor([125.0, 125.5, 200.0, 1e6])).tolist() == [1.0] * 4


def test_max_rul_moves_where_the_bias_begins() -> None:
    pred, target = torch.tensor([61.0]), torch.tensor([60.0])
    assert moderate_weighted_mse_loss(pred, target, max_rul=60.0).item() == pytest.approx(1.0)
    assert moderate_weighted_mse_loss(pred, target, max_rul=120.0).item() == pytest.approx(1.5)


def test_the_mean_is_not_divided_by_the_weights() -> None:
    # All weights 2: a weighted mean would give 9, a plain mean of weighted errors gives 18.
    pred, target = torch.full((4,), 3.0), torch.zeros(4)
    assert moderate_weighted_mse_loss(pred, target).item() == pytest.approx(18.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("left", [(8,), (8, 1)])
@pytest.mark.parametrize("right", [(8,), (8, 1)])
def test_column_and_flat_arguments_agree(
    name: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    loss = build_inner_loss(name)
    pred, target = torch.tensor(Y_PRED), torch.tensor(Y_TRUE)
    got = loss(pred.view(left), target.view(right))
    assert got.shape == ()
    assert got.item() == loss(pred, target).item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(7,), (7, 1), (1,), (9,)])
def test_sizes_that_differ_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one value per sample"):
        build_inner_loss(name)(torch.zeros(8), torch.zeros(shape))


@pytest.mark.parametrize("name", NAMES)
def test_zero_with_zero_gradient_at_perfect_prediction(name: str) -> None:
    target = torch.tensor([0.0, 5.0, 60.0, 125.0])
    pred = target.clone().requires_grad_()
    loss = build_inner_loss(name)(pred, target)
    loss.backward()
    assert loss.item() == 0.0
    assert pred.grad is not None
    # The two asymmetric losses have a kink there: bounded is all one can ask of them.
    bound = 1.0 if name in ("nasa", "quantile") else 0.0
    assert bool((pred.grad.abs() <= bound).all())


@pytest.mark.parametrize("name", NAMES)
@given(pairs=values())
def test_finite_not_negative_with_finite_gradient(
    name: str, pairs: list[tuple[float, float]]
) -> None:
    both = torch.tensor(pairs)
    pred = both[:, 0].clone().requires_grad_()
    loss = build_inner_loss(name)(pred, both[:, 1])
    loss.backward()
    assert math.isfinite(loss.item())
    assert loss.item() >= 0.0
    assert pred.grad is not None
    assert bool(torch.isfinite(pred.grad).all())


@pytest.mark.parametrize("name", NAMES)
@given(pairs=values(), random=st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(
    name: str, pairs: list[tuple[float, float]], random: object
) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    loss = build_inner_loss(name)

    def of(some: list[tuple[float, float]]) -> Tensor:
        both = torch.tensor(some, dtype=torch.float64)
        return loss(both[:, 0], both[:, 1])

    assert of(shuffled).item() == pytest.approx(of(pairs).item(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(error=st.floats(0.5, 150.0), later=st.floats(0.5, 50.0), side=st.sampled_from([-1.0, 1.0]))
def test_a_larger_error_on_one_side_costs_more(
    name: str, error: float, later: float, side: float
) -> None:
    loss, target = build_inner_loss(name), torch.tensor([60.0], dtype=torch.float64)
    small, large = (loss(target + side * e, target).item() for e in (error, error + later))
    assert large > small


def test_huber_is_half_squared_inside_and_linear_outside() -> None:
    target = torch.zeros(1)
    assert huber_loss(torch.tensor([4.0]), target, delta=10.0).item() == pytest.approx(8.0)
    assert huber_loss(torch.tensor([30.0]), target, delta=10.0).item() == pytest.approx(250.0)


def test_nasa_is_the_mean_score() -> None:
    target = torch.tensor([50.0, 50.0], dtype=torch.float64)
    pred = torch.tensor([40.0, 60.0], dtype=torch.float64)
    by_hand = (math.exp(10 / 13) - 1 + math.exp(1.0) - 1) / 2
    assert nasa_loss(pred, target).item() == pytest.approx(by_hand, rel=1e-12)
    # Late is dearer than early by the same error.
    assert nasa_loss(pred[1:], target[1:]) > nasa_loss(pred[:1], target[:1])


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_nasa_goes_on_along_its_tangent(side: float) -> None:
    def at(error: float) -> tuple[float, float]:
        pred = torch.tensor([error], dtype=torch.float64, requires_grad=True)
        loss = nasa_loss(pred, torch.zeros(1, dtype=torch.float64), max_error=60.0)
        (slope,) = torch.autograd.grad(loss, pred)
        return loss.item(), slope.item()

    (v0, s0), (v1, s1), (v2, s2) = (at(side * e) for e in (60.0 - 1e-6, 60.0 + 1e-6, 150.0))
    assert v0 == pytest.approx(v1, rel=1e-5)
    assert s0 == pytest.approx(s1, rel=1e-5)
    assert s1 == pytest.approx(s2, rel=1e-9)  # a straight line from there on
    assert v2 == pytest.approx(v1 + abs(s1) * 90.0, rel=1e-5)


@pytest.mark.parametrize("q", [0.1, 0.3, 0.5, 0.9])
def test_the_minimiser_of_the_pinball_loss_is_the_quantile(q: float) -> None:
    sample = torch.arange(1.0, 102.0, dtype=torch.float64)  # 1..101: quantile q is 1 + 100 q
    grid = torch.arange(0.0, 102.0, 0.5, dtype=torch.float64)
    losses = torch.stack([quantile_loss(g.expand(101), sample, q=q) for g in grid])
    assert grid[losses.argmin()].item() == pytest.approx(1.0 + 100.0 * q, abs=1.0)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.2, 30.0])
def test_what_is_no_quantile_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="0 < q < 1"):
        quantile_loss(torch.zeros(2), torch.zeros(2), q=q)


def test_health_loss_is_cross_entropy_on_raw_logits() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    first = math.log(math.exp(2) + 1 + math.exp(-1)) - 2.0
    want = (first + math.log(3)) / 2
    assert health_loss(logits, torch.tensor([0, 2])).item() == pytest.approx(want, rel=1e-6)


def test_options_are_bound_and_checked() -> None:
    pred, target = torch.tensor([30.0]), torch.tensor([0.0])
    assert build_inner_loss("huber", delta=1.0)(pred, target).item() == pytest.approx(29.5)
    with pytest.raises(ValueError, match="no option 'sigma': it takes delta"):
        build_inner_loss("huber", sigma=1.0)
    with pytest.raises(ValueError, match="it takes none"):
        build_inner_loss("mse", delta=1.0)
    with pytest.raises(ValueError, match="unknown inner loss 'msee'"):
        build_inner_loss("msee")


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("weighted_mse", {"max_rul": 0}, "max_rul=0 must be a positive number"),
        ("weighted_mse", {"max_rul": -1.0}, "max_rul=-1.0 must be a positive number"),
        ("weighted_mse", {"max_rul": "60"}, "max_rul='60' must be a positive number"),
        ("weighted_mse", {"max_rul": True}, "max_rul=True must be a positive number"),
        ("weighted_mse", {"max_rul": math.nan}, "max_rul=nan must be a positive number"),
        ("huber", {"delta": 0.0}, "delta=0.0 must be a positive number"),
        ("huber", {"delta": None}, "delta=None must be a positive number"),
        ("nasa", {"max_error": -60}, "max_error=-60 must be a positive number"),
        ("nasa", {"max_error": math.inf}, "max_error=inf must be a positive number"),
        ("quantile", {"q": 2}, "q=2 is no quantile: choose 0 < q < 1"),
        ("quantile", {"q": "half"}, "q='half' is no quantile"),
    ],
)
def test_a_value_out_of_range_is_refused_when_the_loss_is_built(
    name: str, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValueError, match=f"inner loss '{name}'") as caught:
        build_inner_loss(name, **options)
    assert problem in str(caught.value)
    with pytest.raises(ValueError, match="=") as caught:
        INNER_LOSSES[name](torch.ones(2), torch.zeros(2), **options)
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("left", "right"),
    [((2, 3), (3, 2)), ((2, 3), (6,)), ((1, 6), (6,)), ((), ()), ((6, 1, 1), (6,))],
)
def test_other_shapes_are_refused(name: str, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one value per sample"):
        build_inner_loss(name)(torch.zeros(left), torch.zeros(right))


@pytest.mark.parametrize(("error", "scale"), [(90.0, 10.0), (-90.0, 13.0)])
def test_nasa_loss_continues_on_its_tangent_from_60_cycles(error: float, scale: float) -> None:
    knee = 60.0 / scale
    expected = math.exp(knee) - 1 + math.exp(knee) * (90.0 - 60.0) / scale
    found = nasa_loss(torch.tensor([100.0 + error]), torch.tensor([100.0]))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_defaults_of_huber_and_nasa() -> None:
    pred, target = torch.tensor([0.0, 500.0]), torch.tensor([100.0, 100.0])
    assert huber_loss(pred, target) == huber_loss(pred, target, delta=10.0)
    assert huber_loss(pred, target) != huber_loss(pred, target, delta=11.0)
    assert nasa_loss(pred, target) == nasa_loss(pred, target, max_error=60.0)
    assert nasa_loss(pred, target) != nasa_loss(pred, target, max_error=61.0)

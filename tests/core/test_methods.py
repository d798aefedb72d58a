"""Methods by name, and the four cells on one forward pass by the published import paths."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch

from grace.core.baselines import FixedWeightLoss
from grace.core.gaba import GABALoss
from grace.core.gradient_utils import compute_task_grad_norm, get_shared_params
from grace.core.inner import INNER_LOSSES, mse_loss
from grace.core.methods import NAMED_METHODS, OUTER_METHODS, build_method, parse_method
from grace.core.weighted_mse import moderate_weighted_mse_loss

Make = Callable[..., Any]

PUBLISHED = [
    ("grace.core.weighted_mse", "moderate_weighted_mse_loss"),
    ("grace.core.gradient_utils", "compute_task_grad_norm get_shared_params"),
    (
        "grace.core.baselines",
        "BaseMTLLoss LossBalancer FixedWeightLoss UncertaintyLoss GradNormLoss DWALoss",
    ),
    ("grace.core.gaba", "GABALoss"),
    ("grace.models.backbone", "CNNFrontend BiLSTMEncoder AttentionBlock FCFunnel"),
    ("grace.models.task_heads", "RULHead HealthHead"),
    ("grace.models.dual_task_model", "DualTaskModel"),
    ("grace.training.trainer", "Trainer training_step"),
]


@pytest.mark.parametrize(("module", "names"), PUBLISHED)
def test_published_names_can_be_imported_and_are_exported(module: str, names: str) -> None:
    loaded = importlib.import_module(module)
    for name in names.split():
        assert callable(getattr(loaded, name))
        assert name in loaded.__all__


@pytest.mark.parametrize(
    ("name", "inner", "outer"),
    [
        ("baseline", "mse", "FixedWeightLoss"),
        ("amnl", "weighted_mse", "FixedWeightLoss"),
        ("gaba", "mse", "GABALoss"),
        ("grace", "weighted_mse", "GABALoss"),
        ("uncertainty", "mse", "UncertaintyLoss"),
        ("gradnorm", "mse", "GradNormLoss"),
        ("dwa", "mse", "DWALoss"),
        (" GRACE ", "weighted_mse", "GABALoss"),
        ("huber+gradnorm", "huber", "GradNormLoss"),
        ("weighted_mse+fixed", "weighted_mse", "FixedWeightLoss"),
    ],
)
def test_name_gives_the_pair(name: str, inner: str, outer: str) -> None:
    method = build_method(name)
    assert (method.inner_name, type(method.outer).__name__) == (inner, outer)


def test_no_named_method_is_missing() -> None:
    assert set(NAMED_METHODS) == set(
        ["baseline", "amnl", "gaba", "grace", "uncertainty", "gradnorm", "dwa"]
    )
    assert build_method("baseline").outer.weights.tolist() == [0.5, 0.5]


def test_fixed_takes_the_weight_in_its_name() -> None:
    for name in ("fixed:0.0477", "mse+fixed:0.0477"):
        method = build_method(name)
        assert method.inner_name == "mse"
        assert method.outer.weights.tolist() == pytest.approx([0.0477, 0.9523])
    assert parse_method("huber+fixed:0.0477") == ("huber", "fixed", "0.0477")


@pytest.mark.parametrize("name", ["fixed:1.5", "fixed:-0.1", "fixed:much", "fixed:", "fixed:nan"])
def test_fixed_weight_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        build_method(name)


@pytest.mark.parametrize("inner", list(INNER_LOSSES))
@pytest.mark.parametrize("outer", list(OUTER_METHODS))
def test_any_pair_composes(inner: str, outer: str) -> None:
    try:
        method = build_method(f"{inner}+{outer}")
    except ImportError as error:
        if outer != "cagrad" and importlib.util.find_spec("torchjd"):
            raise
        pytest.skip(str(error))
    pred = torch.tensor([15.0, 26.0], requires_grad=True)
    loss = method.inner(pred, torch.tensor([10.0, 30.0]))
    health = (pred * 0.01).sum()
    total = method.outer(
        loss, health, task_grad_norms=torch.tensor([3.0, 1.0]), gramian=torch.eye(2)
    )
    total.backward()
    assert pred.grad is not None
    assert torch.isfinite(pred.grad).all()
    assert pred.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("grce", "grace"), ("amln", "amnl"), ("mse+gabba", "gaba"), ("hubber+gaba", "huber")],
)
def test_a_slip_of_the_pen_is_answered(wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{near}'") as caught:
        build_method(wrong)
    assert wrong in str(caught.value)
    assert "upgrad" in str(caught.value)  # the whole choice is listed


def test_only_fixed_takes_an_argument() -> None:
    for name in ("gaba:0.3", "mse+upgrad:2"):
        with pytest.raises(ValueError, match="only 'fixed' takes an argument"):
            build_method(name)


def test_options_reach_their_half_and_are_checked() -> None:
    method = build_method("grace", inner_options={"max_rul": 60.0}, outer_options={"beta": 0.5})
    assert method.outer.init_options()["beta"] == 0.5
    assert method.inner(torch.tensor([61.0]), torch.tensor([60.0])).item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"outer balancer 'gaba'.*betta"):
        build_method("grace", outer_options={"betta": 0.5})
    with pytest.raises(ValueError, match="no option 'cap'"):
        build_method("grace", inner_options={"cap": 60.0})


def test_four_cells_of_the_specification() -> None:
    pred = torch.tensor([15.0, 26, 68, 87, 112, -7, 24, 74], dtype=torch.float64)
    true = torch.tensor([10.0, 30, 60, 90, 110, 5, 15, 80], dtype=torch.float64)
    health = torch.tensor(0.6069, dtype=torch.float64)
    norms = torch.tensor([26.4016, 0.037833], dtype=torch.float64)
    mse, wmse = mse_loss(pred, true), moderate_weighted_mse_loss(pred, true)

    def gaba() -> GABALoss:
        return GABALoss(beta=0.0, warmup_steps=0, min_weight=0.0).double()

    controller = gaba()
    cells = {
        "A": FixedWeightLoss().double()(mse, health).item(),
        "B": FixedWeightLoss().double()(wmse, health).item(),
        "C": gaba()(mse, health, task_grad_norms=norms).item(),
        "D": controller(wmse, health, task_grad_norms=norms).item(),
    }
    # The published figures carry the rounding of λ_rul = 0.001431 to four digits.
    want = {"A": 23.9910, "B": 42.3610, "C": 0.6738, "D": 0.7264}
    assert cells == pytest.approx(want, abs=6e-5)
    lam = controller.weights[0].item()
    left = (cells["D"] - cells["C"]) - (cells["B"] - cells["A"])
    assert left == pytest.approx((lam - 0.5) * (wmse - mse).item(), rel=1e-9)


def test_two_by_two_on_one_forward_pass(toy: Make) -> None:
    """Any outer takes any inner: the cells on one graph, and the identity of their interaction."""
    model = toy(dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(16, 5, generator=generator).double()
    y = (125 * torch.rand(16, generator=generator)).double()
    c = torch.randint(0, 3, (16,), generator=generator)
    z = model.trunk(x)
    pred, logits = 60 + 10 * model.rul_head(z), model.health_head(z)
    health = torch.nn.functional.cross_entropy(logits, c)
    shared = get_shared_params(model)
    inner = {"mse": mse_loss(pred, y), "weighted": moderate_weighted_mse_loss(pred, y)}
    norms = {
        k: torch.stack([compute_task_grad_norm(v, shared), compute_task_grad_norm(health, shared)])
        for k, v in inner.items()
    }
    cells, lam = {}, {}
    for name, loss in inner.items():
        for kind in ("fixed", "gaba"):
            outer = (
                FixedWeightLoss().double()
                if kind == "fixed"
                else GABALoss(beta=0.0, warmup_steps=0, min_weight=0.0).double()
            )
            total = outer(loss, health, task_grad_norms=norms["mse"])
            cells[kind, name], lam[kind, name] = total.item(), outer.weights[0].item()
            assert total.requires_grad
            weights = outer.weights
            assert total.item() == pytest.approx((weights[0] * loss + weights[1] * health).item())
    # With the same controller the axes commute: composition is exact.
    assert lam["gaba", "mse"] == lam["gaba", "weighted"]
    left = (cells["gaba", "weighted"] - cells["gaba", "mse"]) - (
        cells["fixed", "weighted"] - cells["fixed", "mse"]
    )
    gap = (inner["weighted"] - inner["mse"]).item()
    assert left == pytest.approx((lam["gaba", "mse"] - 0.5) * gap, rel=1e-9)
    # Given its own loss's norms, the controller reads another weight: there they do not.
    own = GABALoss(beta=0.0, warmup_steps=0, min_weight=0.0).double()
    own(inner["weighted"], health, task_grad_norms=norms["weighted"])
    assert own.weights[0].item() < lam["gaba", "mse"]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_task_may_have_all_the_weight(weight: float) -> None:
    method = build_method(f"fixed:{weight}")
    assert method.outer.weights.tolist() == [weight, 1.0 - weight]


def test_a_method_knows_its_name_and_the_options_of_its_inner_loss() -> None:
    method = build_method("huber+dwa", inner_options={"delta": 3.0})
    assert (method.name, method.inner_name) == ("huber+dwa", "huber")
    assert method.inner_options == {"delta": 3.0}


def test_no_similar_name_no_proposal() -> None:
    with pytest.raises(ValueError, match="unknown method 'zzzzz': use"):
        build_method("zzzzz")
    with pytest.raises(ValueError, match=r"did you mean 'gaba'\?"):
        build_method("gabba")


def test_state_in_higher_precision_follows_and_in_lower_does_not() -> None:
    outer = build_method("gaba").outer
    assert outer.double().ema_weights.dtype == torch.float64
    assert outer.to(torch.bfloat16).ema_weights.dtype == torch.float64
    assert build_method("gaba").outer.half().ema_weights.dtype == torch.float32


def test_upgrad_and_dualproj_by_hand() -> None:
    pytest.importorskip("torchjd")
    gramian = torch.tensor([[1.0, -0.5], [-0.5, 4.0]], dtype=torch.float64)
    losses = (torch.tensor(1.0), torch.tensor(1.0))
    # e1 → (1, 1/8) and e2 → (1/2, 1): their mean; (1/2, 1/2) is inside the dual cone already.
    for name, expected in (("upgrad", [0.75, 0.5625]), ("dualproj", [0.5, 0.5])):
        outer = build_method(name).outer
        outer(*losses, gramian=gramian)
        ratio = (outer.weights[0] / outer.weights[1]).item()
        assert ratio == pytest.approx(expected[0] / expected[1], rel=1e-4), name

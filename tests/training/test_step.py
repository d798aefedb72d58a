"""One step: the cheap way to the gradient is the plain way, and a bad step changes no weight."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grace.core.inner import INNER_LOSSES, health_loss
from grace.core.methods import OUTER_METHODS, build_method
from grace.training.averaging import weight_average
from grace.training.step import NonFiniteLossError, TrainState
from grace.training.trainer import training_step


def stepper(
    small: Any, method: str = "grace", *, outer: dict[str, Any] | None = None, **options: Any
) -> TrainState:
    model = options.pop("model", None) or small.model(dropout=0.0)
    built = build_method(method, outer_options=outer or {})
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if own := list(built.outer.parameters()):
        groups.append({"params": own, "lr": 0.025})
    return TrainState(model, built, torch.optim.SGD(groups, lr=0.01), **options)


def plain_gradients(
    model: nn.Module, batch: Any, weights: Tensor, inner: Any
) -> list[Tensor | None]:
    """The gradient of Σ λ_i L_i by one ordinary backward pass on a copy."""
    twin = copy.deepcopy(model).train()
    twin.zero_grad()
    rul, logits = twin(batch.x)
    (weights[0] * inner(rul, batch.rul) + weights[1] * health_loss(logits, batch.health)).backward()
    return [p.grad for p in twin.parameters()]


@pytest.mark.parametrize("diagnose", [False, True])
@pytest.mark.parametrize(
    ("method", "outer"),
    [
        ("grace", {"warmup_steps": 0, "beta": 0.5}),
        ("gaba", {"warmup_steps": 2}),
        ("grace", {"warmup_steps": 0, "site": "feature"}),
        ("grace", {"warmup_steps": 0, "site": "last_layer"}),
        ("grace", {"warmup_steps": 0, "update_every": 2}),
        ("gradnorm", {}),
        ("amnl", {}),
        ("uncertainty", {}),
        ("mse+nash_mtl", {}),
    ],
)
def test_grad_is_that_of_a_plain_weighted_backward_pass(
    small: Any, method: str, outer: dict[str, Any], diagnose: bool
) -> None:
    s = stepper(small, method, outer=outer, grad_clip=None)
    for i in range(4):
        batch, before = small.batch(i), copy.deepcopy(s.model)
        log = training_step(s, batch, diagnose=diagnose)
        want = plain_gradients(before, batch, log.weights, s.method.inner)
        # A bias in front of batch norm has gradient zero, that is rounding, of no scale of its own.
        scale = max(g.abs().max().item() for g in want if g is not None)
        for parameter, gradient in zip(s.model.parameters(), want, strict=True):
            assert (parameter.grad is None) == (gradient is None)
            if gradient is not None:
                torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6 * scale)


def test_all_sites_and_diagnosis_train_alike_where_they_must(small: Any) -> None:
    """Measuring costs time and changes nothing."""
    ends = []
    for diagnose in (False, True):
        torch.manual_seed(0)
        s = stepper(small, "baseline", model=small.model())
        for i in range(5):
            training_step(s, small.batch(i), diagnose=diagnose)
        ends.append(torch.cat([p.detach().flatten() for p in s.model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-6)


def test_gaba_in_the_step_is_gaba_by_hand(small: Any) -> None:
    s = stepper(small, "grace", outer={"warmup_steps": 1, "beta": 0.5, "min_weight": 0.0})
    ema = torch.tensor([0.5, 0.5])
    for i in range(4):
        batch, twin = small.batch(i), copy.deepcopy(s.model).train()
        rul, logits = twin(batch.x)
        trunk = [p for n, p in twin.named_parameters() if "head" not in n]
        norms = []
        for loss in (s.method.inner(rul, batch.rul), health_loss(logits, batch.health)):
            grads = torch.autograd.grad(loss, trunk, retain_graph=True)
            norms.append(torch.cat([g.flatten() for g in grads]).norm())
        log = training_step(s, batch, diagnose=True)
        if i >= 1:
            ema = 0.5 * ema + 0.5 * torch.stack([norms[1], norms[0]]) / (norms[0] + norms[1])
        torch.testing.assert_close(log.weights, ema, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            log.diagnostics["task_grad_norms"], torch.stack(norms), rtol=1e-4, atol=1e-6
        )
        ratio = (norms[0] / norms[1]).item()
        assert log.diagnostics["norm_ratio"].item() == pytest.approx(ratio, rel=1e-3)
        assert -1.0001 <= log.diagnostics["cosine"].item() <= 1.0001


@pytest.mark.parametrize("inner", list(INNER_LOSSES))
@pytest.mark.parametrize("outer", list(OUTER_METHODS))
def test_any_pair_takes_a_step(small: Any, inner: str, outer: str) -> None:
    try:
        s = stepper(small, f"{inner}+{outer}", outer={"warmup_steps": 1} if outer == "gaba" else {})
    except ImportError as error:
        if outer != "cagrad" and importlib.util.find_spec("torchjd"):
            raise
        pytest.skip(str(error))
    before = [p.detach().clone() for p in s.model.parameters()]
    for i in range(2):
        log = training_step(s, small.batch(i))
        assert torch.isfinite(log.loss)
        assert torch.isfinite(log.grad_norm)
    moved = [not torch.equal(a, b) for a, b in zip(before, s.model.parameters(), strict=True)]
    assert sum(moved) > 0.8 * len(moved)


def test_the_log_holds_the_losses_and_is_detached(small: Any) -> None:
    s = stepper(small, "amnl", grad_clip=1.0)
    batch = small.batch(0)
    twin = copy.deepcopy(s.model).train()
    rul, logits = twin(batch.x)
    want = [s.method.inner(rul, batch.rul).item(), health_loss(logits, batch.health).item()]
    log = training_step(s, batch, diagnose=True)
    assert log.rul_loss.item() == pytest.approx(want[0], rel=1e-5)
    assert log.health_loss.item() == pytest.approx(want[1], rel=1e-5)
    assert log.loss.item() == pytest.approx(0.5 * sum(want), rel=1e-5)
    for value in [
        log.loss,
        log.rul_loss,
        log.health_loss,
        log.grad_norm,
        log.weights,
        *log.diagnostics.values(),
    ]:
        assert not value.requires_grad


def test_a_log_stays_what_it_was(small: Any) -> None:
    s = stepper(small, "grace", outer={"warmup_steps": 0, "beta": 0.5})
    log = training_step(s, small.batch(0), diagnose=True)
    kept = {k: v.clone() for k, v in {"weights": log.weights, **log.diagnostics}.items()}
    for i in range(1, 4):
        training_step(s, small.batch(i))
    for name, value in {"weights": log.weights, **log.diagnostics}.items():
        assert torch.equal(value, kept[name]), name


def test_clipping_limits_the_step_and_logs_the_norm_before(small: Any) -> None:
    norms = {}
    for clip in (None, 1e-3):
        s = stepper(small, "amnl", grad_clip=clip)
        log = training_step(s, small.batch(0))
        left = torch.stack(
            [p.grad.norm() for p in s.model.parameters() if p.grad is not None]
        ).norm()
        norms[clip] = (log.grad_norm.item(), left.item())
    assert norms[None][0] == pytest.approx(norms[None][1], rel=1e-5)
    assert norms[1e-3][0] == pytest.approx(norms[None][0], rel=1e-5)
    assert norms[1e-3][1] == pytest.approx(1e-3, rel=1e-3)


def test_the_model_is_put_into_training_mode(small: Any) -> None:
    s = stepper(small)
    s.model.eval()
    s.method.outer.eval()
    training_step(s, small.batch(0))
    assert s.model.training
    assert s.method.outer.training


@pytest.mark.parametrize("method", ["grace", "baseline", "gradnorm", "mse+nash_mtl"])
@pytest.mark.parametrize("where", ["input", "label"])
def test_nan_is_refused_before_any_weight_moves(small: Any, method: str, where: str) -> None:
    s = stepper(small, method, average=None)
    s.average = weight_average(s.model, 0.9)
    training_step(s, small.batch(0))
    before = {k: v.clone() for k, v in s.model.named_parameters()}
    averaged = {k: v.clone() for k, v in s.average.named_parameters()}
    outer = {k: v.clone() for k, v in s.method.outer.state_dict().items()}
    batch = small.batch(1)
    batch = batch._replace(x=batch.x.clone(), rul=batch.rul.clone())
    (batch.x[3] if where == "input" else batch.rul[3:4]).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"losses are .*nan") as caught:
        training_step(s, batch)
    assert caught.value.units == (int(batch.unit[3]),)
    for name, value in s.model.named_parameters():
        assert torch.equal(value, before[name])
    for name, value in s.average.named_parameters():
        assert torch.equal(value, averaged[name])
    for name, value in s.method.outer.state_dict().items():
        assert torch.equal(value, outer[name])


def test_a_gradient_that_overflows_is_refused(small: Any) -> None:
    s = stepper(small, "baseline")
    before = [p.detach().clone() for p in s.model.parameters()]
    s.model.cnn.layers[0].weight.register_hook(lambda g: g * float("inf"))
    with pytest.raises(NonFiniteLossError, match="gradient norm"):
        training_step(s, small.batch(0))
    assert all(torch.equal(a, b) for a, b in zip(before, s.model.parameters(), strict=True))


def test_a_loss_that_overflows_on_finite_values_names_all_units(small: Any) -> None:
    s = stepper(small, "baseline")
    batch = small.batch(0)
    batch = batch._replace(rul=batch.rul + 1e30)  # finite, its square is not
    with pytest.raises(NonFiniteLossError) as caught:
        training_step(s, batch)
    assert caught.value.units == tuple(sorted(set(batch.unit.tolist())))
    assert "this rank" not in str(caught.value)


def test_diagnostics_are_those_of_the_task_gradients(small: Any) -> None:
    s = stepper(small, "baseline")
    twin = copy.deepcopy(s.model).train()
    batch = small.batch(0)
    rul, logits = twin(batch.x)
    shared = [
        p for n, p in twin.named_parameters() if not n.startswith(("rul_head", "health_head"))
    ]
    gradients = [
        torch.cat(
            [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for p, g in zip(
                    shared,
                    torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True),
                    strict=True,
                )
            ]
        )
        for loss in ((rul - batch.rul).square().mean(), health_loss(logits, batch.health))
    ]
    found = training_step(s, batch, diagnose=True).diagnostics
    norms = torch.stack([g.norm() for g in gradients])
    torch.testing.assert_close(found["task_grad_norms"], norms, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found["norm_ratio"], norms[0] / norms[1], rtol=1e-3, atol=1e-6)
    cosine = gradients[0] @ gradients[1] / norms.prod()
    torch.testing.assert_close(found["cosine"], cosine, rtol=1e-3, atol=1e-4)


def test_input_noise_is_noise_on_the_input(small: Any) -> None:
    losses = []
    for noise in (0.0, 0.0, 0.5):
        torch.manual_seed(0)
        losses.append(
            training_step(stepper(small, "amnl", input_noise=noise), small.batch(0)).rul_loss
        )
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_bf16_gives_nearly_the_same_losses(small: Any) -> None:
    exact, rough = (training_step(stepper(small, bf16=b), small.batch(0)) for b in (False, True))
    assert rough.rul_loss.item() == pytest.approx(exact.rul_loss.item(), rel=0.05)
    assert rough.rul_loss.dtype == torch.float32
    assert not torch.equal(rough.rul_loss, exact.rul_loss)


def test_weight_average_by_its_formula(small: Any) -> None:
    s = stepper(small, average=None)
    s.average = weight_average(s.model, 0.9)
    want = {k: v.clone() for k, v in s.model.state_dict().items()}
    for i in range(4):
        training_step(s, small.batch(i))
        for k, v in s.model.state_dict().items():
            # The first update takes the weights as they are, as AveragedModel does.
            if i == 0 or not v.is_floating_point():
                want[k] = v.clone()
            else:
                want[k] = 0.9 * want[k] + 0.1 * v
    for k, v in s.average.module.state_dict().items():
        torch.testing.assert_close(v, want[k], rtol=1e-5, atol=1e-7, msg=k)


def test_weight_average_with_warm_up_by_its_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = weight_average(model, 0.5, warmup=True)
    path = [1.0, 2.0, 4.0, 8.0, -3.0]
    want = path[0]
    for t, value in enumerate(path):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update_parameters(model)
        if t > 0:
            beta = min(0.5, (1 + t) / (10 + t))
            want = beta * want + (1 - beta) * value
        assert average.module.weight.item() == pytest.approx(want, rel=1e-5)


def test_decay_zero_follows_the_model(small: Any) -> None:
    s = stepper(small, average=None)
    s.average = weight_average(s.model, 0.0)
    for i in range(3):
        training_step(s, small.batch(i))
    for a, b in zip(s.average.module.parameters(), s.model.parameters(), strict=True):
        assert torch.equal(a, b)

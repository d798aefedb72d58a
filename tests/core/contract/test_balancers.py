"""What every balancer owes, over the whole registry: a new entry joins by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trained_balancer import make

from grace.core.gradient_utils import get_shared_params
from grace.core.methods import OUTER_METHODS

Make = Callable[..., Any]
# At three tasks IMTL-G may give a task a negative weight, as published.
MAY_BE_NEGATIVE = {("imtl_g", 3)}
# GABA's raw weight is a log of what the step showed, NaN included.
LOGS = {"raw_weights"}


def test_the_call_is_the_same_for_all(name: str) -> None:
    parameters = list(inspect.signature(make(name).forward).parameters)
    assert parameters[:2] == ["rul_loss", "health_loss"]
    assert {"shared_params", "task_grad_norms", "gramian"} <= set(parameters)


def test_takes_and_ignores_the_signals_of_others(name: str, toy: Make, signal: Make) -> None:
    model, balancer = toy(), make(name)
    losses = model.losses()
    everything = {
        "shared_params": get_shared_params(model),
        "task_grad_norms": torch.tensor([3.0, 1.0]),
        "gramian": torch.tensor([[9.0, 1.0], [1.0, 1.0]]),
    }
    total = balancer(rul_loss=losses[0], health_loss=losses[1], **everything)
    assert total.shape == ()
    assert torch.isfinite(total)


def test_is_a_module_whose_weights_can_be_read(name: str, n_tasks: int) -> None:
    balancer = make(name, n_tasks)
    assert isinstance(balancer, nn.Module)
    assert balancer.weights.shape == (n_tasks,)
    assert not balancer.weights.requires_grad
    assert torch.isfinite(balancer.weights).all()


def test_wrong_number_of_losses_is_refused(name: str, toy: Make, signal: Make) -> None:
    model, balancer = toy(n_tasks=3), make(name, 2)
    with pytest.raises(ValueError, match="n_tasks=2"):
        balancer(*model.losses(), task_grad_norms=torch.ones(2), gramian=torch.eye(2))


def test_missing_signal_is_named(name: str) -> None:
    balancer = make(name)
    if balancer.signal == "losses":
        balancer(torch.tensor(1.0), torch.tensor(1.0))
        return
    for _ in range(2):  # GABA is in warm-up and can do without
        if not balancer.needs_signal:
            balancer(torch.tensor(1.0), torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"task_grad_norms|gramian"):
        balancer(torch.tensor(1.0), torch.tensor(1.0))


def test_norms_can_be_left_to_the_balancer(name: str, toy: Make, signal: Make) -> None:
    given_, own = make(name), make(name)
    if given_.signal != "norms":
        pytest.skip("reads no norms")
    model = toy()
    for seed in range(4):
        losses = model.losses(seed)
        given_(*losses, **signal(given_, losses, model))
        own(*losses, shared_params=get_shared_params(model))
    torch.testing.assert_close(own.weights, given_.weights)


def test_gradient_is_the_weighted_sum_with_constant_weights(
    name: str, n_tasks: int, toy: Make, signal: Make
) -> None:
    """Σ λ_i ∇L_i, although the signal itself hangs on the graph of θ."""
    model, balancer = toy(n_tasks=n_tasks), make(name, n_tasks)
    params = list(model.parameters())
    for seed in range(4):
        losses = model.losses(seed)
        rows = [
            torch.autograd.grad(x, params, retain_graph=True, allow_unused=True) for x in losses
        ]
        factor = losses[0] / losses[0].detach()  # 1, but with a gradient
        attached = {k: v * factor for k, v in signal(balancer, losses, model).items()}
        total = balancer(*losses, **attached)
        got = torch.autograd.grad(total, params)
        for i, parameter in enumerate(params):
            want = sum(
                (w * r[i] for w, r in zip(balancer.weights, rows, strict=True) if r[i] is not None),
                torch.zeros_like(parameter),
            )
            torch.testing.assert_close(got[i], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ratio", [1.0, 500.0, 1 / 500.0])
def test_weights_are_finite_and_not_negative(
    name: str, n_tasks: int, ratio: float, run: Make
) -> None:
    trial = run(name, n_tasks)
    for seed in range(12):
        total, weights = trial.step(seed, ratio)
        assert torch.isfinite(total)
        assert torch.isfinite(weights).all()
        if (name, n_tasks) not in MAY_BE_NEGATIVE:
            assert (weights >= 0).all()
        assert weights.abs().sum() > 0


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_a_degenerate_gradient_leaves_the_state_usable(
    name: str, bad: float, which: int, toy: Make, signal: Make
) -> None:
    model, balancer = toy(), make(name)

    def step(seed: int, spoil: bool) -> Tensor:
        losses = model.losses(seed)
        extras = signal(balancer, losses, model)
        if spoil and "task_grad_norms" in extras:
            extras["task_grad_norms"][which] = bad
        if spoil and "gramian" in extras:
            extras["gramian"][which, :] = extras["gramian"][:, which] = bad
        return balancer(*losses, **extras)

    for seed in range(4):
        step(seed, spoil=False)
    before = balancer.weights.clone()
    total = step(4, spoil=True)
    assert torch.isfinite(total)
    assert torch.isfinite(balancer.weights).all()
    # GradNorm's targets are defined for a norm of zero; DWA reads no gradient.
    unaffected = balancer.signal == "losses" or (name == "gradnorm" and bad == 0.0)
    if "skipped" in balancer.telemetry():
        assert int(balancer.telemetry()["skipped"]) == (0 if unaffected else 1)
        torch.testing.assert_close(balancer.weights, before)
    for key, value in balancer.state_dict().items():
        assert key in LOGS or torch.isfinite(value.float()).all(), key
    assert torch.isfinite(step(5, spoil=False))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("when", [0, 3])
def test_a_bad_loss_does_not_stay(
    name: str, bad: float, when: int, toy: Make, signal: Make
) -> None:
    """The step with it is lost; the next one is as good as ever."""
    model, balancer = toy(), make(name)
    for seed in range(6):
        losses = model.losses(seed)
        extras = signal(balancer, losses, model)
        if seed == when:
            losses[0] = losses[0] * bad
            extras = {k: torch.full_like(v, bad) for k, v in extras.items()}
        total = balancer(*losses, **extras)
        assert bool(torch.isfinite(total)) == (seed != when)
        for key, value in balancer.state_dict().items():
            assert key in LOGS or torch.isfinite(value.float()).all(), key


def test_a_loss_of_zero_is_survived(name: str, toy: Make, signal: Make) -> None:
    model, balancer = toy(), make(name)
    for seed in range(4):
        losses = model.losses(seed)
        losses[1] = losses[1] * 0.0
        total = balancer(*losses, **signal(balancer, losses, model))
        balancer.on_epoch_end(torch.stack(losses).detach().float())
        assert torch.isfinite(total)
        assert torch.isfinite(balancer.weights).all()


def test_fewer_than_two_tasks_are_refused(name: str) -> None:
    make(name)
    if name == "fixed":
        return
    with pytest.raises(ValueError, match="at least two"):
        OUTER_METHODS[name].build(n_tasks=1)


def test_options_build_an_equal_balancer(name: str, n_tasks: int) -> None:
    first = make(name, n_tasks)
    again = type(first)(**first.init_options())
    assert again.n_tasks == n_tasks
    assert repr(again) == repr(first)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])

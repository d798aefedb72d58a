"""Gradient tools against plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from grace.core.gradient_utils import (
    TaskGradients,
    combine_gradients,
    compute_task_grad_norm,
    get_head_params,
    get_shared_params,
    gramian,
    last_shared_layer_params,
    task_gradients,
    unwrap,
)
from grace.models import DualTaskModel

Make = Callable[..., Any]


def flat(loss: Tensor, params: list[nn.Parameter]) -> Tensor:
    """The gradient as one vector, by the plainest means."""
    grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
    pairs = zip(grads, params, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def test_norm_equals_the_norm_of_the_flat_gradient(toy: Make) -> None:
    model = toy()
    shared = get_shared_params(model)
    for loss in model.losses():
        norm = compute_task_grad_norm(loss, shared)
        assert norm.item() == pytest.approx(flat(loss, shared).norm().item(), rel=1e-6)
        assert not norm.requires_grad


def test_norm_keeps_the_graph_only_if_asked(toy: Make) -> None:
    model = toy()
    loss = model.losses()[0]
    shared = get_shared_params(model)
    compute_task_grad_norm(loss, shared)
    loss.backward(retain_graph=True)
    compute_task_grad_norm(loss, shared, retain_graph=False)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_grad_is_left_alone(toy: Make) -> None:
    model = toy()
    shared = get_shared_params(model)
    model.losses()[1].backward()
    before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    losses = model.losses()
    compute_task_grad_norm(losses[0], shared)
    gradients = task_gradients(losses, list(model.parameters()))
    combine_gradients(gradients, torch.tensor([0.3, 0.7]))
    gramian(gradients)
    for old, parameter in zip(before, model.parameters(), strict=True):
        assert (old is None) == (parameter.grad is None)
        if old is not None:
            assert torch.equal(old, parameter.grad)


def test_parameters_a_loss_does_not_reach_count_as_zero(toy: Make) -> None:
    model = toy()
    losses = model.losses()
    only = list(model.health_head.parameters())
    assert compute_task_grad_norm(losses[0], only).item() == 0.0
    every = [*get_shared_params(model), *only]
    assert compute_task_grad_norm(losses[0], every).item() == pytest.approx(
        compute_task_grad_norm(losses[0], get_shared_params(model)).item(), rel=1e-7
    )


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("n_tasks", [2, 3])
def test_combined_gradients_are_the_backward_pass(
    toy: Make, dtype: torch.dtype, rtol: float, n_tasks: int
) -> None:
    model = toy(n_tasks=n_tasks, dtype=dtype)
    weights = torch.tensor([0.0477, 0.9523, 1.7][:n_tasks], dtype=dtype)
    params = list(model.parameters())
    losses = model.losses(ratio=500.0)
    combined = combine_gradients(task_gradients(losses, params, retain_graph=True), weights)
    sum(w * loss for w, loss in zip(weights, losses, strict=True)).backward()
    for got, parameter in zip(combined, params, strict=True):
        assert got is not None
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(got, parameter.grad, rtol=rtol, atol=rtol * scale)


def test_combining_leaves_the_task_gradients_as_they_were(toy: Make) -> None:
    model = toy()
    gradients = task_gradients(model.losses(), list(model.parameters()))
    before = [[None if g is None else g.clone() for g in row] for row in gradients.per_task]
    combine_gradients(gradients, torch.tensor([2.0, 3.0]))
    for old, new in zip(before, gradients.per_task, strict=True):
        assert all(
            (a is None and b is None) or torch.equal(a, b) for a, b in zip(old, new, strict=True)
        )


def test_none_where_no_task_reaches(toy: Make) -> None:
    model = toy(n_tasks=3)
    losses = model.losses()[:2]
    combined = combine_gradients(
        task_gradients(losses, list(model.more_heads.parameters())), torch.ones(2)
    )
    assert combined == [None, None]


@pytest.mark.parametrize("n_tasks", [2, 3])
@given(seed=st.integers(0, 30), ratio=st.sampled_from([None, 1e-3, 1.0, 500.0, 1e6]))
def test_gramian_is_symmetric_positive_and_what_it_says(
    toy: Make, n_tasks: int, seed: int, ratio: float | None
) -> None:
    model = toy(n_tasks=n_tasks, seed=seed)
    shared = get_shared_params(model)
    losses = model.losses(seed, ratio)
    got = gramian(task_gradients(losses, shared, retain_graph=True))
    rows = torch.stack([flat(loss, shared) for loss in losses])
    assert got.dtype == torch.float64
    assert torch.equal(got, got.T)
    torch.testing.assert_close(got, rows @ rows.T, rtol=1e-10, atol=1e-12 * got.max().item())
    assert torch.linalg.eigvalsh(got).min() >= -1e-12 * got.max()


def test_first_restricts_to_leading_parameters(toy: Make) -> None:
    model = toy()
    shared = get_shared_params(model)
    every = [*shared, *get_head_params(model)]
    gradients = task_gradients(model.losses(), every)
    some = task_gradients(model.losses(), shared)
    assert torch.equal(gradients.norms(first=len(shared)), some.norms())
    assert torch.equal(gramian(gradients, first=len(shared)), gramian(some))
    assert not torch.equal(gradients.norms(), some.norms())


def test_shared_parameters_of_the_network() -> None:
    model = DualTaskModel(c_in=3, lstm_hidden=4, num_heads=2)
    shared = {id(p) for p in get_shared_params(model)}
    trunk = [model.cnn, model.lstm, model.attn, model.funnel]
    assert shared == {id(p) for block in trunk for p in block.parameters()}
    heads = {id(p) for p in get_head_params(model)}
    assert heads == {id(p) for h in (model.rul_head, model.health_head) for p in h.parameters()}
    assert len(shared) + len(heads) == len(list(model.parameters()))


def test_frozen_parameters_are_not_shared() -> None:
    model = DualTaskModel(c_in=3, lstm_hidden=4, num_heads=2)
    model.cnn.requires_grad_(False)
    shared = {id(p) for p in get_shared_params(model)}
    assert not shared & {id(p) for p in model.cnn.parameters()}
    assert shared


def test_nothing_shared_is_an_error() -> None:
    with pytest.raises(ValueError, match="shared trunk"):
        get_shared_params(nn.ModuleDict({"rul_head": nn.Linear(2, 1)}))


def test_last_shared_layer(toy: Make) -> None:
    model = toy()
    assert [id(p) for p in last_shared_layer_params(model)] == [
        id(p) for p in model.trunk[-1].parameters()
    ]
    big = DualTaskModel(c_in=3, lstm_hidden=4, num_heads=2)
    assert [id(p) for p in last_shared_layer_params(big)] == [
        id(p) for p in big.funnel.layers[-1].parameters()
    ]


@pytest.mark.parametrize("wrap", ["average", "parallel", "compile", "nested"])
def test_wrappers_are_removed(wrap: str) -> None:
    model = DualTaskModel(c_in=3, lstm_hidden=4, num_heads=2)
    wrapped: Any = {
        "average": torch.optim.swa_utils.AveragedModel,
        "parallel": nn.DataParallel,
        "compile": lambda m: torch.compile(m, backend="eager"),
        "nested": lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
    }[wrap](model)
    inner = unwrap(wrapped)
    assert type(inner) is DualTaskModel
    for function in (get_shared_params, get_head_params, last_shared_layer_params):
        assert [id(p) for p in function(wrapped)] == [id(p) for p in function(inner)]
    assert len(get_head_params(wrapped)) == len(get_head_params(model)) > 0


@pytest.mark.parametrize("function", [get_shared_params, get_head_params, last_shared_layer_params])
def test_a_model_without_a_head_is_refused(function: Any) -> None:
    model = nn.ModuleDict({"trunk": nn.Linear(3, 2), "output": nn.Linear(2, 1)})
    with pytest.raises(ValueError, match=r"no head found in ModuleDict .*trunk, output"):
        function(model)
    with pytest.raises(ValueError, match="no child module exit"):
        function(model, heads=["exit"])
    want = model["output"] if function is get_head_params else model["trunk"]
    assert [id(p) for p in function(model, heads=["output"])] == [id(p) for p in want.parameters()]


def test_a_task_without_gradients_hides_none_of_the_others() -> None:
    gradient = torch.tensor([3.0, 4.0])
    found = combine_gradients(TaskGradients(((None,), (gradient,))), torch.tensor([5.0, 2.0]))
    assert found[0] is not None
    assert found[0].tolist() == [6.0, 8.0]


def test_weights_and_tasks_must_agree_in_number() -> None:
    gradients = TaskGradients(((torch.ones(1),), (torch.ones(1),)))
    with pytest.raises(ValueError, match=r"shorter|longer"):
        combine_gradients(gradients, torch.ones(3))

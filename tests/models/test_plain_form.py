"""The plain form of the network: same weights, same numbers, and everything PyTorch offers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from grace.models.dual_task_model import DualTaskModel


def make(plain: bool, *, dropout: float = 0.0, seed: int = 0, **sizes: int) -> DualTaskModel:
    torch.manual_seed(seed)
    options = {"lstm_hidden": 8, "num_heads": 2, **sizes}
    model = DualTaskModel(c_in=4, dropout_scale=dropout, plain=plain, **options)  # type: ignore[arg-type]
    with torch.no_grad():  # biases of the attention start at zero, which would hide an error
        for name, parameter in model.attn.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.rul_head.start_at(40.0)
    return model


def loss_of(out: tuple[Tensor, Tensor]) -> Tensor:
    rul, logits = out
    return (rul - 30.0).square().mean() + logits.square().mean()


def gradients(model: DualTaskModel, x: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss_of(model(x)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("size", [{}, {"lstm_hidden": 256, "num_heads": 8}], ids=["small", "full"])
def test_outputs_and_gradients_are_equal(training: bool, size: dict[str, int]) -> None:
    # a dropout rate too small to drop anything here keeps the optimised path of the LSTM in use
    fast, plain = make(False, dropout=1e-7, **size), make(True, dropout=1e-7, **size)
    assert fast.lstm.lstm.dropout > 0
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(6, 12, 4)
    for model in (fast, plain):
        model.train(training)
    for a, b in zip(fast(x), plain(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    one, other = gradients(fast, x), gradients(plain, x)
    assert one.keys() == other.keys() == dict(fast.named_parameters()).keys()
    for name in one:
        scale = max(1.0, float(other[name].abs().max()))
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=2e-5 * scale)


def test_weights_move_between_the_forms_in_both_directions() -> None:
    fast, plain = make(False), make(True, seed=1)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(3, 9, 4)
    for source, target in ((fast, plain), (plain, fast)):
        with torch.no_grad():
            source.funnel.layers[0].weight.mul_(1.5)
        target.load_state_dict(source.state_dict(), strict=True)
        for a, b in zip(source.eval()(x), target.eval()(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_in_both_forms() -> None:
    one, other = make(False).state_dict(), make(True).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def fired(model: DualTaskModel, x: Tensor) -> set[str]:
    """Names of all modules whose forward hook is called."""
    names: set[str] = set()

    def hook(name: str) -> Callable[..., None]:
        return lambda *_: names.add(name)

    handles = [m.register_forward_hook(hook(name)) for name, m in model.named_modules() if name]
    model(x)
    for handle in handles:
        handle.remove()
    return names


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_forward_hooks_of_every_module_fire(training: bool) -> None:
    model = make(False, dropout=0.5).train(training)
    x = torch.randn(3, 9, 4)
    assert "attn.mha" not in fired(model, x)  # what the plain form is for
    model.plain = True
    every = {name for name, _ in model.named_modules() if name}
    # PyTorch computes the output projection inside MultiheadAttention.forward
    assert fired(model, x) == every - {"attn.mha.out_proj"}


def test_backward_hooks_of_attention_fire() -> None:
    model, seen = make(True), []
    model.attn.register_full_backward_hook(lambda _m, _i, out: seen.append(out[0].shape))
    loss_of(model(torch.randn(3, 9, 4))).backward()
    assert seen == [(3, 9, 16)]


def test_a_hook_can_replace_the_output_of_attention() -> None:
    model = make(True).eval()
    x = torch.randn(3, 9, 4)
    before = model.features(x)
    model.attn.register_forward_hook(lambda _m, _a, out: torch.zeros_like(out))
    after = model.features(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after[0], after[1])


def test_the_switch_works_at_any_time_and_is_copied() -> None:
    model = make(False, dropout=1.0).eval()
    x = torch.randn(3, 9, 4)
    fast = model.features(x)
    model.plain = True
    assert copy.deepcopy(model).plain
    torch.testing.assert_close(model.features(x), fast, rtol=1e-5, atol=1e-5)
    model.plain = False
    assert torch.equal(model.features(x), fast)
    assert "attn" not in fired(model, x)


def test_functional_gradients_equal_those_of_backward() -> None:
    model = make(True).eval()  # in training BatchNorm updates its buffers in place
    x = torch.randn(5, 9, 4)
    expected = gradients(model, x)
    parameters = {k: v.detach() for k, v in model.named_parameters()}
    found = grad(lambda p: loss_of(functional_call(model, p, (x,))))(parameters)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4)


def test_gradients_per_window() -> None:
    model = make(True).eval()
    x = torch.randn(4, 9, 4)
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def objective(p: dict[str, Tensor], window: Tensor) -> Tensor:
        return loss_of(functional_call(model, p, (window[None],)))

    each = vmap(grad(objective), in_dims=(None, 0))(parameters, x)
    mean = grad(lambda p: loss_of(functional_call(model, p, (x,))))(parameters)
    for name in mean:
        torch.testing.assert_close(each[name].mean(0), mean[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("plain", [False, True], ids=["optimised", "plain"])
def test_functional_call_uses_the_parameters_it_is_given(plain: bool) -> None:
    """In training the optimised LSTM once read the parameters that the module itself holds."""
    model, other = make(plain, dropout=1e-7), make(plain, dropout=1e-7, seed=1)
    x = torch.randn(5, 9, 4)
    own = model(x)
    given = functional_call(model, dict(other.named_parameters()), (x,))
    for a, b in zip(given, other(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(own, model(x), strict=True):  # and leaves its own in place
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_dropout_of_the_plain_form_is_that_of_pytorch() -> None:
    model = make(True, dropout=1.0)
    layer = model.funnel.layers[2]
    torch.manual_seed(5)
    own = layer(torch.ones(1000))
    torch.manual_seed(5)
    assert torch.equal(own, nn.functional.dropout(torch.ones(1000), 0.3))

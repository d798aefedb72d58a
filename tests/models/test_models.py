"""The network: sizes, shapes, gradients, and the exactness of the last-query shortcut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from grace.core.gradient_utils import get_shared_params
from grace.models.backbone import AttentionBlock, BiLSTMEncoder, CNNFrontend, FCFunnel
from grace.models.dual_task_model import DualTaskModel
from grace.models.task_heads import HealthHead, RULHead


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(c_in: int = 4, **options: object) -> DualTaskModel:
    sizes = {"lstm_hidden": 8, "num_heads": 2, "conv_channels": (6, 8, 6), "funnel_hidden": (10, 8)}
    return DualTaskModel(c_in=c_in, **{**sizes, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reference() -> DualTaskModel:
    torch.manual_seed(0)
    return DualTaskModel().eval()


@pytest.mark.parametrize(
    ("c_in", "cnn", "total"), [(14, 52_608, 3_496_900), (17, 53_184, 3_497_476)]
)
def test_parameter_counts(c_in: int, cnn: int, total: int) -> None:
    model = DualTaskModel(c_in=c_in)
    assert count(model.cnn) == cnn
    assert count(model.lstm) == 2_236_416
    assert count(model.attn) == 1_051_648
    assert count(model.funnel) == 149_856
    assert count(model.rul_head) == 4_737
    assert count(model.health_head) == 1_635
    assert count(model) == total


def test_blocks_alone_have_the_same_defaults() -> None:
    assert [count(b) for b in (CNNFrontend(14), BiLSTMEncoder(), AttentionBlock(), FCFunnel())] == [
        52_608, 2_236_416, 1_051_648, 149_856,
    ]  # fmt: skip
    assert (count(RULHead()), count(HealthHead())) == (4_737, 1_635)


def test_dropout_rates_of_the_reference(reference: DualTaskModel) -> None:
    def rates(module: nn.Module) -> list[float]:
        return [m.p for m in module.modules() if isinstance(m, nn.Dropout)]

    assert rates(reference.cnn) == [0.15] * 3
    assert reference.lstm.lstm.dropout == 0.3
    assert rates(reference.attn) == [0.1]
    assert rates(reference.funnel) == [0.3] * 2
    assert rates(reference.rul_head) == rates(reference.health_head) == []
    silent = small(dropout_scale=0.0)
    assert set(rates(silent)) == {0.0}
    assert silent.lstm.lstm.dropout == 0.0


def test_output_is_a_pair(reference: DualTaskModel) -> None:
    out = reference(torch.randn(5, 30, 14))
    assert type(out) is tuple
    rul, logits = out
    assert rul.shape == (5,)
    assert logits.shape == (5, 3)


def test_shapes_inside(reference: DualTaskModel) -> None:
    x = torch.randn(2, 30, 14)
    a = reference.cnn(x)
    b = reference.lstm(a)
    c = reference.attn(b)
    z = reference.funnel(c)
    assert [tuple(t.shape) for t in (a, b, c, z)] == [
        (2, 30, 64),
        (2, 30, 512),
        (2, 30, 512),
        (2, 32),
    ]
    assert torch.allclose(reference.features(x), z, atol=1e-5)


@pytest.mark.parametrize(
    ("c_in", "length", "classes"),
    [(14, 30, 3), (20, 30, 3), (2, 60, 4), (12, 144, 3), (5, 100, 2), (16, 30, 3)],
    ids=["C-MAPSS", "DS02", "bearings", "wind", "battery", "disks"],
)
def test_other_domains_change_only_inputs_window_and_classes(
    c_in: int, length: int, classes: int
) -> None:
    model = small(c_in, num_classes=classes)
    rul, logits = model(torch.randn(3, length, c_in))
    assert rul.shape == (3,)
    assert logits.shape == (3, classes)
    assert torch.isfinite(rul).all()


def test_batch_of_one_keeps_its_dimension() -> None:
    rul, logits = small().eval()(torch.randn(1, 7, 4))
    assert rul.shape == (1,)
    assert logits.shape == (1, 3)


@pytest.mark.parametrize("shape", [(3, 30, 5), (30, 4), (3, 4, 30), (3, 1, 30, 4)])
def test_a_wrong_input_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"this model takes \(B, T, 4\)"):
        small()(torch.zeros(shape))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="num_heads=3 must divide"):
        small(num_heads=3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("width", "heads", "length"), [(512, 8, 30), (16, 2, 7), (24, 3, 1)])
def test_last_step_is_the_last_row_of_full_attention(
    dtype: torch.dtype, tolerance: float, width: int, heads: int, length: int
) -> None:
    torch.manual_seed(1)
    block = AttentionBlock(width, heads, dropout_p=0.0).to(dtype)
    with torch.no_grad():  # torch starts the projection biases at zero, which would hide an error
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(4, length, width, dtype=dtype)
    results = []
    for form in (lambda t: block(t)[:, -1], block.last_step):
        inputs = x.clone().requires_grad_()
        out = form(inputs)
        target = torch.linspace(-1, 1, out.numel(), dtype=dtype).view_as(out)
        grads = torch.autograd.grad((out * target).sum(), [inputs, *block.parameters()])
        results.append((out, grads))
    (full, full_grads), (short, short_grads) = results
    torch.testing.assert_close(short, full, rtol=tolerance, atol=tolerance)
    for a, b in zip(short_grads, full_grads, strict=True):
        scale = max(1.0, b.abs().max().item())
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance * scale)


def test_gradients_of_the_last_step_of_first_and_second_order() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(8, 2, dropout_p=0.0).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block.last_step, (x,))
    assert torch.autograd.gradgradcheck(block.last_step, (x,))
    time_major = torch.randn(5, 3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: block.last_step(t.transpose(0, 1)), (time_major,))


def test_an_input_used_elsewhere_gets_both_gradients() -> None:
    block = AttentionBlock(8, 2, dropout_p=0.0)
    x = torch.randn(3, 5, 8, requires_grad=True)
    (alone,) = torch.autograd.grad(block.last_step(x).square().sum(), x)
    y = x * 1.0  # what is inside a network: no leaf
    y.retain_grad()
    (block.last_step(y).square().sum() + 3 * y.sum()).backward()
    torch.testing.assert_close(y.grad, alone + 3)
    torch.testing.assert_close(x.grad, alone + 3)


def test_the_network_uses_what_full_attention_would_give() -> None:
    torch.manual_seed(0)
    model = small().double().eval()
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    z = model.funnel(model.attn(model.lstm(model.cnn(x))))
    torch.testing.assert_close(model.features(x), z, rtol=1e-12, atol=1e-12)


def test_both_heads_reach_every_shared_parameter() -> None:
    """z is not detached: each task alone trains the whole trunk."""
    torch.manual_seed(0)
    model = small(dropout_scale=0.0)
    model.rul_head.start_at(50.0)
    rul, logits = model(torch.randn(8, 12, 4))
    for output in (rul.square().mean(), logits.square().mean()):
        grads = torch.autograd.grad(
            output, get_shared_params(model), retain_graph=True, allow_unused=True
        )
        assert all(g is not None for g in grads)
        assert sum(float(g.abs().sum()) > 0 for g in grads) > 0.8 * len(grads)


def test_health_does_not_reach_the_rul_head() -> None:
    model = small()
    _, logits = model(torch.randn(8, 12, 4))
    grads = torch.autograd.grad(logits.sum(), list(model.rul_head.parameters()), allow_unused=True)
    assert all(g is None for g in grads)


@pytest.mark.parametrize("seed", range(5))
def test_rul_is_never_negative(seed: int) -> None:
    torch.manual_seed(seed)
    model = small().eval()
    with torch.no_grad():
        for start in (-50.0, 0.0, 1.0):
            model.rul_head.start_at(start)
            assert (model(10 * torch.randn(64, 5, 4))[0] >= 0).all()


def test_a_started_head_predicts_near_the_mean_and_learns() -> None:
    """A default head can be dead: all outputs negative, no gradient. A started one is not."""
    torch.manual_seed(3)
    head = RULHead(32)
    z = 0.3 * torch.randn(64, 32)
    with torch.no_grad():
        head.layers[-2].bias.fill_(-1.0)
    dead = torch.autograd.grad((head(z) - 80.0).square().mean(), head.parameters())
    assert all(not g.any() for g in dead)
    head.start_at(80.0)
    assert head(z).mean().item() == pytest.approx(80.0, abs=1.0)
    alive = torch.autograd.grad((head(z) - 60.0).square().mean(), head.parameters())
    assert all(g.any() for g in alive)


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    torch.manual_seed(0)
    model = small()
    model.rul_head.start_at(40.0)
    x = torch.randn(6, 10, 4)
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])
    model.train()
    assert not torch.equal(model(x)[1], model(x)[1])


def test_a_window_does_not_see_its_neighbours_in_evaluation() -> None:
    torch.manual_seed(0)
    model = small().double().eval()
    x = torch.randn(6, 10, 4, dtype=torch.float64)
    both = model(x)[1]
    torch.testing.assert_close(model(x[2:3])[1], both[2:3])


def test_attributes_of_the_published_layout(reference: DualTaskModel) -> None:
    names = [name for name, _ in reference.named_children()]
    assert names == ["cnn", "lstm", "attn", "funnel", "rul_head", "health_head"]

"""Ours equals the straightforward form: λ, task norms, and every gradient, within 1e-5 in fp32."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from grace.core.gaba import closed_form_weights
from grace.core.methods import build_method
from grace.data.windows import Batch
from grace.models import DualTaskModel
from grace.training.step import TrainState, training_step

TOLERANCE = 1e-5
SMALL: dict[str, Any] = {
    "c_in": 5,
    "lstm_hidden": 8,
    "num_heads": 4,
    "shared_dim": 6,
    "num_classes": 3,
    "conv_channels": (6, 10, 6),
    "funnel_hidden": (12, 8),
}
REFERENCE: dict[str, Any] = {}
SIZES = [pytest.param(SMALL, 16, id="small"), pytest.param(REFERENCE, 8, id="reference")]


def _load_reference() -> ModuleType:
    name = "grace_benchmark_reference"
    if name not in sys.modules:
        file = Path(__file__).parents[2] / "benchmarks" / "reference.py"
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


reference = _load_reference()


def _models(sizes: dict[str, Any], seed: int = 0) -> tuple[DualTaskModel, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ours = DualTaskModel(**sizes, dropout_scale=0.0)
        plain = reference.ReferenceModel(**sizes, dropout_scale=0.0)
    ours.rul_head.start_at(80.0)
    plain.load_state_dict(ours.state_dict())  # strict: the names are the same
    return ours, plain


def _batch(size: int, c_in: int = 14, *, seed: int, length: int = 30) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rul = 125.0 * torch.rand(size, generator=generator)
    health = (rul <= 80).long() + (rul <= 30).long()
    x = torch.randn(size, length, c_in, generator=generator)
    return Batch(x, rul, health, torch.zeros(size, dtype=torch.int64))


def _stepper(
    model: DualTaskModel, name: str = "grace", lr: float = 1e-3, **outer: Any
) -> TrainState:
    method = build_method(name, outer_options=outer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    return TrainState(model, method, optimizer, grad_clip=None)


def _gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _assert_gradients_equal(ours: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    """Per parameter, in norm.

    The bias of a convolution in front of a batch norm has no effect, its gradient is zero but for
    rounding: there both must be negligible.
    """
    assert ours.keys() == plain.keys()
    whole = torch.stack([g.norm() for g in plain.values()]).norm()
    assert whole > 0
    for name, expected in plain.items():
        if name.startswith("cnn.") and name.endswith("bias") and _is_convolution(name):
            assert ours[name].norm() < TOLERANCE * whole, name
            assert expected.norm() < TOLERANCE * whole, name
        else:
            error = (ours[name] - expected).norm() / expected.norm()
            assert error < TOLERANCE, f"{name}: relative error {error:.2e}"


def _is_convolution(name: str) -> bool:
    return int(name.split(".")[2]) % 4 == 0


@pytest.mark.parametrize(("sizes", "batch_size"), SIZES)
def test_forward_agrees_with_attention_over_every_query(
    sizes: dict[str, Any], batch_size: int
) -> None:
    ours, plain = _models(sizes)
    x = _batch(batch_size, sizes.get("c_in", 14), seed=1).x
    for mode in (True, False):
        got, expected = ours.train(mode)(x), plain.train(mode)(x)
        torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(got[1], expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("sizes", "batch_size"), SIZES)
def test_lambda_norms_and_gradients_along_a_trajectory(
    sizes: dict[str, Any], batch_size: int
) -> None:
    """Each step from equal weights; the two balancers keep their own state throughout.

    Without the shared start, AdamW turns the rounding of a gradient near zero into a full step.
    """
    ours, plain = _models(sizes)
    options = {"beta": 0.8, "warmup_steps": 2}
    stepper = _stepper(ours, lr=1e-4, **options)
    trainer = reference.ReferenceTrainer(
        plain, reference.ReferenceGaba(**options), grad_clip=float("inf"), update=False
    )
    seen = []
    for number in range(6):
        batch = _batch(batch_size, sizes.get("c_in", 14), seed=number)
        plain.load_state_dict(ours.state_dict())
        log = training_step(stepper, batch, diagnose=number == 4)
        expected = trainer.step(batch.x, batch.rul, batch.health)

        assert log.weights.tolist() == pytest.approx(expected.weights, rel=TOLERANCE)
        assert [float(log.rul_loss), float(log.health_loss)] == pytest.approx(
            expected.losses, rel=TOLERANCE
        )
        assert float(log.grad_norm) == pytest.approx(expected.grad_norm, rel=TOLERANCE)
        norms = log.diagnostics.get("task_grad_norms")
        assert norms is not None or number < 2  # warm-up needs none
        if norms is not None:
            assert norms.tolist() == pytest.approx(expected.norms, rel=TOLERANCE)
        _assert_gradients_equal(_gradients(ours), _gradients(plain))
        seen.append(log.weights[0].item())
    assert seen[0] == seen[1] == 0.5
    assert seen[-1] < seen[2] < 0.5  # RUL has the larger gradient, so λ falls step by step


def test_lambda_agrees_when_both_forms_run_on_their_own() -> None:
    ours, plain = _models(SMALL, seed=3)
    options = {"beta": 0.9, "warmup_steps": 0}
    stepper = _stepper(ours, lr=1e-4, **options)
    trainer = reference.ReferenceTrainer(
        plain, reference.ReferenceGaba(**options), lr=1e-4, grad_clip=float("inf")
    )
    for number in range(12):
        batch = _batch(16, 5, seed=number)
        log = training_step(stepper, batch)
        expected = trainer.step(batch.x, batch.rul, batch.health)
        assert log.weights.tolist() == pytest.approx(expected.weights, rel=TOLERANCE)
    for (name, a), b in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=3e-4, msg=name)


@pytest.mark.parametrize("name", ["amnl", "fixed:0.0477"])
def test_fixed_weights_give_the_gradient_of_the_weighted_sum(name: str) -> None:
    ours, plain = _models(SMALL)
    stepper, batch = _stepper(ours, name), _batch(16, 5, seed=0)
    log = training_step(stepper, batch)
    if name == "amnl":
        trainer = reference.ReferenceTrainer(plain, reference.ReferenceGaba(), update=False)
        losses = trainer.losses(batch.x, batch.rul, batch.health)
    else:
        pred, logits = plain(batch.x)
        losses = [
            ((pred - batch.rul) ** 2).mean(),
            torch.nn.functional.cross_entropy(logits, batch.health),
        ]
    (log.weights[0] * losses[0] + log.weights[1] * losses[1]).backward()
    _assert_gradients_equal(_gradients(ours), _gradients(plain))


def test_between_updates_the_gradient_is_still_that_of_the_weighted_sum() -> None:
    ours, plain = _models(SMALL)
    stepper = _stepper(ours, beta=0.5, warmup_steps=0, update_every=3)
    trainer = reference.ReferenceTrainer(plain, reference.ReferenceGaba(), update=False)
    held = None
    for number in range(5):
        batch = _batch(16, 5, seed=number)
        plain.load_state_dict(ours.state_dict())
        log = training_step(stepper, batch)
        plain.zero_grad()
        losses = trainer.losses(batch.x, batch.rul, batch.health)
        (log.weights[0] * losses[0] + log.weights[1] * losses[1]).backward()
        _assert_gradients_equal(_gradients(ours), _gradients(plain))
        if number % 3 == 0:
            assert held is None or not torch.equal(log.weights, held)
        else:
            assert torch.equal(log.weights, held)
        held = log.weights


class TestTorchJD:
    """A peer that takes the task gradients by its own means."""

    @pytest.fixture
    def jacobian(self) -> tuple[Tensor, Tensor]:
        """TorchJD's Jacobian of a batch on the straightforward form, and our norms on ours."""
        autojac = pytest.importorskip("torchjd.autojac")
        ours, plain = _models(SMALL)
        batch = _batch(16, 5, seed=0)
        log = training_step(_stepper(ours, warmup_steps=0, beta=0.0, min_weight=0.0), batch)
        trainer = reference.ReferenceTrainer(plain, reference.ReferenceGaba(), update=False)
        z = plain.features(batch.x)
        pred, logits = plain.heads(z)
        weight = 2.0 - batch.rul / 125.0
        losses = [
            (weight * (pred - batch.rul) ** 2).mean(),
            torch.nn.functional.cross_entropy(logits, batch.health),
        ]
        autojac.mtl_backward(losses, features=z, parallel_chunk_size=1)
        rows = torch.cat([p.jac.flatten(1) for p in trainer.model.shared()], dim=1)
        self.log, self.ours = log, ours
        return rows, log.diagnostics["task_grad_norms"]

    def test_task_norms_agree(self, jacobian: tuple[Tensor, Tensor]) -> None:
        rows, norms = jacobian
        torch.testing.assert_close(rows.norm(dim=1), norms, rtol=TOLERANCE, atol=0.0)

    def test_combined_gradient_agrees(self, jacobian: tuple[Tensor, Tensor]) -> None:
        rows, _ = jacobian
        shared = [p for n, p in self.ours.named_parameters() if "head" not in n]
        combined = torch.cat([p.grad.flatten() for p in shared if p.grad is not None])
        expected = self.log.weights @ rows
        assert (combined - expected).norm() < TOLERANCE * expected.norm()

    def test_imtl_g_gives_the_raw_weights_of_gaba(self, jacobian: tuple[Tensor, Tensor]) -> None:
        from torchjd.aggregation import IMTLGWeighting

        rows, norms = jacobian
        gram = rows.double() @ rows.double().T
        weights = IMTLGWeighting()(gram)
        expected = closed_form_weights(norms.double())
        torch.testing.assert_close(weights, expected, rtol=TOLERANCE, atol=0.0)
        torch.testing.assert_close(self.log.weights.double(), expected, rtol=TOLERANCE, atol=0.0)

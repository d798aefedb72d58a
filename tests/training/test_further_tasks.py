"""Three tasks through the training step, and surgery on gradients at z."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from grace.core.gradient_utils import gramian, task_gradients
from grace.core.inner import health_loss
from grace.core.methods import OUTER_METHODS, Method, build_method
from grace.core.surgery import GRADIENT_SURGERY
from grace.training.step import TrainState, training_step


def three_tasks(small: Any, name: str, **options: Any) -> TrainState:
    """A state whose third task is a regression on z by a head of its own."""
    model = small.model(dropout=0.0)
    model.survival_head = nn.Linear(6, 1)
    if name == "fixed":
        outer = OUTER_METHODS[name].build(rul_weight=0.2, health_weight=0.3, other_weights=(0.5,))
    else:
        warmup = {"warmup_steps": 0} if name == "gaba" else {}
        try:
            outer = OUTER_METHODS[name].build(n_tasks=3, **warmup, **options)
        except ImportError as error:
            pytest.skip(str(error))

    def further(z: Tensor, batch: Any) -> Tensor:
        return (model.survival_head(z).squeeze(-1) - batch.rul / 60.0).square().mean()

    method = Method(name, "mse", build_method("baseline").inner, outer)
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if own := list(outer.parameters()):
        groups.append({"params": own})
    return TrainState(
        model, method, torch.optim.SGD(groups, lr=0.01), grad_clip=None, other_tasks=[further]
    )


@pytest.mark.parametrize("name", list(OUTER_METHODS))
def test_every_balancer_trains_three_tasks(small: Any, name: str) -> None:
    s = three_tasks(small, name)
    for i in range(3):
        batch = small.batch(i)
        z = s.network.features(batch.x)  # dropout is off, so this is the graph of the step
        rul, logits = s.network.heads(z)
        losses = [s.method.inner(rul, batch.rul), health_loss(logits, batch.health)]
        losses.append(s.other_tasks[0](z, batch))
        rows = [
            torch.autograd.grad(x, s.trained, retain_graph=True, allow_unused=True) for x in losses
        ]
        before = s.network.survival_head.weight.detach().clone()
        log = training_step(s, batch, diagnose=True)
        torch.testing.assert_close(log.losses, torch.stack(losses).detach())
        assert log.as_dict()["other_losses"].tolist() == log.losses[2:].tolist()
        assert log.weights.shape == log.diagnostics["cosine"].shape == (3,)
        assert log.diagnostics["norm_ratio"].shape == (2,)
        for p, parameter in enumerate(s.trained):
            want = sum(
                (w * r[p] for w, r in zip(log.weights, rows, strict=True) if r[p] is not None),
                torch.zeros_like(parameter),
            )
            # A bias before batch norm has gradient zero up to rounding of the weighted parts.
            scale = float(log.grad_norm)
            torch.testing.assert_close(parameter.grad, want, rtol=1e-3, atol=1e-5 * scale)
        moved = not torch.equal(s.network.survival_head.weight, before)
        assert moved == bool(log.weights[2] != 0)  # MGDA can give a task no weight


def test_the_number_of_tasks_has_to_match(small: Any) -> None:
    model = small.model()
    with pytest.raises(ValueError, match="weighs 2 tasks, but there are 3"):
        TrainState(
            model,
            build_method("baseline"),
            torch.optim.SGD(model.parameters()),
            other_tasks=[lambda z, batch: z.sum()],
        )
    with pytest.raises(ValueError, match="use DistributedDataParallel"):
        TrainState(
            nn.DataParallel(model), build_method("baseline"), torch.optim.SGD(model.parameters())
        )


@pytest.mark.parametrize("name", list(GRADIENT_SURGERY))
@pytest.mark.parametrize("site", ["feature", "last_layer"])
def test_surgery_reads_the_gramian_at_its_site(small: Any, name: str, site: str) -> None:
    s = three_tasks(small, name, site=site)
    batch = small.batch(0)
    z = s.network.train().features(batch.x)
    rul, logits = s.network.heads(z)
    losses = [s.method.inner(rul, batch.rul), health_loss(logits, batch.health)]
    losses.append(s.other_tasks[0](z, batch))
    at = [z] if site == "feature" else s.last_layer
    products = gramian(task_gradients(losses, at, retain_graph=True))
    twin = OUTER_METHODS[name].build(n_tasks=3)
    torch.manual_seed(0)
    twin(*losses, gramian=products)
    torch.manual_seed(0)
    log = training_step(s, batch)
    torch.testing.assert_close(log.weights, twin.weights, rtol=1e-3, atol=1e-5)
    norms = log.diagnostics[f"{site}_grad_norms"]
    torch.testing.assert_close(norms, products.diagonal().sqrt().float(), rtol=1e-4, atol=1e-6)

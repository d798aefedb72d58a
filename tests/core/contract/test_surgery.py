"""What gradient surgery owes beyond what every balancer does."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_balancer import make

from grace.core.methods import OUTER_METHODS, build_method
from grace.core.surgery import GRADIENT_SURGERY


@pytest.mark.parametrize("name", ["pcgrad", "mgda", "imtl_g", "upgrad", "dualproj", "nash_mtl"])
@given(cosine=st.floats(-0.999, -0.01))
@settings(max_examples=25)
def test_surgeons_harm_no_task_at_500_to_1(name: str, cosine: float) -> None:
    """Along the combined gradient no loss rises, although the tasks conflict."""
    a, b = 500.0, 1.0
    gramian = torch.tensor([[a * a, cosine * a * b], [cosine * a * b, b * b]], dtype=torch.float64)
    balancer = make(name)
    balancer(torch.tensor(1.0), torch.tensor(1.0), gramian=gramian)
    # Applied weights are float32; progress on a task is measured in its own length.
    progress = gramian @ balancer.weights.double() / torch.tensor([a, b], dtype=torch.float64)
    assert (progress >= -2e-4 * progress.abs().max()).all()


def test_surgeons_are_in_the_registry() -> None:
    assert set(GRADIENT_SURGERY) < set(OUTER_METHODS)
    assert build_method("mse+nash_mtl").outer.signal == "gramian"


@pytest.mark.parametrize(
    ("without", "extra"), [("cvxpy", "cagrad"), ("clarabel", "cagrad"), ("torchjd", "cagrad")]
)
def test_cagrad_names_its_extra(without: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Submodules that are already imported would be found without their package.
    for module in [without, *(m for m in sys.modules if m.startswith(f"{without}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install '\.\[{extra}\]'"):
        build_method("mse+cagrad")


def test_without_torchjd_nash_mtl_is_there_and_the_others_name_their_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("torchjd", "torchjd.aggregation"):
        monkeypatch.setitem(sys.modules, module, None)
    assert build_method("mse+nash_mtl").outer.signal == "gramian"
    with pytest.raises(ImportError, match=r"pip install '\.\[surgery\]'"):
        build_method("mse+upgrad")


@pytest.mark.parametrize("name", list(GRADIENT_SURGERY))
@pytest.mark.parametrize("ratio", [1.0, 500.0])
def test_opposite_gradients_never_raise(name: str, ratio: float) -> None:
    """At cosine −1 Nash-MTL has no solution: the step is skipped and counted."""
    balancer = make(name)
    gramian = torch.tensor([[ratio * ratio, -ratio], [-ratio, 1.0]], dtype=torch.float64)
    total = balancer(torch.tensor(2.0), torch.tensor(1.0), gramian=gramian)
    assert torch.isfinite(total)
    assert torch.isfinite(balancer.weights).all()
    if name == "nash_mtl":
        assert int(balancer.telemetry()["skipped"]) == 1
        assert balancer.weights.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", list(GRADIENT_SURGERY))
def test_normalisation_is_that_of_scaled_losses(name: str) -> None:
    """Dividing the losses by hand gives the same combined gradient."""
    gramian = torch.tensor([[400.0, -6.0], [-6.0, 1.0]], dtype=torch.float64)
    losses = (torch.tensor(50.0), torch.tensor(0.5))
    scales = {
        "norm": torch.tensor([20.0, 1.0], dtype=torch.float64),
        "initial_loss": torch.tensor([50.0, 0.5], dtype=torch.float64),
        "target_std": torch.tensor([36.0, 1.0], dtype=torch.float64),
    }
    for normalise, scale in scales.items():
        try:
            balancer = OUTER_METHODS[name].build(normalise=normalise)
        except ImportError as error:
            pytest.skip(str(error))
        balancer.on_fit_start(target_std=6.0)
        balancer(*losses, gramian=gramian)
        plain = make(name)
        plain(*losses, gramian=gramian / scale.outer(scale))
        torch.testing.assert_close(balancer.weights, (plain.weights / scale).float(), rtol=1e-4,
                                   atol=1e-7)  # fmt: skip


def test_the_standard_deviation_of_the_targets_has_to_be_known() -> None:
    balancer = OUTER_METHODS["nash_mtl"].build(normalise="target_std")
    with pytest.raises(ValueError, match="call on_fit_start"):
        balancer(torch.tensor(1.0), torch.tensor(1.0), gramian=torch.eye(2))
    with pytest.raises(ValueError, match="all labels equal"):
        balancer.on_fit_start(target_std=0.0)


@pytest.mark.parametrize(("option", "value"), [("normalise", "range"), ("site", "head")])
def test_options_of_surgery_are_checked(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{option}='{value}': choose from"):
        OUTER_METHODS["nash_mtl"].build(**{option: value})

"""What every balancer owes, over the whole registry: a new entry joins by itself."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from grace.core.baselines import FixedWeightLoss, LossBalancer
from grace.core.gradient_utils import get_shared_params
from grace.core.methods import OUTER_METHODS, build_method
from grace.core.surgery import GRADIENT_SURGERY

Make = Callable[..., Any]
# At three tasks IMTL-G may give a task a negative weight, as published.
MAY_BE_NEGATIVE = {("imtl_g", 3)}
# GABA's raw weight is a log of what the step showed, NaN included.
LOGS = {"raw_weights"}


def make(name: str, n_tasks: int = 2) -> LossBalancer:
    try:
        if name == "fixed" and n_tasks == 3:
            return FixedWeightLoss(0.2, 0.3, other_weights=(0.5,))
        options: dict[str, Any] = {} if name == "fixed" else {"n_tasks": n_tasks}
        if name == "gaba":
            options |= {"warmup_steps": 2, "beta": 0.8}
        return OUTER_METHODS[name].build(**options)
    except ImportError as error:
        # CAGrad needs a solver of its own; the others need TorchJD and nothing else.
        if name != "cagrad" and importlib.util.find_spec("torchjd"):
            raise
        pytest.skip(f"{name}: {error}")


@pytest.fixture(params=list(OUTER_METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=[2, 3])
def n_tasks(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


class Run:
    """A network and a balancer that are trained together, one step at a time."""

    def __init__(self, balancer: LossBalancer, model: nn.Module, signal: Make) -> None:
        self.balancer, self.model, self.signal = balancer, model, signal
        groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "lr": 0.01}]
        if own := list(balancer.parameters()):
            groups.append({"params": own, "lr": 0.05})
        self.optimizer = torch.optim.SGD(groups)

    def step(self, seed: int, ratio: float | None = None) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad()
        losses = self.model.losses(seed, ratio)
        total = self.balancer(*losses, **self.signal(self.balancer, losses, self.model))
        total.backward()
        self.optimizer.step()
        if seed % 2:  # an epoch is two steps here
            self.balancer.on_epoch_end(torch.stack(losses).detach().float())
        return total.detach(), self.balancer.weights.clone()


@pytest.fixture
def run(toy: Make, signal: Make) -> Make:
    return lambda name, k=2: Run(make(name, k), toy(n_tasks=k), signal)


def state_of(balancer: LossBalancer) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in balancer.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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


def test_a_reloaded_state_continues_to_the_bit(name: str, n_tasks: int, run: Make) -> None:
    first = run(name, n_tasks)
    for seed in range(5):
        first.step(seed)
    file = io.BytesIO()
    torch.save({"b": first.balancer.state_dict(), "m": first.model.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    torch.manual_seed(7)  # PCGrad draws the order of its projections
    want = [first.step(seed) for seed in range(5, 11)]

    second = run(name, n_tasks)
    second.balancer.load_state_dict(saved["b"])
    second.model.load_state_dict(saved["m"])
    torch.manual_seed(7)
    got = [second.step(seed) for seed in range(5, 11)]
    for (total, weights), (other_total, other_weights) in zip(want, got, strict=True):
        assert torch.equal(total, other_total)
        assert torch.equal(weights, other_weights)


def test_evaluation_changes_nothing_and_needs_no_signal(name: str, n_tasks: int, run: Make) -> None:
    trial = run(name, n_tasks)
    for seed in range(4):
        trial.step(seed)
    before = state_of(trial.balancer)
    trial.balancer.eval()
    assert not trial.balancer.needs_signal
    for seed in range(3):
        losses = trial.model.losses(seed)
        bare = trial.balancer(*losses)
        full = trial.balancer(*losses, **trial.signal(trial.balancer, losses, trial.model))
        assert torch.equal(bare, full)
        assert torch.isfinite(bare)
    assert same(state_of(trial.balancer), before)


def test_reset_is_a_new_balancer(name: str, n_tasks: int, run: Make) -> None:
    trial = run(name, n_tasks)
    new = state_of(trial.balancer)
    for seed in range(6):
        trial.step(seed)
    trial.balancer.reset()
    assert same(state_of(trial.balancer), new)
    assert list(trial.balancer.parameters()) == trial.optimizer.param_groups[-1]["params"] or not (
        list(trial.balancer.parameters())
    )


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_are_equal_and_independent(name: str, how: str, run: Make) -> None:
    trial = run(name)
    for seed in range(4):
        trial.step(seed)
    balancer = trial.balancer
    clone = copy.deepcopy(balancer) if how == "deepcopy" else pickle.loads(pickle.dumps(balancer))
    before = state_of(balancer)
    assert same(state_of(clone), before)
    other = Run(clone, trial.model, trial.signal)
    for seed in range(4, 8):
        losses = trial.model.losses(seed)
        extras = trial.signal(clone, losses, trial.model)
        torch.manual_seed(0)
        a = clone(*losses, **extras)
        torch.manual_seed(0)
        b = copy.deepcopy(balancer)(*losses, **extras) if seed == 4 else a
        assert torch.equal(a, b)
        other.step(seed)
    assert same(state_of(balancer), before)


def test_telemetry_is_detached(name: str, run: Make) -> None:
    trial = run(name)
    for seed in range(4):
        trial.step(seed)
        for value in trial.balancer.telemetry().values():
            assert isinstance(value, Tensor)
            assert not value.requires_grad
            assert value.dim() <= 1
    assert not trial.balancer.weights.requires_grad


def test_state_has_its_final_shape_from_the_start(name: str, n_tasks: int, run: Make) -> None:
    trial = run(name, n_tasks)
    shapes = {k: v.shape for k, v in trial.balancer.state_dict().items()}
    for seed in range(6):
        trial.step(seed)
    assert {k: v.shape for k, v in trial.balancer.state_dict().items()} == shapes


def test_fewer_than_two_tasks_are_refused(name: str) -> None:
    make(name)
    if name == "fixed":
        return
    with pytest.raises(ValueError, match="at least two"):
        OUTER_METHODS[name].build(n_tasks=1)


def test_surgeons_are_in_the_registry() -> None:
    assert set(GRADIENT_SURGERY) < set(OUTER_METHODS)
    assert build_method("mse+nash_mtl").outer.signal == "gramian"


def test_options_build_an_equal_balancer(name: str, n_tasks: int) -> None:
    first = make(name, n_tasks)
    again = type(first)(**first.init_options())
    assert again.n_tasks == n_tasks
    assert repr(again) == repr(first)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


@pytest.mark.parametrize(
    ("without", "extra"), [("cvxpy", "cagrad"), ("clarabel", "cagrad"), ("torchjd", "cagrad")]
)
def test_cagrad_names_its_extra(without: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Submodules that are already imported would be found without their package.
    for module in [without, *(m for m in sys.modules if m.startswith(f"{without}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'grace-rul\[{extra}\]'"):
        build_method("mse+cagrad")


def test_without_torchjd_nash_mtl_is_there_and_the_others_name_their_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("torchjd", "torchjd.aggregation"):
        monkeypatch.setitem(sys.modules, module, None)
    assert build_method("mse+nash_mtl").outer.signal == "gramian"
    with pytest.raises(ImportError, match=r"pip install 'grace-rul\[surgery\]'"):
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


@pytest.mark.parametrize("convert", ["bfloat16", "half"])
def test_state_stays_in_float32(name: str, n_tasks: int, convert: str, run: Make) -> None:
    trial = run(name, n_tasks)
    for seed in range(4):
        trial.step(seed)
    before = state_of(trial.balancer)
    getattr(nn.ModuleList([trial.balancer]), convert)()
    assert same(state_of(trial.balancer), before)
    assert all(v.dtype == before[k].dtype for k, v in trial.balancer.state_dict().items())
    again = make(name, n_tasks)
    again.load_state_dict(trial.balancer.state_dict())
    assert same(state_of(again), before)


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

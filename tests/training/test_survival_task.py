"""The survival head as third task: contract over all balancers, censored windows, resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from grace.core.inner import health_loss
from grace.core.methods import OUTER_METHODS, build_method
from grace.core.survival import survival_nll
from grace.data.windows import WindowSet
from grace.models import DualTaskModel
from grace.training.config import ConfigError, RunConfig, TrainingConfig
from grace.training.step import TrainState, training_step
from grace.training.survival_task import survival_tasks
from grace.training.trainer import FitResult, Trainer

EDGES = torch.tensor([0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0])


def with_head(small: Any, seed: int = 0) -> DualTaskModel:
    model: DualTaskModel = small.model(dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_survival_head(EDGES)
    return model


def running(windows: WindowSet, unit: int = 0, unseen: float = 12.0) -> WindowSet:
    """The same windows, one unit of them still running when last seen."""
    assert windows.rul_uncapped is not None
    mine = windows.unit == unit
    seen = (windows.rul_uncapped - unseen).clamp(min=0.0)
    return replace(
        windows,
        rul=torch.where(mine, torch.nan, windows.rul),
        health=torch.where(mine, -1, windows.health),
        rul_uncapped=torch.where(mine, torch.nan, windows.rul_uncapped),
        survived=seen,
    )


def trainer(small: Any, name: str = "mse+fixed", **options: Any) -> Trainer:
    values = {
        "epochs": 1, "batch_size": 32, "warmup_epochs": 1, "log_every": 1, "device": "cpu",
        "diagnose_every": 2, "ema_warmup": True, "deterministic": True,
        **{k: v for k, v in options.items() if k != "run_dir"},
    }  # fmt: skip
    outer = {"warmup_steps": 0} if name.endswith("gaba") else {}
    return Trainer(
        with_head(small),
        build_method(name, outer_options=outer, n_tasks=3),
        TrainingConfig(**values),
        run_dir=options.get("run_dir"),
    )


def fit(one: Trainer, small: Any, train: WindowSet | None = None) -> FitResult:
    return one.fit(train or small.train, {"validation": small.held_out}, select="validation")


@pytest.mark.parametrize("name", list(OUTER_METHODS))
def test_every_balancer_trains_the_survival_head(small: Any, name: str) -> None:
    try:
        one = trainer(small, f"mse+{name}")
    except ImportError as error:
        pytest.skip(str(error))
    before = {k: v.clone() for k, v in one.model.state_dict().items()}
    record = fit(one, small, running(small.train)).history[-1]
    assert len(record.weights) == one.method.outer.n_tasks == 3
    assert len(record.other_losses) == 1
    assert 0.0 < record.other_losses[0] < 20.0
    after = one.model.state_dict()
    assert all(bool(torch.isfinite(v).all()) for v in after.values() if v.is_floating_point())
    moved = {k for k in after if not torch.equal(after[k], before[k])}
    for head in ("rul_head", "health_head", "survival_head"):
        assert any(k.startswith(head) for k in moved), f"{head} was not trained"
    torch.testing.assert_close(after["survival_head.edges"], EDGES)
    # Its gradient reaches the shared trunk: without it, the trunk ends elsewhere.
    twin = trainer(small, f"mse+{name}")
    twin.model.survival_head.layers[-1].weight.data.zero_()  # type: ignore[union-attr]
    fit(twin, small, running(small.train))
    weight = next(k for k in after if k.startswith("cnn") and k.endswith("weight"))
    assert not torch.equal(twin.model.state_dict()[weight], after[weight])


def test_training_learns_the_distribution_of_lives(small: Any) -> None:
    records = fit(trainer(small, epochs=25, lr=0.01), small).history
    assert records[-1].other_losses[0] < 0.8 * records[0].other_losses[0]


def test_the_losses_of_a_batch_with_running_units(small: Any) -> None:
    windows = running(small.train)
    batch = windows.batch(torch.arange(len(windows)))
    model = with_head(small).eval()
    known = batch.health >= 0
    assert 0 < int(known.sum()) < len(known)
    s = TrainState(
        model, build_method("mse+fixed", n_tasks=3), torch.optim.SGD(model.parameters(), lr=0.0),
        grad_clip=None, other_tasks=survival_tasks(model),
    )  # fmt: skip
    log = training_step(s, batch)
    rul, logits = model.heads(model.features(batch.x))  # dropout is off, batch norm in training
    share = known.float().mean()
    torch.testing.assert_close(
        log.losses[0], ((rul - batch.rul)[known].square().sum() / len(known)).detach()
    )
    torch.testing.assert_close(
        log.losses[1], (health_loss(logits[known], batch.health[known]) * share).detach()
    )
    assert batch.rul_uncapped is not None
    time = torch.where(known, batch.rul_uncapped, batch.survived)
    head = model.survival_head
    assert head is not None
    each = survival_nll(head(model.features(batch.x)), time, known, EDGES, reduction="none")
    torch.testing.assert_close(log.losses[2], each.mean().detach())
    assert float(each[~known].detach().abs().min()) >= 0.0
    # A batch without any label still teaches the head.
    unlabelled = windows.batch(torch.nonzero(~known)[:, 0])
    log = training_step(s, unlabelled)
    assert log.losses[:2].tolist() == [0.0, 0.0]
    assert float(log.losses[2]) > 0.0


def test_running_units_change_the_head(small: Any) -> None:
    """Units seen to survive long shift the hazards down; dropping them would not."""
    long = replace(running(small.train), survived=torch.full((len(small.train),), 150.0))
    mine = torch.zeros(len(small.train), dtype=torch.bool) | (small.train.unit == 0)
    results = []
    for windows in (long, small.train.take(~mine)):
        one = trainer(small, epochs=25, lr=0.01)
        fit(one, small, windows)
        head = one.model.survival_head
        assert head is not None
        one.model.eval()
        with torch.no_grad():
            z = one.model.features(small.train.gather(torch.nonzero(mine)[:, 0]))
            results.append(float((1 - head.hazards(z)).prod(dim=1).mean()))
    assert results[0] > results[1] + 0.1


def test_a_resumed_training_ends_the_same(small: Any, tmp_path: Path) -> None:
    whole = trainer(small, "mse+gaba", epochs=4)
    fit(whole, small)
    fit(trainer(small, "mse+gaba", epochs=2, run_dir=tmp_path), small)
    rest = trainer(small, "mse+gaba", epochs=4, run_dir=tmp_path)
    fit(rest, small)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[key]), key


def test_fixed_weights_of_three_tasks() -> None:
    assert build_method("baseline", n_tasks=3).outer.weights.tolist() == pytest.approx([1 / 3] * 3)
    weights = build_method("fixed:0.2", n_tasks=3).outer.weights.tolist()
    assert weights == pytest.approx([0.2, 0.4, 0.4])
    own = {"rul_weight": 0.1, "health_weight": 0.2, "other_weights": [0.7]}
    config = RunConfig.load(
        overrides={
            "method": {"name": "baseline", "outer_options": own},
            "survival": {"enabled": True},
        }
    )
    built = config.method.build(n_tasks=config.n_tasks)
    assert built.outer.weights.tolist() == pytest.approx([0.1, 0.2, 0.7])
    with pytest.raises(ConfigError, match="3 tasks, not of 2"):
        RunConfig.load(overrides={"method": {"name": "baseline", "outer_options": own}})
    with pytest.raises(ConfigError, match="2 tasks, not of 3"):
        RunConfig.load(
            overrides={
                "method": {"name": "baseline", "outer_options": {"rul_weight": 0.3}},
                "survival": {"enabled": True},
            }
        )


def test_the_option_changes_a_fingerprint_only_when_it_is_on() -> None:
    off = RunConfig.load()
    same = RunConfig.load(overrides={"survival": {"enabled": False, "bin_growth": 1.3}})
    on = RunConfig.load(overrides={"survival": {"enabled": True}})
    coarse = RunConfig.load(overrides={"survival": {"enabled": True, "bin_growth": 1.3}})
    assert off.fingerprint() == same.fingerprint()
    assert len({c.fingerprint() for c in (off, on, coarse)}) == 3
    assert (off.n_tasks, on.n_tasks) == (2, 3)

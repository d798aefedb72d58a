"""What is evaluated, and what drives schedule and selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from grace.training import trainer as module
from grace.training.inference import predict_windows
from grace.training.trainer import FitResult, Trainer, copy_with_weights

Make = Callable[..., Trainer]


def fit(trainer: Trainer, small: Any, **monitors: Any) -> FitResult:
    return trainer.fit(small.train, monitors or {"validation": small.held_out}, select="validation")


def test_the_averaged_weights_are_evaluated_and_kept(small: Any, make_trainer: Make) -> None:
    options = {"epochs": 1, "lr": 0.02, "warmup_epochs": 0, "ema_warmup": False}
    trainer = make_trainer(ema_decay=0.9, **options)
    averaged = fit(trainer, small).best["validation"]
    raw = {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}
    alone = fit(make_trainer(ema_decay=0.0, **options), small).best["validation"]
    name = "rul_head.net.0.weight"
    if name not in raw:
        name = next(k for k in raw if k.startswith("rul_head") and k.endswith("weight"))
    # averaging changes what is evaluated, not how the raw weights are trained
    assert torch.equal(raw[name], alone.weights[name])
    assert not torch.allclose(averaged.weights[name], raw[name], atol=1e-4)
    rul, _ = predict_windows(copy_with_weights(small.model(), averaged.weights), small.held_out)
    rmse = (rul - small.held_out.rul).double().square().mean().sqrt().item()
    assert averaged.rmse == pytest.approx(rmse * small.held_out.time_unit, rel=1e-6)
    assert averaged.rmse != alone.rmse


@pytest.fixture
def scripted(
    monkeypatch: pytest.MonkeyPatch, small: Any
) -> Callable[[dict[str, list[float]]], None]:
    """Makes the monitors report given RMSEs, one per epoch, whatever the network predicts."""

    def install(curves: dict[str, list[float]]) -> None:
        sizes = {"validation": len(small.held_out), "test": len(small.train)}
        assert len(set(sizes.values())) == 2
        left: dict[int, Iterator[float]] = {sizes[k]: iter(v) for k, v in curves.items()}

        def predict(model: Any, windows: Any, **options: Any) -> tuple[Any, Any]:
            return windows.rul.cpu() + next(left[len(windows)]), torch.zeros(1)

        monkeypatch.setattr(module, "predict_windows", predict)

    return install


def rates(result: FitResult) -> list[float]:
    return [record.lr for record in result.history]


def test_the_plateau_follows_the_validation_rmse_not_the_training_loss(
    small: Any, make_trainer: Make, scripted: Any
) -> None:
    options = {"epochs": 6, "warmup_epochs": 0, "plateau_patience": 0, "lr": 0.01}
    scripted({"validation": [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]})
    worse = fit(make_trainer("baseline", **options), small)
    loss = [record.loss for record in worse.history]
    assert min(loss[1:]) < loss[0]  # the training loss did improve meanwhile
    assert rates(worse) == pytest.approx([0.01 * 0.5 ** max(0, e - 1) for e in range(6)])
    scripted({"validation": [10.0, 9.0, 8.0, 7.0, 6.0, 5.0]})
    # with a learning rate this high the training loss rises between some epochs
    better = fit(make_trainer("baseline", **{**options, "lr": 0.3}), small)
    rising = [record.loss for record in better.history]
    assert any(b > min(rising[: i + 1]) for i, b in enumerate(rising[1:]))
    assert rates(better) == pytest.approx([0.3] * 6)


def test_schedule_and_early_stopping_do_not_follow_the_test_set(
    small: Any, make_trainer: Make, scripted: Any
) -> None:
    options = {
        "epochs": 6, "warmup_epochs": 0, "plateau_patience": 0, "early_stopping_patience": 2,
        "lr": 0.01,
    }  # fmt: skip
    monitors = {"validation": small.held_out, "test": small.train}
    falling, rising = [10.0, 9.0, 8.0, 7.0, 6.0, 5.0], [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
    scripted({"validation": falling, "test": rising})
    result = fit(make_trainer(**options), small, **monitors)
    assert not result.stopped_early
    assert rates(result) == pytest.approx([0.01] * 6)
    assert (result.best["validation"].epoch, result.best["test"].epoch) == (5, 0)
    scripted({"validation": rising, "test": falling})
    stopped = fit(make_trainer(**options), small, **monitors)
    assert stopped.stopped_early
    assert len(stopped.history) == 3


def test_without_a_monitor_the_last_weights_are_kept(small: Any, make_trainer: Make) -> None:
    options = {"epochs": 4, "schedule": "cosine", "ema_decay": 0.9, "early_stopping_patience": 1}
    alone = make_trainer(**options).fit(small.train, {}, select=None)
    assert alone.best == {}
    assert len(alone.history) == 4
    watched = make_trainer(**options).fit(small.train, {"validation": small.held_out}, select=None)
    assert len(watched.history) == 4  # whatever the monitor says
    for name, value in alone.final.items():
        assert torch.equal(value, watched.final[name])
    rul, _ = predict_windows(copy_with_weights(small.model(), alone.final), small.held_out)
    rmse = (rul - small.held_out.rul).double().square().mean().sqrt().item()
    last = watched.history[-1].rmse["validation"]
    assert last == pytest.approx(rmse * small.held_out.time_unit, rel=1e-6)


def test_weights_after_an_interruption_are_those_without(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    options = {"epochs": 3, "schedule": "cosine", "run_dir": tmp_path, "fingerprint": "f"}
    once = make_trainer(**options).fit(small.train, {}, select=None)
    again = make_trainer(**options).fit(small.train, {}, select=None)
    assert once.final
    assert all(torch.equal(v, again.final[k]) for k, v in once.final.items())


def test_a_plateau_needs_a_monitor(small: Any, make_trainer: Make) -> None:
    with pytest.raises(ValueError, match="needs a monitor"):
        make_trainer().fit(small.train, {}, select=None)

"""The selected monitor drives schedule and early stopping; the averaged weights are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from grace.training import trainer as module
from grace.training.callbacks import Callback, StepEnd, TrainStart
from grace.training.schedule import LearningRate
from grace.training.trainer import FitResult, Trainer

Make = Callable[..., Trainer]


def script(
    monkeypatch: pytest.MonkeyPatch, small: Any, curves: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Monitors whose RMSE follow given curves, whatever the network predicts."""
    sets = {"validation": small.held_out, "test": small.train}
    left = {len(sets[name]): iter(curve) for name, curve in curves.items()}
    assert len(left) == len(curves)

    def scripted(model: Any, windows: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return windows.rul + next(left[len(windows)]), torch.zeros(1)

    monkeypatch.setattr(module, "predict_windows", scripted)
    return {name: sets[name] for name in curves}


def fit(trainer: Trainer, small: Any, monitors: Mapping[str, Any]) -> FitResult:
    return trainer.fit(small.train, monitors, select="validation")


def rates_driven_by_loss(trainer: Trainer, result: FitResult) -> list[float]:
    """The rates that a schedule driven by the training loss would have set."""
    optimizer = torch.optim.SGD(trainer.model.parameters(), lr=trainer.config.lr)
    rate, rates = LearningRate(optimizer, trainer.config), []
    for record in result.history:
        rate.before_epoch(record.epoch)
        rates.append(rate.current)
        rate.after_epoch(record.epoch, record.loss)
    return rates


FLAT, FALLING, RISING = [5.0] * 8, [9.0 - e for e in range(8)], [1.0 + e for e in range(8)]


def test_the_rate_falls_when_the_selected_monitor_stalls_although_the_loss_falls(
    small: Any, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitors = script(monkeypatch, small, {"validation": FLAT, "test": FALLING})
    trainer = make_trainer(
        "baseline", epochs=8, warmup_epochs=0, plateau_patience=1, lr=2e-2,
        early_stopping_patience=None,
    )  # fmt: skip
    result = fit(trainer, small, monitors)
    rates = [2e-2] * 3 + [1e-2] * 2 + [5e-3] * 2 + [2.5e-3]
    assert [record.lr for record in result.history] == pytest.approx(rates)
    assert rates_driven_by_loss(trainer, result) != pytest.approx(rates)


def test_the_rate_stays_while_the_selected_monitor_improves(
    small: Any, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitors = script(monkeypatch, small, {"validation": FALLING, "test": RISING})
    trainer = make_trainer(
        epochs=8,
        warmup_epochs=0,
        plateau_patience=0,
        lr=1e-5,
        min_lr=0.0,
        early_stopping_patience=1,
    )
    result = fit(trainer, small, monitors)
    assert [record.lr for record in result.history] == pytest.approx([1e-5] * 8)
    assert rates_driven_by_loss(trainer, result) != pytest.approx([1e-5] * 8)
    assert not result.stopped_early


def test_early_stopping_ignores_other_monitors(
    small: Any, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitors = script(monkeypatch, small, {"validation": RISING, "test": FALLING})
    result = fit(make_trainer(epochs=8, early_stopping_patience=3), small, monitors)
    assert (len(result.history), result.stopped_early) == (4, True)
    assert (result.best["validation"].epoch, result.best["test"].epoch) == (0, 3)


class Weights(Callback):
    """The raw weights after every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, start: TrainStart) -> None:
        self.model = start.model

    def on_step_end(self, step: StepEnd) -> None:
        self.steps.append({k: v.detach().clone() for k, v in self.model.named_parameters()})


@pytest.mark.parametrize("decay", [0.6, 0.0])
def test_the_average_of_the_weights_is_evaluated_and_kept(
    small: Any, make_trainer: Make, monkeypatch: pytest.MonkeyPatch, decay: float
) -> None:
    evaluated: list[dict[str, torch.Tensor]] = []
    original = module.predict_windows

    def spy(model: Any, *args: Any, **options: Any) -> Any:
        evaluated.append({k: v.detach().clone() for k, v in model.named_parameters()})
        return original(model, *args, **options)

    monkeypatch.setattr(module, "predict_windows", spy)
    seen = Weights()
    trainer = make_trainer(
        epochs=1, batch_size=8, ema_decay=decay, ema_warmup=False, lr=0.01, callbacks=[seen]
    )
    result = fit(trainer, small, {"validation": small.held_out})
    expected = seen.steps[0]
    for raw in seen.steps[1:]:
        expected = {k: decay * v + (1 - decay) * raw[k] for k, v in expected.items()}
    for name, value in expected.items():
        torch.testing.assert_close(evaluated[0][name], value)
        torch.testing.assert_close(result.best["validation"].weights[name], value)
    moved = max(float((v - seen.steps[-1][k]).abs().max()) for k, v in evaluated[0].items())
    assert (moved > 1e-4) == (decay > 0)

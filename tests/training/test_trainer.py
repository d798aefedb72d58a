"""The loop: what is repeatable, what stops it, what it leaves behind."""
# ruff: noqa: NPY002 (the global generator is what must stay untouched)

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from grace.training.callbacks import Callback, StepEnd
from grace.training.checkpoint import CheckpointError
from grace.training.inference import predict_windows
from grace.training.jsonl_logger import read_jsonl
from grace.training.step import NonFiniteLossError
from grace.training.trainer import FitResult, Trainer, copy_with_weights

Make = Callable[..., Trainer]


def plain(result: FitResult) -> list[dict[str, Any]]:
    return [{k: v for k, v in asdict(r).items() if k != "seconds"} for r in result.history]


def same_weights(a: FitResult, b: FitResult) -> bool:
    return all(
        torch.equal(v, b.best[name].weights[k])
        for name, best in a.best.items()
        for k, v in best.weights.items()
    )


def fit(trainer: Trainer, small: Any, **monitors: Any) -> FitResult:
    return trainer.fit(small.train, monitors or {"validation": small.held_out}, select="validation")


def test_same_seed_same_training(small: Any, make_trainer: Make) -> None:
    a, b, c = (fit(make_trainer(seed=s), small) for s in (3, 3, 4))
    assert plain(a) == plain(b)
    assert same_weights(a, b)
    assert plain(a) != plain(c)


def test_global_randomness_is_neither_used_nor_moved(small: Any, make_trainer: Make) -> None:
    results = []
    for outside in (0, 99):
        torch.manual_seed(outside)
        np.random.seed(outside)
        random.seed(outside)
        before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
        results.append(fit(make_trainer("mse+pcgrad", input_noise=0.1), small))
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1] == np.random.get_state()[1].tolist()
        assert before[2] == random.getstate()
    assert plain(results[0]) == plain(results[1])


def test_global_switches_are_given_back(small: Any, make_trainer: Make) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    fit(make_trainer(epochs=1, deterministic=True), small)
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_window_is_seen_once_per_epoch(small: Any, make_trainer: Make) -> None:
    trainer = make_trainer(batch_size=7)
    n = len(small.train)
    epochs = [trainer._order(e, n, torch.device("cpu")) for e in range(3)]
    for batches in epochs:
        assert sorted(torch.cat(batches).tolist()) == list(range(n))
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_a_last_batch_of_one_is_left_out(make_trainer: Make) -> None:
    trainer = make_trainer(batch_size=4)
    assert [len(b) for b in trainer._order(0, 9, torch.device("cpu"))] == [4, 4]
    assert [len(b) for b in trainer._order(0, 10, torch.device("cpu"))] == [4, 4, 2]
    short = make_trainer(batch_size=4, steps_per_epoch=1)
    assert [len(b) for b in short._order(0, 10, torch.device("cpu"))] == [4]


def test_the_best_weights_are_those_of_the_best_epoch(small: Any, make_trainer: Make) -> None:
    result = fit(make_trainer(epochs=5), small, validation=small.held_out, other=small.train)
    for name, windows in (("validation", small.held_out), ("other", small.train)):
        best = result.best[name]
        curve = [r.rmse[name] for r in result.history]
        assert best.rmse == min(curve)
        assert best.epoch == curve.index(min(curve))
        model = copy_with_weights(small.model(), best.weights)
        rul, probabilities = predict_windows(model, windows)
        rmse = (rul - windows.rul).double().square().mean().sqrt().item()
        assert rmse * windows.time_unit == pytest.approx(best.rmse, rel=1e-6)
        assert probabilities.sum(dim=1).allclose(torch.ones(len(windows)))


def test_another_monitor_does_not_change_training(small: Any, make_trainer: Make) -> None:
    alone = fit(make_trainer(), small)
    watched = fit(make_trainer(), small, validation=small.held_out, test=small.train)
    keep = [{**r, "rmse": {"validation": r["rmse"]["validation"]}} for r in plain(watched)]
    assert plain(alone) == keep


def test_training_learns(small: Any, make_trainer: Make) -> None:
    trainer = make_trainer("baseline", epochs=25, lr=0.01)
    result = fit(trainer, small, validation=small.train)
    spread = small.train.rul.double().std().item()
    assert result.best["validation"].rmse < 0.75 * spread


def test_early_stopping_waits_exactly_its_patience(
    small: Any, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from grace.training import trainer as module

    curve = iter([9.0, 5.0, 6.0, 7.0, 5.0, 8.0, 1.0, 1.0])

    def scripted(model: Any, windows: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return windows.rul + next(curve), torch.zeros(1)

    monkeypatch.setattr(module, "predict_windows", scripted)
    result = fit(make_trainer(epochs=8, early_stopping_patience=4), small)
    # Best at epoch 1; an equal RMSE at 4 is no improvement; epoch 5 is the fourth without one.
    assert result.stopped_early
    assert len(result.history) == 6
    assert result.best["validation"].epoch == 1


def test_no_patience_no_early_stop(small: Any, make_trainer: Make) -> None:
    result = fit(make_trainer(epochs=3, early_stopping_patience=None), small)
    assert not result.stopped_early
    assert len(result.history) == 3


def test_history_and_rates_are_on_record(small: Any, make_trainer: Make, tmp_path: Path) -> None:
    result = fit(make_trainer(epochs=4, warmup_epochs=2, run_dir=tmp_path), small)
    steps = math.ceil(len(small.train) / 32)
    assert [r.step for r in result.history] == [steps * (e + 1) for e in range(4)]
    assert [r.lr for r in result.history] == pytest.approx([1e-4, 5.5e-4, 1e-3, 1e-3])
    assert read_jsonl(tmp_path / "history.jsonl") == [asdict(r) for r in result.history]
    lines = read_jsonl(tmp_path / "telemetry.jsonl")
    assert [r["step"] for r in lines] == list(range(4 * steps))
    wanted = {"loss", "rul_loss", "health_loss", "grad_norm", "weights"}
    wanted |= {"lambda_ema", "floor_share"}
    assert all(wanted <= set(r) for r in lines)
    # GABA reads the gradients itself after warm-up; before it they are measured every third step.
    assert "task_grad_norms" in lines[0]
    assert "task_grad_norms" not in lines[1]
    assert "task_grad_norms" in lines[5]


def test_log_every_thins_the_telemetry(small: Any, make_trainer: Make, tmp_path: Path) -> None:
    fit(make_trainer(log_every=4, run_dir=tmp_path), small)
    assert all(r["step"] % 4 == 0 for r in read_jsonl(tmp_path / "telemetry.jsonl"))


def test_nan_names_the_unit_and_keeps_the_checkpoint(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    fit(make_trainer(epochs=2, run_dir=tmp_path, fingerprint="f"), small)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    rows = small.train.rows.clone()
    begin = int(small.train.begins[small.train.unit == 2][0])
    rows[begin + 3 : begin + 9] = float("nan")
    broken = replace(small.train, rows=rows)
    trainer = make_trainer(epochs=4, batch_size=4, run_dir=tmp_path, fingerprint="f")
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.fit(broken, {"validation": small.held_out}, select="validation")
    message = str(caught.value)
    assert f", unit {small.train.unit_ids[2]}. " in message
    assert "epoch 3, step" in message
    assert "Remedy" in message
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_a_checkpoint_of_other_settings_is_refused(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    fit(make_trainer(epochs=1, run_dir=tmp_path, fingerprint="f"), small)
    with pytest.raises(CheckpointError, match="another configuration"):
        fit(make_trainer(epochs=2, run_dir=tmp_path, fingerprint="g"), small)


class Stop(Exception):  # noqa: N818
    """Pulls the plug."""


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("grace", {}),
        ("grace", {"outer": {"warmup_steps": 2, "update_every": 3}, "ema_decay": 0.0}),
        ("gradnorm", {}),
        ("dwa", {}),
        ("uncertainty", {}),
        ("mse+pcgrad", {"input_noise": 0.1}),
        ("amnl", {"checkpoint_every": 2, "plateau_patience": 0, "optimizer": "adam"}),
    ],
)
def test_an_interrupted_training_ends_as_the_uninterrupted(
    small: Any, make_trainer: Make, tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    def trainer(folder: str, stop: tuple[int, int] | None = None) -> Trainer:
        class Watch(Callback):
            def on_step_end(self, step: StepEnd) -> None:
                if stop is not None and (step.epoch, step.step_in_epoch) >= stop:
                    raise Stop

        return make_trainer(
            method,
            epochs=5,
            run_dir=tmp_path / folder,
            fingerprint="f",
            callbacks=[Watch()],
            **options,
        )

    whole = fit(trainer("whole"), small)
    # In the middle of epochs 0, 2 and 3, each time in a new process's place.
    for stop in ((0, 2), (2, 1), (3, 3)):
        with pytest.raises(Stop):
            fit(trainer("parts", stop), small)
    parts = fit(trainer("parts"), small)
    assert plain(parts) == plain(whole)
    assert same_weights(whole, parts)
    a, b = ((tmp_path / f / "telemetry.jsonl").read_text() for f in ("whole", "parts"))
    assert a == b
    histories = [
        [
            {k: v for k, v in r.items() if k != "seconds"}
            for r in read_jsonl(tmp_path / f / "history.jsonl")
        ]
        for f in ("whole", "parts")
    ]
    assert histories[0] == histories[1]


def test_resuming_a_finished_training_does_nothing(
    small: Any, make_trainer: Make, tmp_path: Path
) -> None:
    options = {"run_dir": tmp_path, "early_stopping_patience": 1, "epochs": 6, "lr": 0.5}
    first = fit(make_trainer(**options), small)
    seen: list[StepEnd] = []

    class Watch(Callback):
        def on_step_end(self, step: StepEnd) -> None:
            seen.append(step)

    again = fit(make_trainer(**options, callbacks=[Watch()]), small)
    assert seen == []
    assert [asdict(r) for r in again.history] == [asdict(r) for r in first.history]
    assert again.stopped_early == first.stopped_early
    assert same_weights(first, again)


def test_predictions_do_not_hang_on_the_batch_size(small: Any) -> None:
    model = small.model()
    model.train()
    one, all_ = (predict_windows(model, small.held_out, batch_size=b) for b in (3, 1000))
    torch.testing.assert_close(one[0], all_[0], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(one[1], all_[1], rtol=1e-5, atol=1e-5)
    assert model.training  # its mode is left as it was


def test_parameters_of_the_balancer_are_trained_at_their_own_rate(
    small: Any, make_trainer: Make
) -> None:
    trainer = make_trainer("uncertainty", balancer_lr=0.5)
    before = [p.detach().clone() for p in trainer.method.outer.parameters()]
    slow = make_trainer("uncertainty", balancer_lr=1e-6)
    fit(trainer, small)
    fit(slow, small)
    moved = [
        float((p.detach() - b).abs().max())
        for t in (trainer, slow)
        for p, b in zip(t.method.outer.parameters(), before, strict=True)
    ]
    assert max(moved[len(before) :]) < 1e-4
    assert min(moved[: len(before)]) > 0.1


def test_offset_noise_reaches_the_network(small: Any, make_trainer: Make) -> None:
    assert small.train.offset_group is not None
    without, weak = (fit(make_trainer(offset_noise=noise), small) for noise in (0.0, 0.5))
    assert not same_weights(without, weak)

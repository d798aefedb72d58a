"""bf16 is chosen where the processor multiplies it, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grace.training import PRESETS, RunConfig
from grace.training.device import multiplies_bf16, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_auto_asks_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_precision("auto", CPU) == chosen


def test_auto_is_fp32_where_the_processor_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not multiplies_bf16(CPU)
    assert not multiplies_bf16(torch.device("mps"))


@pytest.mark.parametrize("supported", [True, False])
def test_auto_asks_the_gpu_for_units_of_its_own(
    monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    def answer(including_emulation: bool = True) -> bool:
        return supported or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer)
    assert resolve_precision("auto", torch.device("cuda")) == ("bf16" if supported else "fp32")


def test_the_presets_say_what_the_guides_say_of_them() -> None:
    chosen = {name: RunConfig.load(preset=name).training.precision for name in PRESETS}
    assert chosen == {"fast": "fp32", "reference": "auto", "paper": "fp32", "best": "fp32"}


def test_what_is_asked_for_is_not_second_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("fp32", torch.device("cuda")) == "fp32"


def test_a_trainer_follows_the_choice(monkeypatch: pytest.MonkeyPatch, small: Any) -> None:
    used: list[bool] = []
    import grace.training.trainer as module

    step = module.training_step

    def watched(stepper: Any, *args: Any, **options: Any) -> Any:
        used.append(stepper.bf16)
        return step(stepper, *args, **options)

    monkeypatch.setattr(module, "training_step", watched)
    for capabilities in ({"avx512_bf16": True}, {}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        trainer = small.trainer("amnl", epochs=1, precision="auto")
        trainer.fit(small.train, {"validation": small.held_out}, select="validation")
    assert set(used) == {True, False}
    assert used[0] is True
    assert used[-1] is False


def test_a_resumed_run_goes_on_in_the_precision_it_began_with(
    monkeypatch: pytest.MonkeyPatch, small: Any, tmp_path: Path
) -> None:
    def fit(epochs: int, has: dict[str, bool]) -> Any:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
        trainer = small.trainer(
            "amnl", epochs=epochs, precision="auto", run_dir=tmp_path, fingerprint="f"
        )
        return trainer.fit(small.train, {"validation": small.held_out}, select="validation")

    assert fit(1, {"avx512_bf16": True}).precision == "bf16"
    assert fit(2, {}).precision == "bf16"


@pytest.mark.slow
def test_bf16_ends_where_fp32_does(small: Any) -> None:
    """Over seeds, the best validation RMSE in bf16 is that of fp32 within the noise of seeds."""

    def best(precision: str, seed: int) -> float:
        trainer = small.trainer(
            "grace", seed=seed, epochs=12, lr=1.5e-2, batch_size=16, precision=precision,
            deterministic=False, diagnose_every=0, log_every=100,
        )  # fmt: skip
        result = trainer.fit(small.train, {"validation": small.held_out}, select="validation")
        return float(result.best["validation"].rmse)

    rmse = {p: torch.tensor([best(p, s) for s in range(3)]) for p in ("fp32", "bf16")}
    constant = float((small.held_out.rul - small.train.rul.mean()).square().mean().sqrt())
    assert rmse["fp32"].mean() < 0.8 * constant  # there is something to lose
    difference = rmse["bf16"] - rmse["fp32"]
    assert difference.abs().max() > 0  # it is another arithmetic
    # Bounds that do not grow with the damage: none for the worse, all within the spread of seeds.
    assert difference.abs().max() <= 0.25 * rmse["fp32"].mean(), difference
    assert difference.mean().abs() <= rmse["fp32"].std(), difference

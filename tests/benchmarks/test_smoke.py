"""The benchmarks run, write what they print, and count their floor right."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from grace.models import DualTaskModel

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> object:
    """Import a benchmark as its own script would, without leaving its modules behind."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))

    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_training_step_runs_and_two_results_compare(
    tmp_path: Path, load: object, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "training_step.py"), "--quick", "--json", str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "what is promised" in done.stdout
    result = json.loads(file.read_text(encoding="utf-8"))
    named = {(r["precision"], r["name"]): r for r in result["rows"]}
    assert named["fp32", "form (a): straightforward GRACE"]["× form (a) fp32"] == 1.0
    assert named["bf16", "ours: GRACE, exact, every step"]["ms"] > 0
    assert ("fp32", "peer: TorchJD mtl_backward") in named
    assert {p["what"].split(":")[0] for p in result["promises"]} == {"fp32", "bf16"}
    assert result["machine"]["threads"] >= 1

    result["rows"][0]["× form (a) fp32"] *= 2
    other = tmp_path / "other.json"
    other.write_text(json.dumps(result), encoding="utf-8")
    load("training_step").main(["--compare", str(file), str(other)])  # type: ignore[operator]
    shown = capsys.readouterr().out
    assert "new against old" in shown
    assert "8 fp32 form (a)" in shown


def test_data_feed_runs(load: object, capsys: pytest.CaptureFixture[str]) -> None:
    load("data_feed").main(["--quick", "--batch", "64"])  # type: ignore[operator]
    assert "ours: permutation and gather" in capsys.readouterr().out


def test_three_ways_of_feeding_give_the_same_windows(load: object) -> None:
    feed: ModuleType = load("data_feed")  # type: ignore[operator]
    windows = feed.random_windows(rows=320)
    single, batched = feed.PerSampleWindows(windows), feed.BatchedWindows(windows)
    index = [0, 7, 31, 319]
    for i, window in zip(index, batched.__getitems__(index)[0], strict=True):
        assert torch.equal(single[i][0], window)
        assert torch.equal(windows.gather(torch.tensor([i]))[0], window)


class TestFloor:
    """The operations counted from shapes against torch's own counter and the parameters."""

    @pytest.fixture
    def model(self) -> DualTaskModel:
        return DualTaskModel(dropout_scale=0.0)

    def test_lstm(self, model: DualTaskModel, load: object) -> None:
        cost = load("floor").block_costs(5)["lstm"]  # type: ignore[operator]
        size = {n: p.numel() for n, p in model.lstm.named_parameters()}
        inputs = sum(v for n, v in size.items() if "weight_ih" in n)
        recurrent = sum(v for n, v in size.items() if "weight_hh" in n)
        assert cost.forward == 2 * 5 * (30 * inputs + 29 * recurrent)

    @pytest.mark.parametrize("block", ["cnn", "attn", "funnel+heads"])
    def test_block(self, model: DualTaskModel, load: object, block: str) -> None:
        cost = load("floor").block_costs(5)[block]  # type: ignore[operator]
        given = {
            "cnn": torch.randn(5, 30, 14),
            "attn": torch.randn(5, 30, 512, requires_grad=True),
            "funnel+heads": torch.randn(5, 512, requires_grad=True),
        }[block]

        def apply() -> torch.Tensor:
            if block == "cnn":
                return model.cnn(given)
            if block == "attn":
                return model.attn.last_step(given)
            rul, logits = model.heads(model.funnel(given))
            return rul.sum() + logits.sum()

        with FlopCounterMode(display=False) as counter:
            out = apply()
        assert counter.get_total_flops() == cost.forward
        with FlopCounterMode(display=False) as counter:
            out.sum().backward()
        assert counter.get_total_flops() == cost.backward

"""The benchmarks run, write what they print, and count their floor right."""

from __future__ import annotations

import importlib
import json
import sys
from functools import partial
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
    load("training_step").main(["--quick", "--json", str(file)])  # type: ignore[operator]
    assert "what is promised" in capsys.readouterr().out
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


@pytest.mark.exhaustive
def test_prediction_runs(load: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    file = tmp_path / "prediction.json"
    prediction: ModuleType = load("prediction")  # type: ignore[operator]
    small = partial(prediction.matrix_rate, size=64)
    monkeypatch.setattr(prediction, "matrix_rate", small)
    assert prediction.main(["--quick", "--json", str(file)]) == 0
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert {"torch", "onnxruntime"} <= {r["runtime"] for r in rows}
    assert all(r["windows/s"] > 0 for r in rows)
    table = load("document").prediction(json.loads(file.read_text()))  # type: ignore[operator]
    assert any(line.startswith("| onnxruntime | int8 |") for line in table)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("quick_workers")
def test_runs_at_once_are_timed_against_runs_in_a_row(load: object, tmp_path: Path) -> None:
    file = tmp_path / "parallel.json"
    arguments = ["--quick", "--parallel", "1", "2", "--json", str(file)]
    load("parallel_runs").main(arguments)  # type: ignore[operator]
    one, two = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert one["relative time"] == 1.0
    assert two["s"] > 0


@pytest.mark.exhaustive
@pytest.mark.usefixtures("quick_workers")
def test_fidelity_goes_on_where_it_stopped(
    load: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where λ is still in its warm-up, every form of GABA is the same training."""
    over = {
        "dataset_options": {"n_train": 14, "n_test": 8, "n_conditions": 1},
        "training": {"epochs": 1, "steps_per_epoch": 6},
        "evaluate_baselines": False,
        "model": {"lstm_hidden": 8, "num_heads": 2, "shared_dim": 8, "conv_channels": [8, 8, 8]},
    }
    file = tmp_path / "gaba.json"
    arguments = ["gaba", "--dataset", "sim", "--seeds", "2", "--parallel-runs", "1"]
    arguments += ["--out", str(tmp_path / "runs"), "--set", json.dumps(over), "--json", str(file)]
    load("fidelity").main(arguments)  # type: ignore[operator]
    first = json.loads(file.read_text(encoding="utf-8"))
    balanced = [r for r in first["rows"] if r["variant"] != "fixed 0.0477"]
    assert {r["difference"] for r in balanced} <= {0.0, None}
    assert {w["last λ"] for w in first["weights"]} == {0.5}

    capsys.readouterr()
    load("fidelity").main(arguments)  # type: ignore[operator]
    assert capsys.readouterr().out.count("already finished") == 14
    again = json.loads(file.read_text(encoding="utf-8"))
    assert again["rows"] == first["rows"]
    document: ModuleType = load("document")  # type: ignore[operator]
    assert len(document.fidelity(again)) == 2 + 7
    document.draw_weights(again, tmp_path / "lambda.svg")
    assert (tmp_path / "lambda.svg").stat().st_size > 1000


def test_no_figure_of_the_guide_was_typed(load: object) -> None:
    document: ModuleType = load("document")  # type: ignore[operator]
    guide = document.GUIDE.read_text(encoding="utf-8")
    made = document.sections()
    assert set(made) == set(document.SECTIONS)
    for name, lines in made.items():
        text = "\n".join(lines)
        assert f"<!-- {name}: begin -->\n{text}\n<!-- {name}: end -->" in guide, name


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

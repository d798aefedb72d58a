"""The command as a user runs it: what it prints, what it leaves, and how it fails."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from grace.cli import app
from grace.data.readers import READERS, load_dataset

TINY = {
    "dataset": "sim",
    "dataset_options": {"n_train": 14, "n_test": 8, "n_conditions": 1, "n_faults": 1},
    "windows": {"length": 12},
    "model": {
        "lstm_hidden": 8,
        "num_heads": 2,
        "shared_dim": 8,
        "conv_channels": [8, 8, 8],
        "funnel_hidden": [16, 8],
    },
    "training": {
        "epochs": 2,
        "steps_per_epoch": 6,
        "batch_size": 64,
        "warmup_epochs": 1,
        "deterministic": True,
    },
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return path


@pytest.fixture
def lean(tmp_path: Path) -> Path:
    """Without trivial baselines, whose training takes longest."""
    path = tmp_path / "lean.yaml"
    path.write_text(yaml.safe_dump({**TINY, "evaluate_baselines": False}), encoding="utf-8")
    return path


def grace(*args: str | Path):
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "200"})


@pytest.mark.usefixtures("undrawn")
def test_train_evaluate_report_as_a_user_runs_them(tiny: Path, lean: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trained = grace("train", "--preset", "fast", "--config", tiny, "--seed", 3, "--out", folder)
    assert trained.exit_code == 0, trained.output
    assert "epoch   2/2" in trained.output
    assert str(folder / "report.html") in trained.output
    names = {p.name for p in folder.iterdir()}
    assert {"artifact.json", "weights.safetensors", "metrics.json", "predictions.parquet"} <= names
    assert not [n for n in names if n.endswith((".pkl", ".pickle", ".tmp"))]

    stored = json.loads((folder / "metrics.json").read_text())["evaluation"]
    rmse = stored["model"]["last_cycle"]["capped"]["rmse"]
    assert f"test RMSE {rmse:.2f}" in trained.output
    assert pl.read_parquet(folder / "predictions.parquet")["unit"].n_unique() == 8

    evaluated = grace("evaluate", folder)
    assert evaluated.exit_code == 0, evaluated.output
    assert "equal those stored" in evaluated.output

    shown = grace("predict", folder)
    assert shown.exit_code == 0, shown.output
    stored_rul = pl.read_parquet(folder / "predictions.parquet").group_by("unit").last()
    from grace.formatting import number

    assert number(stored_rul["rul"].min()) in shown.output
    assert "RUL (cycles)" in shown.output
    for suffix, read in (
        (".csv", pl.read_csv),
        (".json", pl.read_json),
        (".parquet", pl.read_parquet),
    ):
        file = tmp_path / f"predicted{suffix}"
        done = grace("predict", folder, "--every-row", "--out", file)
        assert done.exit_code == 0, done.output
        rows = read(file)
        every = pl.read_parquet(folder / "predictions.parquet")
        assert rows["rul"].to_list() == pytest.approx(every["rul"].to_list(), rel=1e-6)
        assert rows["time"].to_list() == every["time"].to_list()
    train = grace("predict", folder, "--part", "train", "--out", tmp_path / "train.csv")
    assert train.exit_code == 0, train.output
    assert pl.read_csv(tmp_path / "train.csv").height == 14
    refused = grace("predict", folder, "--out", tmp_path / "predicted.xlsx")
    assert refused.exit_code == 2
    assert ".csv, .json, .parquet" in refused.stderr
    assert not (tmp_path / "predicted.xlsx").exists()

    page = tmp_path / "elsewhere.html"
    reported = grace("report", folder, "--out", page, "--unit", "1")
    assert reported.exit_code == 0, reported.output
    assert f"{rmse:.2f}" in page.read_text(encoding="utf-8")

    again = grace("train", "--preset", "fast", "--config", tiny, "--seed", 3, "--out", folder)
    assert "already holds this run" in again.output

    other = grace("train", "--preset", "fast", "--config", tiny, "--seed", 4, "--out", folder)
    assert other.exit_code == 2
    assert "--force" in other.output
    (folder / "mine.txt").write_text("not the run's")
    forced = grace(
        *("train", "--preset", "fast", "--config", lean, "--seed", 4, "--out", folder, "--force"),
        "--no-report",
    )
    assert forced.exit_code == 0, forced.output
    assert (folder / "mine.txt").exists()


def test_evaluate_notices_figures_that_changed(lean: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    grace("train", "--preset", "fast", "--config", lean, "--out", folder, "--no-report")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["evaluation"]["model"]["last_cycle"]["capped"]["rmse"] -= 1.0
    (folder / "metrics.json").write_text(json.dumps(metrics))
    evaluated = grace("evaluate", folder)
    assert evaluated.exit_code == 1
    assert "differ from those stored in the run: model.last_cycle.capped.rmse" in evaluated.output


def test_test_selection_is_marked_and_its_gap_printed(lean: Path, tmp_path: Path) -> None:
    result = grace(
        *("train", "--preset", "fast", "--config", lean, "--select-on", "test"),
        *("--out", tmp_path / "run", "--no-report"),
    )
    assert result.exit_code == 0, result.output
    assert "test-selected, optimistic" in result.output
    assert "optimism gap" in result.output


def test_layers_of_configuration(tiny: Path) -> None:
    shown = grace(
        *("train", "--preset", "fast", "--config", tiny, "--method", "amnl"),
        *("--set", "training.lr=3e-4", "--set", "windows.length=20", "--show-config"),
    )
    config = yaml.safe_load(shown.output)
    assert config["training"]["lr"] == pytest.approx(3e-4)
    assert config["windows"]["length"] == 20
    assert config["method"]["name"] == "amnl"
    assert config["training"]["epochs"] == 2
    assert config["preset"] == "fast"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--dataset", "FD01"], "did you mean FD001"),
        (["--method", "grase"], "did you mean 'grace'"),
        (["--method", "gaba:0.5"], "only 'fixed' takes an argument"),
        (["--preset", "quick"], "choose from fast, reference, paper"),
        (
            ["--preset", "best", "--epochs", "3"],
            "settings of training have no effect with --preset best",
        ),
        (["--set", "training.lrr=1"], "unknown key 'training.lrr'"),
        (["--set", "training.lr"], "write key=value"),
        (["--set", "training.lr=["], "not a valid YAML value"),
        (["--set", "training=5", "--set", "training.lr=1"], "training.lr is not a section"),
        (["--device", "tpu9"], "device 'tpu9' is not available here"),
        (["--config", "."], "."),
        (["--set", "labels.health_thresholds=[130, 30]"], "class 0 would be empty"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such configuration file"),
        (["--select-on", "train"], "select_on"),
        (["--set", "dataset_options.n_trains=9"], "n_trains"),
        (["--set", "dataset_options.n_train=0"], "n_train"),
        (["--dataset", "FD001", "--data-root", "empty"], "grace data download"),
        (["--data", "x.csv", "--show-config"], "--show-config is an option of named datasets"),
        (["--data", "x.csv", "--device", "cpu"], "--device is an option of named datasets"),
        (["--data", "x.csv", "--data-root", "y"], "--data-root is an option of named datasets"),
    ],
)
def test_bad_input_is_one_line_that_tells_the_remedy(args: list[str], said: str) -> None:
    result = grace("train", *args)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_options_of_a_grid_are_those_of_its_methods(tmp_path: Path) -> None:
    """The preset's own method has no such option."""
    options = ["--set", "method.outer_options.normalise=initial_loss", "--out", tmp_path / "grid"]
    nowhere = ["--dataset", "FD001", "--data-root", tmp_path]
    result = grace("grid", "--method", "nash_mtl", *options, *nowhere)
    assert result.exit_code == 2
    assert "no C-MAPSS" in result.output
    result = grace("grid", "--method", "dwa", *options, *nowhere)
    assert result.exit_code == 2
    assert "'dwa'" in result.output


def test_a_grid_refuses_a_preset_that_is_more_than_a_network(tmp_path: Path) -> None:
    result = grace("grid", "--preset", "best", "--out", tmp_path / "grid")
    assert result.exit_code == 2, result.output
    assert "use `grace train --preset best`" in " ".join(result.output.split())
    assert not (tmp_path / "grid").exists()


def test_evaluating_what_is_no_run(tmp_path: Path) -> None:
    result = grace("evaluate", tmp_path)
    assert result.exit_code == 2
    assert "give the folder of a finished run" in " ".join(result.output.split())


@pytest.mark.parametrize("command", ["train", "predict", "report", "export", "evaluate", "grid"])
def test_help_gives_examples_that_fit_a_terminal(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"})
    examples = done.output.partition("Example")[2].partition("╭")[0].splitlines()
    lines = [line for line in examples if line.strip()]
    assert any(line.strip().startswith(f"grace {command}") for line in lines)
    wrapped = [x for x in lines[1:] if not x.strip().startswith("grace")]
    assert not wrapped, wrapped


def test_help_starts_with_a_first_run() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    assert text.index("grace train --out") < text.index("grace predict") < text.index("Options")
    panels = ["Start here", "Your own data", "Evaluate", "Reference"]
    assert sorted(panels, key=text.index) == panels


def test_lists() -> None:
    assert "weighted_mse" in grace("methods").output
    text = CliRunner().invoke(app, ["data", "list"], env={"COLUMNS": "80"}).output
    rows = [line for line in text.splitlines() if line.startswith("│")]
    assert [row.split()[1] for row in rows] == list(READERS)  # one line each: nothing is wrapped
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith("│"))


def test_export_writes_a_checked_model(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    folder = tmp_path / "run"
    options = ["--config", tiny, "--epochs", 1, "--set", "evaluate_baselines=false"]
    assert grace("train", *options, "--out", folder, "--no-report").exit_code == 0
    done = grace("export", folder)
    assert done.exit_code == 0, done.output
    assert "compared with PyTorch" in done.output
    from grace.prediction import Predictor

    fleet = load_dataset("sim", **TINY["dataset_options"]).test
    exported = Predictor.load(folder, runtime="onnxruntime", model_file=folder / "model.onnx")
    here, there = (p.predict(fleet)["rul"] for p in (Predictor.load(folder), exported))
    assert there.to_list() == pytest.approx(here.to_list(), abs=2e-3)


def test_an_unknown_logger_is_reported_before_training(tiny: Path, tmp_path: Path) -> None:
    done = grace("train", "--config", tiny, "--out", tmp_path / "run", "--logger", "wandb")
    assert done.exit_code == 2
    assert "choose from tensorboard, mlflow" in done.stderr
    assert not (tmp_path / "run").exists()


def test_tensorboard_events_are_written_to_the_run_folder(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    options = ["--config", tiny, "--epochs", 1, "--set", "evaluate_baselines=false", "--no-report"]
    done = grace("train", *options, "--out", tmp_path / "run", "--logger", "tensorboard")
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_describe_simulated_fleet() -> None:
    text = grace("data", "describe", "sim").output
    assert "80" in text
    assert "Operating conditions" in text


def test_data_of_the_publisher(data_root: Path, tmp_path: Path) -> None:
    assert grace("data", "verify", "--data-root", data_root).exit_code == 0
    text = grace("data", "describe", "FD002", "--data-root", data_root).output
    assert "259" in text
    assert "33991" in text


def test_the_script_of_the_published_layout(
    lean: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = Path(__file__).parents[1] / "experiments" / "train_amnl_v7.py"
    options = ["--dataset", "sim", "--seed", "0", "--config", str(lean)]
    options += ["--out", str(tmp_path / "run"), "--no-report"]
    monkeypatch.setattr(sys, "argv", [str(script), *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert not ended.value.code
    config = json.loads((tmp_path / "run" / "artifact.json").read_text())["config"]
    assert (config["method"]["name"], config["preset"], config["seed"]) == ("amnl", "paper", 0)
    assert config["select_on"] == "test"
    assert "test-selected, optimistic" in " ".join(capsys.readouterr().out.split())


def test_force_deletes_nothing_but_runs(tiny: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for extra in (["--dataset", "FD001", "--data-root", tmp_path / "nowhere"], []):
        result = grace("train", "--config", tiny, "--out", precious, "--force", *extra)
        assert result.exit_code == 2
        assert (precious / "thesis.txt").read_text() == "years of work"
    assert "holds no run" in " ".join(result.output.split())


def test_an_output_that_is_a_file(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = grace("train", "--preset", "fast", "--config", tiny, "--out", tmp_path / "file" / "x")
    assert result.exit_code == 2
    assert "Remedy" in result.output


@pytest.mark.usefixtures("quick_workers")
def test_a_grid_compares_methods_and_keeps_what_is_done(lean: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    options = ["--preset", "fast", "--config", lean, "--seed", 1, "--seed", 2, "--out", out]
    methods = ["--method", "amnl", "--method", "uncertainty"]
    first = grace("grid", *options, *methods, "--parallel-runs", 2)
    assert first.exit_code == 0, first.output
    assert "4/4" in first.output
    assert "minus that of amnl" in first.output
    table = pl.read_csv(out / "runs.csv")
    assert table.height == 4
    mean = table.filter(pl.col("method") == "uncertainty")["rmse_capped"].mean()
    assert f"{mean:.2f} ±" in first.output
    (folder,) = out.glob("sim-uncertainty-fast-seed2-*")
    suffix = folder.name.removeprefix("sim-uncertainty-fast-seed2")

    # The first method is the reference however it is spelt.
    shouted = grace("grid", *options, "--method", "AMNL", "--method", "uncertainty")
    assert "minus that of amnl" in shouted.output

    # One more method: the others are not trained again; an unusable folder is reported at the end.
    (out / f"sim-dwa-fast-seed1{suffix}" / "telemetry.jsonl").mkdir(parents=True)
    again = grace("grid", *options, *methods, "--method", "dwa")
    assert again.exit_code == 1
    assert again.output.count("already finished") == 4
    assert "failed: sim-dwa-fast-seed1" in again.stderr
    assert pl.read_csv(out / "runs.csv").height == 5
    grace("grid", *options[:4], "--seed", 1, "--out", out, "--method", "amnl")
    assert pl.read_csv(out / "runs.csv").height == 5  # every finished run of the folder


@pytest.mark.usefixtures("quick_workers")
def test_a_grid_takes_method_and_seed_of_the_configuration(lean: Path, tmp_path: Path) -> None:
    out = tmp_path / "grid"
    file = tmp_path / "mine.yaml"
    file.write_text(lean.read_text() + "method: {name: gaba}\nseed: 7\n", encoding="utf-8")
    done = grace("grid", "--preset", "fast", "--config", file, "--out", out)
    assert done.exit_code == 0, done.output
    names = sorted(p.name.rpartition("-")[0] for p in out.iterdir() if p.is_dir())
    assert names == ["sim-gaba-fast-seed7", "sim-mse+fixed_0.0477-fast-seed7"]


def test_a_grid_in_a_file_s_place_says_so(tiny: Path, tmp_path: Path) -> None:
    done = grace("grid", "--preset", "fast", "--config", tiny, "--out", tiny)
    assert done.exit_code == 2
    assert str(tiny) in done.stderr
    assert "Remedy" in done.stderr


def test_a_grid_refuses_what_cannot_be_run(tmp_path: Path) -> None:
    unknown = grace("grid", "--method", "grace", "--method", "greace", "--out", tmp_path)
    assert unknown.exit_code == 2
    assert "did you mean" in unknown.stderr
    assert list(tmp_path.iterdir()) == []

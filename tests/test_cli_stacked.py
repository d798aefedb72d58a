"""``grace train --preset best`` and the commands that take its folder, with quick candidates."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from grace.cli import app
from grace.estimator import RULModel
from grace.experiments import read_metrics

OPTIONS = ("--set", "dataset_options.n_train=10", "--set", "dataset_options.n_test=4")


def command(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "80"})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # The network and boosting would take most of the time.
    module = import_module("grace.estimator.fitting")
    monkeypatch.setattr(module, "STACKED_CANDIDATES", ("median_life", "linear"))


@pytest.mark.usefixtures("undrawn")
def test_from_training_to_predictions(tmp_path: Path) -> None:
    train = ("train", "--preset", "best", *OPTIONS, "--seed", "3", "--out", tmp_path / "run")
    trained = command(*train)
    assert trained.exit_code == 0, trained.output
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Test units" in page
    assert "test set read once" in page
    assert "already holds this run" in command(*train).output

    evaluated = command("evaluate", tmp_path / "run")
    assert evaluated.exit_code == 0, evaluated.output
    assert "The results equal those stored" in evaluated.output
    written = command("predict", tmp_path / "run", "--out", tmp_path / "p.parquet")
    assert written.exit_code == 0, written.output
    found = pl.read_parquet(tmp_path / "p.parquet")
    assert found.height == 4
    assert (found["lower"] <= found["upper"]).all()
    reported = command("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert reported.exit_code == 0, reported.output
    assert (tmp_path / "page.html").exists()
    assert "gradient_boosting" in read_metrics(tmp_path / "run")[0].baselines
    assert RULModel.load(tmp_path / "run").preset == "best"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--select-on", "test"], "select_on"),
        (["--set", "windows.length=20"], "windows"),
        (["--set", "labels.health_thresholds=[70, 20]"], "labels"),
        (["--logger", "tensorboard"], "logger"),
    ],
)
def test_what_has_no_effect_is_refused(tmp_path: Path, options: list[str], named: str) -> None:
    answer = command("train", "--preset", "best", *options, "--out", tmp_path / "run")
    assert answer.exit_code == 2
    assert f"settings of {named} have no effect" in answer.output
    assert not (tmp_path / "run").exists()

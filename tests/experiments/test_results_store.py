"""The store of results: what goes in comes out, and what the benchmark page computes from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from grace.cli import app
from grace.data import Dataset
from grace.experiments import ResultsStore, compare_over_units, grid, run, runs_table
from grace.experiments.results_store import STORE_NAME
from grace.files import sha256_file
from grace.prediction import ArtifactError
from grace.training.config import RunConfig

Tiny = Callable[..., RunConfig]
Made = Callable[..., ResultsStore]
SEEDS = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def folders(tiny: Tiny, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    on_test = tiny(select_on="test", training={"epochs": 4, "lr": 0.02})
    run(tiny(), place / "a", dataset=data)
    run(on_test, place / "b", dataset=data)
    return [place / "a", place / "b"]


@pytest.fixture
def store(folders: list[Path], tmp_path: Path) -> Any:
    with ResultsStore(tmp_path / STORE_NAME) as opened:
        for folder in folders:
            opened.add(folder)
        yield opened


def test_a_test_selected_run_gives_both_protocols(store: ResultsStore, folders: list[Path]) -> None:
    table = store.scores()
    assert sorted(table["protocol"].to_list()) == ["test", "validation", "validation"]
    read = runs_table(folders)
    mine = store.scores(protocol="test").row(0, named=True)
    for name in ("rmse_capped", "nasa_raw", "seed", "method", "group", "mark"):
        assert mine[name] == read.row(1, named=True)[name]
    validated = store.scores(protocol="validation").filter(run=mine["run"])
    assert validated["rmse_capped"].item() == read["rmse_capped_validation_selected"][1]
    assert validated["mark"].item() == ""
    assert mine["data_test"]
    assert mine["version"]


def test_predictions_of_both_protocols_give_the_scores(store: ResultsStore) -> None:
    for protocol in ("validation", "test"):
        table, rows = store.scores(protocol=protocol), store.predictions(protocol)
        for name, rmse in table.select("run", "rmse_capped").rows():
            part = rows.filter(run=name)
            error = (part["rul"] - part["rul_true_capped"]).to_numpy()
            assert np.sqrt(np.mean(error**2)) == pytest.approx(rmse, rel=1e-5)


def test_adding_a_run_again_changes_nothing(store: ResultsStore, folders: list[Path]) -> None:
    before = store.scores().drop("recorded"), store.predictions("test"), store.weights()
    store.add(folders[1])
    after = store.scores().drop("recorded"), store.predictions("test"), store.weights()
    for a, b in zip(before, after, strict=True):
        assert_frame_equal(a, b, check_row_order=False)
    assert store.weights()["weights"].list.len().unique().to_list() == [2]


def test_an_export_is_the_store(store: ResultsStore, tmp_path: Path) -> None:
    store.export(tmp_path / "out")
    with ResultsStore.read_export(tmp_path / "out") as again:
        assert_frame_equal(again.scores().drop("folder"), store.scores().drop("folder"))
        for protocol in ("validation", "test"):
            assert_frame_equal(again.predictions(protocol), store.predictions(protocol))
        assert_frame_equal(again.weights(), store.weights())
        again.export(tmp_path / "again")
    for name in ("scores.csv", "predictions.parquet", "weights.parquet"):
        assert sha256_file(tmp_path / "out" / name) == sha256_file(tmp_path / "again" / name)


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_no_store_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.sqlite.*Remedy"):
        ResultsStore(path)
    assert path.read_bytes() == content


def test_a_damaged_export_is_named(store: ResultsStore, tmp_path: Path) -> None:
    store.export(tmp_path / "out")
    (tmp_path / "out" / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"out: not an export.*Remedy"):
        ResultsStore.read_export(tmp_path / "out")


def test_filters(store: ResultsStore) -> None:
    assert store.scores(method=["amnl"]).is_empty()
    assert store.scores(seed=[3], dataset=["sim"]).height == 3


@pytest.mark.usefixtures("quick_workers")
def test_a_grid_fills_its_store(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(training={"epochs": 1})
    for _ in range(2):
        grid({"one": config}, tmp_path / "g")
        with ResultsStore(tmp_path / "g" / STORE_NAME) as opened:
            assert opened.scores()["folder"].to_list() == ["one"]


def test_paired_differences_over_units_come_from_the_store(made: Made) -> None:
    store = made({"FD001": {"a": [10.0, 10.0], "b": [9.0, 9.0]}})
    table, rows = store.scores(protocol="validation"), store.predictions("validation")
    found = compare_over_units(table, reference="a", predictions=rows)
    assert found["FD001"]["b"][0].value == pytest.approx(-1.0)


def test_runs_are_merged_into_an_export(tmp_path: Path, made: Made) -> None:
    made({"FD001": {"a": [10.0, 11.0]}}).export(tmp_path / "e")
    with made({"FD001": {"a": [10.0, 12.0], "b": [7.0]}}, tmp_path / "grid" / STORE_NAME) as grown:
        grown._db.commit()
    added = command("add", tmp_path / "e", tmp_path / "grid")
    assert added.exit_code == 0, added.output
    assert "1 run added" in added.output
    assert "2 replaced" in added.output
    assert not (tmp_path / "e" / STORE_NAME).exists()
    with ResultsStore.read_export(tmp_path / "e") as store:
        scores = store.scores(protocol="validation")
        assert scores["rmse_capped"].to_list() == [10.0, 12.0, 7.0]
        assert store.predictions("test").height == 3 * 12
    digest = sha256_file(tmp_path / "e" / "predictions.parquet")
    assert command("add", tmp_path / "e", tmp_path / "grid").exit_code == 0
    assert sha256_file(tmp_path / "e" / "predictions.parquet") == digest


def test_latex_needs_no_further_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Made
) -> None:
    made({"FD001": {"x_y&z": [10.0]}}).export(tmp_path / "e")
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    target = tmp_path / "t.tex"
    assert command("export", tmp_path / "e", "--format", "latex", "--out", target).exit_code == 0
    assert r"& x\_y\&z & 1 & 10.00 &" in target.read_text("utf-8")


def command(*args: str | Path) -> Any:
    return CliRunner().invoke(app, ["results", *map(str, args)], env={"COLUMNS": "80"})


def test_the_commands(store: ResultsStore, folders: list[Path], tmp_path: Path) -> None:
    listed = command("list", tmp_path)
    assert listed.exit_code == 0
    assert listed.output.count("sim") == 2
    assert max(map(len, listed.output.splitlines())) <= 80
    reference = store.scores()["method"][0]
    assert command("compare", tmp_path, "--reference", reference).exit_code == 0
    for form, start in (("csv", "run,"), ("markdown", "| protocol"), ("latex", "\\begin{tab")):
        target = tmp_path / f"t.{form}"
        assert command("export", tmp_path, "--format", form, "--out", target).exit_code == 0
        assert target.read_text("utf-8").startswith(start)
    target = tmp_path / "t.parquet"
    assert command("export", tmp_path, "--format", "parquet", "--out", target).exit_code == 0
    assert pl.read_parquet(target).height == 3
    assert command("export", tmp_path, "--out", tmp_path / "e").exit_code == 0
    assert command("list", tmp_path / "e").output == listed.output
    added = command("add", tmp_path / "other.sqlite", *folders)
    assert added.exit_code == 0
    assert command("list", tmp_path / "other.sqlite").exit_code == 0


def test_mistakes_are_one_line(tmp_path: Path, folders: list[Path]) -> None:
    for args in (
        ("list", tmp_path / "nowhere"),
        ("add", tmp_path / "s.sqlite", tmp_path / "nowhere"),
        ("page", tmp_path / "empty.sqlite", "--out", tmp_path / "p.md"),
    ):
        if "empty" in str(args[1]):
            ResultsStore(Path(args[1])).close()
        failed = command(*args)
        assert failed.exit_code == 2, failed.output
        assert "Remedy" in failed.output
        assert "Traceback" not in failed.output

"""The store of results: what goes in comes out, and what the benchmark page computes from it."""

from __future__ import annotations

import json
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
from grace.experiments.benchmark import (
    cells,
    factorial_effects,
    optimism,
    selection_share,
    win_tie_loss,
)
from grace.experiments.controls import surgery_rows, weight_sweep
from grace.experiments.results_store import STORE_NAME
from grace.files import sha256_file
from grace.prediction import ArtifactError
from grace.report.benchmark_page import benchmark_sentences, write_benchmark_page
from grace.training.config import RunConfig

Tiny = Callable[..., RunConfig]
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


def made(scores: dict[str, dict[str, list[float]]], path: Path | str = ":memory:") -> ResultsStore:
    """A store of invented runs: RMSE per dataset and method for seeds 1 to n; gap −0.5."""
    store = ResultsStore(path)
    for dataset, methods in scores.items():
        for method, values in methods.items():
            for seed, rmse in enumerate(values, start=1):
                for protocol, value in (("validation", rmse), ("test", rmse - 0.5)):
                    run_ = f"{dataset}-{method}-{seed}"
                    row = {
                        "run": run_, "folder": run_, "dataset": dataset, "method": method,
                        "preset": "fast", "settings": "", "seed": seed, "group": dataset,
                        "mark": "" if protocol == "validation" else "test-selected",
                        "rmse_capped": value, "rmse_raw": value + 1, "nasa_capped": 20 * value,
                        "nasa_raw": 30 * value, "health_accuracy": 0.9, "health_f1": 0.9,
                        "protocol": protocol, "version": "0", "seconds": 60.0, "epochs": 3,
                        "threads": 1, "device": "cpu", "precision": "float32",
                    }  # fmt: skip
                    store._insert(
                        "scores", [(run_, protocol, dataset, method, seed, json.dumps(row))]
                    )
                    store._insert(
                        "predictions",
                        [
                            (
                                run_,
                                protocol,
                                str(u),
                                50.0,
                                50.0,
                                50.0 + value * (1 if u % 2 else -1),
                            )
                            for u in range(12)
                        ],
                    )
    return store


def spread(mean: float) -> list[float]:
    return [mean + d for d in (-0.2, 0.1, 0.0, 0.15, -0.05)]


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


def test_effects_of_the_two_by_two() -> None:
    """Worked values: A 10, B 11, C 9, D 9.5, so balancing −1.25, loss +0.75, interaction −0.5."""
    scores = {"baseline": spread(10), "amnl": spread(11), "gaba": spread(9), "grace": spread(9.5)}
    scores["grace"][0] += 0.1  # a difference that is not equal over the seeds
    effects = {e.name: e for e in factorial_effects(made({"FD001": scores}))}
    assert effects["balancing"].mean == pytest.approx(-1.25 + 0.01)
    assert effects["failure-biased loss"].mean == pytest.approx(0.75 + 0.01)
    assert effects["interaction"].mean == pytest.approx(-0.5 + 0.02)
    e = effects["balancing"]
    # Per seed −1.25, one of them +0.05: standard error 0.05/5, t(0.975, 4) = 2.776.
    assert e.low == pytest.approx(e.mean - 2.776 * 0.05 / 5, abs=1e-4)
    assert e.p_holm is not None
    assert e.p_holm < 0.001


def test_no_effect_is_tested_below_five_seeds() -> None:
    scores = {m: [10.0, 10.5, 9.5] for m in ("baseline", "amnl", "gaba", "grace")}
    effects = factorial_effects(made({"FD001": scores}))
    assert {e.p_holm for e in effects} == {None}
    sentences = " ".join(benchmark_sentences(made({"FD001": scores})))
    assert "No test is made" in sentences


def test_wins_ties_and_losses_are_counted_over_data_sets() -> None:
    noise = [0.01, -0.02, 0.015, 0.0, -0.01]
    better = [8 + d for d in noise]
    scores = {"good": better, "bad": [10 + d for d in noise[::-1]], "same": [10 - d for d in noise]}
    records = {r.method: r for r in win_tie_loss(made({"FD001": scores, "FD002": scores}))}
    assert tuple(records["good"][1:]) == (4, 0, 0)
    assert tuple(records["bad"][1:]) == (0, 2, 2)
    assert tuple(records["same"][1:]) == (0, 2, 2)


def test_cells_give_mean_interval_and_gap() -> None:
    (cell,) = cells(made({"FD001": {"a": [10.0, 12.0]}}))
    assert (cell.seeds, cell.rmse, cell.rmse_std) == (2, 11.0, pytest.approx(np.sqrt(2)))
    assert cell.test_rmse == 10.5
    assert cell.gap == -0.5
    # All errors of a seed are equal: the pooled RMSE is √((10² + 12²)/2) for every unit drawn.
    assert cell.interval is not None
    assert cell.interval.low == pytest.approx(np.sqrt(122), rel=1e-6)
    assert optimism(made({"FD001": {"a": [10.0, 12.0]}})) == {"FD001": (-0.5, 0.0, 2)}


def test_share_of_a_published_lead_that_selection_explains() -> None:
    (row,) = selection_share(cells(made({"FD002": {"baseline": [10.0, 10.0]}})))
    assert row["published"] == 7.37
    assert row["share"] == pytest.approx(0.5 / (10.0 - 7.37))


def test_runs_of_different_settings_are_not_pooled() -> None:
    store = made({"FD001": {"a": [10.0]}})
    row = store.scores(protocol="validation").row(0, named=True) | {"run": "other"}
    store._insert("scores", [("other", "validation", "FD001", "a", 1, json.dumps(row))])
    with pytest.raises(ArtifactError, match=r"FD001: a has several runs with seed 1"):
        cells(store)


def test_paired_differences_over_units_come_from_the_store() -> None:
    store = made({"FD001": {"a": [10.0, 10.0], "b": [9.0, 9.0]}})
    table, rows = store.scores(protocol="validation"), store.predictions("validation")
    found = compare_over_units(table, reference="a", predictions=rows)
    assert found["FD001"]["b"][0].value == pytest.approx(-1.0)


def test_the_page_is_the_same_from_store_and_export(tmp_path: Path) -> None:
    scores = {m: spread(10 + k) for k, m in enumerate(("baseline", "amnl", "gaba", "grace"))}
    store = made({"FD001": scores, "FD002": scores}, tmp_path / "s.sqlite")
    store._insert("weights", [("FD001-gaba-1", e, 10 * e, "[0.5, 0.5]") for e in range(3)])
    page = write_benchmark_page(store, tmp_path / "a" / "page.md").read_text("utf-8")
    store.export(tmp_path / "export")
    again = ResultsStore.read_export(tmp_path / "export")
    assert write_benchmark_page(again, tmp_path / "b" / "page.md").read_text("utf-8") == page
    drawn = {p.name: p.read_bytes() for p in (tmp_path / "a" / "page").iterdir()}
    assert {"ranks.svg", "pareto_FD001.svg", "weights_FD001.svg"} <= drawn.keys()
    assert drawn == {p.name: p.read_bytes() for p in (tmp_path / "b" / "page").iterdir()}
    assert all(f"page/{name}" in page for name in drawn)
    assert "10.00 ± 0.14" in page
    assert "| 7.37" in page


def with_controls() -> dict[str, dict[str, list[float]]]:
    methods = {m: spread(10 + k) for k, m in enumerate(("baseline", "amnl", "gaba", "grace"))}
    single = {
        "fixed:0.01": [9.0], "fixed:1.0": [12.0], "mse+fixed:0.0477": spread(9.5), "pcgrad": [11.0],
        "pcgrad (normalise=initial_loss)": [9.0], "weighted_mse+fixed:0.25": [10.0],
    }  # fmt: skip
    return {"FD001": methods | single, "FD002": methods | single}


def test_the_sweep_compares_common_seeds_only() -> None:
    points = {p.weight: p for p in weight_sweep(made(with_controls())) if p.dataset == "FD001"}
    assert points.keys() == {0.01, 0.0477, 0.5, 1.0, None}
    assert {p.seeds for p in points.values()} == {(1,)}
    assert points[0.5].rmse == spread(10)[0]
    assert points[None].rmse == spread(12)[0]
    assert weight_sweep(made({"FD001": {"baseline": [1.0], "fixed:0.1": [1.0]}})) == []


def test_gradient_surgery_is_compared_with_the_baseline_of_the_same_seed() -> None:
    rows = [r for r in surgery_rows(made(with_controls())) if r.dataset == "FD002"]
    assert [(r.method, r.normalise, r.common) for r in rows] == [
        ("pcgrad", "none", 1), ("pcgrad", "initial_loss", 1)
    ]  # fmt: skip
    assert [r.difference for r in rows] == pytest.approx([11.0 - 9.8, 9.0 - 9.8])


def test_controls_have_sections_of_their_own_and_no_rank(tmp_path: Path) -> None:
    store = made(with_controls())
    page = write_benchmark_page(store, tmp_path / "page.md").read_text("utf-8")
    main, _, rest = page.partition("## Sweep of fixed weights")
    assert "`pcgrad`" not in main.partition("## Results")[2]
    assert "| `mse+fixed:0.0477`" in main  # compared with GABA in the tables of the grid
    assert "`fixed:0.01`" not in main.partition("## Results")[2]
    sweep, _, surgery = rest.partition("## Gradient surgery")
    assert "| 0.0477" in sweep
    assert "page/sweep_FD001.svg" in sweep
    assert "initial loss" in surgery
    assert "Gradient surgery changes the RMSE of the baseline by" in main
    ranks = (tmp_path / "page" / "ranks.svg").read_text("utf-8")
    assert "baseline" in ranks
    assert "pcgrad" not in ranks


def test_runs_are_merged_into_an_export(tmp_path: Path) -> None:
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


def test_latex_needs_no_further_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

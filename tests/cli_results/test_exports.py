"""`grace results export`: formats, summaries and what it refuses."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from invented_results import SEEDS, error, results

from grace.experiments import ResultsStore
from grace.files import atomic_writer

# Exports


def test_a_summary_has_numbers_and_seeds(grid: Path, tmp_path: Path) -> None:
    for name in ("s.csv", "s.parquet"):
        args = ("export", grid, "--summary", "--dataset", "FD001", "--out", tmp_path / name)
        assert results(*args).exit_code == 0
    table = pl.read_csv(tmp_path / "s.csv", schema_overrides={"settings": pl.String})
    row = table.row(by_predicate=(pl.col("method") == "baseline") & (pl.col("protocol") == "test"))
    found = dict(zip(table.columns, row, strict=True))
    values = pl.Series([10.8 + seed % 7 / 10 - 0.5 for seed in SEEDS])
    assert found["seeds"] == 5
    assert found["rmse_capped_mean"] == pytest.approx(values.mean())
    assert found["rmse_capped_std"] == pytest.approx(values.std())
    assert table.filter(method="fixed:0.01")["rmse_capped_std"].to_list() == [None, None]
    assert table.select("protocol", "dataset", "method").is_unique().all()
    assert pl.read_parquet(tmp_path / "s.parquet").schema["nasa_raw_std"] == pl.Float64


def test_a_summary_as_text(grid: Path, tmp_path: Path) -> None:
    filters = ("--method", "baseline", "--dataset", "FD001", "--protocol", "validation")
    for name in ("s.md", "s.tex"):
        args = ("export", grid, "--summary", *filters, "--out", tmp_path / name)
        assert results(*args).exit_code == 0
    head, rule, row = (tmp_path / "s.md").read_text("utf-8").splitlines()
    assert head.startswith("| protocol   | dataset | method   | seeds | ")
    assert "RMSE capped" in head
    assert rule.startswith("|------------|---------|----------|------:|")
    assert row.startswith("| validation | FD001   | baseline |     5 | 11.04 ± 0.21 |")
    latex = (tmp_path / "s.tex").read_text("utf-8").splitlines()
    assert latex[:2] == [r"\begin{tabular}{lllrrrrrr}", r"\toprule"]
    assert latex[4].startswith(r"validation & FD001 & baseline & 5 & 11.04 $\pm$ 0.21 &")
    assert latex[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_the_suffix_gives_the_format_and_filters_apply(grid: Path, tmp_path: Path) -> None:
    filters = ("--method", "gaba", "--seed", "42", "--preset", "fast")
    starts = {"t.tex": "\\begin{tabular}{lllrrrrr}", "t.md": "| protocol", "t.csv": "run,"}
    for name, start in starts.items():
        written = results("export", grid, *filters, "--out", tmp_path / name)
        assert written.exit_code == 0, written.output
        text = (tmp_path / name).read_text("utf-8")
        assert text.startswith(start)
        assert text.count("gaba") >= 2
        assert "baseline &" not in text
    assert pl.read_csv(tmp_path / "t.csv")["protocol"].sort().to_list() == ["test", "validation"]


def test_a_folder_gets_the_selected_runs_only(grid: Path, tmp_path: Path) -> None:
    args = ("export", grid, "--seed", "42", "--protocol", "test", "--out", tmp_path / "part")
    assert results(*args).exit_code == 0
    with ResultsStore.read_export(tmp_path / "part") as part:
        scores = part.scores()
        assert set(scores["seed"]) == {42}
        assert set(scores["protocol"]) == {"test"}
        assert set(part.predictions("test")["run"]) == set(scores["run"])
        assert part.predictions("validation").is_empty()


def test_no_file_is_replaced_without_force(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for name, said in (("t.csv", "exists already"), ("full", "the folder is not empty")):
        assert f"{said}. Remedy: give another name, or --force" in error(
            "export", grid, "--out", tmp_path / name
        )
    assert (tmp_path / "t.csv").read_text() == "mine"
    for name in ("t.csv", "full"):
        assert results("export", grid, "--out", tmp_path / name, "--force").exit_code == 0
    assert (tmp_path / "t.csv").read_text("utf-8").startswith("run,")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_places_that_cannot_be_written_are_named(grid: Path, tmp_path: Path) -> None:
    out = ("export", grid, "--out")
    said = error(*out, tmp_path / "no" / "t.csv")
    assert f"the folder {tmp_path / 'no'} does not exist. Remedy: create it" in said
    assert not (tmp_path / "no").exists()
    assert "is a folder. Remedy" in error(*out, tmp_path, "--format", "csv")
    assert "unknown file type .xlsx. Remedy" in error(*out, tmp_path / "t.xlsx")
    assert "--summary gives one table. Remedy" in error(*out, tmp_path / "new", "--summary")
    (tmp_path / "file").write_text("mine")
    assert "is a file" in error(*out, tmp_path / "file", "--force")


def test_an_error_does_not_name_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught, atomic_writer(tmp_path / "no/x"):
        pass
    assert caught.value.filename == str(tmp_path / "no/x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught, atomic_writer(tmp_path / "folder"):
        pass
    assert ".tmp" not in str(caught.value)

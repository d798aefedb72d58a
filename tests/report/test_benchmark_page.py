"""The committed benchmark page is what its committed export says."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import polars as pl
import pytest

from grace.experiments import ResultsStore
from grace.experiments.benchmark import cells
from grace.report.benchmark_page import benchmark_sentences, write_benchmark_page

ROOT = Path(__file__).parents[2]
EXPORT = ROOT / "benchmarks" / "results" / "grid"


def test_the_committed_page_regenerates_from_the_committed_export(tmp_path: Path) -> None:
    with ResultsStore.read_export(EXPORT) as store:
        written = write_benchmark_page(store, tmp_path / "benchmark.md")
    committed = ROOT / "docs" / "benchmark.md"
    assert written.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")
    figures = {p.name for p in (tmp_path / "benchmark").iterdir()}
    assert figures == {p.name for p in committed.with_suffix("").iterdir()}


def test_its_claims_follow_from_the_scores() -> None:
    with ResultsStore.read_export(EXPORT) as store:
        scores = {
            protocol: store.scores(protocol=protocol).sort("dataset", "method", "seed")
            for protocol in ("validation", "test")
        }
        sentences = benchmark_sentences(store)
    gap = scores["test"].with_columns(
        gap=scores["test"]["rmse_capped"] - scores["validation"]["rmse_capped"]
    )
    assert gap["gap"].to_numpy().max() <= 1e-9  # what the page says of the construction
    several = gap.filter(pl.len().over("dataset", "method") >= 5)
    (selection,) = [s for s in sentences if s.startswith("Selection of the checkpoint")]
    stated = re.findall(r"([−0-9.]+) ± ([0-9.]+) \[.*?\] on (\w+)", selection)
    assert {dataset for *_, dataset in stated} == set(gap["dataset"].unique())
    for mean, std, dataset in stated:
        by_seed = several.filter(dataset=dataset).group_by("seed").agg(pl.col("gap").mean())["gap"]
        assert float(mean.replace("−", "-")) == pytest.approx(by_seed.to_numpy().mean(), rel=0.06)
        assert float(std) == pytest.approx(by_seed.to_numpy().std(ddof=1), rel=0.06)


def test_the_guide_states_the_intervals_of_the_page() -> None:
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    guide = " ".join((ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").split())
    (stated,) = [
        line for line in page.splitlines() if line.startswith("Half of the width of the 95%")
    ]
    assert stated.partition(")")[0] in guide
    assert "Other test units thus change the RMSE by more than methods differ." in guide
    with ResultsStore.read_export(EXPORT) as store:
        found = [c for c in cells(store) if c.seeds >= 5]
    for dataset in {c.dataset for c in found}:
        mine = [c for c in found if c.dataset == dataset]
        half = median((c.interval.high - c.interval.low) / 2 for c in mine if c.interval)
        assert max(c.rmse for c in mine) - min(c.rmse for c in mine) < half

"""The committed benchmark page is what its committed export says."""

from __future__ import annotations

from pathlib import Path

import pytest

from grace.experiments import ResultsStore
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
    (selection,) = [s for s in sentences if s.startswith("Selection of the checkpoint")]
    for (dataset,), part in gap.group_by("dataset"):
        stated = selection.split(f" on {dataset}")[0].rsplit(" ", 1)[1]
        assert float(stated.replace("−", "-").rstrip(",")) == pytest.approx(
            part["gap"].mean(), rel=0.06
        )

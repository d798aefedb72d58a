"""A grid of invented runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from invented_results import CONTROL, SEEDS, SURGERY, fill

from grace.cli.shared import out
from grace.experiments import ResultsStore
from grace.experiments.results_store import STORE_NAME


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A grid: five seeds of some methods, one seed of gradient surgery and its options."""
    with ResultsStore(tmp_path / "grid" / STORE_NAME) as store:
        for method in ("amnl", "baseline", "gaba", CONTROL, "weighted_mse+fixed:0.0477"):
            fill(store, method, SEEDS)
        for method in ("aligned_mtl", SURGERY, "fixed:0.01"):
            fill(store, method, SEEDS[:1])
        fill(store, "baseline", SEEDS, dataset="FD002")
    return tmp_path / "grid"


@pytest.fixture(autouse=True)
def width_when_printing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A console keeps the width that COLUMNS had when it was made; pytest-xdist sets it."""
    monkeypatch.setattr(out, "_width", None)

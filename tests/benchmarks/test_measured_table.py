"""The table of the README is the one that the committed measurements give."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import measured

    yield measured
    del sys.modules["measured"]


def test_the_readme_holds_the_committed_figures(measured: Any) -> None:
    runs = measured.grid_runs()
    baselines = json.loads(measured.BASELINES.read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(measured.table(runs, baselines)) in text
    assert runs.group_by("dataset").len()["len"].to_list() == [5] * 4


def test_baselines_are_trained_once(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = measured.grid_runs().head(2)
    asked = []

    def errors(dataset: str, seed: int, data_root: Path | None) -> dict[str, float]:
        asked.append((dataset, seed))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return dict.fromkeys(measured.COLUMNS, 1.0)

    monkeypatch.setattr(measured, "baseline_errors", errors)
    with pytest.raises(KeyboardInterrupt):
        measured.baselines_of(runs, tmp_path / "baselines.json", None)
    found = measured.baselines_of(runs, tmp_path / "baselines.json", None)
    assert len(asked) == 3  # what was done before the interruption is kept
    assert [b["rmse"]["constant"] for b in found] == [1.0, 1.0]

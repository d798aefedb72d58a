"""The text on the advice is the one that the committed measurements and the grid give."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from grace.experiments.gaba_forecast import EARLY_STOP

ROOT = Path(__file__).parents[2]


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import advice

    yield advice
    del sys.modules["advice"]


@pytest.fixture
def made() -> dict[str, Any]:
    text = (ROOT / "benchmarks/results/advice.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def test_the_guides_hold_the_committed_advice(advice: ModuleType, made: dict[str, Any]) -> None:
    guide = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    tutorial = (ROOT / "docs/tutorials/methods_grid.md").read_text(encoding="utf-8")
    assert "\n".join(advice.document(made)) in guide
    for page in (guide, tutorial):
        assert "\n".join(advice.floor_text(made)) in page
    assert {row["dataset"] for row in made["measured"]} == {"FD001", "FD002", "FD003", "FD004"}


def test_the_committed_figures_are_those_of_the_grid_and_the_rule(
    advice: ModuleType, made: dict[str, Any]
) -> None:
    scores, floor = advice.results()
    assert json.loads(json.dumps(floor)) == made["floor"]
    cases = json.loads(json.dumps(advice.cases(made["measured"], scores)))
    assert len(cases) == len(made["cases"])
    for fresh, stored in zip(cases, made["cases"], strict=True):
        for name, value in fresh.items():
            same = stored[name] if isinstance(value, str | list) else pytest.approx(stored[name])
            assert value == same, name


def test_two_measurements_of_one_comparison_are_one_case(made: dict[str, Any]) -> None:
    """Different seeds of diagnose that give one advice are checked against the same runs."""
    keys = [(c["dataset"], c["inner"], c["advice"]) for c in made["cases"]]
    assert len(keys) == len(set(keys)) == 8
    assert sum(len(c["seeds"]) for c in made["cases"]) == len(made["measured"]) == 16


def test_an_interval_is_that_of_the_paired_differences(advice: ModuleType) -> None:
    mine, other = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan]), np.array([0.0, 2, 2, 4, 4, 9])
    found = advice.paired(mine, other)
    assert (found["mean"], found["seeds"]) == (pytest.approx(0.6), 5)
    half = 2.776445 * np.sqrt(0.3) / np.sqrt(5)
    assert found["low"] == pytest.approx(0.6 - half, abs=1e-5)
    assert found["high"] == pytest.approx(0.6 + half, abs=1e-5)


def test_early_stopping_shortens_by_what_the_grid_shows(made: dict[str, Any]) -> None:
    shares = [row["epochs"] / row["planned_epochs"] for row in made["floor"]]
    assert len(shares) == 40
    assert round(float(np.mean(shares)), 2) == EARLY_STOP


def test_the_command_may_say_that_the_methods_cannot_be_distinguished(
    made: dict[str, Any],
) -> None:
    """``grace diagnose`` prints it with every advice."""
    for case in made["cases"]:
        assert not case["better"]
        assert case["to_equal"]["low"] <= 0 <= case["to_equal"]["high"]

"""The benchmark of decisions: sockets with engines one after another, and ratios of cost rates."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("decisions_simulated")
    monkeypatch.setattr(module, "HORIZON", 60)
    return module


def test_sockets_count_costs_time_failures_and_replacements(simulated: ModuleType) -> None:
    life = np.array([35.0, 1000.0, 18.0])
    queue = np.array([[0, 1], [2, 1]])  # of two sockets

    def at_20(ids: np.ndarray, age: np.ndarray) -> np.ndarray:
        return age >= 20.0

    # Socket 0: replaced at 30 (planned), then again at 30. Socket 1: fails at 18, then at 30.
    found = simulated.run_sockets(queue, life, at_20, failure_cost=5.0)
    assert found.tolist() == [[2.0, 60.0, 0, 2], [6.0, 18.0 + 40.0, 1, 1]]
    never = simulated.run_sockets(queue, life, lambda ids, age: age < 0, failure_cost=5.0)
    assert never[:, 2].tolist() == [1, 1]
    assert never[0, :2].tolist() == [5.0, 35.0 + 20.0]


def test_age_replacement_takes_the_oldest_that_are_due(simulated: ModuleType) -> None:
    ages = np.array([10.0, 95.0, 120.0, 91.0, 99.0])
    assert simulated._oldest(ages, 100.0).tolist() == [False, True, True, False, True]
    assert simulated._oldest(ages[:2], 100.0).tolist() == [False, True]


def test_the_ratio_of_cost_rates_has_positive_limits_around_it(simulated: ModuleType) -> None:
    rng = np.random.default_rng(0)
    length = rng.uniform(50.0, 150.0, (40, 2))
    one = np.column_stack([rng.poisson(3, 40) + 1.0, length[:, 0]])
    value, low, high = simulated._ratio(one, one * [2.0, 1.0])
    assert value == pytest.approx(0.5)
    assert low == pytest.approx(0.5)  # paired: every socket has the same ratio
    assert high == pytest.approx(0.5)
    other = np.column_stack([rng.poisson(3, 40) + 1.0, length[:, 1]])
    value, low, high = simulated._ratio(one, other)
    assert 0.0 < low < value < high

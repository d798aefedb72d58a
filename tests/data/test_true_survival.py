"""The true distribution of the remaining life agrees with the lives that were simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from grace.data.simulation import SimulationConfig, simulate, true_survival


def test_without_randomness_the_life_is_known() -> None:
    config = SimulationConfig(n_train=4, n_test=2, process_noise=0.0, condition_stress=0.0)
    simulation = simulate(config, seed=2)
    for split in ("train", "test"):
        fleet = getattr(simulation.dataset, split)
        rows = np.arange(fleet.n_rows)
        left = np.repeat(fleet.units["true_rul_at_end"].to_numpy(), fleet.lengths())
        after = np.concatenate([np.arange(n)[::-1] for n in fleet.lengths()])
        curve = true_survival(simulation, rows, np.arange(400.0), split=split, n_paths=2)  # type: ignore[arg-type]
        # S(t) = 1 for t below the RUL, 0 from it on.
        assert (curve.sum(axis=1) == left + after).all()


@pytest.mark.parametrize("n_conditions", [1, 6])
def test_lives_are_draws_from_it(n_conditions: int) -> None:
    """P(RUL ≤ the life that was left) is uniform, before and after the onset."""
    simulation = simulate(
        SimulationConfig(n_train=250, n_test=1, n_conditions=n_conditions), seed=4
    )
    fleet = simulation.dataset.train
    rng = np.random.default_rng(0)
    rows = fleet.starts() + (rng.random(fleet.n_units) * fleet.lengths() * 0.95).astype(np.int64)
    times = np.arange(400.0)
    cdf = 1.0 - true_survival(simulation, rows, times, n_paths=400)
    rul = fleet.rul()[rows].astype(np.int64)
    assert (rul > 0).all()
    unit = np.arange(len(rows))
    below, up_to = cdf[unit, rul - 1], cdf[unit, rul]
    assert kstest(below + rng.random(len(rows)) * (up_to - below), "uniform").pvalue > 0.01
    # The chance that an engine survives ten cycles more.
    assert cdf[:, 10].mean() == pytest.approx((rul <= 10).mean(), abs=0.03)


def test_more_wear_is_less_life() -> None:
    simulation = simulate(SimulationConfig(n_train=2, n_test=1), seed=0)
    rows = np.arange(simulation.dataset.train.lengths()[0])
    curve = true_survival(simulation, rows, np.arange(300.0), n_paths=50)
    assert (np.diff(curve, axis=1) <= 0).all()
    assert (np.diff(curve.sum(axis=1)) <= 1e-9).all()
    assert curve[-1].sum() == 0  # failed

"""Calibration by unit: worked levels, certification, zones, and coverage over repeated fleets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import stats

from grace.uncertainty import (
    RULDistribution,
    UnitCalibration,
    cross_calibrated,
    fit_distribution,
    units_needed,
)

Table = Callable[..., pl.DataFrame]


def uniform(n: int) -> RULDistribution:
    """F(t) = t on [0, 1]."""
    grid = np.linspace(0.0, 1.0, 201)
    return RULDistribution(grid, np.tile(1.0 - grid, (n, 1)))


def test_levels_of_nine_units() -> None:
    # Scores |2u − 1| of u = 0.55, 0.6 … 0.95 are 0.1 … 0.9: the k-th has the level k/(9 + 1).
    u = 0.5 + np.arange(1, 10) / 20.0
    cal = UnitCalibration.fit(uniform(9), u, unit=np.arange(9), prediction=np.ones(9))
    zone = cal.zones[0]
    np.testing.assert_allclose(
        np.interp([0.1, 0.5, 0.9], zone.score, zone.coverage), [0.1, 0.5, 0.9]
    )
    lower, upper = cal.apply(uniform(1), [1.0]).interval(0.9)
    np.testing.assert_allclose([lower[0], upper[0]], [0.05, 0.95], atol=1e-9)
    assert cal.certifies(0.9)
    assert not cal.certifies(0.91)


def test_too_narrow_distributions_are_widened() -> None:
    # All outcomes in the outer fifths: the central 60 % of the model hold nobody.
    rng = np.random.default_rng(0)
    u = rng.uniform(0.0, 0.2, 200)
    u[::2] = 1.0 - u[::2]
    cal = UnitCalibration.fit(uniform(200), u, unit=np.arange(200), prediction=np.ones(200))
    lower, upper = cal.apply(uniform(1), [1.0]).interval(0.8)
    np.testing.assert_allclose([lower[0], upper[0]], [0.04, 0.96], atol=0.02)


def test_a_unit_counts_once_however_many_points_it_has() -> None:
    # Unit 0 has 90 points at the score 0.9, nine others one point each at 0.1.
    u = np.r_[np.full(90, 0.95), np.full(9, 0.55)]
    unit = np.r_[np.zeros(90, dtype=int), np.arange(1, 10)]
    cal = UnitCalibration.fit(uniform(99), u, unit=unit, prediction=np.ones(99))
    zone = cal.zones[0]
    assert zone.units == 10
    np.testing.assert_allclose(
        np.interp([0.5, 0.95], zone.score, zone.coverage)[0], 9 / 11, atol=0.06
    )
    np.testing.assert_allclose(np.interp(0.1, zone.score, zone.coverage), 9 / 11)


@pytest.mark.parametrize(("coverage", "units"), [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_units_are_stated(coverage: float, units: int) -> None:
    assert units_needed(coverage) == units
    for n, enough in ((units, True), (units - 1, False)):
        u = np.linspace(0.1, 0.9, n)
        cal = UnitCalibration.fit(uniform(n), u, unit=np.arange(n), prediction=np.ones(n))
        assert cal.certifies(coverage) is enough
        assert ("cannot be certified" in cal.statement(coverage)) is not enough
        assert "pooled" in cal.statement(coverage)


def test_zones_need_units() -> None:
    rng = np.random.default_rng(1)
    n = 70
    options = {"unit": np.arange(n), "prediction": rng.uniform(0, 100, n), "min_units": 30}
    two = UnitCalibration.fit(uniform(n), rng.random(n), **options)
    assert len(two.zones) == 2
    assert min(z.units for z in two.zones) >= 30
    assert UnitCalibration.fit(uniform(n), rng.random(n), **(options | {"min_units": 40})).pooled
    # Twenty points of each of ten units are ten units.
    options["unit"] = np.arange(n) % 10
    assert UnitCalibration.fit(uniform(n), rng.random(n), **options).pooled


def test_zones_are_calibrated_apart() -> None:
    rng = np.random.default_rng(2)
    n = 400
    zone = np.arange(n) % 2
    u = np.where(zone == 0, rng.uniform(0.4, 0.6, n), rng.random(n))
    cal = UnitCalibration.fit(
        uniform(n), u, unit=np.arange(n), prediction=zone * 50.0, edges=[25.0]
    )
    lower, upper = cal.apply(uniform(2), [0.0, 50.0]).interval(0.9)
    np.testing.assert_allclose(upper - lower, [0.18, 0.9], atol=0.04)


def test_censored_outcomes_count_as_survival() -> None:
    # Outcomes uniform on [0, 1], half of the units taken out of service early.
    rng = np.random.default_rng(3)
    n = 4000
    truth = rng.random(n)
    seen = np.where(rng.random(n) < 0.5, rng.uniform(0.0, 0.3, n), 2.0)
    event = truth <= seen
    options = {"unit": np.arange(n), "prediction": np.ones(n)}
    cal = UnitCalibration.fit(uniform(n), np.minimum(truth, seen), event=event, **options)
    zone = cal.zones[0]
    levels = np.array([0.2, 0.5, 0.8, 0.9])
    np.testing.assert_allclose(np.interp(levels, zone.score, zone.coverage), levels, atol=0.04)
    assert zone.units == event.sum()
    naive = UnitCalibration.fit(uniform(n), np.minimum(truth, seen), **options).zones[0]
    assert np.interp(0.5, naive.score, naive.coverage) < 0.4


def test_no_known_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="known RUL"):
        UnitCalibration.fit(
            uniform(2), [0.1, 0.2], unit=[0, 1], prediction=[1, 1], event=[False, False]
        )


@pytest.mark.slow
@pytest.mark.parametrize("censored", [pytest.param(0.0, marks=pytest.mark.exhaustive), 0.6])
def test_nominal_coverage_over_repeated_fleets(censored: float, make_table: Table) -> None:
    """One point of each of 320 new units per fleet: hits per level stay within binomial error.

    The units of one fleet share a calibration, which adds to the variance: the bounds are those of
    a binomial of the fleets' effective number of units, n/(1 + n_new/n_calibration). Conformal
    coverage lies between the nominal level and that plus 1/(n + 1) (Lei et al. 2018).
    """
    levels, new_units, units, rows = (0.8, 0.9, 0.95), 320, 80, 6
    # As precise as 60 fleets of 20 new units, with fewer fits.
    fleets = 25 if censored else 15
    hits = dict.fromkeys(levels, 0)
    for fleet in range(fleets):
        table = make_table(units, 1000 + fleet, censored=censored, rows=rows)
        model = fit_distribution(table, "network")
        new = make_table(new_units, 5000 + fleet, rows=rows)
        at = np.random.default_rng(fleet).integers(0, rows, new_units) + rows * np.arange(new_units)
        new = new[at.tolist()]
        d, y = model.predict(new), new["true"].to_numpy()
        for level in levels:
            lower, upper = d.interval(level)
            hits[level] += int(((lower <= y) & (y <= upper)).sum())
    known = units * (1.0 - censored)
    effective = fleets * new_units / (1.0 + new_units / known)
    for level in levels:
        share = hits[level] / (fleets * new_units)
        low, high = stats.binom.ppf([0.005, 0.995], round(effective), level) / round(effective)
        above = high + 1.0 / (units + 1.0)
        assert low <= share <= above, f"nominal {level:.0%}, covered {share:.1%}"


def test_a_fold_is_calibrated_on_the_other_folds_only() -> None:
    rng = np.random.default_rng(4)
    n = 80
    fold, unit = np.arange(n) % 2, np.arange(n)
    u = np.where(fold == 0, rng.uniform(0.4, 0.6, n), rng.random(n))
    options = {"unit": unit, "prediction": np.ones(n), "fold": fold}
    d = cross_calibrated(uniform(n), u, **options)
    lower, upper = d.interval(0.9)
    width = upper - lower
    # Fold 1 is calibrated on outcomes near the middle, fold 0 on uniform ones.
    np.testing.assert_allclose(width[fold == 1], 0.18, atol=0.05)
    np.testing.assert_allclose(width[fold == 0], 0.9, atol=0.1)
    same = cross_calibrated(uniform(n), u, **(options | {"fold": np.zeros(n)}))
    np.testing.assert_array_equal(same.survival, uniform(n).survival)

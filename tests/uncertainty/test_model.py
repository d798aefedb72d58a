"""From an out-of-fold table to calibrated distributions: contract over all conditional models."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from lifelines import KaplanMeierFitter

from grace.data.errors import DataError
from grace.uncertainty import (
    CONDITIONAL_DISTRIBUTIONS,
    DistributionModel,
    evaluation_points,
    fit_distribution,
    held_out_distribution,
    time_edges,
)
from grace.uncertainty.kernel import KernelDistribution, weighted_survival

Table = Callable[..., pl.DataFrame]
bases = pytest.mark.parametrize("base", CONDITIONAL_DISTRIBUTIONS)
BOTH = ("network", "other")


@bases
@pytest.mark.parametrize("censored", [pytest.param(0.0, marks=pytest.mark.exhaustive), 0.6])
def test_coverage_on_new_units(base: str, censored: float, make_table: Table) -> None:
    model = fit_distribution(
        make_table(150, 1, censored=censored), "network", candidates=BOTH, base=base
    )
    new = make_table(300, 2)
    lower, upper = model.predict(new).interval(0.9)
    inside = (lower <= new["true"].to_numpy()) & (new["true"].to_numpy() <= upper)
    assert 0.84 < inside.mean() < 0.96


@bases
def test_state_is_json_and_predicts_the_same(base: str, make_table: Table) -> None:
    table = make_table(25)
    model = fit_distribution(table, "network", candidates=BOTH, base=base)
    state = json.loads(json.dumps(model.to_dict(), allow_nan=False))
    again = DistributionModel.from_dict(state)
    np.testing.assert_array_equal(again.predict(table).survival, model.predict(table).survival)
    assert again.calibration.statement(0.9) == model.calibration.statement(0.9)


@bases
def test_results_scale_with_the_unit_of_time(base: str, make_table: Table) -> None:
    table = make_table(25, censored=0.3)
    hours = table.with_columns(pl.col(pl.Float64) * 3.7)
    one = fit_distribution(table, "network", candidates=BOTH, base=base).predict(table)
    other = fit_distribution(hours, "network", candidates=BOTH, base=base).predict(hours)
    # The hazard model stops its optimiser at a tolerance.
    rtol = 1e-3 if base == "hazard" else 1e-6
    np.testing.assert_allclose(
        other.quantiles([0.1, 0.5, 0.9]), one.quantiles([0.1, 0.5, 0.9]) * 3.7, rtol=rtol
    )


@bases
def test_units_can_be_renamed_and_rows_reordered(base: str, make_table: Table) -> None:
    table = make_table(40)
    names = {u: f"pump {(u * 7) % 40:02d}" for u in range(40)}
    renamed = table.with_columns(
        pl.col("unit").replace_strict(names, return_dtype=pl.String)
    ).sample(fraction=1.0, shuffle=True, seed=3)
    one = fit_distribution(table, "network", base=base).predict(table)
    other = fit_distribution(renamed, "network", base=base).predict(table)
    rtol = 1e-2 if base == "hazard" else 1e-8
    levels = [0.05, 0.5, 0.95]
    np.testing.assert_allclose(other.quantiles(levels), one.quantiles(levels), rtol=rtol)


def test_distributions_reach_beyond_the_label_cap(make_table: Table) -> None:
    table = make_table(120, 4, cap=100.0)
    model = fit_distribution(table, "network")
    capped = table.filter(pl.col("network") >= 99.9)
    d = model.predict(capped)
    share = (capped["true"].to_numpy() > 150.0).mean()
    assert share > 0.2
    np.testing.assert_allclose((1.0 - d.prob_failure_within(150.0)).mean(), share, atol=0.05)


def test_the_kernel_model_beats_pooled_residuals(make_table: Table) -> None:
    table, new = make_table(120, 5), make_table(120, 6)
    y = new["true"].to_numpy()
    crps = {
        base: fit_distribution(table, "network", base=base).predict(new).crps(y).mean()
        for base in ("kernel", "residual")
    }
    assert crps["kernel"] < 0.9 * crps["residual"]


def test_without_bandwidths_the_kernel_model_is_kaplan_meier(make_table: Table) -> None:
    points = evaluation_points(make_table(60, censored=0.6), "network")
    ratio = points.y / (points.prediction + 0.05 * np.median(points.prediction))
    reference = KaplanMeierFitter().fit(ratio, points.event, weights=points.rows)
    order = np.lexsort((~points.event, ratio))
    mine = weighted_survival(points.rows[None, order], points.event[order])[0]
    theirs = reference.survival_function_at_times(ratio[order]).to_numpy()
    np.testing.assert_allclose(mine, theirs, atol=1e-9)
    wide = KernelDistribution({"prediction": None, "age": None, "spread": None})
    edges = time_edges(1.0, 400.0)
    d = wide.fit(points, edges).predict(np.array([50.0]), np.zeros(1), np.zeros(1))
    at = edges / (50.0 + wide.offset_)
    expected = reference.survival_function_at_times(at).to_numpy()
    np.testing.assert_allclose(d.survival[0], expected, atol=0.01)  # linear between the steps


def test_points_are_spread_over_the_history_and_stand_for_all_rows(make_table: Table) -> None:
    table = make_table(10, rows=23)
    points = evaluation_points(table, "network", per_unit=5)
    assert np.bincount(points.unit).tolist() == [5] * 10
    np.testing.assert_allclose(points.rows.sum(), table.height)
    few = evaluation_points(table.filter(pl.col("unit") == 0).head(3), "network", per_unit=5)
    assert len(few) == 3


def test_large_fleets_give_fewer_points_per_unit(make_table: Table) -> None:
    table = make_table(4000, rows=6)
    points = evaluation_points(table, "network")
    assert np.bincount(points.unit).tolist() == [2] * 4000
    np.testing.assert_allclose(points.rows.sum(), table.height)


def test_where_points_lie_does_not_give_away_the_life() -> None:
    # With one life and no censoring, age/life must fill [0, 1] evenly.
    rows = 400
    table = pl.DataFrame(
        {
            "unit": np.repeat(np.arange(300), rows),
            "age": np.tile(np.arange(rows, dtype=float), 300),
            "rul_true": np.tile(np.arange(rows, dtype=float)[::-1], 300),
            "censored_after": None,
            "fold": np.repeat(np.arange(300) % 5, rows),
            "network": 1.0,
        }
    )
    points = evaluation_points(table, "network", per_unit=4)
    counts = np.histogram(points.age / rows, 40, (0.0, 1.0))[0]
    assert counts.min() >= 0.8 * counts.mean()
    assert counts.max() <= 1.2 * counts.mean()


def test_a_censored_row_without_time_survived_is_left_out(make_table: Table) -> None:
    table = make_table(20).with_columns(
        rul_true=pl.when(pl.col("unit") == 3).then(None).otherwise("rul_true"),
        censored_after=pl.when(pl.col("unit") == 3).then(None).otherwise("censored_after"),
    )
    assert len(np.unique(evaluation_points(table, "network").unit)) == 19


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("fold"), "fold"),
        (lambda t: t.drop("age"), "age"),
        (lambda t: t.with_columns(rul_true=pl.lit(None, pl.Float64)), "no row has a known RUL"),
        (lambda t: t.with_columns(age=pl.lit(float("nan"))), "age has missing"),
    ],
)
def test_what_cannot_be_used_is_named(
    change: Callable[[pl.DataFrame], pl.DataFrame], message: str, make_table: Table
) -> None:
    with pytest.raises(DataError, match=message):
        fit_distribution(change(make_table(20)), "network")


def test_an_unknown_model_is_named(make_table: Table) -> None:
    with pytest.raises(ValueError, match="known: kernel"):
        fit_distribution(make_table(20), "network", base="oracle")
    state = fit_distribution(make_table(20), "network", base="residual").to_dict()
    state["base"]["name"] = "oracle"
    with pytest.raises(ValueError, match="known: kernel"):
        DistributionModel.from_dict(state)


def test_held_out_distributions_cover_and_do_not_know_their_own_unit(make_table: Table) -> None:
    table = make_table(60, 7, rows=12)
    model = fit_distribution(table, "network")
    points, d = held_out_distribution(model, table)
    assert len(points) == len(d) == table.height
    np.testing.assert_allclose(points.prediction, table["network"].to_numpy()[points.row])
    lower, upper = d.interval(0.9)
    inside = (lower <= points.y) & (points.y <= upper)
    assert 0.82 < inside.mean() < 0.97
    # Fitted on all units, the distributions know the outcome: they are sharper on these points.
    own = model.predict(table[points.row])
    assert own.crps(points.y).mean() < d.crps(points.y).mean()


def test_the_end_of_the_observation_is_no_failure() -> None:
    # Lives of 200 days on average without ageing, all watched for 40 days only.
    rng = np.random.default_rng(0)
    life, days = rng.exponential(200.0, 300), np.arange(0.0, 40.0, 2.0)
    unit, age = np.repeat(np.arange(300), len(days)), np.tile(days, 300)
    kept = age < life[unit]
    unit, age = unit[kept], age[kept]
    failed = life[unit] <= 40.0
    table = pl.DataFrame(
        {
            "unit": unit,
            "age": age,
            "rul_true": np.where(failed, life[unit] - age, np.nan),
            "censored_after": np.where(failed, np.nan, 40.0 - age),
            "fold": unit % 5,
            "network": np.maximum(20.0 - age / 2.0, 0.0),
        }
    ).with_columns(pl.col("rul_true", "censored_after").fill_nan(None))
    model = fit_distribution(table, "network", step=2.0)
    late = pl.DataFrame({"age": [34.0, 36.0, 38.0, 39.0], "network": [3.0, 2.0, 1.0, 0.5]})
    within = model.predict(late).prob_failure_within(8.0)
    true = 1.0 - np.exp(-8.0 / 200.0)
    assert (within > 0.25 * true).all()
    # Little is known so late; a Kaplan–Meier estimate that ends with a failure gives 12 times this.
    assert (within < 5.0 * true).all(), within

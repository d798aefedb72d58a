"""The section on the predictive distribution, of a run and of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from grace.experiments.run_evaluation import DISTRIBUTION_LEVELS, quantile_column
from grace.report.distribution_figures import (
    DistributionCheck,
    coverage_rows,
    distribution_figures,
    distribution_summary,
)
from grace.report.run_data import read_run_data
from grace.report.run_distribution import run_distribution
from grace.uncertainty import RULDistribution, time_edges


def uniform_check(n: int = 200, **over: Any) -> DistributionCheck:
    """RUL uniform on [0, 2·prediction], which the distributions say."""
    rng = np.random.default_rng(0)
    prediction = rng.uniform(5.0, 100.0, n)
    edges = time_edges(0.5, 210.0)
    survival = np.clip(1.0 - edges[None, :] / (2.0 * prediction[:, None]), 0.0, 1.0)
    values: dict[str, Any] = {
        "distribution": RULDistribution(edges, survival),
        "y": prediction * rng.uniform(0.0, 2.0, n),
        "event": np.ones(n, dtype=bool),
        "unit": np.arange(n),
        "prediction": prediction,
        "zone_edges": (30.0, 80.0),
        "horizon": 20.0,
        "time_unit": "hours",
        "condition": np.arange(n) % 2,
    }
    return DistributionCheck(**(values | over))


def test_coverage_is_shown_overall_by_zone_and_by_condition() -> None:
    check = uniform_check()
    metrics = check.metrics()
    rows = coverage_rows(metrics)
    assert [r[0] for r in rows] == [
        "all", "predicted RUL 0–30", "predicted RUL 30–80", "predicted RUL > 80",
        "condition 0", "condition 1",
    ]  # fmt: skip
    n = [int(r[1]) for r in rows]
    assert n[0] == sum(n[1:4]) == sum(n[4:]) == 200
    lower, upper = check.distribution.interval(0.9)
    inside = (lower <= check.y) & (check.y <= upper)
    assert rows[0][3] == f"{100 * inside.mean():.1f}%"
    low = check.prediction <= 30.0
    assert rows[1][3] == f"{100 * inside[low].mean():.1f}%"
    assert f"{100 * inside.mean():.1f}%" in distribution_summary(check, metrics)
    figures = distribution_figures(check, metrics)
    assert [f.title for f in figures] == [
        "Coverage by zone.", "Coverage by operating condition.", "Reliability.", "PIT histogram.",
    ]  # fmt: skip
    assert figures[0].ax.get_xlabel() == "predicted RUL, hours"
    assert figures[1].ax.get_xlabel() == "operating condition"
    assert "20 hours" in figures[2].caption


def test_one_condition_is_not_shown_apart() -> None:
    check = uniform_check(condition=np.zeros(200))
    assert len(coverage_rows(check.metrics())) == 4
    assert len(distribution_figures(check, check.metrics())) == 3


def test_outcomes_of_running_units_are_not_counted_as_failures() -> None:
    check = uniform_check()
    event = np.arange(200) % 2 == 0
    seen = uniform_check(event=event, y=np.where(event, check.y, 0.5 * check.y))
    metrics = seen.metrics()
    assert metrics.n_censored == 100
    assert metrics.intervals[0].n_unknown > 0
    figures = distribution_figures(seen, metrics)
    assert figures[-1].title == "PIT histogram."


def test_a_run_shows_distributions_fitted_on_its_validation_units(make_run: Any) -> None:
    found = run_distribution(read_run_data(make_run()))
    assert found is not None
    assert found.model is not None
    assert "calibrated by unit" in found.statement
    check = found.check()
    assert check is not None
    assert len(check.y) == len(found.m.evaluated)
    assert np.isfinite(check.distribution.interval(0.9)[1]).all()
    rows, d = found.at_last_rows()
    assert len(d) == rows.height
    one = found.m.trajectories[0]
    band = found.band(one, 0.9)
    assert band.height == one.time.size
    assert (band["lower"] <= band["rul"]).all()
    assert (band["rul"] <= band["upper"]).all()


def test_the_quantiles_of_a_survival_head_are_used_where_the_run_has_them(make_run: Any) -> None:
    folder: Path = make_run()
    m = read_run_data(folder)
    spread = np.linspace(0.5, 1.5, len(DISTRIBUTION_LEVELS))
    columns = {
        quantile_column(level): (pl.col("rul") + 1.0) * share
        for level, share in zip(DISTRIBUTION_LEVELS, spread, strict=True)
    }
    with_head = replace(m, predictions=m.predictions.with_columns(**columns))
    found = run_distribution(with_head)
    assert found is not None
    assert found.model is None
    assert "survival head" in found.statement
    rows, d = found.at_last_rows()
    expected = (rows["rul"].to_numpy() + 1.0) * spread[DISTRIBUTION_LEVELS.index(0.05)]
    np.testing.assert_allclose(d.quantiles([0.05])[:, 0], expected, rtol=0.05, atol=0.3)


def test_too_few_validation_units_are_stated(make_run: Any) -> None:
    m = read_run_data(make_run())
    first = m.validation.filter(pl.col("unit") == pl.col("unit").first())
    assert run_distribution(replace(m, validation=first)) is None


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("several", [False, True])
def test_the_page_of_a_model_shows_its_distribution(several: bool) -> None:
    import grace
    from grace.report.model_page import model_page

    data = grace.load_dataset("sim", n_train=12, n_test=2, n_conditions=2 if several else 1)
    model = grace.RULModel(candidates=["linear", "median_life"], seed=0).fit(data.train)
    html = model_page(model, name="pumps")
    assert 'id="distribution"' in html
    assert model.distribution_.calibration.statement(0.9) in html
    for title in ("Coverage by zone.", "Reliability.", "PIT histogram.", "RUL over time."):
        assert title in html
    assert ("Coverage by operating condition." in html) == several
    assert "Interval score" in html

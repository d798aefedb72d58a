"""Scores of predictive distributions: worked values, censoring, and properties."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.evaluation.distribution_scores import (
    brier_score,
    censoring_weights,
    pit_histogram,
    randomised_pit,
    reliability_curve,
    score_difference,
    winkler_score,
)
from grace.evaluation.probabilistic import DistributionMetrics, evaluate_distribution
from grace.uncertainty import RULDistribution


def exponential(rates: np.ndarray) -> RULDistribution:
    edges = np.concatenate([[0.0], np.geomspace(0.05, 60.0, 300)])
    return RULDistribution(edges, np.exp(-np.outer(rates, edges)), rates)


def test_interval_score_worked_values() -> None:
    lower, upper = np.zeros(3), np.full(3, 10.0)
    np.testing.assert_allclose(
        winkler_score(lower, upper, [-1.0, 5.0, 12.0], 0.8), [10.0 + 10.0, 10.0, 10.0 + 20.0]
    )
    with pytest.raises(ValueError, match="coverage"):
        winkler_score(lower, upper, lower, 1.0)


def test_interval_score_is_best_at_the_true_quantiles() -> None:
    rng = np.random.default_rng(0)
    y = rng.exponential(1.0, 40_000)
    true = -np.log1p(-np.array([0.05, 0.95]))
    score = {f: winkler_score(true[0] * f, true[1] * f, y, 0.9).mean() for f in (0.7, 1.0, 1.4)}
    assert score[1.0] == min(score.values())


def test_weights_without_censoring_are_one() -> None:
    time = np.array([3.0, 8.0, 20.0, 8.0])
    np.testing.assert_array_equal(censoring_weights(time, np.ones(4, bool), 10.0), np.ones(4))


def test_weights_worked_by_hand() -> None:
    # Censored at 2 (of four at risk): G = 3/4 from then on. The failure at 1 came before.
    time = np.array([1.0, 2.0, 3.0, 9.0, 9.0])
    event = np.array([True, False, True, True, False])
    np.testing.assert_allclose(censoring_weights(time, event, 5.0), [1.0, 0.0, 4 / 3, 4 / 3, 4 / 3])
    # Squared errors of the constant 0.5 are 1/4 everywhere.
    assert brier_score(np.full(5, 0.5), time, event, 5.0) == pytest.approx(0.25)


def test_brier_score_ignores_independent_censoring_on_average() -> None:
    rng = np.random.default_rng(1)
    n = 20_000
    life, removed = rng.exponential(10.0, n), rng.uniform(0.0, 25.0, n)
    p = np.full(n, 0.3)
    whole = brier_score(p, life, np.ones(n, bool), 8.0)
    seen = brier_score(p, np.minimum(life, removed), life <= removed, 8.0)
    assert seen == pytest.approx(whole, abs=0.01)
    naive = np.mean((p - ((life <= 8.0) & (life <= removed))) ** 2)
    assert abs(naive - whole) > 0.02


def test_reliability_of_true_probabilities_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(2)
    rates = rng.uniform(0.02, 0.5, 20_000)
    life, removed = rng.exponential(1.0 / rates), rng.exponential(20.0, 20_000)
    p = 1.0 - np.exp(-rates * 5.0)
    curve = reliability_curve(p, np.minimum(life, removed), life <= removed, 5.0, bins=5)
    assert len(curve) == 5
    for point in curve:
        assert point.observed == pytest.approx(point.predicted, abs=0.04)


def test_pit_is_uniform_for_true_distributions_also_when_counted_or_censored() -> None:
    rng = np.random.default_rng(3)
    rates = rng.uniform(0.05, 0.4, 20_000)
    d, life = exponential(rates), rng.exponential(1.0 / rates)
    flat = pit_histogram(randomised_pit(d, life, rng))
    np.testing.assert_allclose(flat, 0.1, atol=0.01)
    counted = np.ceil(life)
    np.testing.assert_allclose(
        pit_histogram(randomised_pit(d, counted, rng, step=1.0)), 0.1, atol=0.01
    )
    assert abs(pit_histogram(randomised_pit(d, counted, rng))[0] - 0.1) > 0.03
    removed = rng.exponential(5.0, life.size)
    pit = randomised_pit(d, np.minimum(life, removed), rng)
    np.testing.assert_allclose(pit_histogram(pit, life <= removed), 0.1, atol=0.01)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), factor=st.floats(0.01, 100.0))
def test_scores_scale_with_the_unit_of_time(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    d, y = exponential(rng.uniform(0.05, 0.4, 30)), rng.exponential(6.0, 30)
    event = rng.random(30) < 0.7
    event[0] = True
    options = {"event": event, "seed": 0}
    one = evaluate_distribution(d, y, zone_edges=(0, 3, 99), horizons=(5.0,), **options)
    other = evaluate_distribution(
        d.rescale(factor),
        y * factor,
        zone_edges=(0, 3 * factor, 99 * factor),
        horizons=(5.0 * factor,),
        **options,
    )
    assert other.crps == pytest.approx(one.crps * factor)
    for a, b in zip(one.intervals, other.intervals, strict=True):
        assert (a.n, a.coverage) == (b.n, b.coverage)
        assert b.interval_score == pytest.approx(a.interval_score * factor, nan_ok=True)
    assert other.failure_probability[0].brier == pytest.approx(one.failure_probability[0].brier)


def test_a_true_distribution_scores_as_it_should() -> None:
    rng = np.random.default_rng(4)
    rates = rng.uniform(0.05, 0.4, 4000)
    y = rng.exponential(1.0 / rates)
    site = np.where(np.arange(4000) % 2, "a", "b")
    metrics = evaluate_distribution(exponential(rates), y, condition=site, seed=0)
    groups = {(i.group, i.nominal): i for i in metrics.intervals}
    assert {g for g, _ in groups} >= {"all", "condition a", "condition b", "(0, 20]"}
    for (_, nominal), interval in groups.items():
        assert interval.coverage == pytest.approx(nominal, abs=3.5 / np.sqrt(interval.n))
    # CRPS of a true exponential distribution is 1/(2·rate) on average.
    assert metrics.crps == pytest.approx((0.5 / rates).mean(), rel=0.05)
    for h in metrics.failure_probability:
        assert h.brier <= h.brier_of_constant + 1e-9
    assert DistributionMetrics.model_validate(json.loads(metrics.model_dump_json())) == metrics


def test_censored_rows_inside_an_interval_are_unknown_and_beyond_it_missed() -> None:
    d = exponential(np.full(3, 1.0))
    y, event = np.array([1.0, 1.0, 50.0]), np.array([True, False, False])
    metrics = evaluate_distribution(d, y, event=event, levels=(0.9,), seed=0)
    whole = metrics.intervals[0]
    assert (whole.n, whole.n_unknown, whole.coverage) == (2, 1, 0.5)
    assert metrics.n_censored == 2


def test_difference_of_scores_is_paired_and_by_unit() -> None:
    rng = np.random.default_rng(5)
    unit = np.repeat(np.arange(40), 25)
    level = rng.normal(0.0, 5.0, 40)[unit]  # cancels in the difference
    a, b = level + rng.normal(1.0, 0.2, 1000), level
    close = score_difference(a, b, unit=unit, seed=0)
    assert close.value == pytest.approx(1.0, abs=0.05)
    assert close.interval.high - close.interval.low < 0.1
    shared = level + b
    wide = score_difference(shared, b, unit=unit, seed=0)
    rows = score_difference(shared, b, seed=0)
    width = [d.interval.high - d.interval.low for d in (wide, rows)]
    assert width[0] > 3 * width[1]
    with pytest.raises(ValueError, match="finite"):
        score_difference([1.0, np.nan], [0.0, 0.0], seed=0)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        evaluate_distribution(exponential(np.ones(3)), [1.0, 2.0], seed=0)


def test_the_width_of_an_interval_far_from_zero_is_its_length() -> None:
    found = winkler_score([10.0, 10.0, 10.0], [30.0, 30.0, 30.0], [20.0, 35.0, 7.0], 0.9)
    assert found.tolist() == pytest.approx([20.0, 20.0 + 100.0, 20.0 + 60.0])


def test_weights_at_ties_and_at_the_horizon() -> None:
    # At time 2 one row fails and one is censored: the failure counts as earlier.
    found = censoring_weights([1.0, 2.0, 2.0, 3.0], [True, False, True, True], 2.0)
    assert found.tolist() == pytest.approx([1.0, 0.0, 1.0, 2.0])
    # Failed exactly at the horizon: by then. Censored exactly at it: unknown.
    found = censoring_weights([2.0, 2.0], [True, False], 2.0)
    assert found.tolist() == pytest.approx([1.0, 0.0])


def test_a_score_without_known_rows_is_undefined() -> None:
    assert np.isnan(brier_score([0.5], [1.0], [False], 5.0))

"""RULDistribution: worked values, and the consistency of everything read from one curve."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from grace.uncertainty import RULDistribution, time_edges

EDGES = np.array([0.0, 10.0, 20.0, 40.0])


def random_distribution(
    seed: int, n: int = 6, bins: int = 12, tail: bool = True
) -> RULDistribution:
    """Curves with flat parts, jumps, and (if asked) mass beyond the last edge."""
    rng = np.random.default_rng(seed)
    drops = rng.exponential(size=(n, bins + 1)) * (rng.random((n, bins + 1)) > 0.3)
    if not tail:
        drops[:, -1] = 0.0
    drops[:, 0] += 0.1
    mass = drops / drops.sum(axis=1, keepdims=True)
    survival = 1.0 - np.cumsum(np.concatenate([np.zeros((n, 1)), mass[:, :-1]], axis=1), axis=1)
    survival = np.clip(np.minimum.accumulate(survival, axis=1), 0.0, 1.0)
    if not tail:
        survival[:, -1] = 0.0
    return RULDistribution(np.cumsum(np.r_[0.0, rng.uniform(0.5, 9.0, bins)]), survival)


seeds = st.integers(0, 10_000)


def test_worked_values() -> None:
    d = RULDistribution(EDGES, np.array([[1.0, 0.8, 0.5, 0.0], [1.0, 1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(d.cdf(15.0), [0.35, 0.5])
    np.testing.assert_allclose(d.median, [20.0, 15.0])
    np.testing.assert_allclose(d.mean, [9.0 + 6.5 + 5.0, 15.0])
    lower, upper = d.interval(0.8)
    np.testing.assert_allclose(lower, [5.0, 11.0])
    np.testing.assert_allclose(upper, [36.0, 19.0])
    np.testing.assert_allclose(d.pdf(30.0), [0.025, 0.0])


def test_the_tail_is_exponential() -> None:
    d = RULDistribution(EDGES, np.array([[1.0, 1.0, 1.0, 0.5]]), np.array([0.1]))
    np.testing.assert_allclose(d.survival_at(50.0), [0.5 * np.exp(-1.0)])
    np.testing.assert_allclose(d.quantiles([0.75]), [[40.0 + np.log(2.0) / 0.1]])
    np.testing.assert_allclose(d.mean, [20.0 + 15.0 + 0.5 / 0.1])
    np.testing.assert_allclose(d.pdf(50.0), [0.05 * np.exp(-1.0)])


def test_crps_of_a_uniform_distribution() -> None:
    # Uniform on [0, 1]: CRPS(y) = y²/1 − y + 1/3 (Jordan, Krüger and Lerch 2019).
    d = RULDistribution(np.array([0.0, 1.0]), np.array([[1.0, 0.0]]))
    for y in (0.0, 0.25, 0.5, 1.0):
        np.testing.assert_allclose(d.crps([y]), [y * y - y + 1 / 3])
    np.testing.assert_allclose(d.crps([3.0]), [1 / 3 + 2.0])  # each unit beyond costs one


@settings(deadline=None, max_examples=30)
@given(seed=seeds, y=st.floats(0.0, 120.0), tail=st.booleans())
def test_crps_is_the_integral_of_its_definition(seed: int, y: float, tail: bool) -> None:
    d = random_distribution(seed, n=1, tail=tail)

    def squared(t: float) -> float:
        return float((d.cdf(max(t, 0.0))[0] - (t >= y)) ** 2)

    end = max(d.edges[-1], y)
    nodes = np.unique(np.r_[d.edges, y, end])
    # Gauss-Legendre nodes are inside each piece, where the integrand is smooth.
    pieces = [
        integrate.fixed_quad(np.vectorize(squared), a, b, n=4)[0]
        for a, b in itertools.pairwise(nodes)
    ]
    total = sum(pieces)
    total += integrate.quad(squared, end, end + 60.0 / d.rate[0], limit=200)[0]
    np.testing.assert_allclose(d.crps([y]), [total], rtol=1e-5, atol=1e-6)
    survived = sum(piece for piece, b in zip(pieces, nodes[1:], strict=True) if b <= y)
    np.testing.assert_allclose(d.crps([y], censored=[True]), [survived], rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(seed=seeds)
def test_quantiles_do_not_cross_and_invert_the_cdf(seed: int) -> None:
    d = random_distribution(seed)
    levels = np.linspace(0.0, 0.999, 60)
    q = d.quantiles(levels)
    assert (np.diff(q, axis=1) >= 0.0).all()
    # The curve is continuous, so the cdf of a quantile is its level, and quantile(cdf(t)) ≤ t with
    # nothing in between.
    np.testing.assert_allclose(d.cdf(q), np.broadcast_to(levels, q.shape), atol=1e-9)
    t = np.tile(np.linspace(0.1, 1.2 * d.edges[-1], 40), (len(d), 1))
    level = d.cdf(t)
    keep = level < 0.9999
    back = d._inverse(np.where(keep, level, 0.5))
    assert (back[keep] <= t[keep] + 1e-6).all()
    between = d.cdf(t)[keep] - d.cdf(back)[keep]
    np.testing.assert_allclose(between, 0.0, atol=1e-9)
    assert (np.diff(level, axis=1) >= -1e-12).all()


@settings(deadline=None)
@given(seed=seeds, factor=st.floats(1e-4, 1e4))
def test_everything_scales_with_the_unit_of_time(seed: int, factor: float) -> None:
    d = random_distribution(seed)
    scaled = d.rescale(factor)
    np.testing.assert_allclose(scaled.mean, d.mean * factor)
    np.testing.assert_allclose(scaled.quantiles([0.1, 0.9]), d.quantiles([0.1, 0.9]) * factor)
    y = np.linspace(0.0, 60.0, len(d))
    np.testing.assert_allclose(scaled.crps(y * factor), d.crps(y) * factor, rtol=1e-9)
    np.testing.assert_allclose(scaled.cdf(y * factor), d.cdf(y), atol=1e-9)
    np.testing.assert_allclose(scaled.pdf(7.0 * factor) * factor, d.pdf(7.0), atol=1e-9)


def test_the_mean_is_that_of_samples_and_of_the_density() -> None:
    d = random_distribution(3)
    draws = d.sample(20_000, np.random.default_rng(0))
    spread = draws.std(axis=1) / np.sqrt(draws.shape[1])
    assert (abs(draws.mean(axis=1) - d.mean) < 5 * spread).all()
    np.testing.assert_allclose((draws <= 20.0).mean(axis=1), d.prob_failure_within(20.0), atol=0.02)
    assert np.array_equal(
        d.sample(3, np.random.default_rng(1)), d.sample(3, np.random.default_rng(1))
    )


def test_log_score_with_censoring() -> None:
    d = RULDistribution(EDGES, np.array([[1.0, 0.8, 0.5, 0.0]] * 3))
    score = d.log_score([15.0, 15.0, 40.0], [False, True, True])
    np.testing.assert_allclose(score[:2], [-np.log(0.03), -np.log(0.65)])
    assert np.isinf(score[2])


def test_from_hazards_multiplies_what_survives() -> None:
    d = RULDistribution.from_hazards(EDGES, [[0.2, 0.5, 0.1]])
    np.testing.assert_allclose(d.survival, [[1.0, 0.8, 0.4, 0.36]])
    np.testing.assert_allclose(d.survival_at(60.0), [0.36 * 0.9])  # the last bin's hazard goes on


def test_from_quantiles_meets_them_and_sorts_crossings() -> None:
    edges = time_edges(0.5, 200.0, ratio=1.01)
    d = RULDistribution.from_quantiles(edges, [0.1, 0.5, 0.9], [[60.0, 20.0, 90.0]])
    np.testing.assert_allclose(d.quantiles([0.1, 0.5, 0.9]), [[20.0, 60.0, 90.0]], rtol=0.02)


def test_a_mixture_averages_probabilities_and_means() -> None:
    a = random_distribution(1)
    b = RULDistribution(a.edges, random_distribution(2).survival)
    both = RULDistribution.mixture([a, b], [1.0, 3.0])
    np.testing.assert_allclose(both.cdf(9.0), 0.25 * a.cdf(9.0) + 0.75 * b.cdf(9.0))
    np.testing.assert_allclose(both.mean, 0.25 * a.mean + 0.75 * b.mean)
    with pytest.raises(ValueError, match="same rows"):
        RULDistribution.mixture([a, b[:2]])


def test_rows_can_be_selected_and_shown() -> None:
    d = random_distribution(5)
    np.testing.assert_array_equal(d[[2, 0]].median, d.median[[2, 0]])
    np.testing.assert_array_equal(d[1].mean, d.mean[1:2])
    frame = d.to_frame([0.05, 0.5, 0.975])
    assert frame.columns == ["mean", "q05", "q50", "q97.5"]
    np.testing.assert_array_equal(frame["q50"].to_numpy(), d.median)


@pytest.mark.parametrize(
    ("survival", "edges"),
    [
        ([[1.0, 0.5, 0.6, 0.0]], EDGES),
        ([[0.9, 0.5, 0.4, 0.0]], EDGES),
        ([[1.0, 0.5, np.nan, 0.0]], EDGES),
        ([[1.0, 0.5, -0.1, -0.2]], EDGES),
        ([[1.0, 0.5, 0.2]], EDGES),
        ([[1.0, 0.5, 0.2, 0.0]], EDGES + 1.0),
        ([[1.0, 0.5, 0.2, 0.0]], [0.0, 10.0, 10.0, 20.0]),
    ],
)
def test_what_is_not_a_survival_curve_is_refused(survival: object, edges: object) -> None:
    with pytest.raises(ValueError, match=r"survival|edges"):
        RULDistribution(np.asarray(edges), np.asarray(survival))


@given(step=st.floats(1e-3, 1e3), life=st.integers(1, 5000), factor=st.floats(1e-3, 1e3))
def test_edges_start_at_one_step_reach_the_longest_life_and_scale(
    step: float, life: int, factor: float
) -> None:
    edges = time_edges(step, life * step)
    assert edges[0] == 0.0
    assert edges[-1] >= life * step * (1 - 1e-9)
    np.testing.assert_allclose(edges[1], step)
    assert (np.diff(edges) > step * (1 - 1e-9)).all()
    scaled = time_edges(step * factor, life * step * factor)
    np.testing.assert_allclose(scaled, edges * factor)

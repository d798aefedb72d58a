import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grace.evaluation import bootstrap_interval, mae, nasa_mean, nasa_score, rmse

BY_NAME = {"rmse": rmse, "mae": mae, "nasa_sum": nasa_score, "nasa_mean": nasa_mean}


def sample(seed: int, n: int):
    rng = np.random.default_rng(seed)
    true = rng.uniform(0, 125, n)
    return true, true + rng.normal(0, 12, n)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(15, 80), st.sampled_from(sorted(BY_NAME)))
def test_interval_contains_the_figure(seed, n, name):
    true, pred = sample(seed, n)
    interval = bootstrap_interval(name, true, pred, n_resamples=300, seed=seed)
    assert interval.low <= BY_NAME[name](true, pred) <= interval.high


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_interval_narrows_with_more_engines_and_lower_level(seed):
    def width(n, level=0.95):
        i = bootstrap_interval("rmse", *sample(seed, n), n_resamples=400, seed=1, level=level)
        return i.high - i.low

    assert width(1000) < width(30)
    assert width(100, 0.5) < width(100, 0.95)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_names_and_functions_agree(name):
    true, pred = sample(3, 40)
    unit = np.repeat(np.arange(10), 4)
    options = {"n_resamples": 200, "seed": 5, "unit": unit}
    fast = bootstrap_interval(name, true, pred, **options)
    slow = bootstrap_interval(BY_NAME[name], true, pred, **options)
    assert fast.low == pytest.approx(slow.low)
    assert fast.high == pytest.approx(slow.high)


def test_repeated_rows_of_an_engine_add_no_certainty():
    true, pred = sample(4, 30)
    once = bootstrap_interval("rmse", true, pred, seed=0)
    many = [np.repeat(a, 50) for a in (true, pred, np.arange(30))]
    clustered = bootstrap_interval("rmse", many[0], many[1], unit=many[2], seed=0)
    naive = bootstrap_interval("rmse", many[0], many[1], seed=0)
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    assert naive.high - naive.low < 0.3 * (once.high - once.low)


def test_unit_labels_and_row_order_do_not_matter():
    true, pred = sample(5, 24)
    unit = np.repeat(list("abcdef"), 4)
    order = np.random.default_rng(0).permutation(24)
    a = bootstrap_interval("mae", true, pred, unit=unit, seed=2)
    b = bootstrap_interval("mae", true[order], pred[order], unit=unit[order], seed=2)
    # the sums are rounded differently, which moves BCa by a resample or so
    assert (a.low, a.high) == pytest.approx((b.low, b.high), rel=5e-3)
    assert a == bootstrap_interval("mae", true, pred, unit=unit, seed=2)


def test_coverage_is_about_right():
    """The true RMSE is 12; 95 % intervals of 60 engines should cover it about that often."""
    hits = 0
    for seed in range(150):
        i = bootstrap_interval("rmse", *sample(seed, 60), n_resamples=300, seed=seed)
        hits += i.low <= 12.0 <= i.high
    assert 0.87 <= hits / 150 <= 0.99


@pytest.mark.filterwarnings("error")
def test_identical_engines_give_a_point():
    interval = bootstrap_interval("rmse", np.zeros(5), np.full(5, 3.0), seed=0)
    assert (interval.low, interval.high) == pytest.approx((3.0, 3.0))


@pytest.mark.parametrize(
    ("metric", "true", "pred", "unit", "message"),
    [
        ("rmse", [1.0], [1.0], None, "two engines"),
        ("rmse", [1.0, 2], [1.0, 2], [7, 7], "two engines"),
        ("rmse", [1.0, 2], [1.0, 2], [7], "1 entries"),
        ("r2", [1.0, 2], [1.0, 2], None, "unknown metric"),
        ("nasa_sum", [1.0, 2], [1.0, 1e6], None, "not finite"),
        (nasa_score, [1.0, 2], [1.0, 1e6], None, "not finite"),
    ],
)
def test_impossible_requests_are_refused(metric, true, pred, unit, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(metric, true, pred, unit=unit, seed=0)

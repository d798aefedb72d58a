import math

import numpy as np
import pytest
from scipy import stats

from grace.evaluation import (
    bootstrap,
    friedman_nemenyi,
    holm,
    paired_bootstrap,
    paired_tests,
    rmse,
)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([1.0, 0.04, 0.0]) == pytest.approx([1.0, 0.08, 0.0])
    with pytest.raises(ValueError, match="p_values"):
        holm([1.2])


def test_paired_tests_agree_with_scipy():
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(m, 1, 8).tolist() for name, m in (("a", 10), ("b", 12), ("c", 10))}
    tests = paired_tests(scores)
    assert [(t.a, t.b) for t in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    for t in tests:
        a, b = np.array(scores[t.a]), np.array(scores[t.b])
        assert t.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue)
        assert t.p_wilcoxon == pytest.approx(stats.wilcoxon(a, b).pvalue)
        assert t.d_z == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
        assert t.p_t_holm >= t.p_t
        assert t.p_wilcoxon_holm >= t.p_wilcoxon
    versus = paired_tests(scores, reference="c")
    assert [(t.a, t.b) for t in versus] == [("a", "c"), ("b", "c")]


def test_five_seeds_cannot_satisfy_wilcoxon():
    (test,) = paired_tests({"good": [1, 2, 3, 4, 5], "bad": [11, 13, 15, 17, 19]})
    assert test.p_wilcoxon == pytest.approx(0.0625)
    assert test.p_t < 0.01
    assert "cannot be below 0.0625" in test.note
    (six,) = paired_tests({"good": range(6), "bad": [9, 11, 13, 15, 17, 30]})
    assert six.p_wilcoxon == pytest.approx(2**-5)
    assert six.note == ""


@pytest.mark.filterwarnings("error")
def test_equal_differences_are_undefined():
    base = [10.1, 10.2, 9.9, 10.4, 10.3, 9.7]
    scores = {"a": base, "b": base, "c": [x + 0.1 for x in base]}  # equal up to rounding
    for test in paired_tests(scores, reference="a"):
        assert (test.d_z, test.p_t, test.p_t_holm) == (None, None, None)
        assert (test.p_wilcoxon, test.p_wilcoxon_holm, test.std_difference) == (None, None, 0.0)
        assert "undefined" in test.note
        assert type(test).model_validate_json(test.model_dump_json()) == test


def test_below_five_seeds_no_test_is_made():
    (test,) = paired_tests({"a": [1, 2, 3, 4], "b": [2, 4, 4, 7]})
    assert (test.p_t, test.p_t_holm, test.p_wilcoxon, test.p_wilcoxon_holm) == (None,) * 4
    assert "no test is made: 4 seeds" in test.note
    assert test.mean_difference == pytest.approx(-1.75)
    assert test.d_z == pytest.approx(-1.75 / np.std([-1, -2, -1, -3], ddof=1))


def test_holm_counts_the_tests_that_were_made():
    rng = np.random.default_rng(2)
    base = rng.normal(10, 1, 6)
    scores = {"r": base, "same": base, "x": base + rng.normal(1, 1, 6)}
    same, x = paired_tests(scores, reference="r")
    assert same.p_t is None
    assert x.p_t_holm == x.p_t  # the only one


@pytest.mark.parametrize(
    ("scores", "reference", "message"),
    [
        ({"a": [1, 2]}, None, "two methods"),
        ({"a": [1, 2], "b": [1]}, None, "same seeds"),
        ({"a": [1], "b": [1]}, None, "at least two"),
        ({"a": [1, 2], "b": [1, 3]}, "z", "unknown reference"),
        ({"a": [1, 2], "b": [1, math.nan]}, None, "finite"),
    ],
)
def test_unpaired_scores_are_refused(scores, reference, message):
    with pytest.raises(ValueError, match=message):
        paired_tests(scores, reference=reference)


def test_paired_bootstrap_sees_what_single_intervals_hide():
    rng = np.random.default_rng(1)
    true = rng.uniform(0, 125, 120)
    common = rng.normal(0, 15, 120)
    a, b = true + common, true + 1.1 * common
    difference = paired_bootstrap("rmse", true, a, b, seed=0)
    assert difference.value == pytest.approx(rmse(true, a) - rmse(true, b))
    assert difference.excludes_zero
    assert difference.interval.low < difference.value < difference.interval.high < 0
    tie = paired_bootstrap("rmse", true, a, true - common, seed=0)
    assert not tie.excludes_zero
    with pytest.raises(ValueError, match="unknown metric"):
        paired_bootstrap("r2", true, a, b, seed=0)


# Demšar 2006, table 5a: q_0.05 of the two-tailed Nemenyi test
@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)])
def test_nemenyi_q_is_the_published_one(k, q):
    result = friedman_nemenyi(np.random.default_rng(0).normal(size=(4, k)), list("abcdefghij")[:k])
    assert result.q == pytest.approx(q, abs=1e-3)  # the table truncates


def test_nemenyi_critical_difference_of_demsar_s_example():
    scores = np.random.default_rng(0).normal(size=(14, 4))
    assert friedman_nemenyi(scores, "abcd").critical_difference == pytest.approx(1.25, abs=5e-3)
    assert friedman_nemenyi(scores, "abcd", alpha=0.1).q == pytest.approx(2.291, abs=6e-4)


def test_friedman_by_hand_and_groups():
    # always the same order: χ² = 12·N/(k(k+1)) (ΣR² - k(k+1)²/4) = 5·(14 - 12) = 10
    scores = np.tile([3.0, 1.0, 2.0], (5, 1))
    result = friedman_nemenyi(scores, ["last", "first", "middle"])
    assert result.mean_ranks == (3.0, 1.0, 2.0)
    assert result.statistic == pytest.approx(10.0)
    assert result.critical_difference == pytest.approx(2.343 * math.sqrt(12 / 30), abs=1e-3)
    assert result.groups == (("first", "middle"), ("middle", "last"))
    p = np.array(result.p_values)
    assert np.allclose(p, p.T)
    # Nemenyi's p crosses alpha where the difference of ranks crosses the critical difference
    ranks = np.array(result.mean_ranks)
    beyond = np.abs(ranks[:, None] - ranks[None]) > result.critical_difference
    assert ((p < 0.05) == beyond).all()


def test_paired_interval_covers_and_takes_seeds_of_a_unit_together():
    rng = np.random.default_rng(3)
    true = rng.uniform(0, 125, 60)
    hard = rng.normal(0, 10, 60)
    unit = np.tile(np.arange(60), 5)
    a = np.concatenate([true + hard + rng.normal(0, 1, 60) for _ in range(5)])
    b = np.concatenate([true + 1.05 * hard + rng.normal(0, 1, 60) for _ in range(5)])
    truth = np.tile(true, 5)
    together = paired_bootstrap("nasa_mean", truth, a, b, unit=unit, seed=0)
    apart = paired_bootstrap("nasa_mean", truth, a, b, seed=0)
    assert together.value == pytest.approx(apart.value)
    wide, narrow = (d.interval.high - d.interval.low for d in (together, apart))
    assert wide > 1.15 * narrow
    total = paired_bootstrap("nasa_sum", truth, a, b, unit=unit, seed=0)
    assert total.interval.low == pytest.approx(300 * together.interval.low)


@pytest.mark.filterwarnings("error")
def test_ties_share_ranks_and_all_equal_is_no_difference():
    tied = friedman_nemenyi([[1, 1, 2], [1, 1, 2]], "abc")
    assert tied.mean_ranks == (1.5, 1.5, 3.0)
    equal = friedman_nemenyi(np.ones((3, 3)), "abc")
    assert (equal.statistic, equal.p_value) == (0.0, 1.0)
    assert equal.groups == (("a", "b", "c"),)


@pytest.mark.parametrize(
    ("scores", "names", "message"),
    [
        (np.ones((4, 2)), "ab", "3 methods"),
        (np.ones((1, 3)), "abc", "2 blocks"),
        (np.ones((4, 3)), "ab", "scores must be"),
        (np.full((4, 3), np.nan), "abc", "finite"),
    ],
)
def test_bad_tables_are_refused(scores, names, message):
    with pytest.raises(ValueError, match=message):
        friedman_nemenyi(scores, names)


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_paired_limits_are_those_of_a_bootstrap_t_written_out(metric):
    """Units of unequal numbers of rows, drawn together for both predictors."""
    rng = np.random.default_rng(7)
    counts = rng.integers(1, 9, 15)
    unit = np.repeat(np.arange(15), counts)
    true = rng.uniform(0, 125, unit.size)
    a, b = true + rng.normal(4, 9, unit.size), true + rng.normal(-1, 7, unit.size)
    term = {"rmse": np.square, "mae": np.abs}[metric]
    sums = [np.bincount(unit, weights=term(p - true)) for p in (a, b)]

    def value_and_error(x, y, c):
        n, k = c.sum(), len(c)
        means = x.sum() / n, y.sum() / n
        if metric == "mae":
            value = means[0] - means[1]
            influence = (x - y - value * c) / n
        else:
            value = math.sqrt(means[0]) - math.sqrt(means[1])
            influence = (x / math.sqrt(means[0]) - y / math.sqrt(means[1]) - value * c) / (2 * n)
        return value, math.sqrt(k / (k - 1) * np.sum(influence**2))

    best, error = value_and_error(*sums, counts)
    t = []
    for chunk in bootstrap.draws(15, 400, 3):
        for drawn in chunk:
            v, e = value_and_error(sums[0][drawn], sums[1][drawn], counts[drawn])
            t.append((v - best) / e)
    below, above = np.quantile(t, [0.05, 0.95])
    found = paired_bootstrap(metric, true, a, b, unit=unit, level=0.9, n_resamples=400, seed=3)
    assert found.value == pytest.approx(best)
    assert found.interval.low == pytest.approx(best - error * above)
    assert found.interval.high == pytest.approx(best - error * below)
    assert found.interval.level == 0.9


@pytest.mark.parametrize("metric", ["rmse", "mae", "nasa_mean"])
def test_two_perfect_predictors_do_not_differ(metric):
    true = np.arange(6.0)
    found = paired_bootstrap(metric, true, true, true, seed=0)
    assert (found.value, found.interval.low, found.interval.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_equal_up_to_rounding_whatever_the_unit(size):
    base = np.array([10.1, 10.2, 9.9, 10.4, 10.3, 9.7]) * size
    (equal,) = paired_tests({"a": base, "b": base + 0.1 * size})
    assert equal.d_z is None
    (other,) = paired_tests({"a": base, "b": base + size * np.linspace(0.1, 0.11, 6)})
    assert other.d_z is not None


def test_blocks_in_which_all_are_equal_are_no_difference_though_the_blocks_differ():
    found = friedman_nemenyi([[1, 1, 1], [2, 2, 2], [3, 3, 3]], "abc")
    assert (found.statistic, found.p_value) == (0.0, 1.0)


def test_bad_scores_are_named():
    with pytest.raises(ValueError, match="worse"):
        paired_tests({"good": [1.0] * 5, "worse": [1.0, math.nan, 1.0, 1.0, 1.0]})


@pytest.mark.filterwarnings("error")
def test_an_interval_against_a_perfect_predictor_is_finite():
    truth = np.arange(30.0)
    rng = np.random.default_rng(0)
    found = paired_bootstrap("rmse", truth, truth, truth + rng.normal(0, 2, 30), seed=0)
    assert found.interval.low <= found.interval.high < 0.0
